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
    Claim,
    IPPool,
    NetworkClaim,
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
    claims = claims_of(cluster)
    found = []
    for pool in cluster.all(IPPool):
        nad = network_of(pool, cluster)
        if nad is not None and pool.server_address is not None:
            before = {**record.get(pool.key, {}), **pool.allocated}
            found.append(_scope(pool, nad, claims.get(pool.key, ()), before, cluster))
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
    pool: IPPool, nad: NetworkAttachmentDefinition, claims: Iterable[Claim], before: Mapping[Mac, str], cluster: Cluster
) -> Scope:
    cn = nad.cluster_network or ""
    withheld = withheld_of(pool, cluster)
    given, waiting = allocate(pool, claims, before, withheld)
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


def claims_of(cluster: Cluster) -> dict[str, tuple[Claim, ...]]:
    """Pool (`namespace/name`) -> who is to have an address from it: one claim for each MAC address, of the first that
    speaks for it: a VirtualMachineNetworkConfig, the pool's own list, a machine."""
    pools = {pool.network: pool for pool in reversed(cluster.all(IPPool))}
    found: dict[str, dict[Mac, Claim]] = {pool.key: {} for pool in pools.values()}
    silent: set[Mac] = set()
    for config in cluster.all(VirtualMachineNetworkConfig):
        if config.paused:
            silent |= {claim.mac for claim in config.claims}
            continue
        for network, claim in _configured(config):
            if (pool := pools.get(network)) is not None:
                found[pool.key].setdefault(claim.mac, claim)
    for pool in pools.values():
        for host in pool.hosts:
            claim = Claim(mac=host.mac, owner=pool.ref, address=host.address, hostname=host.hostname)
            found[pool.key].setdefault(host.mac, claim)
    for config in machine_configs(cluster):
        for network, claim in _configured(config):
            if network in pools and claim.mac not in silent:
                found[pools[network].key].setdefault(claim.mac, claim)
    return {key: tuple(claims.values()) for key, claims in found.items()}


def _configured(config: VirtualMachineNetworkConfig) -> Iterator[tuple[str, Claim]]:
    hostname = host_name(config.vm_name)
    for one in config.claims:
        yield one.network, Claim(mac=one.mac, owner=config.ref, address=one.address, hostname=hostname)


def host_name(name: str) -> str:
    """Of a machine's name one that is fit for a host (RFC 1123); empty where nothing of it is."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:63].strip("-")


def machine_configs(cluster: Cluster) -> tuple[VirtualMachineNetworkConfig, ...]:
    """As Harvester's controller makes them: one for each machine with a MAC address in a network with a pool."""
    networks = {pool.network for pool in cluster.all(IPPool)}
    found: dict[tuple[str, str], VirtualMachineNetworkConfig] = {}
    machines: tuple[AnyMachine, ...] = (*cluster.all(VirtualMachine), *cluster.all(VirtualMachineInstance))
    for machine in machines if networks else ():
        claims = tuple(claim for claim in _nics(machine) if claim.network in networks)
        key = (machine.meta.namespace, machine.name)
        if claims and key not in found:
            meta = type(machine.meta)(name=machine.name, namespace=machine.meta.namespace)
            found[key] = VirtualMachineNetworkConfig(meta=meta, vm_name=machine.name, claims=claims)
    return tuple(found.values())


def _nics(machine: AnyMachine) -> Iterator[NetworkClaim]:
    """A NIC without an address of its own gets another one at each start, and so can have no reservation."""
    annotated = _annotated(machine)
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        mac = nic.mac or annotated.get(nic.name)
        bridged = nic.binding is not Binding.MASQUERADE and nic.state is not LinkState.ABSENT
        if network is not None and network.nad and mac and bridged:
            yield NetworkClaim(network=network.nad, mac=mac)


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
    pool: IPPool, claims: Iterable[Claim], before: Mapping[Mac, str], withheld: Mapping[str, str]
) -> tuple[tuple[Reservation, ...], tuple[Waiting, ...]]:
    """(who has which address, who has none). First those that have one already, then those that ask for a certain one,
    then the others, each in the order of owner and MAC address."""
    asking = sorted(claims, key=lambda claim: (claim.owner, claim.mac))
    given: dict[str, Claim] = {}
    waiting: list[Waiting] = []
    room = Room(pool, withheld)
    for claim in asking:
        had = before.get(claim.mac, "")
        if had and claim.address in ("", had) and had not in given and not room.why_not(had):
            given[had] = claim
    done = {claim.mac for claim in given.values()}
    for claim in (claim for claim in asking if claim.address and claim.mac not in done):
        reason = room.why_not(claim.address)
        if not reason and claim.address in given:
            other = given[claim.address]
            reason = f"{claim.address} is the address of {other.mac} ({other.owner})"
        if reason:
            waiting.append(Waiting(claim=claim, reason=reason))
        else:
            given[claim.address] = claim
    rest = room.free(frozenset(given))
    for claim in (claim for claim in asking if not claim.address and claim.mac not in done):
        address = next(rest, None)
        if address is None:
            reason = f"no address of {pool.first} to {pool.last} is left"
            waiting.append(Waiting(claim=claim, reason=reason))
        else:
            given[address] = claim
    reservations = [
        Reservation(mac=claim.mac, address=address, owner=claim.owner, hostname=claim.hostname)
        for address, claim in given.items()
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
            claim = waiting.claim
            yield Problem(
                code="address-not-given",
                message=f"{claim.mac} ({claim.owner}) has no address of {scope.pool.key}: {waiting.reason}",
                hint="whoever has that address keeps it until it is deleted" if claim.address else "make a larger pool",
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
