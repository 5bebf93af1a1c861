"""Who should reach whom: the broadcast domains that manifests, switches and cables make.

A domain is what frames of one kind flood through: a VLAN of a node's bridge, of a switch, the link of a host. They are
joined along the cables, by what each side says of a frame that passes: its tag, or that it has none. What says other
things in the two directions joins nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from windrow.lab.scenario import UNTAGGED, Cable, End, Port, Scenario, Vm, VmNic
from windrow.model.names import MGMT, cluster_network_of_bridge
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType, NicIdentity, VlanConfig
from windrow.model.values import DEFAULT_PVID
from windrow.model.wire import load_documents

_Spot = tuple[str, ...]
"""A place where frames of one kind are: ("node", name, cluster network, vid), ("switch", name, vid), ("host", …)."""


class Domains:
    """Of one scenario. It knows nothing of what the kernel made of it: that is compared with this."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        objects = [obj for file, text in scenario.manifests.items() for obj in load_documents(text, file).objects]
        self._configs = [obj for obj in objects if isinstance(obj, VlanConfig)]
        self._nads = {f"{o.meta.namespace}/{o.name}": o for o in objects if isinstance(o, NetworkAttachmentDefinition)}
        self._parent: dict[_Spot, _Spot] = {}
        self._spots: dict[str, _Spot] = dict(self._stations())
        for cable in scenario.cables:
            self._join_cable(cable)

    def expected(self, source: str, target: str) -> bool:
        """Whether the one should get an answer from the other."""
        pod_a, pod_b = self._pod(source), self._pod(target)
        if pod_a is None:
            return pod_b is None and self._same(source, target)
        # A machine in the pod network reaches what its node reaches, and the pods beside it; nobody calls it first
        # from outside, for its address is masqueraded.
        if pod_b is not None:
            return pod_a.node == pod_b.node
        return target == pod_a.node or self._same(pod_a.node, target) or self._is_gateway(target, pod_a.node)

    def _is_gateway(self, target: str, node: str) -> bool:
        """What goes to the node's gateway is answered by that for all of its addresses."""
        found = self._scenario.node(node)
        gateway = found.management.gateway if found and found.management else ""
        host = next((h for h in self._scenario.hosts if h.name == target.partition("/")[0]), None)
        addresses = [a.partition("/")[0] for nic in host.nics for a in nic.addresses.values()] if host else []
        return bool(gateway) and gateway in addresses

    def _pod(self, station: str) -> Vm | None:
        """The machine whose NIC in the pod network this is."""
        found = self._scenario.vm_nic(station)
        return found[0] if found and not found[1].nad else None

    def _same(self, a: str, b: str) -> bool:
        one, other = self._spots.get(a), self._spots.get(b)
        return one is not None and other is not None and self._root(one) == self._root(other)

    # Where stations are ---------------------------------------------------------------------------

    def _stations(self) -> Iterator[tuple[str, _Spot]]:
        for node in self._scenario.nodes:
            if node.management:
                yield node.name, _node_spot(node.name, MGMT, node.management.vid or DEFAULT_PVID)
        for host in self._scenario.hosts:
            for nic in host.nics:
                for vid in nic.addresses:
                    name = f"{host.name}/{vid}" if vid else host.name
                    yield name, ("host", host.name, nic.name, str(vid))
        for endpoint in self._scenario.endpoints:
            for vid in endpoint.vids:
                spot = self._attached(endpoint.node, self._key(endpoint.network), vid)
                if spot:
                    yield (f"{endpoint.name}/{vid}" if vid else endpoint.name), spot
        for vm in self._scenario.vms:
            for card in vm.nics:
                spot = self._attached(vm.node, card.nad, UNTAGGED) if card.nad else None
                if spot:
                    yield vm.station(card), spot

    def _key(self, network: str) -> str:
        return network if "/" in network else f"default/{network}"

    def _attached(self, node: str, network: str, vid: int) -> _Spot | None:
        """A port of the bridge, and the VLAN that its frames are in; `vid`: of the tag that they come with."""
        nad = self._nads.get(network)
        if nad is None:
            return None
        cluster_network = cluster_network_of_bridge(nad.bridge) or nad.bridge
        match nad.type:
            case NetworkType.VLAN:
                inside = nad.vid
            case NetworkType.TRUNK:
                inside = vid if vid in nad.trunk else 0
            case _:
                inside = DEFAULT_PVID
        return _node_spot(node, cluster_network, inside) if inside else None

    # Cables ---------------------------------------------------------------------------------------

    def _join_cable(self, cable: Cable) -> None:
        """For every kind of frame that one side sends into it: where is it on the other one?"""
        ours, theirs = self._wire(cable.a), self._wire(cable.b)
        for tag in set(ours) & set(theirs):
            self._join(ours[tag], theirs[tag])

    def _wire(self, end: End) -> Mapping[int, _Spot]:
        """Tag on the wire (0: none) -> the domain that such a frame comes from, and goes to."""
        scenario = self._scenario
        for switch in scenario.switches:
            if switch.name == end.device:
                group = switch.group_of(end.port)
                port = group.port if group else next((p for p in switch.ports if p.name == end.port), None)
                return {tag: ("switch", switch.name, str(vid)) for tag, vid in _tags(port)} if port else {}
        for host in scenario.hosts:
            if host.name == end.device:
                nics = [nic for nic in host.nics if nic.name == end.port]
                return {vid: ("host", host.name, nic.name, str(vid)) for nic in nics for vid in nic.addresses}
        cluster_network = self._uplink(end)
        if cluster_network is None:
            return {}
        vids = {int(spot[3]) for spot in self._spots.values() if spot[:3] == ("node", end.device, cluster_network)}
        # The bond's own VLAN 1 goes without a tag, all others with theirs.
        return {0 if v == DEFAULT_PVID else v: _node_spot(end.device, cluster_network, v) for v in vids}

    def _uplink(self, end: End) -> str | None:
        """The cluster network that a node's NIC carries."""
        node = self._scenario.node(end.device)
        if node is None:
            return None
        if node.management and end.port in node.management.nics:
            return MGMT
        labels = {"kubernetes.io/hostname": node.name, **node.labels}
        for config in self._configs:
            chosen = all(labels.get(key) == value for key, value in config.node_selector.items())
            named = any(nic.by is NicIdentity.NAME and nic.value == end.port for nic in config.uplink.nics)
            if chosen and named:
                return config.cluster_network
        return None

    # Joining --------------------------------------------------------------------------------------

    def _root(self, spot: _Spot) -> _Spot:
        while (above := self._parent.get(spot, spot)) != spot:
            spot = above
        return spot

    def _join(self, a: _Spot, b: _Spot) -> None:
        self._parent[self._root(a)] = self._root(b)


def _node_spot(node: str, cluster_network: str, vid: int) -> _Spot:
    return ("node", node, cluster_network, str(vid))


def _tags(port: Port) -> Iterator[tuple[int, int]]:
    """(tag on the wire, VLAN in the switch), the same in both directions."""
    if port.native:
        yield 0, port.native
    yield from ((vid, vid) for vid in port.vlans if vid != port.native)


def routed(nic: VmNic) -> bool:
    """Whether its guest asks by way of a router: in the pod network everything is somebody else's network."""
    return not nic.nad
