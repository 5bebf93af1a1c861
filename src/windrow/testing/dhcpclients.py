"""Thousands of DHCP clients on one link, on raw frames: each with a MAC address of its own, none with an interface.

They do what RFC 2131 asks of a client, one step each when the test says so: get an address (§4.4.1), renew it by
unicast (§4.4.5), and where nobody answers that, by broadcast. All answers are kept, so that a test can say who was
refused and whether an address was given twice.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from windrow.frames import arp
from windrow.frames.arp import Arp
from windrow.frames.ethernet import ARP, BROADCAST, checksum, frame, mac_bytes
from windrow.testing.dhcpserver import ACK, ADDRESS, DISCOVER, KIND, NAK, OFFER, REQUEST, SERVER, ip, options_of

IP, UDP = 0x0800, 17
AT_ONCE = 32
"""How many wait for an answer at a time."""
AGAIN_S = 1.5
_COOKIE = b"\x63\x82\x53\x63"
_FIXED = 236
_UNICASTS = 2
"""So many requests by unicast go unanswered before a client asks everybody: its T2, at a scale."""


@dataclass(slots=True)
class Client:
    mac: str
    address: str = ""
    server: str = ""
    naks: int = 0
    answers: dict[int, bytes] = field(default_factory=dict)
    """The options of the last ACK."""


@dataclass(slots=True)
class _Asking:
    client: Client
    phase: int
    """What was sent last: DISCOVER or REQUEST."""
    at: float = 0.0
    tries: int = 0
    offer: str = ""


class Crowd:
    """On `wire`, an AF_PACKET socket that is bound to their link. One thread; nothing is sent in between."""

    def __init__(self, wire: socket.socket, macs: Sequence[str]) -> None:
        self._wire = wire
        self.clients = {mac: Client(mac) for mac in macs}
        self.refused: list[str] = []
        """`MAC wanted` of each NAK."""
        self.twice: list[str] = []
        """Addresses that were confirmed to somebody while another one had them."""
        self._holders: dict[str, str] = {}
        self._servers: dict[str, bytes] = {}
        """The MAC address that each server answered ARP from."""

    # What a test has them do --------------------------------------------------------------------------------------

    def get(
        self, macs: Sequence[str] | None = None, *, timeout_s: float, between: Callable[[], None] | None = None
    ) -> list[str]:
        """Get an address; returns who has none in the end. `between`: is called once half of them have one."""
        return self._work([_Asking(self.clients[m], DISCOVER) for m in macs or self.clients], timeout_s, between)

    def renew(
        self, macs: Sequence[str] | None = None, *, timeout_s: float, between: Callable[[], None] | None = None
    ) -> list[str]:
        """Renew what they have; returns who was not confirmed in the end. One that is refused begins anew."""
        chosen = [self.clients[m] for m in macs or self.clients]
        return self._work([_Asking(c, REQUEST) for c in chosen if c.address], timeout_s, between)

    def forget(self, macs: Sequence[str]) -> None:
        """Their machines are gone; they tell nobody."""
        for mac in macs:
            if (address := self.clients.pop(mac).address) and self._holders.get(address) == mac:
                del self._holders[address]

    def join(self, macs: Sequence[str]) -> None:
        self.clients |= {mac: Client(mac) for mac in macs}

    # The work -----------------------------------------------------------------------------------------------------

    def _work(self, todo: list[_Asking], timeout_s: float, between: Callable[[], None] | None) -> list[str]:
        waiting, end, half = list(reversed(todo)), time.monotonic() + timeout_s, len(todo) // 2
        asking: dict[str, _Asking] = {}
        while (waiting or asking) and (now := time.monotonic()) < end:
            if between is not None and len(waiting) + len(asking) <= half:
                between()
                between = None
                continue
            while waiting and len(asking) < AT_ONCE:
                one = waiting.pop()
                asking[one.client.mac] = one
                self._ask(one, now)
            for one in [a for a in asking.values() if now - a.at > AGAIN_S]:
                self._ask(one, now)
            select.select([self._wire], [], [], 0.05)
            for data in self._heard():
                self._take(data, asking)
        return [a.client.mac for a in (*asking.values(), *waiting)]

    def _heard(self) -> Iterator[bytes]:
        with suppress(BlockingIOError):
            while True:
                yield self._wire.recv(65536)

    def _ask(self, one: _Asking, now: float) -> None:
        if one.tries and one.phase == REQUEST and not one.client.address:
            one.phase = DISCOVER  # nobody confirmed the offer
        one.at, one.tries = now, one.tries + 1
        client = one.client
        if one.phase == DISCOVER:
            self._send(client, {KIND: bytes([DISCOVER])})
        elif not client.address:
            self._send(client, {KIND: bytes([REQUEST]), ADDRESS: ip(one.offer), SERVER: ip(client.server)})
        else:
            server = self._servers.get(client.server)
            if one.tries > _UNICASTS:
                self._send(client, {KIND: bytes([REQUEST])}, own=client.address)
            elif server is None:
                self._who_has(client)
                one.at = now - AGAIN_S + 0.2
            else:
                self._send(client, {KIND: bytes([REQUEST])}, own=client.address, to=(server, client.server))

    def _take(self, data: bytes, asking: dict[str, _Asking]) -> None:
        kind = int.from_bytes(data[12:14], "big")
        if kind == ARP and (said := arp.parse(data[14:])) is not None:
            self._take_arp(said)
        start = 14 + (data[14] & 0xF) * 4
        if kind != IP or data[23] != UDP or data[start + 2 : start + 4] != b"\0\x44":
            return
        bootp = data[start + 8 :]
        mac = bootp[28:34].hex(":")
        options = options_of(bootp[_FIXED + 4 :])
        one, said_kind = asking.get(mac), options.get(KIND, b"\0")[0]
        if one is None:
            return
        client = one.client
        if said_kind == OFFER and one.phase == DISCOVER:
            one.offer, client.server = socket.inet_ntoa(bootp[16:20]), socket.inet_ntoa(options[SERVER])
            one.phase, one.tries, client.address = REQUEST, 0, ""
            self._ask(one, time.monotonic())
        elif said_kind == ACK and one.phase == REQUEST:
            self._confirmed(client, socket.inet_ntoa(bootp[16:20]), options)
            del asking[mac]
        elif said_kind == NAK and one.phase == REQUEST:
            self.refused.append(f"{mac} {client.address or one.offer}")
            client.naks += 1
            if self._holders.get(client.address) == mac:
                del self._holders[client.address]
            client.address, one.phase, one.tries = "", DISCOVER, 0
            self._ask(one, time.monotonic())

    def _confirmed(self, client: Client, address: str, options: dict[int, bytes]) -> None:
        other = self._holders.get(address, client.mac)
        if other != client.mac:
            self.twice.append(f"{address}: {other} and {client.mac}")
        if client.address and client.address != address and self._holders.get(client.address) == client.mac:
            del self._holders[client.address]
        self._holders[address] = client.mac
        client.address, client.answers = address, options

    def _take_arp(self, said: Arp) -> None:
        """Who has a client's address is asked by a server that answers a renewal; a server that moves says so."""
        sender, target = socket.inet_ntoa(said.sender), socket.inet_ntoa(said.target)
        if said.operation == arp.REPLY or sender == target or sender in self._servers:
            self._servers[sender] = said.sender_mac
        mac = self._holders.get(target)
        if said.operation == arp.REQUEST and mac is not None and said.sender_mac != mac_bytes(mac):
            mine = mac_bytes(mac)
            told = Arp(
                operation=arp.REPLY, sender_mac=mine, sender=said.target, target_mac=said.sender_mac, target=said.sender
            )
            self._out(frame(said.sender_mac, mine, ARP, told.pack()))

    def _who_has(self, client: Client) -> None:
        mine = mac_bytes(client.mac)
        asked = Arp(operation=arp.REQUEST, sender_mac=mine, sender=ip(client.address), target=ip(client.server))
        self._out(frame(BROADCAST, mine, ARP, asked.pack()))

    def _send(
        self, client: Client, options: dict[int, bytes], *, own: str = "", to: tuple[bytes, str] | None = None
    ) -> None:
        mac = mac_bytes(client.mac)
        flags = 0 if own else 0x8000  # who has no address yet hears broadcasts alone
        head = struct.pack("!BBBB4sHH4s12x", 1, 1, 6, 0, mac[2:], 0, flags, ip(own) if own else bytes(4))
        data = head + mac.ljust(16, b"\0") + bytes(192) + _COOKIE
        asked = {**options, 55: bytes([1, 3, 6, 12, 15, 26, 42, 51, 119, 121])}
        data += b"".join(bytes([number, len(text)]) + text for number, text in asked.items()) + b"\xff"
        data = data.ljust(300, b"\0")
        udp = struct.pack("!HHHH", 68, 67, 8 + len(data), 0) + data
        source, target = ip(own) if own else bytes(4), ip(to[1]) if to else BROADCAST[:4]
        ipv4 = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, UDP, 0, source, target)
        ipv4 = ipv4[:10] + struct.pack("!H", checksum(ipv4)) + ipv4[12:]
        self._out(frame(to[0] if to else BROADCAST, mac, IP, ipv4 + udp))

    def _out(self, data: bytes) -> None:
        with suppress(OSError):  # the cable is out, or the queue is full: it is asked again
            self._wire.send(data)

    def lost_server(self) -> None:
        """What ARP said is too old to be used."""
        self._servers.clear()
