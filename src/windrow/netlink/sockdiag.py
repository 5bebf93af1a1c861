"""The TCP sockets of a network namespace, as `ss` asks for them (NETLINK_SOCK_DIAG, include/uapi/linux/inet_diag.h)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from struct import Struct

from windrow.model.connections import Connection, Sockets
from windrow.model.lazy import dataclass
from windrow.netlink import netns as namespaces
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import NETLINK_SOCK_DIAG, Message, Rtnl, Span

_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, extensions, states as bits; the sockid is for one socket alone."""
_SOCKET = Struct("=BBxx2s2s16s16s12x20x")
"""struct inet_diag_msg: family, state, and of its sockid both ports and addresses, which are in network order."""
_SYN_SENT, _SYN_RECV, _CLOSE, _LISTEN, _NEW_SYN_RECV = 2, 3, 7, 10, 12
"""include/net/tcp_states.h"""
_STATES = 0xFFF & ~(1 << _SYN_SENT | 1 << _CLOSE)
"""`inet_diag_dump_icsk` shows requests (TCP_NEW_SYN_RECV) to whoever asks for SYN_RECV."""


@dataclass(frozen=True, slots=True)
class _Tcp:
    state: int
    source: str
    port: int
    peer: str
    peer_port: int


def sockets(netns: namespaces.Netns = None) -> Sockets:
    """Of both families; an IPv4 peer of an IPv6 socket is known by his IPv4 address. Raises KernelError, ENOENT where
    this kernel has no tcp_diag."""
    with namespaces.opened_in(netns, lambda: Rtnl(NETLINK_SOCK_DIAG)) as diag:
        return _sorted(_each(diag.dump(_asking(socket.AF_INET))), _each(_six(diag)))


def _six(diag: Rtnl) -> list[Span]:
    try:
        return diag.dump(_asking(socket.AF_INET6))
    except KernelError:
        return []  # this kernel has no IPv6


def _asking(family: int) -> Message:
    return Message(
        _SOCK_DIAG_BY_FAMILY, _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _STATES), doing="list the TCP sockets"
    )


def _each(spans: Iterable[Span]) -> Iterator[_Tcp]:
    for data, start, end in spans:
        if end - start >= _SOCKET.size:
            family, state, port, peer_port, source, peer = _SOCKET.unpack_from(data, start)
            ports = int.from_bytes(port, "big"), int.from_bytes(peer_port, "big")
            yield _Tcp(state, _address(family, source), ports[0], _address(family, peer), ports[1])


def _address(family: int, packed: bytes) -> str:
    if family == socket.AF_INET:
        return str(ipaddress.IPv4Address(packed[:4]))
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found)


def _sorted(*families: Iterable[_Tcp]) -> Sockets:
    found = [one for family in families for one in family]
    heard = [one for one in found if one.state == _LISTEN and not ipaddress.ip_address(one.source).is_loopback]
    listening = frozenset(one.port for one in heard)
    opened: set[Connection] = set()
    begun: set[Connection] = set()
    for one in found:
        if one.state != _LISTEN and one.port in listening and not ipaddress.ip_address(one.peer).is_loopback:
            into = begun if one.state in (_SYN_RECV, _NEW_SYN_RECV) else opened
            into.add(Connection(one.source, one.port, one.peer, one.peer_port))
    return Sockets(listening=listening, opened=frozenset(opened), begun=frozenset(begun))
