"""The network outside as values: nodes, cables, switches and the links between them, and what each node would see.

Frames walk through it as through real switches (IEEE 802.1Q §8.6, 802.1AX §6.2): the ingress rules of a port, its
native VLAN, the VLANs that a switch has, one member of each channel, isolation, loss. `evidence_of` writes down what
comes out. Nothing here knows what `diagnose` makes of it; faults are in `testing.fabricfaults`.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from enum import StrEnum
from functools import partial

from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.evidence import (
    Absent,
    Aggregation,
    Answer,
    Counters,
    DhcpOffer,
    Evidence,
    ForeignCluster,
    Heard,
    Identity,
    Kind,
    LacpLeg,
    LacpSide,
    Leg,
    NicEvidence,
    NodeEvidence,
    RouterAdvert,
    SwitchPort,
    VlanEvidence,
)
from windrow.model.lazy import dataclass
from windrow.model.names import ANNOTATION_ROUTE
from windrow.model.objects import AnyObject
from windrow.model.values import IfName, Mac, Vid, VidSet
from windrow.testing.builders import cluster, cluster_network, nad, vlan_config

NOW = 1_800_000_000.0
BROADCASTS, SENT = 3, 4
"""Probes of a leg in one VLAN: so many to everybody, and one to each that it knows."""
NOBODY = Mac("00:00:00:00:00:00")
NATIVE = 1
INTERVAL_S, LISTENS_S = 30.0, 600.0
"""From one sweep of a node to the next, and for how long each has listened."""


class Habit(StrEnum):
    """What a switch announces by LLDP."""

    NONE = "nothing"
    PVID = "its native VLAN only"
    TEN = "ten VLANs at most"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A cluster network, the same on each node."""

    name: str
    nics: tuple[IfName, ...]
    mode: BondMode = BondMode.ACTIVE_BACKUP
    tagged: VidSet = VidSet()
    untagged: bool = False
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A switch port. `native` 0: what comes without a tag is dropped. `channel` 0: in none."""

    name: str
    switch: str
    tagged: VidSet = VidSet()
    native: int = 0
    channel: int = 0
    lacp: bool = False
    lacp_active: bool = True
    mtu: int = 9216
    isolated: bool = False
    filters_broadcast: bool = False
    translated: Mapping[int, int] = field(default_factory=dict)
    """VLAN on the cable -> VLAN inside."""
    forwards: bool = True
    """False: spanning tree still listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """Between a NIC and a port. `out` and `back`: the share of frames that gets through, to and from the switch."""

    carrier: bool = True
    out: float = 1.0
    back: float = 1.0
    speed: int = 10_000
    full_duplex: bool = True
    flaps: int = 0
    errors: int = 0
    age_s: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """`system`: who it is in LACP; two with the same one are one system (MLAG)."""

    name: str
    vlans: VidSet
    system: Mac
    habit: Habit = Habit.ALL
    loops: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchLink:
    a: str
    b: str
    vlans: VidSet
    mtu: int = 9216
    passes: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What answers in a VLAN: `kind` DHCP, ARP (a gateway) or RA. `takers`: how many nodes get an offer."""

    kind: Kind
    network: str
    vid: int
    switch: str
    address: str = ""
    mac: Mac = Mac("02:99:00:00:00:01")
    offers: str = ""
    takers: int = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """The whole. `extra`: what is seen of a node's NIC beside its switch port: other neighbours, what is absent."""

    nodes: tuple[str, ...]
    networks: tuple[Network, ...]
    ports: Mapping[Leg, Port]
    switches: Mapping[str, Switch]
    links: tuple[SwitchLink, ...] = ()
    cables: Mapping[Leg, Cable] = field(default_factory=dict)
    servers: tuple[Server, ...] = ()
    subnets: Mapping[int, str] = field(default_factory=dict)
    """VID -> what the VLAN network's object says of its subnet; its gateway is the first address, DHCP is wanted."""
    claimed: Mapping[int, tuple[str, Mac]] = field(default_factory=dict)
    """VID -> an address of ours that somebody else has."""
    stolen: Mapping[int, Mac] = field(default_factory=dict)
    """VID -> a MAC of ours with which somebody else sends."""
    strangers: tuple[ForeignCluster, ...] = ()
    deaf: frozenset[Leg] = frozenset()
    """NICs whose firmware keeps LLDP."""
    shared: frozenset[Leg] = frozenset()
    """NICs behind something that passes LLDP of two switches on."""
    lacp_waits: frozenset[str] = frozenset()
    """Nodes that do not begin LACP (lacp_active off)."""
    silent: frozenset[str] = frozenset()
    one_leg: bool = False
    """A sweep in which only the first leg of a bond sends."""
    seed: int = 0
    """Of what is lost, and of which member of a channel a switch chooses for a sender."""

    def network_of(self, leg: Leg) -> Network:
        return next(n for n in self.networks if leg.nic in n.nics)

    def legs(self) -> Iterator[Leg]:
        yield from self.ports

    def cable(self, leg: Leg) -> Cable:
        return self.cables.get(leg, Cable())


# Made -------------------------------------------------------------------------------------------------------------


def fabric(
    nodes: int = 3,
    mode: BondMode = BondMode.ACTIVE_BACKUP,
    habit: Habit = Habit.ALL,
    *,
    tagged: str = "100-103",
    untagged: bool = False,
    mlag: bool = True,
) -> Fabric:
    """Nodes with `oob` (eth1, eth2) of a mode and `mgmt` (eth0, without a tag), two switches and a link between them.

    Bonds that need a static channel have both NICs on one switch, and with `mlag` LACP spans the two."""
    names = tuple(f"node-{n + 1}" for n in range(nodes))
    oob = Network(
        name="oob",
        nics=(IfName("eth1"), IfName("eth2")),
        mode=mode,
        tagged=VidSet.parse(tagged),
        untagged=untagged,
    )
    mgmt = Network(name="mgmt", nics=(IfName("eth0"),), tagged=VidSet.of([20]), untagged=True)
    every = oob.tagged | mgmt.tagged | VidSet.of([NATIVE, 2])
    one_system = mlag and mode is BondMode.LACP
    systems = [Mac("02:aa:00:00:00:01"), Mac("02:aa:00:00:00:01" if one_system else "02:aa:00:00:00:02")]
    switches = {
        name: Switch(name=name, vlans=every, system=system, habit=habit)
        for name, system in zip(("tor-1", "tor-2"), systems, strict=True)
    }
    ports: dict[Leg, Port] = {}
    for index, node in enumerate(names):
        ports[Leg(node, mgmt.nics[0])] = _port(mgmt, f"tor-{index % 2 + 1}", index, 0, native=2)
        for side, nic in enumerate(oob.nics):
            together = mode.switch_needs == "static" or (mode is BondMode.LACP and not mlag)
            switch = f"tor-{index % 2 + 1}" if together else f"tor-{side + 1}"
            ports[Leg(node, nic)] = _port(oob, switch, index, side + 1, native=NATIVE)
    return Fabric(
        nodes=names,
        networks=(oob, mgmt),
        ports=ports,
        switches=switches,
        links=(SwitchLink(a="tor-1", b="tor-2", vlans=every),),
    )


def _port(network: Network, switch: str, node: int, side: int, *, native: int) -> Port:
    needs = network.mode.switch_needs
    return Port(
        name=f"Ethernet{node * 3 + side + 1}",
        switch=switch,
        tagged=network.tagged,
        native=native if network.untagged else 0,
        channel=0 if needs == "none" else node + 1,
        lacp=needs == "lacp",
    )


def cluster_of(fabric: Fabric) -> Cluster:
    """The manifests of it."""
    objects: list[AnyObject] = []
    for network in fabric.networks:
        objects.append(cluster_network(network.name))
        nics = [str(nic) for nic in network.nics]
        objects.append(vlan_config(network.name, nics, network.mode.value, mtu=network.mtu))
        objects += [_nad(network, vid, fabric.subnets.get(vid, "")) for vid in network.tagged]
        objects += [nad(f"{network.name}-plain", network.name)] if network.untagged else []
    return cluster(*objects)


def _nad(network: Network, vid: int, subnet: str) -> AnyObject:
    made = nad(f"{network.name}-{vid}", network.name, vid)
    if not subnet:
        return made
    first = subnet.rsplit(".", 1)[0] + ".1"
    route = f'{{"mode": "auto", "cidr": "{subnet}", "gateway": "{first}"}}'
    return replace(made, meta=replace(made.meta, annotations={ANNOTATION_ROUTE: route}))


# Frames -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    source: Leg | str
    vid: int
    size: int = 100
    broadcast: bool = True


@dataclass(frozen=True, slots=True)
class _Arrival:
    """`chance` that it gets so far; `arrived`: the tag, 0 without."""

    leg: Leg
    arrived: int
    chance: float


def _in(fabric: Fabric, leg: Leg, frame: _Frame) -> tuple[int, float] | None:
    """What a switch makes of a frame that comes in: its VLAN inside, and the chance that it comes in at all."""
    port, cable = fabric.ports[leg], fabric.cable(leg)
    if not (cable.carrier and _forwards(fabric, leg)) or frame.size > port.mtu:
        return None
    vid = port.translated.get(frame.vid, frame.vid) if frame.vid else port.native
    allowed = vid == port.native or vid in port.tagged
    return (vid, cable.out) if vid and allowed and vid in fabric.switches[port.switch].vlans else None


def _forwards(fabric: Fabric, leg: Leg) -> bool:
    """A port of an LACP channel passes nothing before its partner has agreed (802.1AX §6.4.15)."""
    port = fabric.ports[leg]
    return port.forwards and (not port.lacp or _agrees(fabric, leg))


def _agrees(fabric: Fabric, leg: Leg) -> bool:
    port, cable = fabric.ports[leg], fabric.cable(leg)
    speaks = fabric.network_of(leg).mode is BondMode.LACP
    begins = port.lacp_active or leg.node not in fabric.lacp_waits
    return port.lacp and speaks and begins and cable.carrier and bool(cable.out and cable.back)


def _reaches(fabric: Fabric, frame: _Frame, switch: str, vid: int, chance: float) -> Iterator[_Arrival]:
    """Flooded from a switch to all ports that have the VLAN, and over its links to the others."""
    yield from _flooded(fabric, frame, switch, vid, chance, frozenset())
    for link in fabric.links:
        if switch in (link.a, link.b) and vid in link.vlans and frame.size <= link.mtu:
            there = link.b if link.a == switch else link.a
            if vid in fabric.switches[there].vlans:
                served = frozenset(_channels(fabric, switch))
                yield from _flooded(fabric, frame, there, vid, chance * link.passes, served)


def _channels(fabric: Fabric, switch: str) -> Iterator[tuple[str, int]]:
    for leg, port in fabric.ports.items():
        if port.switch == switch and port.channel and fabric.cable(leg).carrier and _forwards(fabric, leg):
            yield _channel(fabric, port)


def _channel(fabric: Fabric, port: Port) -> tuple[str, int]:
    """Of two switches that are one system a channel is one (MLAG)."""
    switch = fabric.switches[port.switch]
    return (switch.system, port.channel)


def _flooded(
    fabric: Fabric, frame: _Frame, switch: str, vid: int, chance: float, served: frozenset[tuple[str, int]]
) -> Iterator[_Arrival]:
    """`served`: channels that the switch where the frame came in has served itself."""
    source = fabric.ports.get(frame.source) if isinstance(frame.source, Leg) else None
    ends: dict[object, list[Leg]] = defaultdict(list)
    for leg, port in fabric.ports.items():
        if port.switch == switch and _forwards(fabric, leg) and fabric.cable(leg).carrier and leg != frame.source:
            ends[_channel(fabric, port) if port.channel else leg].append(leg)
    for end, members in ends.items():
        own = source is not None and bool(source.channel) and end == _channel(fabric, source)
        if own or end in served:
            continue
        leg = members[_hashed(fabric.seed, frame) % len(members)]
        port, cable = fabric.ports[leg], fabric.cable(leg)
        if source is not None and source.isolated and port.isolated:
            continue
        if frame.size > port.mtu or (frame.broadcast and port.filters_broadcast):
            continue
        if vid == port.native:
            yield _Arrival(leg, 0, chance * cable.back)
        elif vid in port.tagged:
            outside = next((out for out, inside in port.translated.items() if inside == vid), vid)
            yield _Arrival(leg, outside, chance * cable.back)


def _hashed(seed: int, frame: _Frame) -> int:
    """A number for a sender and a kind of frame. A CRC alone is linear: another seed would turn all choices at once."""
    return (zlib.crc32(f"{seed} {frame.source} {frame.broadcast}".encode()) * 0x9E3779B1 & 0xFFFFFFFF) >> 16


def _sent(fabric: Fabric, leg: Leg, frame: _Frame) -> Iterator[_Arrival]:
    came = _in(fabric, leg, frame)
    if came is not None:
        vid, chance = came
        yield from _reaches(fabric, frame, fabric.ports[leg].switch, vid, chance)


# What is seen -----------------------------------------------------------------------------------------------------


def evidence_of(fabric: Fabric) -> Evidence:
    """What each node would tell: probes, LLDP, LACP, counters, and who answers in its VLANs."""
    dice = random.Random(fabric.seed)
    heard: dict[str, list[Heard]] = defaultdict(list)
    for leg in fabric.legs():
        for vid in _probed(fabric, leg):
            for one in _heard(fabric, leg, vid, dice):
                heard[one.receiver.node].append(one)
    nodes = {node: _node(fabric, node, tuple(heard[node])) for node in fabric.nodes if node not in fabric.silent}
    return Evidence(nodes=nodes, silent=fabric.silent)


def _probed(fabric: Fabric, leg: Leg) -> VidSet:
    network = fabric.network_of(leg)
    if not fabric.cable(leg).carrier or leg.node in fabric.silent:
        return VidSet()
    if fabric.one_leg and leg.nic != next(
        (nic for nic in network.nics if fabric.cable(Leg(leg.node, nic)).carrier), None
    ):
        return VidSet()
    return network.tagged | VidSet.of([0] if network.untagged else [])


def _heard(fabric: Fabric, leg: Leg, vid: int, dice: random.Random) -> Iterator[Heard]:
    mtu = fabric.network_of(leg).mtu
    casts = {(a.leg, a.arrived): a.chance for a in _sent(fabric, leg, _Frame(leg, vid))}
    single = {(a.leg, a.arrived): a.chance for a in _sent(fabric, leg, _Frame(leg, vid, broadcast=False))}
    large = {(a.leg, a.arrived) for a in _sent(fabric, leg, _Frame(leg, vid, size=mtu, broadcast=False))}
    loops = any(s.loops and vid in s.vlans for s in fabric.switches.values())
    if loops and casts:
        casts[leg, vid] = 1.0
    for (receiver, arrived), chance in {**single, **casts}.items():
        broadcast = sum(dice.random() < chance for _ in range(BROADCASTS)) if (receiver, arrived) in casts else 0
        unicast = int((receiver, arrived) in single and dice.random() < chance)
        if broadcast + unicast and receiver.node not in fabric.silent:
            yield Heard(
                sender=leg,
                receiver=receiver,
                vid=vid,
                arrived=arrived,
                sent=SENT,
                count=broadcast + unicast,
                broadcast=broadcast,
                unicast=unicast,
                duplicates=broadcast if loops else 0,
                largest=mtu if (receiver, arrived) in large else 100,
                largest_sent=mtu,
                at=NOW,
            )


def _node(fabric: Fabric, node: str, heard: tuple[Heard, ...]) -> NodeEvidence:
    legs = [leg for leg in fabric.legs() if leg.node == node]
    nics = {leg.nic: _nic(fabric, leg, heard) for leg in legs}
    deaf = [leg for leg in legs if leg in fabric.deaf]
    return NodeEvidence(
        node=node,
        at=NOW,
        nics=nics,
        heard=heard,
        probed={leg.nic: vids for leg in legs if (vids := _probed(fabric, leg))},
        vlans=tuple(_vlan(fabric, node, n, vid) for n in fabric.networks for vid in n.tagged),
        foreign=fabric.strangers,
        interval_s=INTERVAL_S,
        listens_s=LISTENS_S,
        absent=tuple(
            Absent(kind=Kind.LLDP, nic=leg.nic, reason="the NIC's firmware keeps LLDP frames") for leg in deaf
        ),
    )


def _nic(fabric: Fabric, leg: Leg, heard: tuple[Heard, ...]) -> NicEvidence:
    network, cable = fabric.network_of(leg), fabric.cable(leg)
    first = next((nic for nic in network.nics if fabric.cable(Leg(leg.node, nic)).carrier), None)
    has_active = network.mode in (BondMode.ACTIVE_BACKUP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB)
    return NicEvidence(
        name=leg.nic,
        mac=_mac(leg),
        carrier=cable.carrier,
        carrier_since=NOW - cable.age_s,
        bond=IfName(f"{network.name}-bo"),
        cluster_network=network.name,
        active=leg.nic == first if has_active else None,
        speed=cable.speed if cable.carrier else None,
        full_duplex=cable.full_duplex if cable.carrier else None,
        mtu=network.mtu,
        neighbours=_neighbours(fabric, leg),
        lacp=_lacp(fabric, leg),
        counters=Counters(
            received=100_000,
            errors=cable.errors,
            received_lately=10_000,
            errors_lately=cable.errors,
            carrier_changes_lately=cable.flaps,
            own_frames_lately=sum(h.count for h in heard if h.receiver == leg and h.sender.node == leg.node),
            over_s=60.0,
        ),
    )


def _mac(leg: Leg) -> Mac:
    number = zlib.crc32(str(leg).encode())
    return Mac("02:" + ":".join(f"{number >> shift & 255:02x}" for shift in (24, 16, 8, 0)) + ":00")


def _neighbours(fabric: Fabric, leg: Leg) -> tuple[SwitchPort, ...]:
    port, cable = fabric.ports[leg], fabric.cable(leg)
    switch = fabric.switches[port.switch]
    if switch.habit is Habit.NONE or leg in fabric.deaf or not (cable.carrier and cable.back):
        return ()
    vlans = port.tagged | VidSet.of([port.native] if port.native else [])
    told = {
        Habit.ALL: list(vlans),
        Habit.TEN: list(vlans)[:10],
        Habit.PVID: [],
        Habit.NONE: [],
    }[switch.habit]
    seen = SwitchPort(
        source=Kind.LLDP,
        chassis=Identity(kind="mac", text=f"02:cc:00:00:00:{port.switch[-1:]:>02}"),
        port=Identity(kind="ifname", text=port.name),
        system=port.switch,
        is_bridge=True,
        pvid=port.native,
        vlans={Vid(vid): f"v{vid}" for vid in told},
        vlans_cut=len(told) == 10,
        aggregation=Aggregation(capable=True, active=bool(port.channel), port_id=1000 + port.channel)
        if switch.habit is Habit.ALL
        else None,
        heard=NOW,
        hold_s=120,
    )
    other = replace(seen, system="tor-9", chassis=Identity(kind="mac", text="02:cc:00:00:00:99"))
    return (seen, other) if leg in fabric.shared else (seen,)


def _lacp(fabric: Fabric, leg: Leg) -> LacpLeg | None:
    """As the kernel has it; of a bond of another mode only what the switch sends is known."""
    network, port, cable = fabric.network_of(leg), fabric.ports[leg], fabric.cable(leg)
    switch = LacpSide(
        system=fabric.switches[port.switch].system,
        key=port.channel,
        port=1,
        state=0x3C | (1 if port.lacp_active else 0),
    )
    hears = port.lacp and port.lacp_active and cable.carrier and bool(cable.back)
    if network.mode is not BondMode.LACP:
        return LacpLeg(sent=switch, received=9) if hears else None
    active = leg.node not in fabric.lacp_waits
    agreed, began = _agrees(fabric, leg), 1 if active else 0
    answers = port.lacp and cable.carrier and bool(cable.back) and (port.lacp_active or (active and bool(cable.out)))
    me = LacpSide(system=_mac(Leg(leg.node, network.nics[0])), key=9, port=1, state=(0x3C if agreed else 4) | began)
    nobody = LacpSide(system=NOBODY, key=0, port=0, state=0)
    seen = replace(switch, state=switch.state if agreed else switch.state & ~0x38)
    return LacpLeg(
        aggregator=port.channel if agreed else None,
        actor=me,
        partner=seen if answers else nobody,
        sent=seen if answers else None,
        about_us=(me if agreed else nobody) if answers else None,
        churned=not agreed,
        received=9 if answers else 0,
        received_lately=3 if answers else 0,
        over_s=90.0,
    )


def _vlan(fabric: Fabric, node: str, network: Network, vid: int) -> VlanEvidence:
    """The node asks through the first leg that has a carrier."""
    leg = next((x for nic in network.nics if fabric.cable(x := Leg(node, nic)).carrier), None)
    met = [s for s in fabric.servers if leg is not None and _answers(fabric, leg, vid, s)]
    dhcp = [s for s in met if s.kind is Kind.DHCP and fabric.nodes.index(node) < s.takers]
    subnet = fabric.subnets.get(vid, "")
    gateway = subnet.rsplit(".", 1)[0] + ".1" if subnet else ""
    claims = [
        Answer(address=address, macs=(mac,), asked=3)
        for v, (address, mac) in fabric.claimed.items()
        if v == vid and network.name == "oob"
    ]
    return VlanEvidence(
        cluster_network=network.name,
        vid=vid,
        asked=frozenset({Kind.DHCP, Kind.RA, Kind.ARP} if subnet else {Kind.RA}),
        offers=tuple(
            DhcpOffer(server=s.address, server_mac=s.mac, address=s.offers, prefix=24, lease_s=3600) for s in dhcp
        ),
        gateways=(Answer(address=gateway, macs=tuple(s.mac for s in met if s.kind is Kind.ARP), asked=3),)
        if gateway
        else (),
        duplicates=tuple(claims),
        routers=tuple(RouterAdvert(router=s.address, mac=s.mac, lifetime_s=1800) for s in met if s.kind is Kind.RA),
        moved=(fabric.stolen[vid],) if vid in fabric.stolen and network.name == "oob" else (),
    )


def _answers(fabric: Fabric, leg: Leg, vid: int, server: Server) -> bool:
    """A request goes to the server's switch, and the answer comes back to this node."""
    if (server.network, server.vid) != (fabric.network_of(leg).name, vid):
        return False
    came = _in(fabric, leg, _Frame(leg, vid, broadcast=False))
    here = fabric.ports[leg].switch
    if came is None or not came[1] or not _joined(fabric, here, server.switch, came[0]):
        return False
    request = partial(_Frame, vid=vid, broadcast=False)
    back = _reaches(fabric, request(f"server of {server.address}"), server.switch, came[0], 1.0)
    return any(a.leg.node == leg.node and a.arrived == vid and a.chance for a in back)


def _joined(fabric: Fabric, a: str, b: str, vid: int) -> bool:
    return a == b or any({a, b} == {link.a, link.b} and vid in link.vlans for link in fabric.links)
