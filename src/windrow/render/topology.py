"""A topology as plain values: what `topology_text` and `topology_svg` draw.

    Topology
    ├── nodes     NodeView ── networks: NetworkView (bridge; uplink BondView ── NicView; PortView; VlanIfView)
    │                      ├─ machines: MachineView ── MachineNic, each behind one of the PortViews
    │                      └─ loose: NicView that are in no uplink
    ├── switches  SwitchView ── ports: SwitchPort (VLANs, link aggregation group)
    ├── hosts     HostView (DHCP server, router, …) ── nics: HostNic
    ├── cables    Cable from End to End; an End is (device, port): ("node1", "eth2"), ("sw-oob", "p1")
    └── networks  NetworkName: what to call a VLAN in the legend

One host makes a NodeView of what it observes (`node_view`); the laboratory knows the rest as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from windrow.model import names
from windrow.model.host import Bond, Bridge, Link, Observed, PortVlans, Runtime, VlanIf
from windrow.model.lazy import dataclass
from windrow.model.ports import PORT_GROUP
from windrow.model.values import IfName, VidSet


class Health(StrEnum):
    """How a NIC, port or cable is."""

    UP = "up"
    STANDBY = "standby"
    """It has carrier and carries nothing: the backup slave of a bond."""
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicView:
    """A NIC of a node. `note`: in words what its state does not say ("no LACP partner")."""

    name: str
    health: Health = Health.UNKNOWN
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondView:
    """`vlans`: its VLANs as a port of the bridge. `note`: its LACP partner, its active NIC."""

    name: str
    mode: str
    nics: tuple[NicView, ...] = ()
    vlans: PortVlans = PortVlans()
    health: Health = Health.UNKNOWN
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortView:
    """A port of a bridge that leads to a container or a machine, called `endpoint` where that is known."""

    name: str
    vlans: PortVlans = PortVlans()
    endpoint: str = ""
    addrs: tuple[str, ...] = ()
    health: Health = Health.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanIfView:
    """The host's own interface in a VLAN of the bridge."""

    name: str
    vid: int
    addrs: tuple[str, ...] = ()
    health: Health = Health.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """A bridge of a node and what hangs on it. `name`: the cluster network, or the bridge's own name."""

    name: str
    bridge: str
    mtu: int | None = None
    uplink: BondView | None = None
    ports: tuple[PortView, ...] = ()
    vlan_ifs: tuple[VlanIfView, ...] = ()
    addrs: tuple[str, ...] = ()
    health: Health = Health.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineNic:
    """A NIC of a virtual machine, from the guest through its pod to the node's bridge.

    `addrs`: the guest's, as far as they are known. `tap`, `bridge`: in the pod. `port`: the node's end of the pod's
    interface. `translated`: the pod translates addresses (masquerade), to `outside`.
    """

    name: str
    addrs: tuple[str, ...] = ()
    tap: str = ""
    bridge: str = ""
    port: str = ""
    translated: bool = False
    outside: str = ""
    up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineView:
    """A virtual machine and its pod. `state` in a word: `running`."""

    name: str
    state: str = ""
    health: Health = Health.UP
    nics: tuple[MachineNic, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    name: str
    networks: tuple[NetworkView, ...] = ()
    loose: tuple[NicView, ...] = ()
    machines: tuple[MachineView, ...] = ()

    @property
    def of_machines(self) -> frozenset[str]:
        """The ports behind which there are machines."""
        return frozenset(nic.port for machine in self.machines for nic in machine.nics)

    def behind(self, nic: MachineNic) -> tuple[NetworkView, PortView] | None:
        """Where a machine's NIC comes out; None: in no bridge."""
        found = ((network, port) for network in self.networks for port in network.ports if port.name == nic.port)
        return next(found, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPort:
    """`lag`: the name of its link aggregation group; `lag_mode`: `lacp` or `static`."""

    name: str
    vlans: PortVlans = PortVlans()
    lag: str = ""
    lag_mode: str = ""
    health: Health = Health.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchView:
    name: str
    ports: tuple[SwitchPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNic:
    """A NIC of an outside host, the VLANs it takes part in and its addresses in them."""

    name: str
    vlans: PortVlans = PortVlans()
    addrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """A host outside the cluster; `role` in a word: `dhcp`, `router`, `host`."""

    name: str
    role: str = "host"
    nics: tuple[HostNic, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class End:
    """One end of a cable: a port of a node, switch or host."""

    device: str
    port: str

    def __str__(self) -> str:
        return f"{self.device}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    a: End
    b: End
    health: Health = Health.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkName:
    """`vid` 0: the untagged network."""

    vid: int
    name: str
    cluster_network: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    nodes: tuple[NodeView, ...] = ()
    switches: tuple[SwitchView, ...] = ()
    hosts: tuple[HostView, ...] = ()
    cables: tuple[Cable, ...] = ()
    networks: tuple[NetworkName, ...] = ()

    def peer(self, device: str, port: str) -> End | None:
        """The other end of the cable in this port."""
        end = End(device, port)
        return next((c.b if c.a == end else c.a for c in self.cables if end in (c.a, c.b)), None)

    def cable(self, device: str, port: str) -> Cable | None:
        end = End(device, port)
        return next((c for c in self.cables if end in (c.a, c.b)), None)


NO_PARTNER, OTHER_AGGREGATOR = "no LACP partner", "in another aggregator"
"""Notes of an 802.3ad bond or one of its NICs."""

# -- from an observation ---------------------------------------------------------------------------

_HARDWARE = ("device", "veth", "dummy", "macvlan", "ipvlan")
"""What can be a NIC: in a laboratory it is one end of a veth pair."""


def node_view(
    node: str,
    observed: Observed,
    *,
    endpoints: Mapping[str, str] | None = None,
    addresses: Mapping[str, tuple[str, ...]] | None = None,
    bridges: Iterable[str] | None = None,
    machines: Iterable[MachineView] = (),
) -> NodeView:
    """A node as its kernel sees it, and the `machines` that its kernel knows nothing of.

    `endpoints` and `addresses`: by the name of a bridge port, who is behind it. `bridges`: only these; else all.
    """
    links = observed.state.links
    wanted = set(bridges) if bridges is not None else {n for n, link in links.items() if isinstance(link.spec, Bridge)}
    shown = sorted((n for n in links if n in wanted), key=_bridge_order)
    views = tuple(_network(observed, links[n], endpoints or {}, addresses or {}) for n in shown)
    loose = tuple(
        _loose(observed, name, endpoints or {})
        for name, link in sorted(links.items())
        if not link.master and link.kind in _HARDWARE and name != "lo" and not _carries(links, name)
    )
    return NodeView(name=node, networks=views, loose=loose, machines=tuple(machines))


def _loose(observed: Observed, name: IfName, endpoints: Mapping[str, str]) -> NicView:
    """A NIC that nobody uses, or a port that has lost its bridge."""
    found, run = nic_view(observed, name), observed.runtime.get(name)
    if run is None or run.group != PORT_GROUP:
        return found
    return replace(
        found, health=Health.DOWN, note=": ".join(filter(None, ("has lost its bridge", endpoints.get(name))))
    )


SHOWN = 8
Folded = TypeVar("Folded", PortView, MachineView)


def fold(many: Sequence[Folded]) -> tuple[Sequence[Folded], int]:
    """Those to show, and how many more there are: of many a few, those first with which something is wrong."""
    if len(many) <= SHOWN:
        return many, 0
    worst_first = sorted(many, key=lambda one: one.health is Health.UP)
    return worst_first[:SHOWN], len(many) - SHOWN


def _bridge_order(bridge: IfName) -> tuple[bool, bool, str]:
    """`mgmt` first, then the other cluster networks, then what others made."""
    cn = names.cluster_network_of_bridge(bridge)
    return cn != names.MGMT, cn is None, bridge


def _carries(links: Mapping[IfName, Link], name: IfName) -> bool:
    return any(link.parent == name and link.kind == "macvlan" for link in links.values())


def _network(
    observed: Observed, bridge: Link, endpoints: Mapping[str, str], addresses: Mapping[str, tuple[str, ...]]
) -> NetworkView:
    ports = [link for _, link in sorted(observed.state.links.items()) if link.master == bridge.name]
    above = [link for _, link in sorted(observed.state.links.items()) if link.parent == bridge.name]
    uplink = next((p for p in ports if isinstance(p.spec, Bond)), None)
    return NetworkView(
        name=names.cluster_network_of_bridge(bridge.name) or bridge.name,
        bridge=bridge.name,
        mtu=bridge.mtu,
        uplink=_bond(observed, uplink) if uplink else None,
        ports=tuple(
            PortView(
                name=p.name,
                vlans=p.vlans or PortVlans(),
                endpoint=endpoints.get(p.name, ""),
                addrs=addresses.get(p.name, ()),
                health=link_health(observed, p.name),
            )
            for p in ports
            if p is not uplink
        ),
        vlan_ifs=tuple(
            VlanIfView(
                name=v.name, vid=v.spec.vid, addrs=tuple(sorted(v.addrs or ())), health=link_health(observed, v.name)
            )
            for v in above
            if isinstance(v.spec, VlanIf)
        ),
        addrs=tuple(sorted(bridge.addrs or ())),
        health=link_health(observed, bridge.name),
    )


def _bond(observed: Observed, bond: Link) -> BondView:
    assert isinstance(bond.spec, Bond)
    slaves = sorted(n for n, link in observed.state.links.items() if link.master == bond.name)
    run = observed.runtime.get(bond.name)
    mode = bond.spec.mode.value if bond.spec.mode else ""
    note = ""
    if run and mode == "802.3ad":
        note = f"partner {run.partner_mac}" if run.partner_mac else NO_PARTNER
    elif run and run.active_slave:
        note = f"active {run.active_slave}"
    return BondView(
        name=bond.name,
        mode=mode,
        nics=tuple(nic_view(observed, n) for n in slaves),
        vlans=bond.vlans or PortVlans(),
        health=link_health(observed, bond.name),
        note=note,
    )


def nic_view(observed: Observed, name: str) -> NicView:
    """A NIC with its state; where it is a slave, whether it carries traffic."""
    link, run = observed.state.links.get(IfName(name)), observed.runtime.get(IfName(name))
    health = link_health(observed, name)
    if link is None or run is None or health is not Health.UP:
        return NicView(name=name, health=health, note="not there" if link is None else "")
    if run.slave_mii_up is False:
        return NicView(name=name, health=Health.DOWN, note="MII down")
    if run.slave_active is False:
        return NicView(name=name, health=Health.STANDBY)
    return NicView(name=name, health=Health.UP, note=_lacp_note(observed, link, run))


def _lacp_note(observed: Observed, link: Link, run: Runtime) -> str:
    if run.lacp is None:
        return ""
    bond = observed.runtime.get(IfName(link.master or ""))
    if run.lacp.partner_mac is None:
        return NO_PARTNER
    if bond is not None and bond.aggregator is not None and bond.aggregator != run.lacp.aggregator:
        return OTHER_AGGREGATOR
    return ""


def link_health(observed: Observed, name: str) -> Health:
    """Up: opened, and with carrier. A link that is not there is down."""
    link, run = observed.state.links.get(IfName(name)), observed.runtime.get(IfName(name))
    if link is None or link.up is False:
        return Health.DOWN
    if run is None:
        return Health.UNKNOWN
    return Health.UP if run.carrier else Health.DOWN


def vlan_words(vlans: PortVlans) -> str:
    """`untagged 1, tagged 100,200`; an access port is `vlan 100`."""
    untagged, tagged = vlans.untagged, vlans.tagged
    if vlans.pvid and vlans.pvid != 1 and not tagged and len(untagged) == 1:
        return f"vlan {vlans.pvid}"
    native = f"untagged {untagged}" if untagged else ""
    return ", ".join(filter(None, (native, f"tagged {tagged}" if tagged else ""))) or "no VLAN"


def vids_in(topology: Topology) -> VidSet:
    """Every VID that something in the picture carries, but not VID 1."""
    sets = [
        vlans.all
        for node in topology.nodes
        for network in node.networks
        for vlans in (
            *(p.vlans for p in network.ports),
            *((network.uplink.vlans,) if network.uplink else ()),
            PortVlans(tagged=VidSet.of(v.vid for v in network.vlan_ifs)),
        )
    ]
    sets += [p.vlans.all for switch in topology.switches for p in switch.ports]
    sets += [n.vlans.all for host in topology.hosts for n in host.nics]
    sets += [VidSet.of([n.vid]) for n in topology.networks if n.vid]
    every = VidSet()
    for vids in sets:
        every |= vids
    return every - VidSet.of([1])
