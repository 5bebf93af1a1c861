"""Who answers: ARP, ICMP echo and TCP from this process, without a program for it.

ARP (RFC 826) tells most: it takes a cable, the right NIC, a bond that the switch agrees with and the right VLAN, and
no filter on the other side drops it. It reaches what is on the link, no further.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum

from windrow.frames import arp
from windrow.frames.ethernet import ARP, BROADCAST, checksum
from windrow.model.lazy import dataclass

_ECHO, _ECHO_REPLY, _ECHO_6, _ECHO_REPLY_6 = 8, 0, 128, 129
_AGAIN_S = 0.25


class Way(StrEnum):
    ARP = "ARP"
    PING = "ping"
    TCP = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`dev` and `source`: the link that `address` is on, and our address there; `dev` is empty where it is behind a
    router, and then `source`, where there is one, is the address to ask from.
    `port` 0: it is asked by ARP (IPv4, on a link) and by ping, else by TCP alone."""

    address: str
    dev: str = ""
    source: str = ""
    port: int = 0


Answers = Mapping[Target, frozenset[Way]]


def ask(targets: Sequence[Target], *, timeout_s: float, enough: Answers | None = None) -> dict[Target, frozenset[Way]]:
    """How each target answered within `timeout_s`; asked again four times a second. Ends as soon as all have answered
    in every way that is possible, or in those that are `enough`. Needs CAP_NET_RAW; who cannot be asked has not
    answered."""
    with selectors.DefaultSelector() as selector:
        inquiries = [i for target in targets for i in _inquiries(target)]
        found: dict[Target, set[Way]] = {target: set() for target in targets}
        try:
            end = time.monotonic() + timeout_s
            while time.monotonic() < end and not _settled(found, inquiries, enough):
                for inquiry in inquiries:
                    inquiry.ask(selector)
                _listen(selector, found, inquiries, enough, min(end, time.monotonic() + _AGAIN_S))
        finally:
            for inquiry in inquiries:
                inquiry.close(selector)
    return {target: frozenset(ways) for target, ways in found.items()}


def _listen(
    selector: selectors.BaseSelector,
    found: dict[Target, set[Way]],
    inquiries: Sequence[_Inquiry],
    enough: Answers | None,
    until: float,
) -> None:
    while (left := until - time.monotonic()) > 0 and not _settled(found, inquiries, enough):
        if not selector.get_map():
            time.sleep(left)
            return
        for key, _ in selector.select(left):
            inquiry: _Inquiry = key.data
            if inquiry.hear(selector):
                found[inquiry.target].add(inquiry.way)
                inquiry.answered = True


def _settled(found: Mapping[Target, set[Way]], inquiries: Sequence[_Inquiry], enough: Answers | None) -> bool:
    if enough is not None:
        return all(ways <= found[target] for target, ways in enough.items())
    return all(inquiry.answered for inquiry in inquiries)


class _Inquiry:
    """One way to ask one target. What the kernel refuses now may go in a moment: it is asked again."""

    def __init__(self, target: Target, way: Way, opened: Callable[[], socket.socket], request: bytes = b"") -> None:
        self.target, self.way, self.answered = target, way, False
        self._open, self._request = opened, request
        self._socket: socket.socket | None = None

    def ask(self, selector: selectors.BaseSelector) -> None:
        if self.answered:
            return
        try:
            if self._socket is None:
                self._socket = self._open()
                events = selectors.EVENT_WRITE if self.way is Way.TCP else selectors.EVENT_READ
                selector.register(self._socket, events, self)
            self.send(self._socket)
        except OSError:
            self.close(selector)

    def send(self, found: socket.socket) -> None:
        found.send(self._request)

    def hear(self, selector: selectors.BaseSelector) -> bool:
        assert self._socket is not None
        try:
            while True:
                if self.matches(*self._socket.recvfrom(2048)):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            self.close(selector)
            return False

    def matches(self, data: bytes, source: object) -> bool:
        raise NotImplementedError

    def close(self, selector: selectors.BaseSelector) -> None:
        if self._socket is not None:
            with suppress(KeyError, ValueError):
                selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


def _inquiries(target: Target) -> list[_Inquiry]:
    if target.port:
        return [_Tcp(target)]
    pings: list[_Inquiry] = [_Ping(target)]
    return [_ArpRequest(target), *pings] if target.dev and target.source and ":" not in target.address else pings


class _ArpRequest(_Inquiry):
    """First everybody is asked who it is, then he alone (RFC 1122 §2.3.2.1 has hosts poll so): a bond that spreads by
    MAC address may send what is for everybody by a NIC that works, and what is for him by one that does not."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, Way.ARP, self._opened)
        self._asked = socket.inet_aton(target.address)
        self._mac = BROADCAST

    def _opened(self) -> socket.socket:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ARP))
        try:
            found.bind((self.target.dev, ARP))
        except OSError:
            found.close()
            raise
        return found

    def send(self, found: socket.socket) -> None:
        """The kernel asks, too, and hears replies: his to the request to him alone is known by our address in it, which
        is none, as in a probe of RFC 5227 §2.1.1."""
        mac = found.getsockname()[4]
        ours = socket.inet_aton(self.target.source) if self._mac == BROADCAST else arp.NOBODY
        request = arp.Arp(operation=arp.REQUEST, sender_mac=mac, sender=ours, target=self._asked)
        found.sendto(request.pack(), (self.target.dev, ARP, 0, 0, self._mac))

    def matches(self, data: bytes, source: object) -> bool:
        heard = arp.parse(data)
        if heard is None or heard.operation != arp.REPLY or heard.sender != self._asked:
            return False
        if self._mac == BROADCAST and self._socket is not None:
            self._mac = heard.sender_mac
            self.send(self._socket)
        return heard.target == arp.NOBODY


class _Ping(_Inquiry):
    """Our own id: other pings on this host are none of ours (a raw socket hears them all)."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, Way.PING, self._opened)
        self._six = ":" in target.address
        self._ident = (os.getpid() ^ id(self) >> 4) & 0xFFFF

    def _opened(self) -> socket.socket:
        family, protocol = (
            (socket.AF_INET6, socket.IPPROTO_ICMPV6) if self._six else (socket.AF_INET, socket.IPPROTO_ICMP)
        )
        return _from(self.target, socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol))

    def send(self, found: socket.socket) -> None:
        bare = struct.pack("!BBHHH", _ECHO_6 if self._six else _ECHO, 0, 0, self._ident, 1) + b"windrow!"
        summed = bare if self._six else bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]  # RFC 3542 §3.1
        host, scope = self.target.address, self.target.dev
        if self._six and ipaddress.IPv6Address(host).is_link_local:
            found.sendto(summed, (host, 0, 0, socket.if_nametoindex(scope)))
        else:
            found.sendto(summed, (host, 0))

    def matches(self, data: bytes, source: object) -> bool:
        start = 0 if self._six else (data[0] & 0xF) * 4
        if len(data) < start + 8:
            return False
        kind, _, _, ident, _ = struct.unpack_from("!BBHHH", data, start)
        if not self._six and data[12:16] != socket.inet_aton(self.target.address):
            return False
        return bool(kind == (_ECHO_REPLY_6 if self._six else _ECHO_REPLY) and ident == self._ident)


def _from(target: Target, found: socket.socket) -> socket.socket:
    """Somebody behind a router may be reached from one of our addresses only (`ip rule add from`)."""
    if target.source and not target.dev:
        try:
            found.bind((target.source, 0))
        except OSError:
            found.close()
            raise
    return found


class _Tcp(_Inquiry):
    """A connection that is accepted. One that is refused is no answer: somebody said that this port must be open."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, Way.TCP, self._opened)

    def _opened(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.target.address else socket.AF_INET
        found = _from(self.target, socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        code = found.connect_ex((self.target.address, self.target.port))
        if code not in (0, errno.EINPROGRESS):
            found.close()
            raise OSError(code, os.strerror(code))
        return found

    def send(self, found: socket.socket) -> None:
        """connect(2) goes on by itself."""

    def hear(self, selector: selectors.BaseSelector) -> bool:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.close(selector)
        return code == 0
