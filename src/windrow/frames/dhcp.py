"""DHCP of IPv4 (RFC 2131, RFC 2132): what a client sends, and what servers and relays answer.

IPv4, UDP 68 -> 67 (or 67 -> 68)
BOOTP     u8 1 request or 2 reply, u8 1, u8 6, u8 hops, u32 transaction, u16 seconds, u16 flags, client's, your,
          server's and relay's address, 16 bytes of the client's MAC, 192 of names; cookie
options   u8 number, u8 length, value; 0 is padding, 255 the end
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from windrow.frames.ethernet import BROADCAST, IPV4, checksum, frame
from windrow.frames.reading import Unreadable, ip_text, mac_text
from windrow.model.evidence import DhcpOffer
from windrow.model.lazy import dataclass

DISCOVER, OFFER, REQUEST, DECLINE, ACK = 1, 2, 3, 4, 5
MASK, ROUTERS, MTU, WANTED, LEASE, MESSAGE, SERVER, ASKED_FOR, WHY, CLIENT_ID = 1, 3, 26, 50, 51, 53, 54, 55, 56, 61
"""Numbers of options."""
_COOKIE = b"\x63\x82\x53\x63"
_UDP, _SERVER_PORT, _CLIENT_PORT = 17, 67, 68
_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s192x4s")
_REQUEST, _REPLY, _BROADCAST_FLAG = 1, 2, 0x8000
_PAD, _END = 0, 255
_OPTION_MOST = 255
_NOBODY, _EVERYBODY = bytes(4), b"\xff" * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server or relay says. Addresses are 4 bytes; `source` is the IPv4 header's."""

    transaction: int
    client: bytes
    """The MAC that it is for, 6 bytes."""
    address: bytes
    relay: bytes
    source: bytes
    options: Mapping[int, bytes]

    @property
    def message(self) -> int:
        """OFFER, ACK, or 0 where it does not say."""
        return self.options.get(MESSAGE, b"\0")[0]


def ask(
    source: bytes, transaction: int, options: Mapping[int, bytes], vid: int | None = None, client: bytes = b""
) -> bytes:
    """A frame from `source` (6 bytes) to all servers in this VLAN. `client`: the MAC that asks, where it is another.

    With the broadcast flag: who asks has no address yet that it could be answered at.
    """
    return _request(source, transaction, options, vid, client, flags=_BROADCAST_FLAG)


def _request(
    source: bytes, transaction: int, options: Mapping[int, bytes], vid: int | None, client: bytes, *, flags: int
) -> bytes:
    said = b"".join(bytes([number, len(value)]) + value for number, value in options.items()) + bytes([_END])
    head = _BOOTP.pack(
        _REQUEST, 1, 6, 0, transaction, 0, flags, *[_NOBODY] * 4, (client or source).ljust(16, b"\0"), _COOKIE
    )
    udp = struct.pack("!HHHH", _CLIENT_PORT, _SERVER_PORT, 8 + len(head) + len(said), 0) + head + said
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, _UDP, 0, _NOBODY, _EVERYBODY)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return frame(BROADCAST, source, IPV4, ip + udp, vid)


def discover(source: bytes, transaction: int, vid: int | None = None, client: bytes = b"") -> bytes:
    """Who would give an address here, and which; it takes none."""
    options = {MESSAGE: bytes([DISCOVER]), ASKED_FOR: bytes([MASK, ROUTERS, MTU, LEASE])}
    return ask(source, transaction, options, vid, client)


def decline(source: bytes, transaction: int, address: bytes, server: bytes, client_id: bytes, why: str) -> bytes:
    """The frame that gives an address (4 bytes) back to the `server` (4 bytes) that gave it, because somebody else has
    it (RFC 2131 §4.4.4). `client_id`: what the client said in its request, its type first; empty: nothing.

    With no option but those that table 5 has for it, and with no flag: nobody answers it.
    """
    options = {MESSAGE: bytes([DECLINE]), WANTED: address, SERVER: server, WHY: why.encode()[:_OPTION_MOST]}
    if client_id:
        options[CLIENT_ID] = client_id
    return _request(source, transaction, options, None, b"", flags=0)


def parse(packet: bytes) -> Reply | Unreadable:
    """The bytes after EtherType 0x0800; what is no answer of a server to a client is unreadable, too."""
    start = (packet[0] & 0xF) * 4 if packet else 0
    if start < 20 or len(packet) < start + 8 or packet[0] >> 4 != 4 or packet[9] != _UDP:
        return Unreadable("it is no UDP over IPv4")
    if int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return Unreadable("it is a fragment")
    if int.from_bytes(packet[start + 2 : start + 4], "big") != _CLIENT_PORT:
        return Unreadable("it is not for a DHCP client")
    bootp = packet[start + 8 :]
    if len(bootp) < _BOOTP.size:
        return Unreadable("it is cut off")
    operation, _, size, _, transaction, _, _, _, address, _, relay, client, cookie = _BOOTP.unpack_from(bootp)
    if (operation, size, cookie) != (_REPLY, 6, _COOKIE):
        return Unreadable("it is no DHCP of a server to an Ethernet client")
    options = _options(bootp[_BOOTP.size :])
    if options is None:
        return Unreadable("an option is cut off")
    return Reply(
        transaction=transaction,
        client=client[:6],
        address=address,
        relay=relay,
        source=packet[12:16],
        options=options,
    )


def offer(reply: Reply, server_mac: bytes) -> DhcpOffer | Unreadable:
    """`server_mac`: the frame's source, 6 bytes; a relay's where there is one."""
    if reply.message != OFFER:
        return Unreadable("it is no offer")
    server, mask = reply.options.get(SERVER, reply.source), reply.options.get(MASK, b"")
    if len(server) != 4 or reply.address == _NOBODY:
        return Unreadable("it offers no address, or does not say who offers it")
    routers = reply.options.get(ROUTERS, b"")
    return DhcpOffer(
        server=ip_text(server),
        server_mac=mac_text(server_mac),
        address=ip_text(reply.address),
        prefix=int.from_bytes(mask, "big").bit_count() if len(mask) == 4 else 0,
        routers=tuple(ip_text(routers[at : at + 4]) for at in range(0, len(routers) - 3, 4)),
        relay=ip_text(reply.relay) if reply.relay != _NOBODY else "",
        mtu=_number(reply.options.get(MTU, b""), 2),
        lease_s=_number(reply.options.get(LEASE, b""), 4),
    )


def _options(data: bytes) -> dict[int, bytes] | None:
    """One that comes in parts is joined (RFC 3396). None: one is cut off. What follows the end is padding."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return None
        found[data[at]] = found.get(data[at], b"") + data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return {number: value for number, value in found.items() if value}


def _number(value: bytes, size: int) -> int:
    return int.from_bytes(value, "big") if len(value) == size else 0
