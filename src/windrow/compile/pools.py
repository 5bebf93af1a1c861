"""Pass: IPPools, and whoever is to have an address from them -> which MAC address has which.

The lowest address that is free; who asked first keeps it, by the record of what was given before. So the answer is the
same wherever it is asked for with the same record, and nobody's address changes because another one comes.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from windrow.model.cluster import Cluster, selects_node
from windrow.model.machines import AnyMachine, Binding, LinkState, VirtualMachine, VirtualMachineInstance
from windrow.model.names import ANNOTATION_VM_MACS, MGMT
from windrow.model.objects import AddressMode, HostNetworkConfig, NetworkAttachmentDefinition, NetworkType, Node
from windrow.model.pools import (
    EXCLUDED,
    RESERVED,
    Applicant,
    IPPool,
    NetworkConfig,
    Record,
    Reservation,
    Scope,
    VirtualMachineNetworkConfig,
    Waiting,
)
from windrow.model.problems import Problem, Severity
from windrow.model.values import MTU_DEFAULT, Mac, Ref, parse_mac


def scopes(cluster: Cluster, record: Record) -> tuple[Scope, ...]:
    """Every pool whose network is there, with who has which address. `record`: what was given before."""
    applicants = applicants_of(cluster)
    found = []
    for pool in cluster.all(IPPool):
        nad = network_of(pool, cluster)
        if nad is not None and pool.server_address is not None:
            before = {**record.get(pool.key, {}), **pool.allocated}
            found.append(_scope(pool, nad, applicants.get(pool.key, ()), before, cluster))
    return tuple(found)


def network_of(pool: IPPool, cluster: Cluster) -> NetworkAttachmentDefinition | None:
    """Its network, where that is one a server can take part in: a VLAN, or untagged, of a cluster network."""
    nad = nad_called(pool.network, cluster)
    usable = nad is not None and nad.type in (NetworkType.VLAN, NetworkType.UNTAGGED) and nad.cluster_network
    return nad if usable else None


def nad_called(name: str, cluster: Cluster) -> NetworkAttachmentDefinition | None:
    """Of `namespace/name`."""
    namespace, _, word = name.rpartition("/")
    found = cluster.objects.get(Ref(NetworkAttachmentDefinition.KIND, word, namespace))
    return found if isinstance(found, NetworkAttachmentDefinition) else None


def _scope(
    pool: IPPool,
    nad: NetworkAttachmentDefinition,
    applicants: Iterable[Applicant],
    before: Mapping[Mac, str],
    cluster: Cluster,
) -> Scope:
    cn = nad.cluster_network or ""
    withheld = withheld_of(pool, cluster)
    given, waiting = allocate(pool, applicants, before, withheld)
    mtu = pool.mtu or cluster.mtu(cn)
    return Scope(
        pool=pool,
        cluster_network=cn,
        vid=nad.vid if nad.type is NetworkType.VLAN else 0,
        mtu=mtu if pool.mtu or mtu != MTU_DEFAULT else 0,
        reservations=given,
        waiting=waiting,
        withheld=withheld,
    )


# Who asks -------------------------------------------------------------------------------------------------------------


def applicants_of(cluster: Cluster) -> dict[str, tuple[Applicant, ...]]:
    """Pool (`namespace/name`) -> who is to have an address from it: one for each MAC address, of the first that
    speaks for it: a VirtualMachineNetworkConfig, the pool's own list, a machine."""
    pools = {pool.network: pool for pool in reversed(cluster.all(IPPool))}
    found: dict[str, dict[Mac, Applicant]] = {pool.key: {} for pool in pools.values()}
    silent: set[Mac] = set()
    for config in cluster.all(VirtualMachineNetworkConfig):
        if config.paused:
            silent |= {entry.mac for entry in config.network_configs}
            continue
        for network, applicant in _configured(config):
            if (pool := pools.get(network)) is not None:
                found[pool.key].setdefault(applicant.mac, applicant)
    for pool in pools.values():
        for host in pool.hosts:
            applicant = Applicant(mac=host.mac, owner=pool.ref, address=host.address, hostname=host.hostname)
            found[pool.key].setdefault(host.mac, applicant)
    for config in machine_configs(cluster):
        for network, applicant in _configured(config):
            if network in pools and applicant.mac not in silent:
                found[pools[network].key].setdefault(applicant.mac, applicant)
    return {key: tuple(applicants.values()) for key, applicants in found.items()}


def _configured(config: VirtualMachineNetworkConfig) -> Iterator[tuple[str, Applicant]]:
    hostname = host_name(config.vm_name)
    for one in config.network_configs:
        yield one.network, Applicant(mac=one.mac, owner=config.ref, address=one.address, hostname=hostname)


def host_name(name: str) -> str:
    """Of a machine's name one that is fit for a host (RFC 1123); empty where nothing of it is."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:63].strip("-")


def machine_configs(cluster: Cluster) -> tuple[VirtualMachineNetworkConfig, ...]:
    """As Harvester's controller makes them: one for each machine with a MAC address in a network with a pool."""
    networks = {pool.network for pool in cluster.all(IPPool)}
    found: dict[tuple[str, str], VirtualMachineNetworkConfig] = {}
    machines: tuple[AnyMachine, ...] = (*cluster.all(VirtualMachine), *cluster.all(VirtualMachineInstance))
    for machine in machines if networks else ():
        entries = tuple(entry for entry in _nics(machine) if entry.network in networks)
        key = (machine.meta.namespace, machine.name)
        if entries and key not in found:
            meta = type(machine.meta)(name=machine.name, namespace=machine.meta.namespace)
            found[key] = VirtualMachineNetworkConfig(meta=meta, vm_name=machine.name, network_configs=entries)
    return tuple(found.values())


def _nics(machine: AnyMachine) -> Iterator[NetworkConfig]:
    """A NIC without an address of its own gets another one at each start, and so can have no reservation."""
    annotated = _annotated(machine)
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        mac = nic.mac or annotated.get(nic.name)
        bridged = nic.binding is not Binding.MASQUERADE and nic.state is not LinkState.ABSENT
        if network is not None and network.nad and mac and bridged:
            yield NetworkConfig(network=network.nad, mac=mac)


def _annotated(machine: AnyMachine) -> dict[str, Mac]:
    """Harvester keeps a machine's MAC addresses in an annotation; what makes no sense in it is nobody's address."""
    try:
        said: Any = json.loads(machine.meta.annotations.get(ANNOTATION_VM_MACS, "{}"))
        return {str(name): parse_mac(str(mac)) for name, mac in said.items()}
    except (ValueError, AttributeError, RecursionError):
        return {}


# Who gets what --------------------------------------------------------------------------------------------------------


def withheld_of(pool: IPPool, cluster: Cluster) -> dict[str, str]:
    """Addresses that no client gets: those of server and router and of hosts in the VLAN, and those that are left out
    on purpose."""
    hosts = [str(ip) for ip in _of_hosts(pool, cluster) if pool.holds(ip)]
    own = [str(ip) for ip in (pool.server_address, pool.router and ipaddress.IPv4Address(pool.router)) if ip]
    inside = [ip for ip in own if pool.holds(ipaddress.IPv4Address(ip))]
    return {**dict.fromkeys((*hosts, *inside), RESERVED), **dict.fromkeys(pool.exclude, EXCLUDED)}


def _of_hosts(pool: IPPool, cluster: Cluster) -> Iterator[ipaddress.IPv4Address]:
    nad = network_of(pool, cluster)
    vlan = (nad.cluster_network, nad.vid) if nad is not None else None
    for config in cluster.all(HostNetworkConfig):
        if config.mode is AddressMode.STATIC and (config.cluster_network, config.vid) == vlan:
            for cidr in (cidr for cidrs in config.ips.values() for cidr in cidrs):
                if isinstance(ip := ipaddress.ip_interface(cidr).ip, ipaddress.IPv4Address):
                    yield ip


def allocate(
    pool: IPPool, applicants: Iterable[Applicant], before: Mapping[Mac, str], withheld: Mapping[str, str]
) -> tuple[tuple[Reservation, ...], tuple[Waiting, ...]]:
    """(who has which address, who has none). First those that have one already, then those that ask for a certain one,
    then the others, each in the order of owner and MAC address."""
    asking = sorted(applicants, key=lambda applicant: (applicant.owner, applicant.mac))
    given: dict[str, Applicant] = {}
    waiting: list[Waiting] = []
    room = Room(pool, withheld)
    for applicant in asking:
        had = before.get(applicant.mac, "")
        if had and applicant.address in ("", had) and had not in given and not room.why_not(had):
            given[had] = applicant
    done = {applicant.mac for applicant in given.values()}
    for applicant in (applicant for applicant in asking if applicant.address and applicant.mac not in done):
        reason = room.why_not(applicant.address)
        if not reason and applicant.address in given:
            other = given[applicant.address]
            reason = f"{applicant.address} is the address of {other.mac} ({other.owner})"
        if reason:
            waiting.append(Waiting(applicant=applicant, reason=reason))
        else:
            given[applicant.address] = applicant
    rest = room.free(frozenset(given))
    for applicant in (applicant for applicant in asking if not applicant.address and applicant.mac not in done):
        address = next(rest, None)
        if address is None:
            reason = f"no address of {pool.first} to {pool.last} is left"
            waiting.append(Waiting(applicant=applicant, reason=reason))
        else:
            given[address] = applicant
    reservations = [
        Reservation(mac=applicant.mac, address=address, owner=applicant.owner, hostname=applicant.hostname)
        for address, applicant in given.items()
    ]
    return tuple(sorted(reservations, key=lambda r: ipaddress.IPv4Address(r.address))), tuple(waiting)


class Room:
    """Which addresses of a pool a client can have; the bounds are worked out once, for thousands of questions."""

    def __init__(self, pool: IPPool, withheld: Mapping[str, str]) -> None:
        self._subnet, self._first, self._last = pool.subnet, pool.first, pool.last
        own = {str(pool.server_address or ""): RESERVED, pool.router: RESERVED}
        self._withheld = own | dict(withheld)

    def why_not(self, address: str) -> str:
        """Why no client can have this address; empty: one can."""
        if address in self._withheld:
            return f"{address} is {self._withheld[address].lower()}"
        ip, subnet = ipaddress.IPv4Address(address), self._subnet
        if not int(subnet.network_address) <= int(ip) <= int(subnet.broadcast_address):
            return f"{address} is not in {subnet}"
        if ip in (subnet.network_address, subnet.broadcast_address):
            return f"{address} is no address of a host in {subnet}"
        if not self._first <= ip <= self._last:
            return f"{address} is not in the range {self._first} to {self._last}"
        return ""

    def free(self, taken: frozenset[str]) -> Iterator[str]:
        """Upwards; one that is given meanwhile is behind us by then."""
        for number in range(int(self._first), int(self._last) + 1):
            address = str(ipaddress.IPv4Address(number))
            if address not in taken and not self.why_not(address):
                yield address


def waiting_problems(found: Iterable[Scope]) -> Iterator[Problem]:
    """Admission sees to most of it; a record of earlier gifts it does not see."""
    for scope in found:
        for waiting in scope.waiting:
            applicant = waiting.applicant
            yield Problem(
                code="address-not-given",
                message=f"{applicant.mac} ({applicant.owner}) has no address of {scope.pool.key}: {waiting.reason}",
                hint="whoever has that address keeps it until it is deleted"
                if applicant.address
                else "make a larger pool",
                about=scope.pool.ref,
                severity=Severity.WARNING,
            )


# Who serves -----------------------------------------------------------------------------------------------------------


def serving_nodes(pool: IPPool, cluster_network: str, cluster: Cluster, here: str) -> tuple[str, ...]:
    """The nodes that may serve a pool: those that it names; else the first one that has its cluster network. `here`:
    this node, which is it where no Node object says which there are.

    No two by themselves: they must know of the same gifts, and what a node has recorded only that node knows."""
    if pool.paused:
        return ()
    if pool.nodes:
        return pool.nodes
    nodes: tuple[Node, ...] = cluster.nodes() or (cluster.node(here),)
    return tuple(sorted(node.name for node in nodes if has_network(node, cluster_network, cluster))[:1])


def has_network(node: Node, cluster_network: str, cluster: Cluster) -> bool:
    return cluster_network == MGMT or any(selects_node(c, node) for c in cluster.vlan_configs(cluster_network))
