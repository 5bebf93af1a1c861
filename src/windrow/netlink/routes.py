"""Routes and rules as the kernel tells them, and made again just so.

What the fields of `model.host.Route` say is read and written by name. Whatever else there is (metrics, source, type of
service, several next hops, …) is carried as the very bytes of the dump; only links are found anew, for their indexes
change, and what moves by itself is left out. So a route needs not be understood to come back as it was.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
import math
import time
from collections.abc import Callable, Iterator, Mapping
from struct import Struct

from windrow.model.host import MAIN_TABLE, RTPROT_KERNEL, Exact, Route, Rule
from windrow.model.values import IfName
from windrow.netlink.codec import NEXTHOP_HEADER, ROUTE_HEADER, pack_attr, read_ip
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import RTM_GETROUTE, RTM_GETRULE, Message, Rtnl, Span

Index = Callable[[str], int]
Attributes = dict[int, bytes]

_ATTRIBUTE = Struct("=HH")
_U32 = Struct("=I")
_NLA_TYPE = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
DST, IIF, OIF, GATEWAY, PRIORITY, PREFSRC, METRICS, MULTIPATH = 1, 3, 4, 5, 6, 7, 8, 9
CACHEINFO, TABLE, MARK, VIA, PREF, ENCAP, EXPIRES, PAD, UID, NH_ID = 12, 15, 16, 18, 20, 22, 23, 24, 25, 30
"""RTA_*."""
_CACHEINFO = Struct("=IIiIIIII")
"""struct rta_cacheinfo: clntref, lastuse, expires (in USER_HZ ticks), error, id, ts, tsage, used."""
_USER_HZ = 100
_RTN_UNICAST, _RTM_F_CLONED = 1, 0x200
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_RTNH_F_PERVASIVE, _RTNH_F_ONLINK = 0x2, 0x4
_SETTABLE = _RTNH_F_PERVASIVE | _RTNH_F_ONLINK
"""The others are the kernel's own: it refuses RTNH_F_DEAD and RTNH_F_LINKDOWN (`fib_create_info`)."""
_MOVING = frozenset({IIF, CACHEINFO, MARK, EXPIRES, PAD, UID})
_PLAIN = frozenset({DST, OIF, GATEWAY, PRIORITY, TABLE, CACHEINFO})
"""What the fields of `Route` say, where the header is as `links.add_route` makes it."""
_MEDIUM = b"\0"
"""ICMPV6_ROUTER_PREF_MEDIUM, which an IPv6 route has unless it was given another."""


def dump_routes(rtnl: Rtnl, names: Mapping[int, str]) -> frozenset[Route]:
    """All routes over links, of all tables; of the kernel's own only the unicast ones of the main table."""
    found: list[Route] = []
    now = boottime()
    for family in (socket.AF_INET, socket.AF_INET6):
        header = ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        dump = _dump(rtnl, Message(RTM_GETROUTE, header, doing="list the routes"))
        for data, start, end in dump:
            fields = ROUTE_HEADER.unpack_from(data, start)
            own = fields[5] == RTPROT_KERNEL and (fields[7] != _RTN_UNICAST or fields[4] != MAIN_TABLE)
            if fields[0] == family and not own and not fields[8] & _RTM_F_CLONED:
                found += read(fields, attributes(data, start + ROUTE_HEADER.size, end), names, now, len(found))
    return frozenset(found)


def _dump(rtnl: Rtnl, message: Message) -> list[Span]:
    """A kernel may have no IPv6, and no rules."""
    try:
        return rtnl.dump(message)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            raise
        return []


def attributes(data: bytes, start: int, end: int) -> Attributes:
    """Number -> payload. A truncated attribute ends the reading, as in `nla_ok`."""
    found: Attributes = {}
    unpack = _ATTRIBUTE.unpack_from
    while start + 4 <= end:
        length, number = unpack(data, start)
        if length < 4 or start + length > end:
            break
        found[number & _NLA_TYPE] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


# -- reading ---------------------------------------------------------------------------------------


def read(
    fields: tuple[int, ...], attrs: Attributes, names: Mapping[int, str], now: float, order: int
) -> Iterator[Route]:
    """One route; of an IPv6 one with several plain next hops, one for each: the kernel, too, keeps them one by one,
    and joins whatever has the same destination and metric (`fib6_add_rt2node`)."""
    hops = list(_hops(attrs[MULTIPATH])) if MULTIPATH in attrs else []
    if fields[0] == socket.AF_INET6 and hops and all(_separate(hop) for hop in hops):
        rest = {number: data for number, data in attrs.items() if number != MULTIPATH}
        for place, (_, flags, _, index, inner) in enumerate(hops):
            one = {**rest, OIF: _U32.pack(index), **inner}
            yield from read((*fields[:8], fields[8] | flags), one, names, now, order + place)
        return
    dst = f"{read_ip(attrs[DST])}/{fields[1]}" if DST in attrs else "default"
    if link_local(dst):
        return
    indexes = [hop[3] for hop in hops] if hops else [_U32.unpack(attrs[OIF])[0]] if OIF in attrs else []
    links = tuple(IfName(name) for i in indexes if (name := names.get(i)))
    gateway = hops[0][4].get(GATEWAY) if hops else attrs.get(GATEWAY)
    if not links or len(links) < len(indexes):
        return  # over no link, as a blackhole is: it does not come or go with one
    yield Route(
        dst=dst,
        dev=links[0],
        gateway=read_ip(gateway) if gateway else None,
        table=_U32.unpack(attrs[TABLE])[0] if TABLE in attrs else fields[4],
        metric=_U32.unpack(attrs[PRIORITY])[0] if PRIORITY in attrs else 0,
        protocol=fields[5],
        exact=None if fields[5] == RTPROT_KERNEL or _is_plain(fields, attrs) else _exact(fields, attrs, hops, links),
        until=_until(attrs, now),
        order=order,
    )


Hop = tuple[int, int, int, int, Attributes]
"""Length, flags, weight - 1, ifindex, attributes."""


def _hops(data: bytes) -> Iterator[Hop]:
    start = 0
    while start + NEXTHOP_HEADER.size <= len(data):
        length, flags, weight, index = NEXTHOP_HEADER.unpack_from(data, start)
        if length < NEXTHOP_HEADER.size:
            return
        yield length, flags, weight, index, attributes(data, start + NEXTHOP_HEADER.size, start + length)
        start += (length + 3) & ~3


def _separate(hop: Hop) -> bool:
    """Whether a route of its own says all of it: only here a hop has a weight."""
    _, _, weight, _, inner = hop
    return weight == 0 and not inner.keys() - {GATEWAY}


def _is_plain(fields: tuple[int, ...], attrs: Attributes) -> bool:
    family, _, src_len, tos, _, _, scope, kind, flags = fields
    six = family == socket.AF_INET6
    if six and DST not in attrs and GATEWAY not in attrs:
        return False  # `links.add_route` takes it for one of IPv4
    usual = _SCOPE_UNIVERSE if GATEWAY in attrs or six else _SCOPE_LINK
    strange = attrs.keys() - _PLAIN
    return (
        (strange == {PREF} and attrs[PREF] == _MEDIUM if strange else True)
        and kind == _RTN_UNICAST
        and scope == usual
        and not (src_len or tos or flags & _SETTABLE)
    )


def _exact(fields: tuple[int, ...], attrs: Attributes, hops: list[Hop], links: tuple[IfName, ...]) -> Exact:
    family, dst_len, src_len, tos, table, _, scope, kind, flags = fields
    parts = [ROUTE_HEADER.pack(family, dst_len, src_len, tos, table, 0, scope, kind, flags & _SETTABLE)]
    for number, payload in sorted(attrs.items()):
        if number == MULTIPATH:
            parts.append(pack_attr(number, b"".join(map(_without_index, hops))))
        elif number == OIF:
            parts.append(pack_attr(number, bytes(4)))
        elif number not in _MOVING:
            parts.append(pack_attr(number, payload))
    every = [inner for *_, inner in hops] or [attrs]
    on_link = (flags | (hops[0][1] if hops else 0)) & _RTNH_F_ONLINK
    routers = [read_ip(one[GATEWAY]) for one in every if GATEWAY in one]
    return Exact(
        message=b"".join(parts),
        links=links,
        source=read_ip(attrs[PREFSRC]) if PREFSRC in attrs else "",
        reached=bool(on_link) or all(link_local(router) for router in routers),
        stays=_stays(attrs, every),
    )


def _without_index(hop: Hop) -> bytes:
    _, flags, weight, _, inner = hop
    packed = b"".join(pack_attr(number, payload) for number, payload in sorted(inner.items()))
    return NEXTHOP_HEADER.pack(NEXTHOP_HEADER.size + len(packed), flags & _SETTABLE, weight, 0) + packed


def _stays(attrs: Attributes, every: list[Attributes]) -> str:
    if NH_ID in attrs:
        return f"it uses nexthop object {_U32.unpack(attrs[NH_ID])[0]} (ip nexthop)"
    if any(ENCAP in one for one in every):
        return "it wraps its packets (encap)"
    return ""


def _until(attrs: Attributes, now: float) -> float | None:
    data = attrs.get(CACHEINFO, b"")
    ticks = _CACHEINFO.unpack(data)[2] if len(data) == _CACHEINFO.size else 0
    return now + ticks / _USER_HZ if ticks > 0 else None


def link_local(text: str) -> bool:
    """fe80::/10 (RFC 4291 §2.5.6): every link that is up has one, and nobody configured it."""
    return text.startswith(("fe8", "fe9", "fea", "feb")) and text[4:5] == ":"


# -- making again ----------------------------------------------------------------------------------


def write(route: Route, index: Index) -> bytes:
    """The body of the message for a route with `exact`. Raises ValueError, KernelError (no such link)."""
    if route.exact is None:
        raise ValueError(f"the route to {route.dst} is not told exactly")
    message = route.exact.message
    if len(message) < ROUTE_HEADER.size:
        raise ValueError(f"the route to {route.dst} is kept without its header")
    fields = list(ROUTE_HEADER.unpack_from(message))
    fields[5] = route.protocol
    indexes = iter([index(name) for name in route.exact.links])
    parts = [ROUTE_HEADER.pack(*fields)]
    for number, payload in attributes(message, ROUTE_HEADER.size, len(message)).items():
        if number == MULTIPATH:
            payload = b"".join(_with_index(payload, indexes))
        elif number == OIF:
            payload = _U32.pack(next(indexes))
        parts.append(pack_attr(number, payload))
    if route.until is not None:
        parts.append(pack_attr(EXPIRES, _U32.pack(left(route.until))))
    return b"".join(parts)


def _with_index(data: bytes, indexes: Iterator[int]) -> Iterator[bytes]:
    at = 0
    while at + NEXTHOP_HEADER.size <= len(data):
        length, flags, weight, _ = NEXTHOP_HEADER.unpack_from(data, at)
        if length < NEXTHOP_HEADER.size:
            return
        stop = at + ((length + 3) & ~3)
        yield NEXTHOP_HEADER.pack(length, flags, weight, next(indexes)) + data[at + NEXTHOP_HEADER.size : stop]
        at = stop


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def left(until: float) -> int:
    """Seconds from now, rounded down, for the kernel tells what is left rounded up (`inet_fill_ifaddr`); at least one:
    0 means something else to it."""
    return max(1, min(0xFFFF_FFFE, math.floor(until - boottime())))


# -- rules -----------------------------------------------------------------------------------------

FRA_IIFNAME, FRA_OIFNAME, FRA_PAD, FRA_PROTOCOL = 3, 17, 18, 21
_RULE_PERMANENT, _RULE_UNRESOLVED, _IIF_DETACHED, _OIF_DETACHED = 0x1, 0x4, 0x8, 0x10
_RULE_OWN = _RULE_PERMANENT | _RULE_UNRESOLVED | _IIF_DETACHED | _OIF_DETACHED
"""Flags of struct fib_rule_hdr that the kernel sets by itself; its layout is that of struct rtmsg."""


def dump_rules(rtnl: Rtnl) -> frozenset[Rule]:
    """The rules that name a link."""
    found: set[Rule] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        header = ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        dump = _dump(rtnl, Message(RTM_GETRULE, header, doing="list the rules of routing"))
        for data, start, end in dump:
            fields = ROUTE_HEADER.unpack_from(data, start)
            attrs = attributes(data, start + ROUTE_HEADER.size, end)
            if fields[0] == family and (FRA_IIFNAME in attrs or FRA_OIFNAME in attrs):
                found.add(read_rule(fields, attrs))
    return frozenset(found)


def read_rule(fields: tuple[int, ...], attrs: Attributes) -> Rule:
    header = ROUTE_HEADER.pack(*fields[:8], fields[8] & ~_RULE_OWN)
    apart = (FRA_IIFNAME, FRA_OIFNAME, FRA_PAD, FRA_PROTOCOL)
    kept = (pack_attr(number, payload) for number, payload in sorted(attrs.items()) if number not in apart)
    return Rule(
        message=header + b"".join(kept),
        iif=_text(attrs.get(FRA_IIFNAME, b"")),
        oif=_text(attrs.get(FRA_OIFNAME, b"")),
        protocol=attrs.get(FRA_PROTOCOL, b"\0")[0],
    )


def write_rule(rule: Rule) -> bytes:
    """The body of RTM_NEWRULE and RTM_DELRULE."""
    names = ((FRA_IIFNAME, rule.iif), (FRA_OIFNAME, rule.oif))
    named = (pack_attr(n, text.encode(errors="surrogateescape") + b"\0") for n, text in names if text)
    return rule.message + b"".join(named) + pack_attr(FRA_PROTOCOL, bytes([rule.protocol]))


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")
