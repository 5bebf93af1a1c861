"""Neighbours and routes of ours in the kernel's own words: made here, they are the same when they are seen again.

`StaticNeighbour.message` and `Exact.message` are what a dump says (`netlink.neighbours`, `netlink.routes`), byte for
byte. Layouts: include/uapi/linux/neighbour.h, rtnetlink.h.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from struct import Struct

from windrow.model.host import AF_INET6, IP6_RT_PRIO_USER, MAIN_TABLE, OWNER_PROTOCOL, Exact, Route, StaticNeighbour
from windrow.model.values import Cidr, IfName, Mac

_NEIGHBOUR, _ROUTE = Struct("=B3xiHBB"), Struct("=BBBBBBBBI")
"""struct ndmsg, struct rtmsg."""
_AF_INET, _NUD_PERMANENT, _RTN_UNICAST, _ONLINK = 2, 0x80, 1, 0x4
_NTF_PROXY = 0x08
_DST, _OIF, _GATEWAY, _PRIORITY, _TABLE, _PREF, _LLADDR = 1, 4, 5, 6, 15, 20, 2
"""RTA_*, and NDA_LLADDR; NDA_DST is 1 as well."""

_KEPT = 4096
"""A cluster has up to a thousand nodes, and little changes from look to look."""


@lru_cache(_KEPT)
def permanent(address: str, mac: Mac) -> StaticNeighbour:
    """A neighbour of ours, in the kernel's own words, so that it is the same when it is seen again."""
    ip = ip_address(address)
    header = _NEIGHBOUR.pack(_family(ip.version), 0, _NUD_PERMANENT, 0, 0)
    known = _attribute(_DST, ip.packed) + _attribute(_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return StaticNeighbour(message=header + known, address=str(ip), mac=mac, protocol=OWNER_PROTOCOL)


def proxied(address: str) -> StaticNeighbour:
    """For whom this host answers on a link."""
    ip = ip_address(address)
    header = _NEIGHBOUR.pack(_family(ip.version), 0, 0, _NTF_PROXY, 0)
    return StaticNeighbour(
        message=header + _attribute(_DST, ip.packed), address=str(ip), mac=None, protocol=OWNER_PROTOCOL
    )


@lru_cache(_KEPT)
def onlink(network: Cidr, gateway: str, dev: IfName, metric: int = 0) -> Route:
    """A route of ours by a gateway that no network of the link has, in the kernel's own words."""
    to, router = ip_network(network), ip_address(gateway)
    six = to.version == 6
    metric = metric or (IP6_RT_PRIO_USER if six else 0)
    header = _ROUTE.pack(_family(to.version), to.prefixlen, 0, 0, MAIN_TABLE, 0, 0, _RTN_UNICAST, _ONLINK)
    parts = {_OIF: bytes(4), _GATEWAY: router.packed, _TABLE: _u32(MAIN_TABLE)}
    if to.prefixlen:
        parts[_DST] = to.network_address.packed
    if metric:
        parts[_PRIORITY] = _u32(metric)
    if six:  # `rt6_fill_node`: always said; the medium preference is 0
        parts[_PREF] = b"\0"
    message = header + b"".join(_attribute(number, payload) for number, payload in sorted(parts.items()))
    return Route(
        dst=str(to) if to.prefixlen else "default",
        dev=dev,
        gateway=str(router),
        metric=metric,
        protocol=OWNER_PROTOCOL,
        exact=Exact(message=message, links=(dev,), reached=True),
    )


def _family(version: int) -> int:
    return AF_INET6 if version == 6 else _AF_INET


def _u32(number: int) -> bytes:
    return Struct("=I").pack(number)


def _attribute(number: int, payload: bytes) -> bytes:
    """struct rtattr, padded to four bytes."""
    head = Struct("=HH").pack(len(payload) + 4, number)
    return head + payload + bytes(-len(payload) % 4)
