"""A DHCP server on raw frames that does what a test tells it, sense or nonsense (RFC 2131).

One thread answers on many links at once. What a server shall do is in its `does`, which a test replaces as it goes
along; what came is in `heard`.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field

from windrow.frames.ethernet import checksum
from windrow.model.lazy import dataclass

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = 1, 2, 3, 4, 5, 6, 7
MASK, ROUTER, DNS, MTU, ADDRESS, LEASE, KIND, SERVER, ROUTES = 1, 3, 6, 26, 50, 51, 53, 54, 121
HOSTNAME = 12
ETH_P_ALL, ETH_P_IP, ETH_P_ARP = 0x0003, 0x0800, 0x0806
_COOKIE = b"\x63\x82\x53\x63"
_UDP, _FIXED = 17, 236


def ip(*addresses: str) -> bytes:
    return b"".join(map(socket.inet_aton, addresses))


@dataclass(frozen=True, slots=True, kw_only=True)
class Does:
    """`address`: the one it gives, whatever it is asked for. `more`: options beside mask, lease time and its own
    address, or instead of them; None leaves one out. `nak`: what is asked for is refused, unless it is `address`."""

    address: str
    mask: str = "255.255.255.0"
    lease_s: int = 30
    silent: bool = False
    nak: bool = False
    more: Mapping[int, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    kind: int
    at: float
    """Monotonic seconds."""
    own: str
    """ciaddr: the address that the client has, while it renews."""
    options: Mapping[int, bytes]

    @property
    def wanted(self) -> str:
        """The address that it asks for: in option 50, or in ciaddr."""
        return socket.inet_ntoa(self.options[ADDRESS]) if ADDRESS in self.options else self.own


@dataclass(slots=True)
class DhcpServer:
    """On `wire`, an AF_PACKET socket that is bound to one link; the server's own `address` is nobody else's there."""

    wire: socket.socket
    address: str
    does: Does
    heard: list[Heard] = field(default_factory=list)

    def kinds(self, kind: int, since: float = 0.0) -> list[Heard]:
        return [h for h in self.heard if h.kind == kind and h.at >= since]

    def take(self, frame: bytes) -> None:
        """Answer one frame, if it is for a DHCP server or asks for its MAC."""
        kind = int.from_bytes(frame[12:14], "big")
        if kind == ETH_P_ARP:
            self._arp(frame)
        elif kind == ETH_P_IP and len(frame) > 42 and frame[23] == _UDP:
            self._dhcp(frame)

    def _arp(self, frame: bytes) -> None:
        """A client that renews sends by unicast (RFC 2131 §4.4.5)."""
        if frame[20:22] != b"\0\1" or frame[38:42] != ip(self.address) or self.does.silent:
            return
        mine = self._mac()
        head = frame[6:12] + mine + ETH_P_ARP.to_bytes(2, "big")
        self._send(head + frame[14:20] + b"\0\2" + mine + ip(self.address) + frame[22:32])

    def _dhcp(self, frame: bytes) -> None:
        start = 14 + (frame[14] & 0xF) * 4
        bootp = frame[start + 8 :]
        if frame[start + 2 : start + 4] != b"\0\x43" or bootp[_FIXED : _FIXED + 4] != _COOKIE:
            return
        options = options_of(bootp[_FIXED + 4 :])
        kind = options.get(KIND, b"\0")[0]
        asked = Heard(kind=kind, at=time.monotonic(), own=socket.inet_ntoa(bootp[12:16]), options=options)
        self.heard.append(asked)
        does = self.does
        if does.silent or kind not in (DISCOVER, REQUEST):
            return
        if kind == REQUEST and options.get(SERVER, ip(self.address)) != ip(self.address):
            return  # it has chosen another server
        if kind == REQUEST and does.nak and asked.wanted != does.address:
            self._answer(bootp, "0.0.0.0", {KIND: bytes([NAK]), SERVER: ip(self.address)})
            return
        said: dict[int, bytes | None] = {KIND: bytes([OFFER if kind == DISCOVER else ACK]), SERVER: ip(self.address)}
        said |= {MASK: ip(does.mask), LEASE: struct.pack("!I", does.lease_s), **does.more}
        self._answer(bootp, does.address, {number: data for number, data in said.items() if data is not None})

    def _answer(self, asked: bytes, address: str, options: Mapping[int, bytes]) -> None:
        head = struct.pack("!BBBB4sHH4s4s4s4s", 2, 1, 6, 0, asked[4:8], 0, 0x8000, asked[12:16], ip(address), b"", b"")
        data = head + asked[28:44] + bytes(192) + _COOKIE
        data += b"".join(bytes([number, len(text)]) + text for number, text in options.items()) + b"\xff"
        data += bytes(max(0, 300 - len(data)))  # RFC 1542 §2.1
        udp = struct.pack("!HHHH", 67, 68, 8 + len(data), 0) + data
        # A client that renews listens by its kernel, which takes only what is for an address that it has.
        to = asked[12:16] if asked[12:16] != bytes(4) else b"\xff" * 4
        ipv4 = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, _UDP, 0, ip(self.address), to)
        ipv4 = ipv4[:10] + struct.pack("!H", checksum(ipv4)) + ipv4[12:]
        self._send(asked[28:34] + self._mac() + ETH_P_IP.to_bytes(2, "big") + ipv4 + udp)

    def _mac(self) -> bytes:
        mac: bytes = self.wire.getsockname()[4]
        return mac

    def _send(self, frame: bytes) -> None:
        with suppress(OSError):  # the cable is out: nobody hears it
            self.wire.send(frame)


def options_of(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        # One that is longer than 255 bytes comes in parts (RFC 3396 §5).
        found[data[at]] = found.get(data[at], b"") + data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def wire(link: str) -> socket.socket:
    """A socket for one link of the calling thread's network namespace."""
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    one.bind((link, ETH_P_ALL))
    one.setblocking(False)
    return one


@contextmanager
def serving(servers: Sequence[DhcpServer]) -> Iterator[None]:
    """They answer for as long as the block lasts; then their sockets are closed."""
    stop_here, stop_there = socket.socketpair()
    with selectors.DefaultSelector() as selector:
        selector.register(stop_there, selectors.EVENT_READ, None)
        for server in servers:
            selector.register(server.wire, selectors.EVENT_READ, server)
        thread = threading.Thread(target=_serve, args=(selector,), name="dhcp servers")
        thread.start()
        try:
            yield
        finally:
            stop_here.close()
            thread.join()
            stop_there.close()
            for server in servers:
                server.wire.close()


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            try:
                frame = key.data.wire.recv(65536)
            except OSError:
                continue
            key.data.take(frame)
