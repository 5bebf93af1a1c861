"""A bond's mode, changed make-before-break.

The kernel changes the mode of an empty bond only. So a second bond, `<cn>-bn`, is made in the new mode
and takes over NIC by NIC, while the first goes on carrying the traffic:

    1  make <cn>-bn, put it on the bridge without any VLAN: a filtering bridge drops every frame of
       such a port, both ways, so that two uplinks on one bridge are no loop for a single frame
    2  the first NIC moves (one that carries nothing, if there is one); <cn>-bn comes up; wait for carrier,
       and for the switch: that LACP agrees, or else a second
    3  swap: the old bond loses its VLANs and the new one gets them, in one burst
    4  the other NICs follow; the old bond is deleted; the new one gets its name

Port state `blocking` would not do: with STP off the kernel puts every port back to forwarding whenever
any port of the bridge changes (`br_port_state_selection`).

Every step is left out when what it does is already so: a plan that was cut off anywhere is resumed by
planning again. It goes on from the bond that carries the traffic. Before the swap that is the old one, after it the
new one, whatever is left of the old one; where the wish has changed meanwhile, the new one first gets the name, and
is then changed like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from windrow.model.bonding import Change
from windrow.model.host import Bond, Link, LinkSpec, PortVlans
from windrow.model.names import successor_of
from windrow.model.steps import (
    AwaitCarrier,
    CreateLink,
    DeleteLink,
    Delta,
    Impact,
    Phase,
    RenameLink,
    SetBond,
    SetLink,
    SetMark,
    SetMaster,
    SetVlans,
    Step,
)
from windrow.model.values import IfName
from windrow.plan import price
from windrow.plan.diff import vlan_change
from windrow.plan.order import FRESH_PORT, Burst, as_made, burst
from windrow.plan.renamed import bearer
from windrow.plan.scene import Scene

CARRIER_TIMEOUT_MS = 20_000
"""LACP agrees two seconds after the switch's answer (`AD_AGGREGATE_WAIT_TIME`, IEEE 802.1AX §6.4.4), and a real NIC
takes as long to have carrier; eight more where a bond was up before its NIC (`AD_AGGREGATOR_SELECTION_TIMER`)."""

SETTLE_MS = 1_200
"""The NIC has been down to change bonds: the switch's port forwards again a little after its carrier is back, a
Linux bridge up to a second (linkwatch runs once a second). Meanwhile the old bond carries the traffic."""

PHASE = Phase.DOWN_OPTIONS


def needs_empty(deltas: tuple[Delta, ...]) -> bool:
    return any(d.change in (Change.EMPTY, Change.DOWN_EMPTY) for d in deltas)


def under_way(scene: Scene, bond: Link) -> bool:
    """The successor is as it should be, and the old bond is gone or carries nothing: there is no other way on."""
    return scene.owned(successor_of(bond.name)) and _alike(scene, bond) and not scene.carrying(bond.name)


def given_up(scene: Scene, bond: Link) -> bool:
    """The successor carries the traffic of the bridge, and is not what is wanted any more: the wish has changed after
    the swap, or the change is undone."""
    new = scene.seen(successor_of(bond.name))
    if new is None or not scene.owned(new.name) or new.master != bond.master or scene.blind(new.name):
        return False
    old = scene.seen(bond.name)
    return not _alike(scene, bond) and (old is None or (scene.owned(old.name) and scene.blind(old.name)))


def promote(scene: Scene, bond: Link) -> tuple[Burst, Scene]:
    """What carries the traffic gets the name of the bond, and the scene after that: the rest is planned from there."""
    new, old = successor_of(bond.name), scene.seen(bond.name)
    gone = [_step(scene, bond, bond.name, DeleteLink(), note="it carries nothing")] if old else []
    steps = [*gone, *_named(scene, bond, new)]
    return burst(-1, *(replace(s, phase=Phase.PREPARE) for s in steps)), scene.after_promotion(new, bond.name)


def _alike(scene: Scene, bond: Link) -> bool:
    return _staying(scene, bond, successor_of(bond.name)) is not None


def possible(scene: Scene, bond: Link) -> bool:
    """With two NICs, and only worth it while the bond carries something."""
    old = scene.seen(bond.name)
    if old is None or old.master != bond.master or not bond.master or not scene.carrying(bond.name):
        return False
    usable = [n for n in scene.wanted_slaves(bond.name) if scene.seen(n) is not None]
    return len(usable) >= 2 and not _in_the_way(scene, bond)


def _in_the_way(scene: Scene, bond: Link) -> bool:
    new = successor_of(bond.name)
    return bearer(scene.have, new) is not None or (scene.seen(new) is not None and not scene.owned(new))


def take_over(scene: Scene, bond: Link, number: int) -> Iterator[Burst]:
    """All steps, from wherever the takeover stands. `bond` is wanted; its successor may or may not exist.

    `number`: which takeover of the unit this is; each is through before the next begins.
    """
    new = successor_of(bond.name)
    rank = 100 * (number + 1)  # after everything else of the phase, in the order written here
    for steps in _stages(scene, bond, new):
        if steps:
            yield burst(rank, *steps)
            rank += 1


def _stages(scene: Scene, bond: Link, new: IfName) -> Iterator[list[Step]]:
    waiting = _movers(scene, bond, new)
    first = [] if _staying_slaves(scene, bond, new) else waiting[:1]
    yield from _prepare(scene, bond, new)
    for nic in first:
        yield _move(scene, bond, nic, new, "the first NIC")
    yield _open(scene, bond, new)
    if scene.carrying(bond.name):
        # Without carrier by then the plan stops here, and the old bond goes on carrying.
        yield [_step(scene, bond, new, AwaitCarrier(CARRIER_TIMEOUT_MS, SETTLE_MS))]
    yield _swap(scene, bond, new)
    for nic in waiting[len(first) :]:
        yield _move(scene, bond, nic, new, "it follows")
    yield _late_options(scene, bond, new)
    if scene.seen(bond.name) is not None:
        yield [_step(scene, bond, bond.name, DeleteLink(), note="it carries nothing any more")]
    yield _named(scene, bond, new)


def _late_options(scene: Scene, bond: Link, new: IfName) -> list[Step]:
    """`_opening` left min_links out. A successor that was begun for another wish may not know the primary."""
    least = bond.spec.min_links if isinstance(bond.spec, Bond) else None
    primary = _primary_to_come(scene, bond, new) if _staying(scene, bond, new) else ""
    options = Bond(min_links=least or None, primary=primary or None)
    return [_step(scene, bond, new, SetBond(options))] if options != Bond() else []


def _named(scene: Scene, bond: Link, new: IfName) -> list[Step]:
    return [
        _step(scene, bond, new, SetLink(up=False), Impact.FLAP, "a link is renamed while down (dev_change_name)"),
        _step(scene, bond, new, RenameLink(bond.name)),
        _step(scene, bond, bond.name, SetLink(up=True)),
        _step(scene, bond, bond.name, SetMark(name=True, stale=(new,))),
    ]


def _step(scene: Scene, bond: Link, link: IfName, action: object, impact: Impact = Impact.NONE, note: str = "") -> Step:
    return Step(phase=PHASE, link=link, action=action, why=scene.why(bond.name), impact=impact, note=note)  # type: ignore[arg-type]


def _staying(scene: Scene, bond: Link, new: IfName) -> Link | None:
    """The successor that is there, if it is of the wanted mode; one of another mode is made anew."""
    seen = scene.seen(new)
    if seen is None or not isinstance(seen.spec, Bond) or not isinstance(bond.spec, Bond):
        return None
    wanted = replace(bond.spec, primary="") if _primary_to_come(scene, bond, new) else bond.spec
    return seen if _opening(seen.spec.applicable()) == _opening(wanted.applicable()) else None


def _primary_to_come(scene: Scene, bond: Link, new: IfName) -> str:
    """The primary that is not in the successor yet. The kernel knows its name, and tells it once it is in."""
    primary = bond.spec.primary if isinstance(bond.spec, Bond) else None
    return primary if primary and primary not in scene.slaves(new) else ""


def _opening(spec: LinkSpec) -> LinkSpec:
    """The options to begin with: min_links would keep a bond of one NIC, as it is for a while, without carrier."""
    return replace(spec, min_links=0) if isinstance(spec, Bond) and spec.min_links else spec


def _prepare(scene: Scene, bond: Link, new: IfName) -> Iterator[list[Step]]:
    """The successor: on the bridge, a member of no VLAN."""
    seen = _staying(scene, bond, new)
    if seen is None:
        if scene.seen(new) is not None:
            impact = scene.when_carrying(new, Impact.OUTAGE)
            yield [_step(scene, bond, new, DeleteLink(), impact, "left over from a change to another mode")]
        blank = replace(as_made(bond), name=new, spec=_opening(bond.spec))
        yield [_step(scene, bond, new, CreateLink(blank), note="takes over NIC by NIC")]
    elif changed := _drifted(bond, seen):
        impact = scene.when_carrying(new, Impact.FLAP)
        yield [_step(scene, bond, new, changed, impact, "begun for another MTU or MAC")]
    if seen is None or seen.master != bond.master:
        down = [_step(scene, bond, new, SetLink(up=False))] if seen and seen.up else []
        join = _step(scene, bond, new, SetMaster(IfName(bond.master or "")))
        blind = _step(scene, bond, new, SetVlans(remove=FRESH_PORT.all), note="in no VLAN: it blocks every frame")
        yield [*down, join, blind]


def _open(scene: Scene, bond: Link, new: IfName) -> list[Step]:
    """After the first NIC is in: a bond that is up by then waits eight seconds before LACP may agree, one that comes
    up with its NIC a tenth of one (`bond_3ad_initiate_agg_selection` in bond_enslave() and bond_open())."""
    seen = _staying(scene, bond, new)
    is_open = seen is not None and seen.up and seen.master == bond.master
    return [] if is_open else [_step(scene, bond, new, SetLink(up=True))]


def _drifted(bond: Link, seen: Link) -> SetLink | None:
    """What a successor that stays has to be given: the wish may have changed since it was made."""
    wanted = {name: getattr(bond, name) for name in ("mtu", "mac", "txqlen")}
    changed = {n: v for n, v in wanted.items() if v is not None and v != getattr(seen, n)}
    return SetLink(**changed) if changed else None


def _staying_slaves(scene: Scene, bond: Link, new: IfName) -> list[IfName]:
    """The wanted NICs that are in the successor already."""
    there = scene.slaves(new) if _staying(scene, bond, new) else []
    return [n for n in there if n in scene.wanted_slaves(bond.name)]


def _movers(scene: Scene, bond: Link, new: IfName) -> list[IfName]:
    """The wanted NICs that are not in the successor, the one to go first at the head: a backup slave with carrier,
    else one that carries nothing because it is free, or closed already by a takeover that was cut off, else an active
    slave; one that is open and has no carrier comes last."""
    there = _staying_slaves(scene, bond, new)
    nics = [n for n in scene.wanted_slaves(bond.name) if scene.seen(n) is not None and n not in there]

    def place(nic: IfName) -> int:
        (cost, _), seen = price.leaving(scene, nic), scene.seen(nic)
        if seen is not None and seen.master == bond.name and seen.up and not scene.carrying(nic):
            return 4
        return {Impact.HITLESS: 0, Impact.NONE: 1, Impact.FLAP: 2, Impact.OUTAGE: 3}[cost]

    return sorted(nics, key=place)


def _move(scene: Scene, bond: Link, nic: IfName, new: IfName, note: str) -> list[Step]:
    """bond_enslave() refuses a device that is up; do_set_master() takes it from the old bond by itself."""
    seen, follows = scene.seen(nic), note != "the first NIC"
    # After the swap the old bond carries nothing, and the new one everything; a NIC from elsewhere is missed there.
    carries_nothing = follows and seen is not None and seen.master == bond.name
    leave = Impact.HITLESS if carries_nothing else price.leaving(scene, nic)[0]
    join, why = (price.sharing(bond.spec) if follows else None) or (Impact.HITLESS if follows else Impact.NONE, "")
    down = [_step(scene, bond, nic, SetLink(up=False), leave, note)] if seen and seen.up else []
    return [*down, _step(scene, bond, nic, SetMaster(new), join, why or ("" if down else note))]


def _swap(scene: Scene, bond: Link, new: IfName) -> list[Step]:
    """The old bond's VLANs go and the new one's come, in one burst, in this order: never two uplinks at once."""
    old, successor = scene.seen(bond.name), _staying(scene, bond, new)
    have = successor.vlans if successor and successor.master == bond.master else None
    add, remove = vlan_change(bond.vlans or PortVlans(), have)
    steps: list[Step] = []
    if old is not None and old.vlans is not None and old.vlans.all:
        action = SetVlans(remove=old.vlans.all)
        steps.append(_step(scene, bond, bond.name, action, Impact.FLAP, "the swap"))
    if add != PortVlans() or remove.all:
        steps.append(_step(scene, bond, new, SetVlans(add=add, remove=remove.all)))
    return steps
