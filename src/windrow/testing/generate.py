"""Random hosts, clusters, scripts and sabotage. All from one `random.Random`, so a seed says it all.

hypothesis can drive them too: `strategies.randoms(use_true_random=False)` is a `random.Random` that shrinks.
What comes out is values (links, objects, steps), which fit FakeKernel and the real kernel alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any, TypeVar

from windrow.model.bonding import OPTIONS, BondMode
from windrow.model.bridging import FRESH_BRIDGE_PORT, PORT_OPTIONS
from windrow.model.cluster import Cluster
from windrow.model.host import (
    OWNER_PROTOCOL,
    VLAN_FLAGS,
    Bond,
    Bridge,
    BridgePort,
    FdbEntry,
    HostState,
    Link,
    LinkFlags,
    Observed,
    Other,
    PortVlans,
    Route,
    StaticNeighbour,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.lazy import dataclass
from windrow.model.names import bond_of, bridge_of, next_bond_of, subinterface_of
from windrow.model.objects import AnyObject, HostRoute, HostRouting
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import (
    Action,
    AddAddr,
    AddFdb,
    AddNeighbour,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DropPeer,
    PutPeer,
    RenameLink,
    SetBond,
    SetBridge,
    SetLink,
    SetMaster,
    SetPort,
    SetVlanFlags,
    SetVlans,
    SetVxlan,
    SetWireguard,
    Step,
)
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.testing import builders
from windrow.testing.builders import link, step

NODE = "n1"
NETWORKS = ("oob", "lab", "stor")
NICS = tuple(f"eth{n}" for n in range(1, 7))
"""NICs that are free to use. `eth0` carries the management, `eth7` belongs to somebody else's bond."""
MTUS = (1280, 1400, 1500, 2000, 9000)
VIDS = (2, 5, 77, 100, 101, 102, 200, 300, 4094)

# -- clusters --------------------------------------------------------------------------------------


def random_cluster(dice: Random, *, nics: Sequence[str] = NICS, arp: bool = True) -> Cluster:
    """A valid cluster of no to three networks, each with its NICs, mode, options, MTU, VLANs and host networks.

    `arp`: with ARP monitoring now and then, which on a real kernel needs somebody to answer.
    """
    free = list(nics)
    dice.shuffle(free)
    objects: list[AnyObject] = [builders.node(NODE)]
    for cn in dice.sample(NETWORKS, dice.randint(0, len(NETWORKS))):
        count = min(dice.choice((1, 2, 2, 3)), len(free))
        objects += random_network(dice, cn, [free.pop() for _ in range(count)], arp=arp)
    return Cluster.of(objects)


def random_network(dice: Random, cn: str, nics: Sequence[str], *, arp: bool = True) -> list[AnyObject]:
    """One cluster network of these NICs; without any it has no uplink."""
    objects: list[AnyObject] = [builders.cluster_network(cn)]
    if nics:
        options = random_options(dice, dice.choice(list(BondMode)), nics, arp=arp)
        mode = options.pop("mode")
        objects.append(builders.vlan_config(cn, nics, mode, mtu=dice.choice((0, *MTUS)), **options))
    for n in range(dice.randint(0, 3)):
        objects.append(_random_nad(dice, cn, n))
    for vid in dice.sample((0, *VIDS), dice.choice((0, 0, 1, 2))):
        objects.append(_random_host_network(dice, cn, vid))
    return objects


def _random_host_network(dice: Random, cn: str, vid: int) -> AnyObject:
    """Fixed addresses of one family or both, with routes that mostly lead somewhere else; or DHCP, with no lease."""
    if dice.random() < 0.2:
        return builders.host_network(cn, vid)
    network = f"10.{NETWORKS.index(cn)}.{vid % 250}"
    six = f"2001:db8:{NETWORKS.index(cn) + 1:x}:{vid + 1:x}::"
    both = dice.random() < 0.3
    address = f"{network}.{dice.randint(1, 3)}/24" + (f",{six}{dice.randint(1, 3)}/64" if both else "")
    routing = HostRouting(  # no default route: where there is no other one, it would protect its link
        routes=tuple(_random_route(dice, network, six if both else "") for _ in range(dice.choice((0, 0, 1, 2))))
    )
    return replace(builders.host_network(cn, vid, {NODE: address}), routing=routing)


def _random_route(dice: Random, network: str, six: str) -> HostRoute:
    if six and dice.random() < 0.5:
        return HostRoute(to=f"2001:db8:{dice.randint(200, 203):x}::/48", via=_router(six, dice))
    via = f"{network}.{dice.randint(250, 252)}" if dice.random() < 0.8 else ""
    return HostRoute(to=f"10.{dice.randint(200, 203)}.0.0/16", via=via, metric=dice.choice((None, 7)))


def _router(network: str, dice: Random) -> str:
    """As the kernel writes it."""
    return str(ip_address(f"{network}{dice.randint(250, 252):x}"))


def _random_nad(dice: Random, cn: str, n: int) -> AnyObject:
    match dice.randint(0, 3):
        case 0:
            return builders.nad(f"{cn}-{n}", cn)
        case 1:
            first = dice.randint(2, 4000)
            return builders.nad(f"{cn}-{n}", cn, trunk=f"{first}-{first + dice.choice((1, 10, 90))}")
        case _:
            return builders.nad(f"{cn}-{n}", cn, dice.choice(VIDS))


def random_options(dice: Random, mode: BondMode, nics: Sequence[str], *, arp: bool = True) -> dict[str, Any]:
    """A mode and some of the options that it takes, with values that it takes."""
    chosen: dict[str, Any] = {"mode": mode}
    if arp and mode in OPTIONS["arp_interval"].modes and dice.random() < 0.15:
        chosen |= {"arp_interval": dice.choice((100, 1000)), "arp_ip_target": ("10.9.9.9",)}
    elif dice.random() < 0.5:
        chosen["miimon"] = miimon = dice.choice((50, 100, 200))
        chosen |= {name: miimon * dice.randint(0, 3) for name in ("updelay", "downdelay") if dice.random() < 0.3}
    for name, option in OPTIONS.items():
        if mode in option.modes and not option.needs and name not in _SPECIAL and dice.random() < 0.2:
            chosen[name] = _random_value(dice, name)
    if mode in OPTIONS["primary"].modes and dice.random() < 0.3:
        chosen |= {"primary": dice.choice(list(nics)), "primary_reselect": dice.choice(("always", "failure"))}
    return chosen


_SPECIAL = frozenset(
    {"mode", "miimon", "arp_interval", "arp_ip_target", "ns_ip6_target", "primary", "min_links", "fail_over_mac"}
)
"""Chosen above or below, or (min_links) with a say in carrier that a cable without a LACP partner does not give."""


def _random_value(dice: Random, name: str) -> Any:
    option = OPTIONS[name]
    if option.choices:
        return dice.choice(option.choices)
    if name == "ad_actor_system":
        return Mac(f"02:ad:00:00:00:{dice.randint(1, 9):02x}")
    return dice.randint(option.low, min(option.high, option.low + 9))


# -- hosts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What others made on the host: in the order in which to make it."""

    links: tuple[Link, ...]
    routes: tuple[Route, ...] = ()

    @property
    def names(self) -> frozenset[IfName]:
        return frozenset(found.name for found in self.links)


def random_foreign(dice: Random) -> Foreign:
    """The management network, a bridge of containers, a bond with a NIC in it: each of them or not.

    Needs the NICs `eth0` and `eth7`.
    """
    links: list[Link] = []
    routes: list[Route] = []
    if dice.random() < 0.5:
        links += management()
        routes.append(Route(dst="default", dev=IfName("mgmt-br.5"), gateway="192.0.2.254", protocol=4))
    if dice.random() < 0.5:
        links.append(link("docker0", Bridge(stp=True), up=True, mtu=1500, addrs=frozenset({Cidr("172.17.0.1/16")})))
        links.append(link("veth99", "dummy", up=True, master="docker0"))
    if dice.random() < 0.5:
        links.append(link("bond9", Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100), up=True))
        links.append(link("eth7", up=True, master="bond9"))
        links.append(link("bond9.8", VlanIf(parent=IfName("bond9"), vid=8), up=True, addrs=_one("198.51.100.1/24")))
    return Foreign(links=tuple(links), routes=tuple(routes))


def management() -> list[Link]:
    """`mgmt-br` over `mgmt-bo` over `eth0`, and the node's address in VLAN 5."""
    vlans = builders.ports("1* 5")
    return [
        link("mgmt-br", Bridge(vlan_filtering=True), up=True, self_vlans=vlans, mac=Mac("02:00:00:00:99:01")),
        link("mgmt-bo", Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100), up=True, master="mgmt-br", vlans=vlans),
        link("eth0", up=True, master="mgmt-bo"),
        link("mgmt-br.5", VlanIf(parent=IfName("mgmt-br"), vid=5), up=True, addrs=_one("192.0.2.1/24")),
    ]


def _one(addr: str) -> frozenset[Cidr]:
    return frozenset({Cidr(addr)})


def random_guests(dice: Random, observed: Observed) -> Foreign:
    """What others build on our bridges: a machine's port with its VLANs, a VLAN interface made by hand."""
    links: list[Link] = []
    bridges = sorted(n for n in observed.state.links if observed.owned(n) and n.endswith("-br"))
    for number, bridge in enumerate(bridges):
        if dice.random() < 0.5:
            vlans = PortVlans(pvid=100, untagged=VidSet.of([100]))
            links.append(
                link(f"tap{number}", "dummy", up=True, mtu=observed.state.links[bridge].mtu, master=bridge, vlans=vlans)
            )
        name = f"{bridge}.{dice.choice((66, 67))}"
        if dice.random() < 0.5 and name not in observed.state.links:
            vlan = VlanIf(parent=bridge, vid=int(name.rpartition(".")[2]))
            links.append(link(name, vlan, up=True, addrs=_one(f"10.200.{number}.1/24")))
    return Foreign(links=tuple(links))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What CNI calls did: links of `PORT_GROUP` with the VLANs that they have, and the records of them."""

    links: tuple[Link, ...]
    records: tuple[PortRecord, ...]


def random_ports(dice: Random, observed: Observed) -> Attached:
    """None to three ports for each bridge of a cluster network: access ports, trunks, ports whose VLANs nobody
    manages. A container may be gone and have left its record."""
    links: list[Link] = []
    records: list[PortRecord] = []
    bridges = [n for n in sorted(observed.state.links) if n.endswith("-br") and (observed.owned(n) or n == "mgmt-br")]
    for bridge in bridges:
        for _ in range(dice.choice((0, 1, 1, 3))):
            record = builders.port_record(f"c{len(records)}", bridge, dice.choice(_PORT_VLANS))
            record = replace(record, isolated=dice.choice((None, False, True)))
            records.append(record)
            if dice.random() < 0.9:
                vlans = record.vlans or PortVlans(pvid=1, untagged=VidSet.of([1]))
                port = BridgePort(isolated=bool(record.isolated), hairpin=False)
                links.append(link(record.host, "veth", up=True, master=bridge, vlans=vlans, port=port))
    return Attached(links=tuple(links), records=tuple(records))


_PORT_VLANS = ("100*", "77*", "1* 101 200", "5* 100 102", "")


def random_leftovers(dice: Random, *, nics: Sequence[str] = NICS) -> list[Step]:
    """Links of ours that nobody wants, or that are not what they should be, as a crash or an older version left
    them: bridges with their MTU and MAC pinned, as Windrow makes them. Some of the steps may be refused; run them
    one by one."""
    steps: list[Step] = []
    for cn in dice.sample((*NETWORKS, "old"), dice.randint(0, 3)):
        bridge, bond = bridge_of(cn), dice.choice((bond_of(cn), next_bond_of(cn)))
        mode = dice.choice(list(BondMode))
        made = link(
            bridge, Bridge(vlan_filtering=dice.random() < 0.5), mtu=dice.choice(MTUS), mac=Mac("02:00:00:00:ee:01")
        )
        steps.append(step(bridge, CreateLink(made)))
        steps.append(step(bond, CreateLink(link(bond, Bond(mode=mode, miimon=100), mtu=dice.choice(MTUS)))))
        for nic in dice.sample(list(nics), dice.randint(0, 2)):
            steps += [step(nic, SetLink(up=False)), step(nic, SetMaster(dice.choice((bond, bond, bridge))))]
        if dice.random() < 0.7:
            steps += [step(bond, SetMaster(bridge)), step(bond, SetLink(up=True)), step(bridge, SetLink(up=True))]
        vid = dice.choice(VIDS)
        name, parent = subinterface_of(cn, vid), dice.choice((bridge, bridge, bond))
        steps.append(step(name, CreateLink(link(name, VlanIf(parent=parent, vid=dice.choice((vid, 9)))))))
        steps.append(step(name, AddAddr(Cidr(f"10.99.{vid % 250}.1/24"))))
    return steps


# -- sabotage --------------------------------------------------------------------------------------


def random_sabotage(dice: Random, observed: Observed, size: int) -> list[Step]:
    """Steps against what is ours: down, moved, deleted, MTU, MAC, VIDs, filter, promiscuity, addresses, options.

    Made for this observation; one step may make a later one impossible, so run them one by one.
    """
    ours = sorted(n for n in observed.state.links if observed.owned(n))
    slaves = sorted(n for n, seen in observed.state.links.items() if seen.master in ours or _is_port(observed, n))
    victims = [observed.state.links[IfName(n)] for n in (*ours, *slaves) if _is_target(observed, n)]
    return [step(v.name, _harm(dice, v, ours)) for v in (dice.choice(victims) for _ in range(size if victims else 0))]


def _is_target(observed: Observed, name: str) -> bool:
    """A machine's port without a record is not ours, and nobody repairs it."""
    return observed.owned(name) or name.startswith("eth") or _is_port(observed, name)


def _is_port(observed: Observed, name: str) -> bool:
    return observed.runtime[IfName(name)].group == PORT_GROUP


def _harm(dice: Random, victim: Link, ours: Sequence[str]) -> Action:
    general: list[Action] = [
        SetLink(up=False),
        SetLink(mtu=dice.choice((1300, 1450))),
        SetMaster(None),
    ]
    return dice.choice([*general, *_special_harm(dice, victim, ours)])


def freed(observed: Observed, want: HostState) -> list[Step]:
    """Whoever put links into bridges of ours that are to go takes them off: a plan refuses to do it for them."""
    going = {n for n, link in observed.state.links.items() if isinstance(link.spec, Bridge) and observed.owned(n)}
    going -= want.links.keys()
    return [
        step(name, SetMaster(None))
        for name, link in observed.state.links.items()
        if link.master in going and not (observed.owned(name) or _is_port(observed, name) or name in want.links)
    ]


def _special_harm(dice: Random, victim: Link, ours: Sequence[str]) -> list[Action]:
    vids = VidSet.of(dice.sample(VIDS, 3))
    match victim.spec:
        case Bond():
            bond = dice.choice((Bond(miimon=70), Bond(all_slaves_active="on"), Bond(num_peer_notif=7)))
            bridges = [IfName(n) for n in ours if n.endswith("-br")]
            return [
                DeleteLink(),
                SetLink(txqlen=77, mac="02:00:00:00:bb:01"),
                SetBond(bond),
                SetPort(_some(dice, BridgePort, _PORT_VALUES)),
                SetLink(flags=_some(dice, LinkFlags, _FLAG_VALUES)),
                SetVlans(add=PortVlans(tagged=vids)),
                SetVlans(remove=vids | VidSet.of([1])),
                *(SetMaster(b) for b in bridges[:1]),
            ]
        case Bridge():
            return [
                DeleteLink(),
                SetLink(promisc=False),
                SetLink(mac="02:00:00:00:bb:02"),
                SetBridge(Bridge(vlan_filtering=False)),
                SetBridge(_some(dice, Bridge, _BRIDGE_VALUES)),
                SetLink(flags=_some(dice, LinkFlags, _FLAG_VALUES)),
                AddNeighbour(_random_neighbour(dice)),
                SetVlans(add=PortVlans(tagged=vids), on_self=True),
                SetVlans(remove=vids | VidSet.of([1]), on_self=True),
            ]
        case VlanIf():
            more: list[Action] = [
                SetVlanFlags(_random_vlan_flags(dice)),
                SetLink(flags=_some(dice, LinkFlags, _FLAG_VALUES)),
            ]
            return [
                *more,
                DeleteLink(),
                AddAddr(Cidr("10.250.0.1/24")),
                AddNeighbour(_random_neighbour(dice)),
                *(DelAddr(a) for a in sorted(victim.addrs or ())),
            ]
        case Vxlan(local=local):
            return _tunnel_harm(dice, victim, local)
        case Wireguard(port=port):
            known = sorted(victim.peers or ())
            moved = [PutPeer(replace(peer, port=peer.port + 1)) for peer in known]
            return [DeleteLink(), SetWireguard(port=port + 1), *map(DropPeer, known), *moved]
        case Other(kind="veth") if victim.name.startswith("veth"):
            bridges = [IfName(n) for n in ours if n.endswith("-br")]
            return [
                DeleteLink(),
                SetPort(_some(dice, BridgePort, _PORT_VALUES)),
                SetVlans(add=PortVlans(tagged=vids)),
                SetVlans(add=PortVlans(pvid=1, untagged=VidSet.of([1]))),
                SetVlans(remove=victim.vlans.all if victim.vlans else vids),
                *(SetMaster(b) for b in bridges[:2]),
            ]
        case Other():
            return [SetMaster(IfName(n)) for n in ours if n.endswith(("-bo", "-br"))]


def _tunnel_harm(dice: Random, victim: Link, local: str) -> list[Action]:
    """`local`: the address that its packets come from."""
    entries, neighbours = sorted(victim.fdb or ()), sorted(victim.neighbours, key=lambda n: n.address)
    return [
        DeleteLink(),
        SetLink(mac="02:00:00:00:bb:03"),
        SetVxlan(learning=True),
        SetVxlan(local="2001:db8::99" if ":" in local else "10.50.0.99"),
        AddFdb(FdbEntry(mac=Mac(f"02:00:00:00:ff:{dice.randint(0, 3):02x}"), dst=local)),
        *(DelFdb(entry) for entry in entries),
        *(AddFdb(replace(entry, dst=local)) for entry in entries),
        *(DelNeighbour(one) for one in neighbours),
    ]


# -- scripts for the certification -----------------------------------------------------------------

SCRIPT_NICS = ("n1", "n2", "n3")
_BONDS, _BRIDGES, _VLANS = ("b1", "b2"), ("r1", "r2"), ("v1", "v2")


def random_script(dice: Random, size: int) -> list[Step]:
    """A bond and a bridge to begin with, then any steps at all, sensible or not, on a handful of names."""
    bond, bridge = _random_bond(dice, "b1"), _random_bridge(dice, "r1")
    opening = [step(made.name, CreateLink(made)) for made in (bond, bridge)]
    return opening + [_random_step(dice) for _ in range(size - len(opening))]


def _random_step(dice: Random) -> Step:
    bond, bridge, vlan, nic = (dice.choice(names) for names in (_BONDS, _BRIDGES, _VLANS, SCRIPT_NICS))
    anyone = dice.choice((bond, bridge, vlan, nic))
    choices: list[tuple[int, str, Action]] = [
        (3, bond, CreateLink(_random_bond(dice, bond))),
        (3, bridge, CreateLink(_random_bridge(dice, bridge))),
        (4, vlan, CreateLink(_random_vlan(dice, vlan))),
        (2, dice.choice((bond, bridge, vlan)), DeleteLink()),
        (1, anyone, RenameLink(IfName(dice.choice((*_BONDS, *_BRIDGES))))),
        (8, nic, SetMaster(IfName(dice.choice((bond, bond, bridge))))),
        (3, dice.choice((nic, bond)), SetMaster(None)),
        (4, bond, SetMaster(IfName(bridge))),
        (1, anyone, SetMaster(IfName(dice.choice((bond, bridge, nic))))),
        (9, anyone, SetLink(up=dice.random() < 0.6)),
        (5, anyone, SetLink(mtu=dice.choice((68, 1280, 1400, 1500, 9000)))),
        (3, anyone, SetLink(mac=f"02:00:00:00:cc:{dice.randint(0, 9):02x}")),
        (1, anyone, SetLink(mac=dice.choice(("00:00:00:00:00:00", "01:00:00:00:00:01")))),
        (2, anyone, SetLink(promisc=dice.random() < 0.5, txqlen=dice.choice((1000, 500)))),
        (8, bond, SetBond(_random_change(dice))),
        (2, bridge, SetBridge(Bridge(vlan_filtering=dice.random() < 0.7))),
        (1, bridge, SetBridge(Bridge(stp=False, ageing=dice.choice((100, 300))))),
        (2, bridge, SetBridge(_some(dice, Bridge, _BRIDGE_VALUES))),
        (3, dice.choice((nic, bond, bridge)), SetPort(_some(dice, BridgePort, _PORT_VALUES))),
        (2, anyone, SetLink(flags=_some(dice, LinkFlags, _FLAG_VALUES))),
        (1, dice.choice((bridge, vlan)), SetVlanFlags(_random_vlan_flags(dice))),
        (6, dice.choice((nic, bond, bridge)), _random_vlans(dice)),
        (5, anyone, AddAddr(Cidr(dice.choice(_ADDRS)))),
        (2, anyone, DelAddr(Cidr(dice.choice(_ADDRS)))),
        (4, anyone, AddNeighbour(_random_neighbour(dice))),
        (1, anyone, DelNeighbour(_random_neighbour(dice))),
    ]
    _, name, action = dice.choices(choices, weights=[weight for weight, _, _ in choices])[0]
    return step(name, action)


_OFF_ON = (False, True)
_BRIDGE_VALUES: Mapping[str, Sequence[object]] = {
    "vlan_protocol": (0x8100, 0x88A8),
    "default_pvid": (0, 1, 5),
    "group_fwd_mask": (0, 8),
    "mcast_snooping": _OFF_ON,
    "mcast_router": (0, 1, 2),
    "mcast_vlan_snooping": _OFF_ON,
    "no_linklocal_learn": _OFF_ON,
    "nf_call_iptables": _OFF_ON,
    "nf_call_ip6tables": _OFF_ON,
    "nf_call_arptables": _OFF_ON,
}
_PORT_VALUES: Mapping[str, Sequence[object]] = {
    **{
        name: _OFF_ON
        for name in PORT_OPTIONS
        if isinstance(getattr(FRESH_BRIDGE_PORT, name), bool) and name not in ("forwarding", "mab")
    },
    "mcast_router": (0, 1, 2),
    "group_fwd_mask": (0, 8),
}
"""Without what has a condition: `forwarding` is the kernel's as well, `mab` needs `locked`, and a later kernel."""
_FLAG_VALUES: Mapping[str, Sequence[object]] = {
    **dict.fromkeys(("arp", "multicast", "allmulti", "dormant"), _OFF_ON),
    "broadcast": ("ff:ff:ff:ff:ff:ff", "02:00:00:00:ee:ee"),
}
Some = TypeVar("Some")


def _some(dice: Random, kind: Callable[..., Some], values: Mapping[str, Sequence[object]]) -> Some:
    """One to three of these options, each with any of its values."""
    return kind(**{name: dice.choice(values[name]) for name in dice.sample(sorted(values), dice.choice((1, 1, 2, 3)))})


def _random_vlan_flags(dice: Random) -> frozenset[str]:
    return frozenset(dice.sample(sorted(VLAN_FLAGS), dice.choice((0, 1, 2))))


def _random_neighbour(dice: Random) -> StaticNeighbour:
    """None is a proxy: Linux 6.1 forgets those when a link loses its carrier, at a moment of its choice
    (`neigh_carrier_down`)."""
    mac, protocol = f"02:00:00:00:ab:{dice.randint(0, 3):02x}", dice.choice((0, OWNER_PROTOCOL))
    return builders.neighbour(dice.choice(("10.1.0.9", "10.9.9.9", "fd00::9", "fe80::9")), mac, protocol=protocol)


_ADDRS = ("10.1.0.1/24", "10.1.0.2/24", "10.2.0.1/24", "10.2.0.1/25", "fd00::1/64")


def _random_bond(dice: Random, name: str) -> Link:
    mode = dice.choice(list(BondMode))
    options = random_options(dice, mode, SCRIPT_NICS)
    return link(
        name, Bond(**options), mtu=dice.choice((None, 1400, 9000)), mac=dice.choice((None, "02:00:00:00:dd:01"))
    )


def _random_bridge(dice: Random, name: str) -> Link:
    mac = dice.choice((None, "02:00:00:00:dd:02"))
    return link(name, Bridge(vlan_filtering=dice.random() < 0.8), mtu=dice.choice((None, 1400, 9000)), mac=mac)


def _random_vlan(dice: Random, name: str) -> Link:
    parent = IfName(dice.choice((*_BONDS, *_BRIDGES)))
    return link(name, VlanIf(parent=parent, vid=dice.choice((5, 6))), mtu=dice.choice((None, None, 1400, 1500)))


def _random_change(dice: Random) -> Bond:
    """One or two options of any mode, or a whole set for a new mode."""
    mode = dice.choice(list(BondMode))
    if dice.random() < 0.3:
        return Bond(**random_options(dice, mode, SCRIPT_NICS))
    possible = [n for n in OPTIONS if n not in ("mode", "ns_ip6_target", "arp_ip_target", "primary", "min_links")]
    chosen = {n: _random_value(dice, n) for n in dice.sample(possible, dice.choice((1, 1, 2)))}
    if dice.random() < 0.2:
        chosen["primary"] = dice.choice(("", *SCRIPT_NICS))
    for name in ("miimon", "updelay", "downdelay", "peer_notif_delay", "arp_interval"):
        if name in chosen:
            chosen[name] = dice.choice((0, 100, 250))
    return Bond(**chosen)


def _random_vlans(dice: Random) -> SetVlans:
    vids = dice.sample(range(1, 12), 6)
    tagged, untagged, gone = VidSet.of(vids[:2]), VidSet.of(vids[2:3]), VidSet.of(vids[3 : 3 + dice.randint(0, 3)])
    pvid = dice.choice((None, None, vids[0], vids[2]))
    add = PortVlans(pvid=pvid, tagged=tagged, untagged=untagged) if dice.random() < 0.8 else PortVlans()
    return SetVlans(add=add, remove=gone, on_self=dice.random() < 0.3)
