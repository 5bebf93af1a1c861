"""What goes wrong on a switch, done to a switch of the lab and taken back: each fault as the commands of `ip`, `bridge`
and `tc` on that switch. Values only; the session runs them.

The words for a place: `sw-oob:p1` is a port, `sw-oob:lag0` a group of ports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from windrow.lab.errors import LabError
from windrow.lab.scenario import Group, GroupMode, Port, Switch
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX, VID_MIN, IfName, VidSet

Argv = tuple[str, ...]
OTHER = "lag-x"
"""Another channel of the same switch. A bond's key follows from speed and duplex alone (`ad_update_actor_keys`),
and its system from its first member: without a key of its own the partner would take both for one."""

SPARE = "port-x"
"""A name that no port has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`on` brings it about, `off` takes it back; each is a list of commands on the switch."""

    name: str
    on: tuple[Argv, ...]
    off: tuple[Argv, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A port of a switch, or a group; `carrier` is what the bridge has as its port, `cables` where frames come in."""

    switch: Switch
    port: Port
    group: Group | None
    carrier: IfName
    cables: tuple[IfName, ...]


Maker = Callable[[Where, Mapping[str, str]], Fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault. `takes`: names of its arguments, in order."""

    help: str
    make: Callable[..., Fault]
    takes: tuple[str, ...] = ()


def fault(switch: Switch, place: str, name: str, words: tuple[str, ...]) -> Fault:
    """Raises LabError where there is no such place or fault, or its arguments are wrong."""
    kind = KINDS.get(name)
    if kind is None:
        raise LabError(f"there is no fault {name!r}", hint=f"there are {', '.join(KINDS)}")
    if len(words) != len(kind.takes):
        wants = " ".join(t.upper() for t in kind.takes) or "nothing"
        raise LabError(f"{name} takes {wants}", hint=kind.help)
    return kind.make(where(switch, place), *words)


def where(switch: Switch, place: str) -> Where:
    """Raises LabError."""
    group = next((g for g in switch.groups if g.name == place), None) or switch.group_of(place)
    if group is not None:
        members = group.members if group.name == place else (IfName(place),)
        return Where(switch=switch, port=group.port, group=group, carrier=group.name, cables=members)
    port = next((p for p in switch.ports if p.name == place), None)
    if port is None:
        there = ", ".join([*(p.name for p in switch.ports), *(g.name for g in switch.groups)])
        raise LabError(f"{switch.name} has no port {place!r}", hint=f"it has {there}")
    return Where(switch=switch, port=port, group=None, carrier=port.name, cables=(port.name,))


# Faults -------------------------------------------------------------------------------------------


def _vlan_missing(at: Where, vid: str) -> Fault:
    wanted = VidSet.of([_vid(vid)])
    if not wanted & at.port.port_vlans.all:
        raise LabError(f"{at.carrier} of {at.switch.name} does not carry VLAN {vid}")
    return Fault(name=f"vlan-missing {vid}", on=(_vlan("del", at, vid),), off=tuple(_restore(at)))


def _member_vlan_missing(at: Where, vid: str) -> Fault:
    """One member of a channel drops a VLAN that the others carry, both ways."""
    _vid(vid)
    on = [
        argv
        for port in at.cables
        for way in ("ingress", "egress")
        for argv in _filter(port, way, ("protocol", "802.1Q", "flower", "vlan_id", vid), "drop")
    ]
    return Fault(name=f"member-vlan-missing {vid}", on=tuple(on), off=tuple(_clear(at)))


def _vlan_not_created(at: Where, vid: str) -> Fault:
    """On no port of the switch."""
    _vid(vid)
    ports = [*at.switch.ports, *(g.port for g in at.switch.groups)]
    carrying = [p for p in ports if VidSet.of([int(vid)]) & p.port_vlans.all and not at.switch.group_of(p.name)]
    on = [("bridge", "vlan", "del", "dev", p.name, "vid", vid) for p in carrying]
    off = [argv for p in carrying for argv in _vlans_of(p.name, p)]
    return Fault(name=f"vlan-not-created {vid}", on=tuple(on), off=tuple(off))


def _access(at: Where, vid: str) -> Fault:
    on = (*_emptied(at), ("bridge", "vlan", "add", "dev", at.carrier, "vid", str(_vid(vid)), "pvid", "untagged"))
    return Fault(name=f"access {vid}", on=on, off=(_vlan("del", at, vid), *_restore(at)))


def _native(at: Where, vid: str) -> Fault:
    on = [_vlan("del", at, str(at.port.native))] if at.port.native else []
    on.append(("bridge", "vlan", "add", "dev", at.carrier, "vid", str(_vid(vid)), "pvid", "untagged"))
    return Fault(name=f"native {vid}", on=tuple(on), off=(_vlan("del", at, vid), *_restore(at)))


def _translate(at: Where, here: str, there: str) -> Fault:
    """VLAN `here` on the cable is VLAN `there` in the switch."""
    on = [
        argv
        for port in at.cables
        for way, old, new in (("ingress", here, there), ("egress", there, here))
        for argv in _filter(
            port,
            way,
            ("protocol", "802.1Q", "flower", "vlan_id", str(_vid(old))),
            "vlan",
            "modify",
            "id",
            str(_vid(new)),
        )
    ]
    return Fault(name=f"translate {here} {there}", on=tuple(on), off=tuple(_clear(at)))


def _isolated(at: Where) -> Fault:
    return Fault(
        name="isolated",
        on=(("bridge", "link", "set", "dev", at.carrier, "isolated", "on"),),
        off=(("bridge", "link", "set", "dev", at.carrier, "isolated", "off"),),
    )


def _deaf(at: Where) -> Fault:
    on = [argv for port in at.cables for argv in _filter(port, "ingress", ("matchall",), "drop")]
    return Fault(name="deaf", on=tuple(on), off=tuple(_clear(at)))


def _mute(at: Where) -> Fault:
    on = [argv for port in at.cables for argv in _filter(port, "egress", ("matchall",), "drop")]
    return Fault(name="mute", on=tuple(on), off=tuple(_clear(at)))


def _no_broadcast(at: Where) -> Fault:
    match = ("flower", "dst_mac", "ff:ff:ff:ff:ff:ff")
    on = [argv for port in at.cables for argv in _filter(port, "ingress", match, "drop")]
    return Fault(name="no-broadcast", on=tuple(on), off=tuple(_clear(at)))


def _loss(at: Where, percent: str) -> Fault:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]+)?", percent):
        raise LabError(f"{percent!r} is no share of frames in percent")
    on = [("tc", "qdisc", "replace", "dev", port, "root", "netem", "loss", f"{percent}%") for port in at.cables]
    off = [("tc", "qdisc", "del", "dev", port, "root") for port in at.cables]
    return Fault(name=f"loss {percent}", on=tuple(on), off=tuple(off))


def _slow(at: Where, mbit: str) -> Fault:
    if not mbit.isdecimal() or not int(mbit):
        raise LabError(f"{mbit!r} is no rate in Mbit/s")
    on = [("tc", "qdisc", "replace", "dev", port, "root", "netem", "rate", f"{mbit}mbit") for port in at.cables]
    off = [("tc", "qdisc", "del", "dev", port, "root") for port in at.cables]
    return Fault(name=f"slow {mbit}", on=tuple(on), off=tuple(off))


def _mtu(at: Where, mtu: str) -> Fault:
    """A veth drops what is longer than its MTU (`is_skb_forwardable`), as a switch port does."""
    if not mtu.isdecimal() or not 576 <= int(mtu) <= 9216:
        raise LabError(f"{mtu!r} is no MTU from 576 to 9216")
    on = [("ip", "link", "set", port, "mtu", mtu) for port in at.cables]
    off = [("ip", "link", "set", port, "mtu", "1500") for port in at.cables]
    return Fault(name=f"mtu {mtu}", on=tuple(on), off=tuple(off))


def _no_channel(at: Where) -> Fault:
    """Its members are ports of their own, with the VLANs of the group."""
    if at.group is None:
        raise LabError(f"{at.carrier} of {at.switch.name} is in no channel")
    on: list[Argv] = []
    for port in at.cables:
        on += [("ip", "link", "set", port, "nomaster"), ("ip", "link", "set", port, "master", "br0")]
        on += [*_vlans_of(port, at.port), ("ip", "link", "set", port, "up")]
    off = [argv for port in at.cables for argv in _enslaved(port, at.group.name)]
    return Fault(name="no-channel", on=tuple(on), off=tuple(off))


def _channel(at: Where, mode: str) -> Fault:
    """The whole group with the other mode; or ports alone put into a channel that nobody asked for."""
    if at.group is None or mode not in tuple(GroupMode) or mode == at.group.mode:
        raise LabError(f"{at.carrier} of {at.switch.name} cannot be a channel of mode {mode}")
    name, members = at.group.name, at.group.members
    off = _group(name, at.group.mode, members, at.port)
    return Fault(name=f"channel {mode}", on=tuple(_group(name, GroupMode(mode), members, at.port)), off=tuple(off))


def _other_key(at: Where) -> Fault:
    """One member is in another channel of the same switch: another key."""
    if at.group is None or at.group.mode is not GroupMode.LACP:
        raise LabError(f"{at.carrier} of {at.switch.name} is in no channel with LACP")
    port = at.cables[0]
    on = (*_group(OTHER, GroupMode.LACP, (port,), at.port),)
    off = (("ip", "link", "del", OTHER), *_enslaved(port, at.group.name))
    return Fault(name="other-key", on=on, off=off)


def _crossed(at: Where, other: str) -> Fault:
    """The cables of two ports are in each other's: a veth's end takes the other's name, and has its VLANs."""
    there = where(at.switch, other)
    if at.group is not None or there.group is not None or at.carrier == there.carrier:
        raise LabError(f"{at.carrier} and {other} of {at.switch.name} are not two ports without a channel")
    both = (at.carrier, there.carrier)
    on: list[Argv] = [("ip", "link", "set", name, "down") for name in both]
    for name, to in zip((both[0], both[1], SPARE), (SPARE, both[0], both[1]), strict=True):
        on.append(("ip", "link", "set", name, "name", to))
    for one, before in ((at, there), (there, at)):
        on += [_vlan("del", one, span) for span in filter(None, str(before.port.port_vlans.all).split(","))]
        on += [*_vlans_of(one.carrier, one.port, new=False), ("ip", "link", "set", one.carrier, "up")]
    return Fault(name=f"crossed {other}", on=tuple(on), off=tuple(on))


KINDS: Mapping[str, Kind] = {
    "vlan-missing": Kind(help="the port does not carry this VLAN", make=_vlan_missing, takes=("vid",)),
    "member-vlan-missing": Kind(
        help="a member of a channel drops this VLAN, the others do not", make=_member_vlan_missing, takes=("vid",)
    ),
    "vlan-not-created": Kind(help="the switch does not know this VLAN", make=_vlan_not_created, takes=("vid",)),
    "access": Kind(help="an access port of this VLAN instead of a trunk", make=_access, takes=("vid",)),
    "native": Kind(help="another native VLAN", make=_native, takes=("vid",)),
    "translate": Kind(
        help="VLAN HERE on the cable is VLAN THERE in the switch", make=_translate, takes=("here", "there")
    ),
    "isolated": Kind(help="isolated from other isolated ports", make=_isolated),
    "deaf": Kind(help="the switch hears nothing from the host", make=_deaf),
    "mute": Kind(help="the host hears nothing from the switch", make=_mute),
    "no-broadcast": Kind(help="broadcasts of the host are dropped", make=_no_broadcast),
    "loss": Kind(help="a share of the frames to the host is lost", make=_loss, takes=("percent",)),
    "slow": Kind(help="frames to the host at this rate", make=_slow, takes=("mbit",)),
    "mtu": Kind(help="longer frames are dropped", make=_mtu, takes=("mtu",)),
    "no-channel": Kind(help="the ports are in no channel", make=_no_channel),
    "channel": Kind(help="the channel has this mode: lacp or static", make=_channel, takes=("mode",)),
    "crossed": Kind(help="its cable and that of OTHER are in each other's port", make=_crossed, takes=("other",)),
    "other-key": Kind(help="one member is in another channel with LACP", make=_other_key),
}


def fault_lines() -> Iterator[str]:
    """Each kind, for a help text."""
    for name, kind in KINDS.items():
        yield f"  {' '.join([name, *(t.upper() for t in kind.takes)]):32} {kind.help}"


# Pieces -------------------------------------------------------------------------------------------


def _vid(text: str) -> int:
    if not text.isdecimal() or not VID_MIN <= int(text) <= VID_MAX:
        raise LabError(f"{text!r} is no VLAN id from {VID_MIN} to {VID_MAX}")
    return int(text)


def _vlan(verb: str, at: Where, vid: str) -> Argv:
    return ("bridge", "vlan", verb, "dev", at.carrier, "vid", vid)


def _vlans_of(name: str, port: Port, *, new: bool = True) -> Iterator[Argv]:
    """As the scenario has them, on a port that may have any. VID 1 goes first: a `new` port has it from the kernel."""
    vlans = port.port_vlans
    if new and 1 not in vlans.all:
        yield ("bridge", "vlan", "del", "dev", name, "vid", "1")
    for span in filter(None, str(vlans.tagged).split(",")):
        yield ("bridge", "vlan", "add", "dev", name, "vid", span)
    if port.native:
        yield ("bridge", "vlan", "add", "dev", name, "vid", str(port.native), "pvid", "untagged")


def _restore(at: Where) -> Iterator[Argv]:
    yield from _vlans_of(at.carrier, at.port)


def _emptied(at: Where) -> Iterator[Argv]:
    for span in filter(None, str(at.port.port_vlans.all).split(",")):
        yield ("bridge", "vlan", "del", "dev", at.carrier, "vid", span)


def _filter(port: str, way: str, match: Argv, *action: str) -> Iterator[Argv]:
    yield ("tc", "qdisc", "replace", "dev", port, "clsact")
    yield ("tc", "filter", "add", "dev", port, way, *match, "action", *action)


def _clear(at: Where) -> Iterator[Argv]:
    yield from (("tc", "qdisc", "del", "dev", port, "clsact") for port in at.cables)


def _enslaved(port: str, group: str) -> Iterator[Argv]:
    yield ("ip", "link", "set", port, "nomaster")
    yield ("ip", "link", "set", port, "down")
    yield ("ip", "link", "set", port, "master", group)


def _group(name: str, mode: GroupMode, members: tuple[IfName, ...], port: Port) -> Iterator[Argv]:
    kind = "802.3ad lacp_rate fast" if mode is GroupMode.LACP else "balance-xor"
    if name == OTHER:
        kind += " ad_user_port_key 5"
    else:
        yield ("ip", "link", "del", name)
    yield ("ip", "link", "add", name, "type", "bond", "mode", *kind.split(), "miimon", "100")
    yield ("ip", "link", "set", name, "type", "bond", "xmit_hash_policy", "layer2+3")
    for member in members:
        yield from _enslaved(member, name)
    yield ("ip", "link", "set", name, "master", "br0")
    yield from _vlans_of(name, port)
    yield ("ip", "link", "set", name, "up")
