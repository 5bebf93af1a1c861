"""Ethernet headers (IEEE 802.3 §3), with and without a VLAN tag (IEEE 802.1Q §9.6), and the internet checksum."""

from __future__ import annotations

import struct

BROADCAST = b"\xff" * 6
IPV4, ARP, RARP, IPV6, VLAN = 0x0800, 0x0806, 0x8035, 0x86DD, 0x8100
"""EtherTypes."""
_PAYLOAD_MIN = 46
"""IEEE 802.3 §4.2.3.3: a shorter one is padded. A tag does not count, so that a switch may take it off."""


def frame(to: bytes, source: bytes, ethertype: int, payload: bytes, vid: int | None = None) -> bytes:
    """A whole frame but for its check sequence; `to` and `source` are 6 bytes. `vid` None: without a tag."""
    tag = b"" if vid is None else struct.pack("!HH", VLAN, vid)
    return to + source + tag + struct.pack("!H", ethertype) + payload.ljust(_PAYLOAD_MIN, b"\0")


def mac_bytes(mac: str) -> bytes:
    """`02:00:00:00:00:01` as 6 bytes. Raises ValueError."""
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
