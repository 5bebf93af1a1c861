"""The rules of order. Each is one function: which steps a link needs, in which phase, and why there.

A rule yields bursts. A burst is sent at once; the bursts of a unit are sorted by (phase, rank).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface
from typing import Any

from windrow.model.bonding import Change
from windrow.model.host import (
    OWNER_PROTOCOL,
    RTPROT_KERNEL,
    Bond,
    Bridge,
    Link,
    LinkSpec,
    Other,
    PortVlans,
    Route,
    VlanIf,
)
from windrow.model.ports import users
from windrow.model.steps import (
    Action,
    AddAddr,
    AddRoute,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelRoute,
    Delta,
    Impact,
    Phase,
    SetBond,
    SetBridge,
    SetLink,
    SetMaster,
    SetPort,
    SetVlans,
    Step,
)
from windrow.model.values import IfName, VidSet
from windrow.plan.diff import vlan_change
from windrow.plan.scene import Scene, depth

FRESH_PORT = PortVlans(pvid=1, untagged=VidSet.of([1]))
"""What the kernel gives a port when it joins a bridge (`nbp_vlan_init`, default_pvid 1)."""

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


# -- making, and clearing away ---------------------------------------------------------------------


def make(scene: Scene, link: Link) -> Iterator[Burst]:
    """Create a link that is not there, or again one that cannot be changed into what it should be."""
    if isinstance(link.spec, Other):
        return
    made = replace(link, origin=(), up=None, promisc=None, master=None, vlans=None, self_vlans=None, addrs=None)
    match link.spec:
        case VlanIf(parent=parent) if (on := scene.seen(parent)) and on.mtu and on.mtu < (link.mtu or 0):
            # vlan_newlink() refuses an MTU above the parent's, which is raised later.
            yield burst(depth(link), scene.step(Phase.CREATE, link.name, CreateLink(replace(made, mtu=None))))
            yield burst(depth(link), scene.step(Phase.RAISE_MTU, link.name, SetLink(mtu=link.mtu)))
        case _:
            yield burst(depth(link), scene.step(Phase.CREATE, link.name, CreateLink(made)))


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
        # A bond may be replaced on the way (takeover), and takes along what stands on it.
        phase = Phase.PREPARE if on is not None and isinstance(on.spec, Bond) else Phase.CLEAN
        yield burst(0, scene.step(phase, link.name, DeleteLink(), impact))
        return
    ports = [p for p in scene.ports(link.name) if not scene.owned(p)] if isinstance(link.spec, Bridge) else []
    note = f"{', '.join(ports)} lose their bridge" if ports else ""
    impact = Impact.OUTAGE if ports else scene.when_carrying(link.name, Impact.OUTAGE)
    yield burst(1 + depth(link), scene.step(Phase.CLEAN, link.name, DeleteLink(), impact, note))


def leave_rival_bridge(scene: Scene, link: Link) -> Iterator[Burst]:
    """A bond of ours that nobody wants, on a bridge that stays: it leaves first. Two uplinks of one bridge are
    a loop as soon as both carry the same VLAN."""
    if isinstance(link.spec, Bond) and scene.wanted(link.master):
        impact = scene.when_carrying(link.name, Impact.FLAP)
        yield burst(1, scene.step(Phase.PREPARE, link.name, SetMaster(None), impact, note="no two uplinks at once"))


# -- NICs ------------------------------------------------------------------------------------------


def attach_nic(scene: Scene, nic: Link, rank: int) -> Iterator[Burst]:
    """bond_enslave() refuses a device that is up; it opens it itself, and gives it the bond's MTU and MAC."""
    seen, bond = scene.seen(nic.name), IfName(nic.master or "")
    if seen is None:
        return
    impact = scene.release_impact(nic.name) if scene.owned(seen.master) else Impact.NONE
    impact = Impact.worst([impact, scene.when_carrying(bond, Impact.HITLESS)])
    if seen.addrs and not scene.owned(seen.master):
        impact = scene.when_carrying(nic.name, Impact.FLAP)  # what is sent to the host waits until the bridge has them
    down = [scene.step(Phase.ATTACH, nic.name, SetLink(up=False), impact)] if seen.up else []
    gone = (seen.addrs or frozenset()) - nic.addrs if nic.addrs is not None else frozenset()
    # Closing a link takes its IPv6 addresses (addrconf_ifdown) and leaves the IPv4 ones: these go when the bridge has
    # them, so that the host is never without.
    first = [scene.step(Phase.ATTACH, nic.name, DelAddr(a), impact) for a in sorted(gone) if ":" in a]
    yield burst(rank, *first, *down, scene.step(Phase.ATTACH, nic.name, SetMaster(bond), impact))
    for addr in sorted(a for a in gone if ":" not in a):
        yield burst(3, scene.step(Phase.DELETE_ADDRESSES, nic.name, DelAddr(addr), note="its bridge has it now"))


def release_nic(scene: Scene, nic: IfName, *, free: bool) -> Iterator[Burst]:
    """bond_release() gives the NIC its MTU and MAC back and closes it; it is left up, as a NIC is found.

    `free`: it has left its bond by then, because that is emptied in an earlier phase.
    """
    want = scene.wanted(nic)
    up = want.up if want and want.up is not None else True
    after = scene.step(Phase.CLEAN, nic, SetLink(up=up, mtu=want.mtu if want else None))
    leave = [] if free else [scene.step(Phase.CLEAN, nic, SetMaster(None), scene.release_impact(nic))]
    have = (seen.addrs if (seen := scene.seen(nic)) else None) or frozenset()
    own: list[Action] = [AddAddr(a) for a in sorted((want.addrs if want else None) or ()) if ":" in a or a not in have]
    own += [AddRoute(r) for r in _in_order(scene.wanted_routes.get(nic, ()))]
    yield burst(1, *leave, after, *(scene.step(Phase.CLEAN, nic, action) for action in own))


# -- bonds -----------------------------------------------------------------------------------------


def bond_options(scene: Scene, bond: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """Live options go live. Options that need the bond down take it down and up in one burst: the slaves stay,
    and LACP keeps its state (`bond_close` does not touch the slaves)."""
    live, down = _options(deltas, Change.LIVE), _options(deltas, Change.DOWN)
    if live:
        live = replace(live, **_delays(bond.spec)) if live.miimon is not None else live
        impact = scene.when_carrying(bond.name, _live_impact(scene, bond, deltas))
        yield burst(1, scene.step(Phase.OPTIONS, bond.name, SetBond(live), impact))
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


def _live_impact(scene: Scene, bond: Link, deltas: tuple[Delta, ...]) -> Impact:
    """A new primary takes over at once when primary_reselect says so; all else is not noticed."""
    runtime = scene.runtime(bond.name)
    for delta in deltas:
        if delta.field == "bond.primary" and delta.want and runtime and runtime.active_slave != delta.want:
            return Impact.FLAP
    return Impact.HITLESS


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


def join_bridge(scene: Scene, bond: Link) -> Iterator[Burst]:
    """A port that joins has forgotten all VIDs and stands in VLAN 1: its VLANs come in the same burst."""
    seen = scene.seen(bond.name)
    impact = scene.when_carrying(bond.name, Impact.FLAP) if seen and seen.master else Impact.NONE
    join = scene.step(Phase.ATTACH, bond.name, SetMaster(IfName(bond.master or "") or None), impact)
    add, remove = vlan_change(bond.vlans or FRESH_PORT, FRESH_PORT)
    set_vlans = SetVlans(add=add, remove=remove.all)
    steps = [join] if set_vlans == SetVlans() else [join, scene.step(Phase.ATTACH, bond.name, set_vlans)]
    yield burst(10, *steps)


def port_vlans(scene: Scene, link: Link, *, have: PortVlans | None, on_self: bool) -> Iterator[Burst]:
    """New VIDs before old ones go; one message each, however many there are. What a new bridge is born with goes at
    once: nobody has had it yet."""
    want = link.self_vlans if on_self else link.vlans
    if want is None:
        return
    add, remove = vlan_change(want, have)
    if add != PortVlans():
        new_pvid = add.pvid is not None and have is not None and have.pvid != add.pvid
        impact = scene.when_carrying(link.name, Impact.FLAP if new_pvid else Impact.HITLESS)
        yield burst(1, scene.step(Phase.ADD_VLANS, link.name, SetVlans(add=add, on_self=on_self), impact))
    if remove.all:
        used = [] if on_self else scene.users_of(link.name, remove.all)
        impact = scene.when_carrying(link.name, Impact.OUTAGE if used else Impact.HITLESS)
        action = SetVlans(remove=remove.all, on_self=on_self)
        note = f"in use: {users(used)}" if used else ""
        phase = Phase.ADD_VLANS if on_self and scene.seen(link.name) is None else Phase.DELETE_VLANS
        yield burst(1, scene.step(phase, link.name, action, impact, note))


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
    closed = bool(seen.up) and (bool(port.isolated) or not _at_home_in_vlan_1(port.vlans or FRESH_PORT))
    before = SetLink(up=False if closed else None, mtu=_mtu_to_join(scene, port, seen))
    steps = [scene.step(Phase.UP, port.name, SetMaster(IfName(port.master or "")), impact)]
    if before != SetLink():
        note = "closed until it is what it should be" if closed else ""
        steps.insert(0, scene.step(Phase.UP, port.name, before, impact, note))
    if port.isolated or port.hairpin:
        steps.append(scene.step(Phase.UP, port.name, SetPort(isolated=port.isolated, hairpin=port.hairpin)))
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
    chosen = {d.field: bool(d.want) for d in deltas if d.field in ("isolated", "hairpin")}
    if chosen:
        impact = scene.when_carrying(port.name, Impact.HITLESS)
        yield burst(1, scene.step(Phase.OPTIONS, port.name, SetPort(**chosen), impact))


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
    """MAC, queue length, promiscuous mode: live, and harmless but for the MAC, which peers have in their tables."""
    chosen = {d.field: d.want for d in deltas if d.field in ("mac", "txqlen", "promisc")}
    if chosen:
        price = Impact.FLAP if "mac" in chosen else Impact.HITLESS
        action = SetLink(**chosen)  # type: ignore[arg-type]
        yield burst(1, scene.step(Phase.OPTIONS, link.name, action, scene.when_carrying(link.name, price)))


def pin_mac(scene: Scene, bond: Link) -> Iterator[Burst]:
    """After the first slave is in, whose MAC the bond would take."""
    yield burst(1, scene.step(Phase.OPTIONS, bond.name, SetLink(mac=bond.mac)))


def bridge_options(scene: Scene, link: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """Turning the VLAN filter back on keeps the VIDs that the ports have. It comes first of all: a takeover trusts
    that a port without VLANs carries nothing, and without the filter its two uplinks are a loop."""
    chosen = {d.field.removeprefix("bridge."): d.want for d in deltas if d.field.startswith("bridge.")}
    if chosen:
        impact = scene.when_carrying(link.name, Impact.FLAP)
        action = SetBridge(Bridge(**chosen))  # type: ignore[arg-type]
        phase = Phase.PREPARE if chosen.get("vlan_filtering") else Phase.OPTIONS
        yield burst(2, scene.step(phase, link.name, action, impact))


def bring_up(scene: Scene, link: Link) -> Iterator[Burst]:
    """Bottom-up: a VLAN interface on a parent that is down cannot be opened (vlan_dev_open: ENETDOWN)."""
    yield burst(depth(link), scene.step(Phase.UP, link.name, SetLink(up=True)))


def take_down(scene: Scene, link: Link) -> Iterator[Burst]:
    impact = scene.when_carrying(link.name, Impact.OUTAGE)
    yield burst(-depth(link), scene.step(Phase.CLEAN, link.name, SetLink(up=False), impact))


def addresses(scene: Scene, link: Link, have: Link | None) -> Iterator[Burst]:
    """New before old. Deleting a network's first address takes its others along unless promote_secondaries is
    set (`__inet_del_ifa`), so the wanted ones of that network are added once more in the same burst. Where that was
    the link's last IPv4 address, its IPv4 routes go (`fib_inetaddr_event`: fib_disable_ip), and come again, too."""
    want, old = link.addrs or frozenset(), (have.addrs if have else None) or frozenset()
    for addr in sorted(want - old):
        yield burst(3, scene.step(Phase.ADD_ADDRESSES, link.name, AddAddr(addr)))
    for addr in sorted(old - want):
        network = ip_interface(addr).network
        again = [scene.step(Phase.ADD_ADDRESSES, link.name, AddAddr(a)) for a in sorted(want) if _in(a, network)]
        gone = scene.step(Phase.DELETE_ADDRESSES, link.name, DelAddr(addr), Impact.FLAP, "its connections end")
        others = [a for a in want if ":" not in a and not _in(a, network)]
        lost = _lost_routes(scene, link) if ":" not in addr and again and not others else []
        yield burst(3, gone, *again, *(scene.step(Phase.ADD_ROUTES, link.name, AddRoute(r)) for r in lost))


def _lost_routes(scene: Scene, link: Link) -> list[Route]:
    """The IPv4 routes over it that are to be there in the end: ours, and those of others that still have a gateway."""
    networks = [ip_interface(a).network for a in link.addrs or ()]
    seen = scene.seen_routes.get(link.name, frozenset())
    foreign = {r for r in seen if r.protocol not in (RTPROT_KERNEL, OWNER_PROTOCOL)}
    kept = {r for r in foreign if not r.gateway or any(ip_address(r.gateway) in n for n in networks)}
    every = scene.wanted_routes.get(link.name, frozenset()) | kept
    return [r for r in _in_order(every) if ":" not in (r.gateway or r.dst)]


def routes(scene: Scene, link: IfName, have: frozenset[Route]) -> Iterator[Burst]:
    """New before old: between the two the kernel takes the older one."""
    want = scene.wanted_routes.get(link, frozenset())
    for route in _in_order(want - have):
        yield burst(3, scene.step(Phase.ADD_ROUTES, link, AddRoute(route)))
    for route in _in_order(r for r in have - want if r.protocol == OWNER_PROTOCOL):
        note = "what went this way goes another, or ends"
        yield burst(3, scene.step(Phase.DELETE_ROUTES, link, DelRoute(route), Impact.FLAP, note))


def _in_order(routes: Iterable[Route]) -> list[Route]:
    """Those without a gateway first: they may lead to the gateways of the others."""
    return sorted(routes, key=lambda r: (bool(r.gateway), r.dst, r.metric, r.gateway or ""))


def _in(addr: str, network: object) -> bool:
    return ip_interface(addr).network == network
