"""Frames as an attacker makes them, octet by octet: no stack would send most of these."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

ICMP, TCP, UDP, SCTP, FRAGMENT, ICMP6 = 1, 6, 17, 132, 44, 58
HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
VLAN, SERVICE_VLAN = 0x8100, 0x88A8


def checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def ether(to: str, sender: str, data: bytes, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """`tags`: (EtherType, VID), the outer one first."""
    kind = "86dd" if data[0] >> 4 == 6 else "0800"
    between = b"".join(kind.to_bytes(2, "big") + vid.to_bytes(2, "big") for kind, vid in tags)
    return bytes.fromhex((to + sender).replace(":", "")) + between + bytes.fromhex(kind) + data


def ip(source: str, target: str, protocol: int, data: bytes, *, hops: int = 64, options: bytes = b"") -> bytes:
    """Of the family of its addresses. `options`: IPv4's; IPv6's are headers, in `data`."""
    if ":" in source:
        ends = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (source, target))
        return b"\x60\0\0\0" + len(data).to_bytes(2, "big") + bytes([protocol, hops]) + ends + data
    return _four(source, target, protocol, data, hops=hops, options=options)


def _four(
    source: str,
    target: str,
    protocol: int,
    data: bytes,
    *,
    hops: int = 64,
    ident: int = 1,
    at: int = 0,
    options: bytes = b"",
) -> bytes:
    """`at`: the field with flags and offset."""
    length = 20 + len(options)
    words = (length + len(data), ident, at)
    head = bytes([0x40 + length // 4, 0]) + b"".join(one.to_bytes(2, "big") for one in words)
    ends = socket.inet_aton(source) + socket.inet_aton(target) + options
    return head + bytes([hops, protocol]) + checksum(head + bytes([hops, protocol]) + b"\0\0" + ends) + ends + data


Part = tuple[int, bytes, bool]
"""At which octet a fragment is, its octets, and whether more follow."""


def pieces(source: str, target: str, protocol: int, parts: Sequence[Part], *, ident: int) -> list[bytes]:
    """Fragments."""
    if ":" not in source:
        return [
            _four(source, target, protocol, data, ident=ident, at=at // 8 | (0x2000 if more else 0))
            for at, data, more in parts
        ]
    heads = (bytes([protocol, 0]) + (at | more).to_bytes(2, "big") + ident.to_bytes(4, "big") for at, _, more in parts)
    return [ip(source, target, FRAGMENT, head + data) for head, (_, data, _) in zip(heads, parts, strict=True)]


def udp(source: str, target: str, port: int, text: bytes, *, sport: int = 80) -> bytes:
    """The datagram alone, with its checksum."""
    data = sport.to_bytes(2, "big") + port.to_bytes(2, "big") + (8 + len(text)).to_bytes(2, "big") + b"\0\0" + text
    return data[:6] + checksum(_pseudo(source, target, UDP, data)) + data[8:]


def tcp(source: str, target: str, port: int, flags: int, text: bytes = b"", *, sport: int = 80) -> bytes:
    """The segment alone."""
    data = sport.to_bytes(2, "big") + port.to_bytes(2, "big") + b"\0\0\x10\0" * 2 + bytes([0x50, flags])
    data += b"\x20\0" + b"\0\0" + b"\0\0" + text
    return data[:16] + checksum(_pseudo(source, target, TCP, data)) + data[18:]


def icmp6(source: str, target: str, kind: int, text: bytes, code: int = 0) -> bytes:
    data = bytes([kind, code]) + b"\0\0" + text
    return data[:2] + checksum(_pseudo(source, target, ICMP6, data)) + data[4:]


def error(source: str, target: str, about: bytes, *, too_big: bool = False) -> bytes:
    """The packet: no port there, or one that is too big. `about`: the packet that it answers."""
    if ":" in source:
        kind, code, rest = (2, 0, b"\0\0\x05\0") if too_big else (1, 4, bytes(4))
        return ip(source, target, ICMP6, icmp6(source, target, kind, rest + about, code))
    data = (b"\x03\x04\0\0\0\0\x05\0" if too_big else b"\x03\x03\0\0\0\0\0\0") + about
    return ip(source, target, ICMP, data[:2] + checksum(data) + data[4:])


def _pseudo(source: str, target: str, protocol: int, data: bytes) -> bytes:
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    return ends + len(data).to_bytes(4, "big") + bytes([0, 0, 0, protocol]) + data


def sctp_init(port: int, text: bytes, *, sport: int = 80) -> bytes:
    """An INIT chunk with a text in its parameters (RFC 9260 §3.3.2)."""
    import zlib  # the checksum is another one (CRC32c); nobody who judges looks at it

    parameter = b"\x80\x01" + (4 + len(text)).to_bytes(2, "big") + text + b"\0" * (-len(text) % 4)
    chunk = b"\1\0" + (20 + len(parameter)).to_bytes(2, "big") + b"\0\0\0\1\0\1\0\0\0\1\0\1\0\0\0\1" + parameter
    head = sport.to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(4)
    return head + zlib.crc32(head + chunk).to_bytes(4, "little") + chunk
