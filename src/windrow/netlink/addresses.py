"""Addresses as the kernel tells them: which a link has, and what each is beyond address and mask."""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

from windrow.model.host import Details
from windrow.model.values import Cidr
from windrow.netlink import codec
from windrow.netlink.routes import attributes, boottime, left, link_local
from windrow.netlink.sock import RTM_GETADDR, Message, Rtnl

ADDRESS, LOCAL, LABEL, CACHEINFO, FLAGS, PROTO = 1, 2, 3, 6, 8, 11
"""IFA_*."""
_PERMANENT, _TEMPORARY = 0x80, 0x01
NODAD = 0x02
_DADFAILED = 0x08
_SETTABLE = NODAD | 0x04 | 0x10 | 0x100 | 0x200 | 0x400
"""nodad, optimistic, home, mngtmpaddr, noprefixroute, mcautojoin (`inet6_rtm_newaddr`; `rtm_to_ifaddr` takes all)."""
_IFAPROT_KERNEL_RA, _IFAPROT_KERNEL_LL = 2, 3
FOREVER = 0xFFFF_FFFF
_CACHEINFO = Struct("=IIII")
"""struct ifa_cacheinfo: preferred, valid, and two time stamps."""
_U32 = Struct("=I")


class Addresses(NamedTuple):
    """By ifindex. `given`: in the kernel's order; `by_themselves`: SLAAC's and its temporary ones, and the link-local
    one that the kernel gives."""

    given: dict[int, Mapping[Cidr, Details]]
    by_themselves: dict[int, frozenset[str]]


def dump_addresses(rtnl: Rtnl) -> Addresses:
    dump = rtnl.dump(Message(RTM_GETADDR, codec.ADDR_HEADER.pack(0, 0, 0, 0, 0), doing="list the addresses"))
    found: dict[int, dict[Cidr, Details]] = {}
    came: dict[int, set[str]] = {}
    now = boottime()
    for data, start, end in dump:
        header = codec.ADDR_HEADER.unpack_from(data, start)
        attrs = attributes(data, start + codec.ADDR_HEADER.size, end)
        if LOCAL not in attrs and ADDRESS not in attrs:
            continue
        if _by_itself(header[0], attrs):
            came.setdefault(header[4], set()).add(codec.read_ip(attrs.get(LOCAL) or attrs[ADDRESS]))
        else:
            one = found.setdefault(header[4], {})
            address = Cidr(f"{codec.read_ip(attrs.get(LOCAL) or attrs[ADDRESS])}/{header[1]}")
            one[address] = _details(header, attrs, now, len(one))
    return Addresses(dict(found), {index: frozenset(those) for index, those in came.items()})


def static(details: Mapping[Cidr, Details]) -> frozenset[Cidr]:
    return frozenset(address for address, one in details.items() if one.static)


def _by_itself(family: int, attrs: Mapping[int, bytes]) -> bool:
    """A kernel from before 5.18 does not say who gave an address (IFA_PROTO): there what manages temporary addresses
    and ends is SLAAC's, and a link-local address made of a MAC the kernel's own."""
    if family != socket.AF_INET6:
        return False
    flags = _flags(attrs)
    if flags & _TEMPORARY:
        return True
    text = codec.read_ip(attrs.get(LOCAL) or attrs[ADDRESS])
    said = attrs.get(PROTO, b"\0")[0]
    if said:
        return said in (_IFAPROT_KERNEL_RA, _IFAPROT_KERNEL_LL)
    of_mac = (attrs.get(LOCAL) or attrs[ADDRESS])[11:13] == b"\xff\xfe"
    return of_mac and (link_local(text) or not flags & _PERMANENT)


def _flags(attrs: Mapping[int, bytes]) -> int:
    return int(_U32.unpack(attrs[FLAGS])[0]) if FLAGS in attrs else 0


def _details(header: tuple[int, ...], attrs: Mapping[int, bytes], now: float, rank: int) -> Details:
    apart = (LABEL, CACHEINFO, FLAGS)
    preferred, valid = _CACHEINFO.unpack(attrs[CACHEINFO])[:2] if CACHEINFO in attrs else (FOREVER, FOREVER)
    flags = _flags(attrs)
    address = codec.read_ip(attrs.get(LOCAL) or attrs[ADDRESS])
    return Details(
        attributes=b"".join(codec.pack_attr(n, data) for n, data in sorted(attrs.items()) if n not in apart),
        scope=header[3],
        flags=flags & _SETTABLE,
        label=attrs.get(LABEL, b"").rstrip(b"\0").decode(errors="surrogateescape"),
        valid_until=None if valid == FOREVER else now + valid,
        preferred_until=None if preferred == FOREVER else now + preferred,
        rank=rank,
        static=bool(flags & _PERMANENT) and not link_local(address),
        duplicate=bool(flags & _DADFAILED),
    )


def write(address: Cidr, details: Details, index: int, name: str, *, moving: bool) -> bytes:
    """The body of RTM_NEWADDR. `moving`: without DAD, for the time being."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    length = int(address.partition("/")[2])
    flags = details.flags | (NODAD if moving else 0)
    parts = [codec.ADDR_HEADER.pack(family, length, 0, details.scope, index), details.attributes]
    if family == socket.AF_INET:
        label = details.label or name
        parts.append(codec.pack_attr(LABEL, label.encode(errors="surrogateescape") + b"\0"))
    parts.append(codec.pack_attr(FLAGS, _U32.pack(flags)))
    if details.valid_until is not None or details.preferred_until is not None:
        valid = FOREVER if details.valid_until is None else left(details.valid_until)
        preferred = FOREVER if details.preferred_until is None else min(valid, _left(details.preferred_until))
        parts.append(codec.pack_attr(CACHEINFO, _CACHEINFO.pack(preferred, valid, 0, 0)))
    return b"".join(parts)


def _left(until: float) -> int:
    """Of the preferred time, which may be over."""
    return left(until) if until > boottime() else 0
