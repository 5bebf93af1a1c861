"""Ways out of this host: over which link the kernel would send to somebody, and who was heard on the links of late."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from windrow.model.neighbours import Neighbour, Peer, Router, Surroundings
from windrow.model.values import IfName
from windrow.netlink.codec import NEIGHBOUR_HEADER
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import RTM_GETNEIGH, RTM_GETROUTE, Message, Rtnl, Span

_ROUTE = Struct("=BBBBBBBBI")
"""struct rtmsg"""
_ATTRIBUTE = Struct("=HH")
_INDEX = Struct("=i")
_TABLE = Struct("=I")
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE, _NDA_DST = 1, 2, 4, 5, 15, 1
_RTN_UNICAST = 1
_HEARD = 0x02 | 0x04 | 0x08 | 0x10
"""NUD_REACHABLE, STALE, DELAY, PROBE: its MAC address is known, because it answered (include/uapi/linux/neighbour.h)"""
_NTF_ROUTER = 0x80


def ways_to(rtnl: Rtnl, peers: Sequence[Peer]) -> frozenset[IfName]:
    """The links that packets to these peers leave by: what the kernel itself decides, policy rules and all tables
    included (`inet_rtm_getroute`). A peer without a way is left out. Raises KernelError."""
    names = {index: name for name, index in rtnl.indexes().items()}
    found: set[IfName] = set()
    for peer in peers:
        try:
            wanted = ipaddress.ip_address(peer.address)
            if wanted.is_loopback or wanted.is_link_local:
                continue
            index = _outgoing(rtnl, wanted.packed, ipaddress.ip_address(peer.source).packed if peer.source else b"")
        except (ValueError, KernelError):
            continue  # no address, or no way to it
        if (name := names.get(index)) and name != "lo":
            found.add(IfName(name))
    return frozenset(found)


def _outgoing(rtnl: Rtnl, packed: bytes, source: bytes) -> int:
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, len(packed) * 8, len(source) * 8, 0, 0, 0, 0, 0, 0)
    for kind, value in ((_RTA_DST, packed), (_RTA_SRC, source)):
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value if value else b""
    span = rtnl.get(Message(RTM_GETROUTE, body, doing="ask for the way to a peer"))
    return next((_INDEX.unpack(value)[0] for kind, value in _attributes(span, _ROUTE.size) if kind == _RTA_OIF), 0)


def surroundings(rtnl: Rtnl) -> Surroundings:
    """The default routers of all tables, and everybody whose MAC address the kernel learned and still knows. Raises
    KernelError."""
    names = {index: name for name, index in rtnl.indexes().items()}
    return Surroundings(routers=_routers(rtnl, names), neighbours=_neighbours(rtnl, names))


def _routers(rtnl: Rtnl, names: dict[int, str]) -> tuple[Router, ...]:
    found: set[Router] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            dump = rtnl.dump(Message(RTM_GETROUTE, _ROUTE.pack(family, *[0] * 8), doing="list the default routes"))
        except KernelError:
            continue  # this kernel has no IPv6
        for data, start, end in dump:
            header = _ROUTE.unpack_from(data, start)
            if header[0] == family and not header[1] and header[7] == _RTN_UNICAST:
                attributes = dict(_attributes((data, start, end), _ROUTE.size))
                index = _INDEX.unpack(attributes[_RTA_OIF])[0] if _RTA_OIF in attributes else 0
                gateway, table = attributes.get(_RTA_GATEWAY), attributes.get(_RTA_TABLE)
                if gateway and index in names:
                    number = _TABLE.unpack(table)[0] if table else header[4]
                    found.add(Router(IfName(names[index]), str(ipaddress.ip_address(gateway)), number))
    return tuple(sorted(found, key=lambda r: (r.table, r.address)))


def _neighbours(rtnl: Rtnl, names: dict[int, str]) -> tuple[Neighbour, ...]:
    message = Message(RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(*[0] * 5), doing="list the neighbours")
    return tuple(sorted(_heard(rtnl.dump(message), names)))


def _heard(spans: Iterable[Span], names: dict[int, str]) -> Iterator[Neighbour]:
    for data, start, end in spans:
        family, index, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(data, start)
        if family not in (socket.AF_INET, socket.AF_INET6) or not state & _HEARD or index not in names:
            continue
        for kind, value in _attributes((data, start, end), NEIGHBOUR_HEADER.size):
            if kind == _NDA_DST and len(value) in (4, 16):
                address = ipaddress.ip_address(bytes(value))
                if not address.is_multicast and not address.is_loopback:
                    yield Neighbour(IfName(names[index]), str(address), bool(flags & _NTF_ROUTER))


def _attributes(span: Span, header: int) -> Iterator[tuple[int, bytes]]:
    data, start, end = span
    at = start + header
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, bytes(data[at + _ATTRIBUTE.size : at + length])
        at += (length + 3) & ~3
