"""What differs between the wanted and the observed state, link by link, attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from windrow.model.bonding import Change
from windrow.model.bridging import BRIDGE_OPTIONS, PORT_OPTIONS
from windrow.model.host import (
    Bond,
    Bridge,
    Link,
    LinkFlags,
    LinkSpec,
    Other,
    PortVlans,
    Snooping,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.steps import Delta
from windrow.model.values import Cidr, Ref, VidSet
from windrow.plan.mutability import TABLE

SETTING = "sysctl."
"""Before the key of `Link.settings` in the name of a delta's field."""
UNKNOWN = Ref("Node", "")
"""The reason of what no object wants: something of ours that is left over."""


def why(link: Link) -> Ref:
    return link.origin[0] if link.origin else UNKNOWN


def diff_link(want: Link, have: Link | None) -> tuple[Delta, ...]:
    """The attributes of `want` that are managed and differ. A link that is not there is one delta: `link`."""
    if have is None:
        return (_delta(want, "link", None, want),)
    return tuple(_attributes(want, have))


def addresses_there(want: Link, have: Link | None) -> frozenset[Cidr]:
    """Of a link, what counts beside what is wanted: its static addresses, but for wanted ones that somebody else has;
    and those for a time where they are wanted just so. The others of that kind somebody else gives and takes."""
    if have is None:
        return frozenset()
    if not have.details:
        return have.addrs or frozenset()
    wanted = want.addrs or frozenset()
    for_a_time = {address for address, one in want.details.items() if not one.static and address in have.details}
    return ((have.addrs or frozenset()) - duplicates(want, have)) | (for_a_time & wanted)


def duplicates(want: Link, have: Link | None) -> frozenset[Cidr]:
    """The wanted addresses that are there and not used, for somebody else had them: to be tried again."""
    found = {address for address, one in have.details.items() if one.duplicate} if have is not None else set()
    as_they_are = {address for address, one in want.details.items() if one.duplicate}
    return (want.addrs or frozenset()) & (found - as_they_are)


def _delta(want: Link, field: str, have: object, should: object) -> Delta:
    change = Change.LIVE if field.startswith(SETTING) else TABLE[field]
    return Delta(link=want.name, field=field, have=have, want=should, change=change, why=why(want))


def _attributes(want: Link, have: Link) -> Iterator[Delta]:
    for field in ("up", "mtu", "mac", "txqlen", "promisc"):
        should, is_ = getattr(want, field), getattr(have, field)
        if should is not None and should != is_:
            yield _delta(want, field, is_, should)
    if want.addrs is not None and want.addrs != (is_ := addresses_there(want, have)):
        yield _delta(want, "addrs", is_, want.addrs)
    for key, value in sorted(want.settings.items()) if want.settings else ():
        if (found := have.settings.get(key)) != value and _has_family(have, key):
            yield _delta(want, f"{SETTING}{key}", found, value)
    if want.master is not None and want.master != (have.master or ""):
        yield _delta(want, "master", have.master or "", want.master)
    for field in ("vlans", "self_vlans"):
        should, is_ = getattr(want, field), getattr(have, field)
        if should is not None and not same_vlans(should, is_):
            yield _delta(want, field, is_, should)
    if want.snooping is not None and want.snooping != (is_ := have.snooping or Snooping()):
        yield _delta(want, "snooping", is_, want.snooping)
    if want.port is not None and want.port is not have.port:
        yield from _known(want, "port", PORT_OPTIONS, want.port, have.port)
    if want.flags is not None and want.flags is not have.flags:
        yield from _known(want, "flags", _FLAGS, want.flags, have.flags)
    if want.slave_prio is not None and have.slave_prio is not None and want.slave_prio != have.slave_prio:
        yield _delta(want, "slave_prio", have.slave_prio, want.slave_prio)
    if want.fdb is not None and want.fdb != (is_ := have.fdb or frozenset()):
        yield _delta(want, "fdb", is_, want.fdb)
    if want.peers is not None and want.peers != (known := have.peers or frozenset()):
        yield _delta(want, "peers", known, want.peers)
    if want.mark and have.mark is False:
        yield _delta(want, "mark", False, True)
    yield from _spec(want, have.spec)


def _has_family(have: Link, key: str) -> bool:
    """Whether the link has settings of that family: one with an MTU below 1280 has none of IPv6."""
    family = f"{key.partition('/')[0]}/"
    return not have.settings or any(other.startswith(family) for other in have.settings)


def changed_settings(deltas: tuple[Delta, ...]) -> dict[str, str]:
    return {d.field.removeprefix(SETTING): str(d.want) for d in deltas if d.field.startswith(SETTING)}


_FLAGS = tuple(f.name for f in fields(LinkFlags))


def _known(want: Link, prefix: str, names: tuple[str, ...], should: object, is_: object) -> Iterator[Delta]:
    for name, seen, wanted in _unlike(names, should, is_):
        yield _delta(want, f"{prefix}.{name}", seen, wanted)


_Unlike = tuple[tuple[str, object, object], ...]
_kept: dict[tuple[int, int], tuple[object, object, _Unlike]] = {}
_KEPT_MAX = 256


def _unlike(names: tuple[str, ...], should: object, is_: object) -> _Unlike:
    """Options of which the kernel says something: one that it lacks, or leaves to STP just now, cannot be wanted.

    Found once for the same two objects: a thousand ports share what is wanted of them, and what they are like
    (`compile.ports`, `netlink.observe`). To compare these by value would cost as much as all the rest of a plan.
    """
    key = (id(should), id(is_))
    found = _kept.get(key)
    if found is None or found[0] is not should or found[1] is not is_:
        pairs = ((name, getattr(is_, name, None), getattr(should, name)) for name in names)
        unlike = tuple(p for p in pairs if p[1] is not None and p[2] is not None and p[1] != p[2])
        if len(_kept) >= _KEPT_MAX:
            _kept.clear()
        found = _kept[key] = (should, is_, unlike)
    return found[2]


def _spec(want: Link, have: LinkSpec) -> Iterator[Delta]:
    match want.spec, have:
        case Other(), _:
            pass  # a NIC is whatever carries frames: its kind is not ours to want
        case Bond(), Bond():
            yield from _options(want, have, "bond")
        case Bridge() as bridge, Bridge():
            yield from _known(want, "bridge", BRIDGE_OPTIONS, bridge, have)
        case VlanIf(), VlanIf():
            yield from _options(want, have, "vlan")
        case Vxlan(), Vxlan():
            yield from _options(want, have, "vxlan")
        case Wireguard(), Wireguard():
            yield from _options(want, have, "wireguard")
        case ((Bond() | Bridge() | VlanIf() | Vxlan() | Wireguard()), _):
            yield _delta(want, "kind", have, want.spec)


def _options(want: Link, have: LinkSpec, prefix: str) -> Iterator[Delta]:
    for field in fields(want.spec):
        should, is_ = getattr(want.spec, field.name), getattr(have, field.name)
        if should is not None and should != is_:
            yield _delta(want, f"{prefix}.{field.name}", is_, should)


def same_vlans(want: PortVlans, have: PortVlans | None) -> bool:
    have = have or PortVlans()
    if want.exact:
        return (want.pvid, want.untagged, want.tagged) == (have.pvid, have.untagged, have.tagged)
    return want.tagged - have.untagged == have.tagged


def vlan_change(want: PortVlans, have: PortVlans | None) -> tuple[PortVlans, PortVlans]:
    """(what to add, what to remove). A VID that only changes its flags is added anew, never removed
    between (`br_vlan_add_existing` changes the flags in place)."""
    have = have or PortVlans()
    if not want.exact:
        want = PortVlans(pvid=have.pvid, untagged=have.untagged, tagged=want.tagged - have.untagged)
    add = PortVlans(untagged=want.untagged - have.untagged, tagged=want.tagged - have.tagged)
    if want.pvid != have.pvid and want.pvid is not None:
        again = add.all | _one(want.pvid)
        add = PortVlans(
            pvid=want.pvid, untagged=add.untagged | (again & want.untagged), tagged=add.tagged | (again & want.tagged)
        )
    if want.pvid is None and have.pvid is not None and have.pvid in want.all:
        # Writing the VID without the PVID flag takes the PVID away (__vlan_flags_commit).
        pvid = _one(have.pvid)
        add = PortVlans(untagged=add.untagged | (pvid & want.untagged), tagged=add.tagged | (pvid & want.tagged))
    gone = have.all - want.all
    return add, PortVlans(tagged=gone)


def _one(vid: int) -> VidSet:
    return VidSet.of([vid])
