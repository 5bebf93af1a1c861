"""Neighbour discovery (RFC 4861) over Ethernet."""

from __future__ import annotations

import struct

from windrow.frames.ethernet import IPV6, checksum, frame

_ICMPV6, _HOP_LIMIT = 58, 255
_ADVERTISEMENT, _TARGET_MAC = 136, 2
_ROUTER, _OVERRIDE = 0x8000_0000, 0x2000_0000
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC = bytes.fromhex("333300000001")


def unsolicited(mac: bytes, address: bytes, *, router: bool) -> bytes:
    """A frame to all nodes by which who knows `address` (16 bytes) learns that it is at `mac`: an unsolicited neighbour
    advertisement that overrides (RFC 4861 §7.2.6), from the address itself, as the kernel sends it
    (`ndisc_send_unsol_na`). `router`: whether this host forwards; who says no to those that have it as their router is
    none any more (§7.2.5)."""
    flags = _OVERRIDE | (_ROUTER if router else 0)
    bare = struct.pack("!BBHI16sBB6s", _ADVERTISEMENT, 0, 0, flags, address, _TARGET_MAC, 1, mac)
    pseudo = address + _ALL_NODES + struct.pack("!II", len(bare), _ICMPV6)  # RFC 8200 §8.1
    summed = bare[:2] + struct.pack("!H", checksum(pseudo + bare)) + bare[4:]
    head = struct.pack("!IHBB", 6 << 28, len(summed), _ICMPV6, _HOP_LIMIT) + address + _ALL_NODES
    return frame(_ALL_NODES_MAC, mac, IPV6, head + summed)
