"""The rules of order. Each is one function: which steps a link needs, in which phase, and why there.

A rule yields bursts. A burst is sent at once; the bursts of a unit are sorted by (phase, rank).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

from windrow.model.bonding import BondMode, Change
from windrow.model.bridging import FRESH_BRIDGE_PORT, PORT_OPTIONS, BridgePort, without_fresh
from windrow.model.host import (
    FRESH_VLAN_FLAGS,
    MAIN_TABLE,
    OWNER_GROUP,
    OWNER_PROTOCOL,
    RTPROT_KERNEL,
    TXQLEN_DEFAULT,
    Bond,
    Bridge,
    FdbEntry,
    Link,
    LinkFlags,
    LinkSpec,
    Other,
    Peer,
    PortVlans,
    Route,
    Rule,
    StaticNeighbour,
    VlanIf,
    Wireguard,
)
from windrow.model.lazy import dataclass
from windrow.model.marks import marked_names
from windrow.model.ports import PORT_GROUP
from windrow.model.steps import (
    Action,
    AddAddr,
    AddFdb,
    AddNeighbour,
    AddRoute,
    AddRule,
    AskAddr,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DelRoute,
    DelRule,
    Delta,
    DropPeer,
    Impact,
    Phase,
    PutPeer,
    RenameLink,
    SetBond,
    SetBridge,
    SetLink,
    SetMark,
    SetMaster,
    SetPort,
    SetSlave,
    SetSnooping,
    SetSysctl,
    SetVlanFlags,
    SetVlans,
    SetVxlan,
    SetWireguard,
    Step,
)
from windrow.model.values import Cidr, IfName, VidSet
from windrow.plan import price
from windrow.plan.diff import addresses_there, duplicates, vlan_change
from windrow.plan.scene import Scene, depth

FRESH_PORT = PortVlans(pvid=1, untagged=VidSet.of([1]))
"""What the kernel gives a port when it joins a bridge (`nbp_vlan_init`, default_pvid 1)."""

_FIRST = -2
"""Before every other burst of the phase, one more included."""
LAST = 1000
"""After every other burst of the phase."""

RESET_BY_MODE = ("miimon", "tlb_dynamic_lb")
"""Options that a new mode sets as it likes (`bond_option_mode_set`): they are set again with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    phase: Phase
    rank: int
    steps: tuple[Step, ...]


def burst(rank: int, *steps: Step) -> Burst:
    """The steps, sent together: the first carries the phase, the others join it."""
    head, *rest = steps
    joined = tuple(replace(s, phase=head.phase, joined=True) for s in rest)
    return Burst(phase=head.phase, rank=rank, steps=(head, *joined))


def together(rank: int, steps: Iterable[Step]) -> Iterator[Burst]:
    """One burst of steps of which each stands by itself, however many there are: an overlay has thousands."""
    if found := list(steps):
        yield burst(rank, *found)


def in_turn(bursts: Iterable[Burst]) -> tuple[Step, ...]:
    """The steps of a unit. Links that are deleted one after the other go together, which the kernel does in the time of
    one (`netlink.crowd`)."""
    steps: list[Step] = []
    for part in sorted(bursts, key=lambda b: (b.phase, b.rank)):
        first, *rest = part.steps
        follows = bool(steps) and all(_deletes(step, first.phase) for step in (steps[-1], first))
        steps += (replace(first, joined=True) if follows else first, *rest)
    return tuple(steps)


def _deletes(step: Step, phase: Phase) -> bool:
    return isinstance(step.action, DeleteLink) and step.phase is phase


# -- making, and clearing away ---------------------------------------------------------------------


def make(scene: Scene, link: Link) -> Iterator[Burst]:
    """Create a link that is not there, or again one that cannot be changed into what it should be."""
    if isinstance(link.spec, Other):
        return
    made = as_made(link)
    match link.spec:
        case VlanIf(parent=parent) if (on := scene.seen(parent)) and on.mtu and on.mtu < (link.mtu or 0):
            # vlan_newlink() refuses an MTU above the parent's, which is raised later.
            yield burst(depth(link), scene.step(Phase.CREATE, link.name, CreateLink(replace(made, mtu=None))))
            yield burst(depth(link), scene.step(Phase.RAISE_MTU, link.name, SetLink(mtu=link.mtu)))
        case _:
            yield burst(depth(link), scene.step(Phase.CREATE, link.name, CreateLink(made)))


def as_made(link: Link) -> Link:
    """What the create message has to say: a new link has the rest by itself, or is given it later."""
    spec: LinkSpec = link.spec
    if isinstance(spec, Bridge):
        spec = without_fresh(spec)
    elif isinstance(spec, VlanIf) and spec.flags == FRESH_VLAN_FLAGS:
        spec = replace(spec, flags=None)
    txqlen = link.txqlen if link.txqlen != TXQLEN_DEFAULT else None
    return Link(name=link.name, spec=spec, mtu=link.mtu, mac=link.mac, txqlen=txqlen)


def unmake_to_make_again(scene: Scene, link: Link) -> Iterator[Burst]:
    """RECREATE: the old one goes first, its name is needed."""
    impact = scene.when_carrying(link.name, Impact.FLAP)
    yield burst(0, scene.step(Phase.PREPARE, link.name, DeleteLink(), impact, note="made anew: cannot be changed"))


def clear_away(scene: Scene, link: Link) -> Iterator[Burst]:
    """Delete what is ours and nobody wants: from the top, NICs set free before their bond goes."""
    if isinstance(link.spec, VlanIf):
        # It may have an address from DHCP, which is nobody's configuration and so not among `addrs`.
        impact = Impact.OUTAGE if link.addrs else scene.when_carrying(link.name, Impact.OUTAGE)
        on = scene.seen(link.spec.parent)
        # A bond may be replaced on the way (takeover), and takes along what stands on it. What carries nothing goes
        # before the rest of the plan has it carry something.
        on_bond = on is not None and isinstance(on.spec, Bond)
        phase = Phase.PREPARE if on_bond or not scene.carrying(link.name) else Phase.CLEAN
        yield burst(0, scene.step(phase, link.name, DeleteLink(), impact))
        return
    ports = [p for p in scene.ports(link.name) if not scene.owned(p)] if isinstance(link.spec, Bridge) else []
    note = f"{', '.join(ports)} lose their bridge" if ports else ""
    impact = Impact.OUTAGE if ports else scene.when_carrying(link.name, Impact.OUTAGE)
    impact = Impact.NONE if leaves_rival_bridge(scene, link) else impact
    yield burst(1 + depth(link), scene.step(Phase.CLEAN, link.name, DeleteLink(), impact, note))


def leave_rival_bridge(scene: Scene, link: Link) -> Iterator[Burst]:
    """A bond of ours that nobody wants, on a bridge that stays: it leaves first. Two uplinks of one bridge are
    a loop as soon as both carry the same VLAN. What it carries stops here, and not when it is deleted (`clear_away`),
    until another uplink has its NICs."""
    if leaves_rival_bridge(scene, link):
        impact = scene.when_carrying(link.name, Impact.OUTAGE)
        yield burst(1, scene.step(Phase.PREPARE, link.name, SetMaster(None), impact, note="no two uplinks at once"))


def leaves_rival_bridge(scene: Scene, link: Link) -> bool:
    return isinstance(link.spec, Bond) and scene.wanted(link.master) is not None


# -- NICs ------------------------------------------------------------------------------------------


def attach_nic(scene: Scene, nic: Link, rank: int, *, refilled: bool = False) -> Iterator[Burst]:
    """bond_enslave() refuses a device that is up; it opens it itself, and gives it the bond's MTU and MAC.

    `refilled`: the bond has been emptied by then, which was priced, and carries nothing.
    """
    seen, bond = scene.seen(nic.name), IfName(nic.master or "")
    if seen is None:
        return
    leave, why_leave = price.leaving(scene, nic.name)
    join, why_join = price.joining(scene, bond) if not refilled else (Impact.NONE, "")
    every = (seen.addrs or frozenset()) | seen.details.keys()
    if every and not scene.owned(seen.master):
        leave = scene.when_carrying(nic.name, Impact.FLAP)  # what is sent to the host waits until the bridge has them
        join = Impact.worst([leave, join])
    down = [scene.step(Phase.ATTACH, nic.name, SetLink(up=False), leave, why_leave)] if seen.up else []
    gone = every - nic.addrs if nic.addrs is not None else frozenset()
    # Closing a link takes its IPv6 addresses (addrconf_ifdown) and leaves the IPv4 ones: these go when the bridge has
    # them, so that the host is never without.
    first = [scene.step(Phase.ATTACH, nic.name, _delete(a, seen), leave) for a in sorted(gone) if ":" in a]
    yield burst(rank, *first, *down, scene.step(Phase.ATTACH, nic.name, SetMaster(bond), join, why_join))
    for addr in sorted((a for a in gone if ":" not in a), key=lambda a: _last_first(a, seen)):
        yield burst(3, scene.step(Phase.DELETE_ADDRESSES, nic.name, _delete(addr, seen), note="its bridge has it now"))


def _delete(addr: Cidr, have: Link) -> DelAddr:
    return DelAddr(addr, have.details.get(addr))


def _last_first(addr: Cidr, have: Link) -> tuple[int, str]:
    """The first one of a network takes its others along (`__inet_del_ifa`)."""
    return -(have.details[addr].rank if addr in have.details else 0), addr


def _in_turn(addrs: Iterable[Cidr], link: Link) -> list[Cidr]:
    """As they were before: IPv4 ones in their order, for the first of a network is the primary one; IPv6 ones from the
    last, for the kernel puts a new one before its like (`ipv6_link_dev_addr`)."""

    def place(addr: Cidr) -> tuple[bool, int, str]:
        six, details = ":" in addr, link.details.get(addr)
        rank = details.rank if details else 0
        return six, -rank if six else rank, addr

    return sorted(addrs, key=place)


def _add(addr: Cidr, link: Link) -> AddAddr:
    return AddAddr(addr, link.details.get(addr))


def release_nic(scene: Scene, nic: IfName, *, free: bool) -> Iterator[Burst]:
    """bond_release() gives the NIC its MTU and MAC back and closes it; it is left up, as a NIC is found.

    `free`: it has left its bond by then, because that is emptied in an earlier phase.
    """
    want = scene.wanted(nic)
    up = want.up if want and want.up is not None else True
    after = scene.step(Phase.CLEAN, nic, SetLink(up=up, mtu=want.mtu if want else None))
    leave = [] if free else [scene.step(Phase.CLEAN, nic, SetMaster(None), *price.leaving(scene, nic))]
    own: list[Action] = []
    if want is not None:
        have = addresses_there(want, scene.seen(nic))
        own += [AddNeighbour(n) for n in _sorted(want.neighbours)]
        own += [_add(a, want) for a in _in_turn(want.addrs or (), want) if ":" in a or a not in have]
    own += [AddRoute(r) for r in _in_order(scene.wanted_routes.get(nic, ()))]
    yield burst(1, *leave, after, *(scene.step(Phase.CLEAN, nic, action) for action in own))


# -- bonds -----------------------------------------------------------------------------------------


def bond_options(scene: Scene, bond: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """Live options go live. Options that need the bond down take it down and up in one burst: the slaves stay,
    and LACP keeps its state (`bond_close` does not touch the slaves)."""
    live, down = _options(deltas, Change.LIVE), _options(deltas, Change.DOWN)
    if live:
        live = replace(live, **_delays(bond.spec)) if live.miimon is not None else live
        yield burst(1, scene.step(Phase.OPTIONS, bond.name, SetBond(live), *price.live_options(scene, bond, deltas)))
    if down:
        yield burst(1, *_taken_down(scene, bond, SetBond(down)))


DELAYS = ("updelay", "downdelay", "peer_notif_delay")
"""The kernel keeps them as so many times miimon (`bond_option_miimon_set`): a new one stretches them."""


def _delays(spec: LinkSpec) -> dict[str, Any]:
    return {name: value for name in DELAYS if (value := getattr(spec, name, None))}


def _taken_down(scene: Scene, bond: Link, action: SetBond) -> Iterator[Step]:
    phase, seen = Phase.DOWN_OPTIONS, scene.seen(bond.name)
    if seen is None or not seen.up:
        yield scene.step(phase, bond.name, action)
        return
    impact = scene.when_carrying(bond.name, Impact.FLAP)
    yield scene.step(phase, bond.name, SetLink(up=False), impact, note="the kernel changes it only while down")
    yield scene.step(phase, bond.name, action)
    yield scene.step(phase, bond.name, SetLink(up=True))


def _options(deltas: tuple[Delta, ...], change: Change) -> Bond | None:
    chosen = {d.field.removeprefix("bond."): d.want for d in deltas if d.change is change and d.field[:5] == "bond."}
    return Bond(**chosen) if chosen else None  # type: ignore[arg-type]


def refit_empty(scene: Scene, bond: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """The mode, with no second NIC to take over: let all slaves go, change, take them back. An outage."""
    slaves = scene.slaves(bond.name)
    impact = scene.when_carrying(bond.name, Impact.OUTAGE)
    for nic in slaves:
        note = "the kernel changes the mode of an empty bond only (bond_opts[BOND_OPT_MODE])"
        step = scene.step(Phase.PREPARE, nic, SetMaster(None), impact, note)
        yield burst(1, step)
    every = {d.field.removeprefix("bond."): d.want for d in deltas if d.field.startswith("bond.")}
    every |= {name: getattr(bond.spec, name) for name in RESET_BY_MODE} | _delays(bond.spec)
    change = scene.step(Phase.DOWN_OPTIONS, bond.name, SetBond(Bond(**every)))  # type: ignore[arg-type]
    seen = scene.seen(bond.name)
    down = [scene.step(Phase.DOWN_OPTIONS, bond.name, SetLink(up=False), impact)] if seen and seen.up else []
    yield burst(1, *down, change)
    for rank, nic in enumerate(scene.wanted_slaves(bond.name)):
        if nic in slaves:  # bond_release() has closed it: it need not be taken down
            yield burst(rank, scene.step(Phase.ATTACH, nic, SetMaster(bond.name)))
    if seen and seen.up and bond.up:
        yield burst(1, scene.step(Phase.UP, bond.name, SetLink(up=True)))


# -- ports and VLANs -------------------------------------------------------------------------------


def opens_before_its_nics(bond: Link) -> bool:
    """Whether a new bond joins its bridge and is opened first of all. A carrier that comes while it is closed is told
    to its bridge up to a second later: `linkwatch_urgent_event` asks whether the link is open, and what is not urgent
    waits its turn. With LACP a bond has its carrier later by itself, and is to be opened after its first NIC, or it
    waits for eight seconds (`takeover`)."""
    return isinstance(bond.spec, Bond) and bond.spec.mode is not BondMode.LACP and bool(bond.master)


def join_bridge(scene: Scene, bond: Link, *, early: bool = False) -> Iterator[Burst]:
    """A port that joins has forgotten all VIDs and stands in VLAN 1: its VLANs come in the same burst."""
    seen = scene.seen(bond.name)
    impact = scene.when_carrying(bond.name, Impact.FLAP) if seen and seen.master else Impact.NONE
    join = scene.step(Phase.ATTACH, bond.name, SetMaster(IfName(bond.master or "") or None), impact)
    add, remove = vlan_change(bond.vlans or FRESH_PORT, FRESH_PORT)
    set_vlans = SetVlans(add=add, remove=remove.all)
    actions: list[Action] = [*_unlike_fresh(bond.port), *([set_vlans] if set_vlans != SetVlans() else [])]
    rank = _FIRST if early else 10
    yield burst(rank, join, *(scene.step(Phase.ATTACH, bond.name, action) for action in actions))


def _unlike_fresh(port: BridgePort | None) -> list[SetPort]:
    """What a port that has just joined has to be told. It forwards by itself, when it can."""
    values = {name: getattr(port, name) for name in PORT_OPTIONS if name != "forwarding"} if port else {}
    told = {n: v for n, v in values.items() if v is not None and v != getattr(FRESH_BRIDGE_PORT, n)}
    return [SetPort(BridgePort(**told))] if told else []


def port_vlans(scene: Scene, link: Link, *, have: PortVlans | None, on_self: bool) -> Iterator[Burst]:
    """New VIDs before old ones go; one message each, however many there are. What a new bridge is born with goes at
    once, and what a link has that carries nothing goes before it carries something: nobody has had it yet."""
    want = link.self_vlans if on_self else link.vlans
    if want is None:
        return
    add, remove = vlan_change(want, have)
    if add != PortVlans():
        impact, note = price.adding_vlans(have, add)
        impact = scene.when_carrying(link.name, impact)
        yield burst(1, scene.step(Phase.ADD_VLANS, link.name, SetVlans(add=add, on_self=on_self), impact, note))
    if remove.all:
        impact, note = price.losing_vlans(scene, link, remove.all, on_self=on_self)
        impact = scene.when_carrying(link.name, impact)
        seen = scene.seen(link.name)
        unused = on_self if seen is None else not scene.carrying(link.name)
        phase = Phase.ADD_VLANS if unused else Phase.DELETE_VLANS
        for vids in _in_parts(remove.all):
            action = SetVlans(remove=vids, on_self=on_self)
            yield burst(1, scene.step(phase, link.name, action, impact, note))


VIDS_AT_ONCE = 512
"""So many are taken away in one step: the kernel forgets the addresses of each for itself (`br_fdb_delete_by_port`), a
second for a few hundred, and whoever watches sees that it goes on."""


def _in_parts(vids: VidSet) -> Iterator[VidSet]:
    every = tuple(vids)
    for start in range(0, len(every), VIDS_AT_ONCE):
        yield VidSet.of(every[start : start + VIDS_AT_ONCE])


# -- ports of containers and machines --------------------------------------------------------------

PORT_RANK = 10
"""In Phase.UP, where each link has its depth: a port comes after everything that it stands on. So a port that is
gone by then stops nothing of the network."""


def join_as_port(scene: Scene, port: Link) -> Iterator[Burst]:
    """Joining puts a port into VLAN 1 (`nbp_vlan_init`), isolated from nobody (`new_nbp`), so it is closed until it is
    what it should be, and opened in a burst of its own: the kernel goes on after a refused message, and must not
    come to open it then."""
    seen = scene.seen(port.name)
    if seen is None:
        return
    impact = scene.when_carrying(port.name, Impact.FLAP) if seen.master else Impact.NONE
    add, remove = vlan_change(port.vlans or FRESH_PORT, FRESH_PORT)
    set_vlans = SetVlans(add=add, remove=remove.all)
    closed = bool(seen.up) and (
        bool(port.port and port.port.isolated) or not _at_home_in_vlan_1(port.vlans or FRESH_PORT)
    )
    before = SetLink(up=False if closed else None, mtu=_mtu_to_join(scene, port, seen))
    steps = [scene.step(Phase.UP, port.name, SetMaster(IfName(port.master or "")), impact)]
    if before != SetLink():
        note = "closed until it is what it should be" if closed else ""
        steps.insert(0, scene.step(Phase.UP, port.name, before, impact, note))
    steps += (scene.step(Phase.UP, port.name, action) for action in _unlike_fresh(port.port))
    if set_vlans != SetVlans():
        steps.append(scene.step(Phase.UP, port.name, set_vlans))
    yield burst(PORT_RANK, *steps)
    if port.up and (closed or not seen.up):
        yield from open_port(scene, port)


def _at_home_in_vlan_1(want: PortVlans) -> bool:
    return want.pvid == FRESH_PORT.pvid and not FRESH_PORT.untagged - want.untagged


def _mtu_to_join(scene: Scene, port: Link, seen: Link) -> int | None:
    """What is wanted of it. A bridge of others may follow the MTU of its smallest port (`br_mtu_auto_adjust`; it is
    not to be seen whether it does), and the management network must not. What is too large for the container's end
    is dropped there."""
    if port.mtu:
        return port.mtu if port.mtu != seen.mtu else None
    bridge = scene.seen(port.master)
    if bridge is None or scene.owned(bridge.name) or not bridge.mtu or not seen.mtu or seen.mtu >= bridge.mtu:
        return None
    return bridge.mtu


def open_port(scene: Scene, port: Link) -> Iterator[Burst]:
    yield burst(PORT_RANK + 1, scene.step(Phase.UP, port.name, SetLink(up=True)))


def port_membership(scene: Scene, port: Link) -> Iterator[Burst]:
    """The VIDs that it lacks and those that it must not have in one step: it hears nothing of another VLAN for a
    moment longer than needed, and before it is opened."""
    seen = scene.seen(port.name)
    have, want = (seen.vlans if seen else None) or PortVlans(), port.vlans or PortVlans()
    add, remove = vlan_change(want, have)
    flipped = (have.tagged & want.untagged) | (have.untagged & want.tagged)
    moved = bool(flipped) or have.pvid not in (None, want.pvid)
    impact = scene.when_carrying(port.name, Impact.FLAP if moved else Impact.HITLESS)
    yield burst(1, scene.step(Phase.ADD_VLANS, port.name, SetVlans(add=add, remove=remove.all), impact))


def port_options(scene: Scene, port: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """All of them live. A port that was blocked or locked carries again: nothing is taken from anybody."""
    chosen = _chosen(deltas, "port")
    if chosen:
        impact = scene.when_carrying(port.name, Impact.HITLESS)
        yield burst(1, scene.step(Phase.OPTIONS, port.name, SetPort(BridgePort(**chosen)), impact))


def _chosen(deltas: tuple[Delta, ...], prefix: str) -> dict[str, Any]:
    """The options of one kind that are to change, by name."""
    return {name: d.want for d in deltas if (kind := d.field.partition("."))[0] == prefix and (name := kind[2])}


def leave_as_port(scene: Scene, port: Link) -> Iterator[Burst]:
    """Undo: it was in no bridge."""
    impact = scene.when_carrying(port.name, Impact.OUTAGE)
    seen = scene.seen(port.name)
    as_it_was = SetLink(up=port.up, mtu=port.mtu if seen and seen.mtu != port.mtu else None)
    after = [scene.step(Phase.CLEAN, port.name, as_it_was)] if as_it_was != SetLink() else []
    yield burst(0, scene.step(Phase.CLEAN, port.name, SetMaster(None), impact), *after)


# -- attributes ------------------------------------------------------------------------------------


def mtu(scene: Scene, link: Link, have: int) -> Iterator[Burst]:
    """Lower from the top down, raise from the bottom up: vlan_dev_change_mtu() refuses more than the parent has."""
    want = link.mtu or have
    if want > have:
        impact = scene.when_carrying(link.name, Impact.HITLESS)
        yield burst(depth(link), scene.step(Phase.RAISE_MTU, link.name, SetLink(mtu=want), impact))
    else:
        impact = scene.when_carrying(link.name, Impact.FLAP)
        note = f"frames over {want} bytes are no longer carried"
        yield burst(-depth(link), scene.step(Phase.LOWER_MTU, link.name, SetLink(mtu=want), impact, note))


def plain_attributes(scene: Scene, link: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """MAC, queue length, flags: live, and harmless but for the MAC, which peers have in their tables."""
    chosen: dict[str, Any] = {d.field: d.want for d in deltas if d.field in ("mac", "txqlen", "promisc")}
    if flags := _chosen(deltas, "flags"):
        chosen["flags"] = LinkFlags(**flags)
    if chosen:
        price = Impact.FLAP if "mac" in chosen else Impact.HITLESS
        action = SetLink(**chosen)
        yield burst(1, scene.step(Phase.OPTIONS, link.name, action, scene.when_carrying(link.name, price)))


def name_back(scene: Scene, name: IfName, now: IfName) -> Iterator[Burst]:
    """Before anything else, which calls it by its name. `plan.renamed` says what closing it costs."""
    seen, impact, why = scene.seen(name), scene.when_carrying(name, Impact.FLAP), scene.why(name)
    down = scene.step(Phase.PREPARE, now, SetLink(up=False), impact, "a link is renamed while down (dev_change_name)")
    rename = scene.step(Phase.PREPARE, now, RenameLink(name), note="it is ours, by its mark")
    steps = [replace(rename, why=why)]
    if seen is not None and seen.up:
        steps = [replace(down, why=why), *steps, scene.step(Phase.PREPARE, name, SetLink(up=True))]
    yield burst(-1, *steps)


def mark(scene: Scene, link: Link) -> Iterator[Burst]:
    """One of its two marks, or what the name in it says, is not as it should be: before anything else, for what is
    not done to the end must still be known as ours."""
    runtime = scene.runtime(link.name)
    if runtime is None:
        return
    if scene.is_port(link.name):
        yield burst(0, scene.step(Phase.PREPARE, link.name, SetMark(group=PORT_GROUP), note="somebody took it away"))
        return
    said = marked_names(runtime.altnames)
    stale = tuple(name for name in said if name != link.name)
    lost = OWNER_GROUP if runtime.group != OWNER_GROUP else None
    action = SetMark(group=lost, name=link.name not in said, stale=stale)
    note = "somebody took it away" if lost or not stale else ""
    yield burst(0, scene.step(Phase.PREPARE, link.name, action, note=note))


def vlan_flags(scene: Scene, link: Link, flags: frozenset[str]) -> Iterator[Burst]:
    """vlan_dev_change_flags() takes them live."""
    impact = scene.when_carrying(link.name, Impact.HITLESS)
    yield burst(1, scene.step(Phase.OPTIONS, link.name, SetVlanFlags(flags), impact))


def tunnel_options(scene: Scene, link: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """vxlan_changelink() takes them live. With another address of ours the far ends hear from a stranger until theirs
    name it, too; packets that come in are taken whomever they are sent to (`vxlan_socket`: the port alone)."""
    if chosen := _chosen(deltas, "vxlan"):
        impact = scene.when_carrying(link.name, Impact.HITLESS)
        yield burst(1, scene.step(Phase.OPTIONS, link.name, SetVxlan(**chosen), impact))


def far_ends(scene: Scene, link: Link, have: frozenset[FdbEntry]) -> Iterator[Burst]:
    """Before the routes that lead there, and away after them. An entry that only moves is put in place of the old one:
    only for no MAC address, and for a group's, there may be several (`vxlan_fdb_update_existing`)."""
    want, impact = link.fdb or frozenset(), scene.when_carrying(link.name, Impact.HITLESS)
    moved = {entry.mac for entry in want - have}
    gone = [entry for entry in sorted(have - want) if entry.mac not in moved]
    yield from together(1, (scene.step(Phase.ADD_ADDRESSES, link.name, AddFdb(e), impact) for e in sorted(want - have)))
    yield from together(5, (scene.step(Phase.DELETE_ADDRESSES, link.name, DelFdb(e), impact) for e in gone))


def encryption(scene: Scene, link: Link) -> Iterator[Burst]:
    """Key and port, which a new device has not (`wg_newlink`)."""
    if isinstance(link.spec, Wireguard):
        impact = scene.when_carrying(link.name, Impact.HITLESS)
        yield burst(1, scene.step(Phase.OPTIONS, link.name, SetWireguard(port=link.spec.port), impact))


def peers(scene: Scene, link: Link, have: frozenset[Peer]) -> Iterator[Burst]:
    """One that goes first: an address is behind one peer alone, and whoever names it last has it
    (`wg_allowedips_insert_v4`)."""
    want, impact = link.peers or frozenset(), scene.when_carrying(link.name, Impact.HITLESS)
    stays = {peer.key for peer in want}
    gone = [peer for peer in sorted(have) if peer.key not in stays]
    yield from together(1, (scene.step(Phase.OPTIONS, link.name, DropPeer(p), impact) for p in gone))
    yield from together(2, (scene.step(Phase.OPTIONS, link.name, PutPeer(p), impact) for p in sorted(want - have)))


def slave_prio(scene: Scene, nic: Link) -> Iterator[Burst]:
    """bond_option_prio_set() chooses the active slave anew."""
    impact = scene.when_carrying(nic.name, Impact.FLAP)
    yield burst(1, scene.step(Phase.OPTIONS, nic.name, SetSlave(nic.slave_prio or 0), impact))


def pin_mac(scene: Scene, bond: Link) -> Iterator[Burst]:
    """After the first slave is in, whose MAC the bond would take."""
    yield burst(1, scene.step(Phase.OPTIONS, bond.name, SetLink(mac=bond.mac)))


def bridge_options(scene: Scene, link: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """Turning the VLAN filter back on keeps the VIDs that the ports have. It comes first of all: a takeover trusts
    that a port without VLANs carries nothing, and without the filter its two uplinks are a loop."""
    chosen = _chosen(deltas, "bridge")
    if chosen:
        filters = FILTERING & chosen.keys()
        impact = scene.when_carrying(link.name, Impact.FLAP if filters else Impact.HITLESS)
        first = filters and isinstance(link.spec, Bridge) and link.spec.vlan_filtering
        phase = Phase.PREPARE if first else Phase.OPTIONS
        yield burst(2, scene.step(phase, link.name, SetBridge(Bridge(**chosen)), impact))


def snooping(scene: Scene, link: Link) -> Iterator[Burst]:
    """When all VLANs are there, those of ports that come with this plan too: the kernel snoops in a new one by itself
    (`br_vlan_add`: BR_VLFLAG_GLOBAL_MCAST_ENABLED), and refuses to be told of one that is not there. A bridge that does
    not do it VLAN by VLAN forgets what it was told of them."""
    if not isinstance(link.spec, Bridge) or not link.spec.mcast_vlan_snooping or link.snooping is None:
        return
    action = SetSnooping(link.snooping, _vids_of_bridge(scene, link) - link.snooping.all)
    yield burst(PORT_RANK + 2, scene.step(Phase.UP, link.name, action, scene.when_carrying(link.name, Impact.HITLESS)))


def _vids_of_bridge(scene: Scene, bridge: Link) -> VidSet:
    """Those that it and its ports have when all steps before `snooping` are done, and after it."""
    vids = bridge.self_vlans.all if bridge.self_vlans else VidSet()
    ports = {n for n, want in scene.want.links.items() if want.master == bridge.name}
    for name in ports | set(scene.ports(bridge.name)):
        want, seen = scene.wanted(name), scene.seen(name)
        vlans = want.vlans if want is not None and want.vlans is not None else seen.vlans if seen is not None else None
        vids |= vlans.all if vlans is not None else VidSet()
    return vids


FILTERING = frozenset({"vlan_filtering", "vlan_protocol", "default_pvid", "stp"})
"""The options of a bridge that decide which frames pass at all."""


def bring_up(scene: Scene, link: Link, *, early: bool = False) -> Iterator[Burst]:
    """Bottom-up: a VLAN interface on a parent that is down cannot be opened (vlan_dev_open: ENETDOWN)."""
    if early:
        yield burst(_FIRST + 1, scene.step(Phase.ATTACH, link.name, SetLink(up=True)))
    else:
        yield burst(depth(link), scene.step(Phase.UP, link.name, SetLink(up=True)))


def take_down(scene: Scene, link: Link) -> Iterator[Burst]:
    impact = scene.when_carrying(link.name, Impact.OUTAGE)
    yield burst(-depth(link), scene.step(Phase.CLEAN, link.name, SetLink(up=False), impact))


def addresses(scene: Scene, link: Link, have: Link | None) -> Iterator[Burst]:
    """New before old. Deleting a network's first address takes its others along unless promote_secondaries is
    set (`__inet_del_ifa`), so the wanted ones of that network are added once more in the same burst. Where that was
    the link's last IPv4 address, its IPv4 routes go (`fib_inetaddr_event`: fib_disable_ip), and come again, too."""
    want, old = link.addrs or frozenset(), addresses_there(link, have)
    retried = duplicates(link, have)
    for addr in _in_turn(want - old, link):
        impact = _price_of_way(scene, link.name, ip_interface(addr).network, addr)
        if addr in retried or not _is_known(scene, link, addr):
            yield burst(3, scene.step(Phase.ASK_ADDRESSES, link.name, AskAddr(addr)))
        if addr in retried:  # the kernel asks by itself only for one that is new (`inet6_addr_modify` does not)
            gone = scene.step(Phase.ADD_ADDRESSES, link.name, _delete(addr, have or link), note="it is not used")
            yield burst(3, gone, scene.step(Phase.ADD_ADDRESSES, link.name, AddAddr(addr), impact))
        else:
            yield burst(3, scene.step(Phase.ADD_ADDRESSES, link.name, _add(addr, link), impact))
    for addr in sorted(old - want):
        network = ip_interface(addr).network
        same = _in_turn((a for a in want if _in(a, network)), link)
        again = [scene.step(Phase.ADD_ADDRESSES, link.name, _add(a, link)) for a in same]
        delete = _delete(addr, have or link)
        gone = scene.step(Phase.DELETE_ADDRESSES, link.name, delete, Impact.FLAP, "its connections end")
        others = [a for a in want if ":" not in a and not _in(a, network)]
        lost = _lost_routes(scene, link) if ":" not in addr and again and not others else []
        yield burst(3, gone, *again, *(scene.step(Phase.ADD_ROUTES, link.name, AddRoute(r)) for r in lost))


def neighbours(scene: Scene, link: Link, have: frozenset[StaticNeighbour]) -> Iterator[Burst]:
    """Before the addresses: a gateway that answers nobody is known before anything is sent to it. One that is to be
    another takes the place of what it was."""
    want, impact = scene.wanted_neighbours(link), scene.when_carrying(link.name, Impact.HITLESS)
    stay = {n.entry for n in want}
    new, old = _sorted(want - have), [one for one in _sorted(have - want) if one.entry not in stay]
    yield from together(2, (scene.step(Phase.ADD_ADDRESSES, link.name, AddNeighbour(n), impact) for n in new))
    yield from together(4, (scene.step(Phase.DELETE_ADDRESSES, link.name, DelNeighbour(n), impact) for n in old))


def _sorted(those: Iterable[StaticNeighbour]) -> list[StaticNeighbour]:
    return sorted(those, key=lambda n: (*n.entry, n.message))


def asked_together(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps in their order, those that ask for addresses as one burst: they wait at the same time."""
    found: list[Step] = []
    for step in steps:
        follows = bool(found) and isinstance(found[-1].action, AskAddr) and isinstance(step.action, AskAddr)
        found.append(replace(step, joined=True) if follows else step)
    return tuple(found)


def _is_known(scene: Scene, link: Link, addr: Cidr) -> bool:
    """Whether it is this host's beyond doubt: it is carried from one link to another, put back as it was, or was there
    a moment ago."""
    if addr in link.settled or addr in link.details:
        return True
    address = ip_interface(addr).ip
    every = scene.have.state.links.values()
    return any(ip_interface(a).ip == address for k in every for a in (*(k.addrs or ()), *k.details))


def _goes_on(scene: Scene, link: IfName, route: Route) -> bool:
    """A default route takes no network from another link, nor does one of another table; and one that moves here from
    another link is the same way."""
    if route.dst == "default" or route.table != MAIN_TABLE:
        return True
    same = ((r.dev, r.dst, r.gateway) for r in scene.have.state.routes if r.protocol != RTPROT_KERNEL)
    return any(dev != link and (dst, gateway) == (route.dst, route.gateway) for dev, dst, gateway in same)


def _price_of_way(scene: Scene, link: IfName, network: IPv4Network | IPv6Network, moved: Cidr | None = None) -> Impact:
    """What goes to a network that another link leads to may go another way from now on. An address that moves here
    from that link (`moved`) is no second way, and one without a network leads to nobody."""
    if moved is not None and network.prefixlen == network.max_prefixlen:
        return Impact.NONE
    elsewhere = moved is not None and any(
        moved in ((k.addrs or frozenset()) | k.details.keys()) for n, k in scene.have.state.links.items() if n != link
    )
    return Impact.FLAP if not elsewhere and scene.crosses(link, network) else Impact.NONE


def _lost_routes(scene: Scene, link: Link) -> list[Route]:
    """The IPv4 routes over it that are to be there in the end: ours, and those of others that still have a gateway."""
    networks = [ip_interface(a).network for a in link.addrs or ()]
    seen = scene.seen_routes.get(link.name, frozenset())
    foreign = {r for r in seen if r.protocol not in (RTPROT_KERNEL, OWNER_PROTOCOL)}
    kept = {r for r in foreign if _reached(r, networks)}
    every = {r for r in scene.wanted_routes.get(link.name, ()) if not scene.leads_out(r)} | kept
    return [r for r in _in_order(every) if r.version == 4]


def _reached(route: Route, networks: list[IPv4Network | IPv6Network]) -> bool:
    """Whether the kernel will take it with these networks on its link."""
    source = route.exact.source if route.exact is not None else ""
    if source and not any(ip_address(source) in network for network in networks):
        return False
    free = route.exact is not None and route.exact.reached
    return free or not route.gateway or any(ip_address(route.gateway) in n for n in networks)


def routes(scene: Scene, link: IfName, have: frozenset[Route]) -> Iterator[Burst]:
    """New before old: between the two the kernel takes the older one. The first default route of a host comes last of
    all: a plan that is cut off before it goes on, and after it there is nothing left that it could forbid."""

    def added(route: Route, phase: Phase) -> Step:
        impact = Impact.NONE if _goes_on(scene, link, route) else _price_of_way(scene, link, ip_network(route.dst))
        return scene.step(phase, link, AddRoute(route), impact)

    new, note = _in_order(scene.missing_routes(link, have)), "what went this way goes another, or ends"
    gone = _in_order(scene.stale_routes(link, have))
    yield from together(3, (added(route, Phase.ADD_ROUTES) for route in new if not scene.leads_out(route)))
    yield from together(LAST, (added(route, Phase.CLEAN) for route in new if scene.leads_out(route)))
    yield from together(3, (scene.step(Phase.DELETE_ROUTES, link, DelRoute(r), Impact.FLAP, note) for r in gone))


def _in_order(routes: Iterable[Route]) -> list[Route]:
    """Those without a gateway first: they may lead to the gateways of the others."""
    return sorted(routes, key=lambda r: (bool(r.gateway), r.dst, r.metric, r.order, r.gateway or ""))


def rules(scene: Scene, link: IfName) -> Iterator[Burst]:
    """The table that a rule leads to is filled before it, and emptied after it."""
    want, ours = scene.wanted_rules.get(link, frozenset()), scene.our_rules(link)
    for rule in _rules_in_order(want - scene.seen_rules.get(link, frozenset())):
        yield burst(4, scene.step(Phase.ADD_ROUTES, link, AddRule(rule)))
    for rule in _rules_in_order(ours - want):
        yield burst(2, scene.step(Phase.DELETE_ROUTES, link, DelRule(rule)))


def _rules_in_order(those: Iterable[Rule]) -> list[Rule]:
    return sorted(those, key=lambda r: (r.iif, r.oif, r.message))


def settings(scene: Scene, link: Link, changed: Mapping[str, str]) -> Iterator[Burst]:
    """A new link has them before it comes up: what it does then depends on them (`addrconf_notify`)."""
    for key, value in sorted(changed.items()):
        family, _, name = key.partition("/")
        action = SetSysctl(f"net/{family}/conf/{link.name}/{name}", value)
        yield burst(3, scene.step(Phase.OPTIONS, link.name, action, scene.when_carrying(link.name, Impact.HITLESS)))


def _in(addr: str, network: object) -> bool:
    return ip_interface(addr).network == network
