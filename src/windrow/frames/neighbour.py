"""Neighbour discovery (RFC 4861) over Ethernet: who has an address, and which routers there are.

IPv6, next header 58, hop limit 255 (whatever has less came from another link, §7.1)
ICMPv6    u8 type, u8 code, u16 checksum; then what the type has; then options
option    u8 type, u8 length in units of 8 bytes, value
"""

from __future__ import annotations

import struct

from windrow.frames.ethernet import IPV6, checksum, frame
from windrow.frames.reading import Unreadable, ip_text, mac_text
from windrow.model.evidence import RouterAdvert
from windrow.model.lazy import dataclass

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT = 133, 134, 135, 136
_ICMPV6, _HOP_LIMIT = 58, 255
_TARGET_MAC, _PREFIX, _MTU = 2, 3, 5
_ROUTER, _OVERRIDE = 0x8000_0000, 0x2000_0000
_PREFERENCES = {0: "medium", 1: "high", 2: "medium", 3: "low"}
"""RFC 4191 §2.1; 2 is reserved, and to be taken as medium."""
_NOBODY = bytes(16)
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_ROUTERS = bytes.fromhex("ff020000000000000000000000000002")
_SOLICITED = bytes.fromhex("ff0200000000000000000001ff")
_HEADER = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """Somebody says that an address (16 bytes) is at a MAC (6 bytes)."""

    address: bytes
    mac: bytes


def unsolicited(mac: bytes, address: bytes, *, router: bool) -> bytes:
    """A frame to all nodes by which who knows `address` (16 bytes) learns that it is at `mac`: an unsolicited neighbour
    advertisement that overrides (RFC 4861 §7.2.6), from the address itself, as the kernel sends it
    (`ndisc_send_unsol_na`). `router`: whether this host forwards; who says no to those that have it as their router is
    none any more (§7.2.5)."""
    flags = _OVERRIDE | (_ROUTER if router else 0)
    body = struct.pack("!I16sBB6s", flags, address, _TARGET_MAC, 1, mac)
    return _frame(mac, address, _ALL_NODES, ADVERTISEMENT, body)


def whose(mac: bytes, address: bytes, vid: int | None = None) -> bytes:
    """A frame that asks who has `address` (16 bytes), from nobody, as for duplicate address detection (RFC 4862
    §5.4.2): the answer goes to all nodes, and nobody remembers who asked."""
    return _frame(mac, _NOBODY, _SOLICITED + address[13:], SOLICITATION, struct.pack("!4x16s", address), vid)


def routers_wanted(mac: bytes, vid: int | None = None) -> bytes:
    """A frame that asks routers to advertise themselves, from nobody (RFC 4861 §4.1)."""
    return _frame(mac, _NOBODY, _ALL_ROUTERS, ROUTER_SOLICITATION, bytes(4), vid)


def _frame(mac: bytes, source: bytes, to: bytes, kind: int, body: bytes, vid: int | None = None) -> bytes:
    """`to` is a multicast address, whose end is that of its MAC (RFC 2464 §7)."""
    bare = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = source + to + struct.pack("!II", len(bare), _ICMPV6)  # RFC 8200 §8.1
    summed = bare[:2] + struct.pack("!H", checksum(pseudo + bare)) + bare[4:]
    head = struct.pack("!IHBB", 6 << 28, len(summed), _ICMPV6, _HOP_LIMIT) + source + to
    return frame(b"\x33\x33" + to[12:], mac, IPV6, head + summed, vid)


def parse(packet: bytes, mac: bytes) -> Advertisement | RouterAdvert | Unreadable:
    """The bytes after EtherType 0x86dd; `mac` (6 bytes) is the frame's source."""
    if len(packet) < _HEADER + 8 or packet[0] >> 4 != 6 or packet[6] != _ICMPV6:
        return Unreadable("it is no ICMPv6")
    length = int.from_bytes(packet[4:6], "big")
    body = packet[_HEADER : _HEADER + length]
    if len(body) < max(8, length) or packet[7] != _HOP_LIMIT or body[1] != 0:
        return Unreadable("it is cut off, or comes from another link")
    if _sum(packet[8:_HEADER], body) != 0:
        return Unreadable("its checksum is wrong")
    if body[0] == ADVERTISEMENT and len(body) >= 24:
        return _advertisement(body, mac)
    if body[0] == ROUTER_ADVERTISEMENT and len(body) >= 16:
        return _router(packet[8:24], body, mac)
    return Unreadable("it is no advertisement")


def _sum(addresses: bytes, body: bytes) -> int:
    padded = body + bytes(len(body) % 2)
    return checksum(addresses + struct.pack("!II", len(body), _ICMPV6) + padded)


def _advertisement(body: bytes, mac: bytes) -> Advertisement | Unreadable:
    options = _options(body[24:])
    if options is None:
        return Unreadable("an option is cut off")
    told = next((value[:6] for kind, value in options if kind == _TARGET_MAC), mac)
    return Advertisement(address=body[8:24], mac=told)


def _router(source: bytes, body: bytes, mac: bytes) -> RouterAdvert | Unreadable:
    options = _options(body[16:])
    if options is None:
        return Unreadable("an option is cut off")
    return RouterAdvert(
        router=ip_text(source),
        mac=mac_text(mac),
        lifetime_s=int.from_bytes(body[6:8], "big"),
        preference=_PREFERENCES[body[5] >> 3 & 3],
        prefixes=tuple(f"{ip_text(v[14:30])}/{v[0]}" for kind, v in options if kind == _PREFIX and len(v) >= 30),
        mtu=next((int.from_bytes(v[2:6], "big") for kind, v in options if kind == _MTU), 0),
    )


def _options(data: bytes) -> list[tuple[int, bytes]] | None:
    """None: one is cut off, or has no length, which RFC 4861 §4.6 has the whole packet discarded for."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        size = data[at + 1] * 8 if at + 1 < len(data) else 0
        if size == 0 or at + size > len(data):
            return None
        found.append((data[at], data[at + 2 : at + size]))
        at += size
    return found
