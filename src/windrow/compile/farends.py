"""Where the tunnels of other nodes end, and which pods are behind them. What is wrong with a node costs the way to that
node alone."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_interface

from windrow.compile.podcidrs import free_networks, pod_networks
from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector
from windrow.model.lazy import dataclass
from windrow.model.meta import Meta
from windrow.model.objects import AddressMode, HostNetworkConfig, Node
from windrow.model.overlay import (
    BACKEND,
    Family,
    NetConf,
    Network,
    annotation,
    check_backend,
    ends_tunnel,
    far_address,
    far_port,
    public_key,
    vtep_mac,
)
from windrow.model.policyrules import TunnelEnds
from windrow.model.problems import Problem, Severity
from windrow.model.values import Cidr, Mac

POD_CIDR = "spec.podCIDRs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """A node: where its tunnel ends, its device's MAC address, and the addresses of its pods. `key`: of an encrypted
    overlay, its public one, in place of that MAC address; `port`: where that device listens."""

    node: str
    address: str
    mac: Mac
    network: Network
    key: str = ""
    port: int = 0

    @property
    def router(self) -> str:
        """By which the way leads there: flannel gives it to the other node's device."""
        return str(self.network.network_address)


class FarEnds:
    """The nodes to which there is a way, and why there is none to the others. Whoever is added first has its MAC
    address, its end and its network; who comes second with one of these is left out. Not a value."""

    def __init__(self, family: Family, conf: NetConf, cluster: Cluster) -> None:
        self.family, self.conf, self.cluster = family, conf, cluster
        self.found: list[Far] = []
        self.problems: list[Problem] = []
        self._devices: dict[str, str] = {}
        """MAC address or public key of a device -> the node."""
        self._addresses: dict[str, str] = {}
        self._networks: list[tuple[int, int, str]] = []
        """First and last address, and the node; in their order."""
        self._found_free: Mapping[str, Network] | None = None

    def add(self, node: Node) -> None:
        far = self.read(node)
        if far is not None and self.take(far, node):
            self.found.append(far)

    def take(self, far: Far, node: Node) -> bool:
        """Whether nobody had any of it before."""
        trouble = self._twice(far, node)
        if trouble is not None:
            self.problems.append(trouble)
            return False
        self._devices[far.key or far.mac] = self._addresses[far.address] = node.name
        insort(self._networks, (*_span(far.network), node.name))
        return True

    def _twice(self, far: Far, node: Node) -> Problem | None:
        if other := self._devices.get(far.key or far.mac):
            has = f"public key {far.key}" if far.key else f"MAC address {far.mac}"
            text = f"its tunnel device has the {has}, as that of node {other} has"
            hint = "take this annotation away from one of the two, and start its agent (or flanneld) anew"
            return _warning(node, "vtep-twice", annotation(self.family.data), text, hint)
        if other := self._addresses.get(far.address):
            text = f"its tunnel ends at {far.address}, as that of node {other} does"
            return _warning(node, "overlay-address-twice", annotation(self.family.address), text, _CORRECT)
        if other := self._overlapped(far.network):
            text = f"its podCIDR {far.network} overlaps that of node {other}, to which its packets go"
            return _warning(node, "podcidr-overlap", POD_CIDR, text, self._instead())
        return None

    def _overlapped(self, network: Network) -> str:
        first, last = _span(network)
        at = bisect_left(self._networks, (first,))
        if at < len(self._networks) and self._networks[at][0] <= last:
            return self._networks[at][2]
        return self._networks[at - 1][2] if at and self._networks[at - 1][1] >= first else ""

    def read(self, node: Node, address: str = "", own_key: str = "") -> Far | None:
        """None, and a problem, where something of it is missing or wrong. `address`: where its tunnel ends, of the node
        that this is compiled for; `own_key`: its public key, where it is known already."""
        family, encrypted, own = self.family, self.conf.encrypted, bool(address)
        mac, public, port = Mac(""), own_key, 0
        try:
            key = BACKEND
            check_backend(node, self.conf)
            key = family.data
            if not encrypted:
                mac = vtep_mac(node, family, self.conf.vni)
            elif not own:
                public, port = public_key(node, family), far_port(node, family, self.conf)
            key = family.address
            address = address or far_address(node, family) or _static_address(node, family, self.cluster)
        except ValueError as error:
            hint = "correct it, or take the annotation away: the node's agent, or flanneld, writes it anew"
            self.problems.append(_warning(node, "overlay-annotation", annotation(key), str(error), hint))
            return None
        if encrypted and not public and not own:
            text = "the public key of its tunnel device is not known"
            hint = f"have its agent say so (Kubernetes), or write the annotation {family.data}: windrow overlay key"
            self.problems.append(_warning(node, "overlay-key-unknown", annotation(family.data), text, hint))
            return None
        network, whole = next(iter(pod_networks(node, family)), None), self.conf.networks[family.version]
        if network is None:
            text = f"it has no IPv{family.version} podCIDR"
            self.problems.append(_warning(node, "podcidr-missing", POD_CIDR, text, self._use(node)))
        elif not _within(network, whole):
            text = f"its podCIDR {network} is outside {whole}, the overlay's network"
            self.problems.append(_warning(node, "podcidr-outside", POD_CIDR, text, self._instead()))
        elif not address:
            text = f"where its tunnel ends is not known: it has no static IPv{family.version} address on {names.MGMT}"
            hint = f"have its agent say so (Kubernetes), or write the annotation {family.address}"
            self.problems.append(_warning(node, "overlay-end-unknown", annotation(family.address), text, hint))
        elif ip_address(address) in whole:
            text = f"its tunnel ends at {address}, inside of {whole}: the way there would lead into the tunnel itself"
            hint = f"write its address on {names.MGMT} there"
            self.problems.append(_warning(node, "overlay-annotation", annotation(family.address), text, hint))
        else:
            return Far(node=node.name, address=address, mac=mac, network=network, key=public, port=port)
        return None

    def _use(self, node: Node) -> str:
        if free := self._free().get(node.name):
            return f"{free} is free; windrow overlay podcidrs prints it for windrow apply"
        return f"nothing of {self.conf.networks[self.family.version]} is free"

    def _instead(self) -> str:
        free = self._free().get(_NOBODY)
        return f"use {free}, which is free" if free else f"nothing of {self.conf.networks[self.family.version]} is free"

    def _free(self) -> Mapping[str, Network]:
        """Found once, when it is needed."""
        if self._found_free is None:
            everybody = (*self.cluster.nodes(), Node(meta=Meta(name=_NOBODY)))
            self._found_free = free_networks(self.conf, everybody, self.family)
        return self._found_free


_NOBODY = "\uffff"
"""After all names: what is free when every node has its part."""


def _static_address(node: Node, family: Family, cluster: Cluster) -> str:
    """What HostNetworkConfigs of the management network give it."""
    mine = [
        config
        for config in cluster.host_networks(names.MGMT)
        if config.mode is AddressMode.STATIC and matches_selector(config.node_selector, node.labels)
    ]
    chosen = end_among(mine, lambda config: config.ips.get(node.name, ()), family)
    return str(ip_interface(chosen[1]).ip) if chosen is not None else ""


def tunnel_ends(family: Family, conf: NetConf, cluster: Cluster, own: str) -> TunnelEnds:
    """Where tunnels of all nodes end, those among them to which there is no way. `own`: this node's, by its links. A
    node that says another address to all others (`public-ip-overwrite`) may send from whichever it has."""
    found = {own}
    for node in cluster.nodes():
        found.add(_static_address(node, family, cluster))
        with suppress(ValueError):
            found.add(far_address(node, family))
    complete = not any(node.meta.annotations.get(family.overwrite) for node in cluster.nodes())
    addresses = frozenset(found - {""})
    return TunnelEnds(family=family.version, port=conf.port_of(family), addresses=addresses, complete=complete)


def end_among(
    configs: Iterable[HostNetworkConfig], addresses: Callable[[HostNetworkConfig], Iterable[Cidr]], family: Family
) -> tuple[HostNetworkConfig, Cidr] | None:
    """Where a node's tunnels end: at the address that leads out of the management network, else at that of the lowest
    VLAN. The node itself and all others have to choose the same one."""
    for config in sorted(configs, key=lambda c: (not c.routing.gateways, c.vid)):
        for address in sorted(addresses(config)):
            if usable(address, family):
                return config, address
    return None


def usable(address: Cidr, family: Family) -> bool:
    """Whether a tunnel can begin or end there."""
    return ends_tunnel(ip_interface(address).ip, family)


def _within(network: Network, whole: Network) -> bool:
    (first, last), (least, most) = _span(network), _span(whole)
    return least <= first and last <= most


def _span(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


_CORRECT = f"correct the annotation of one of the two, or its address in a HostNetworkConfig of {names.MGMT}"


def _warning(node: Node, code: str, path: str, text: str, hint: str) -> Problem:
    """All are warnings: what is wrong with one node must not keep another from its network."""
    return Problem(code=code, message=text, hint=hint, path=path, about=node.ref, severity=Severity.WARNING)
