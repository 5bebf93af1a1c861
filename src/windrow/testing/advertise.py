"""A router's advertisement as a frame (RFC 4861 §4.2, RFC 4191), sent by whoever is at a link: a guest, for example."""

from __future__ import annotations

import ipaddress
import socket
import struct

ETH_P_IPV6 = 0x86DD
ALL_NODES = ipaddress.IPv6Address("ff02::1")
HIGH = 0x08


def advertisement(mac: bytes, *, prefix: str = "2001:db8:bad::/64", to: str = "2001:db8:f00::/48") -> bytes:
    """Of a router that is preferred to others: a default route, a network with addresses of its own, another route."""
    source = ipaddress.IPv6Address("fe80::bad")
    network, route = ipaddress.IPv6Network(prefix), ipaddress.IPv6Network(to)
    options = struct.pack("!BBBBIII16s", 3, 4, network.prefixlen, 0xC0, 3600, 3600, 0, network.network_address.packed)
    options += struct.pack("!BBBBI16s", 24, 3, route.prefixlen, HIGH, 1800, route.network_address.packed)
    options += struct.pack("!BB6s", 1, 1, mac)
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, HIGH, 1800, 0, 0) + options
    summed = source.packed + ALL_NODES.packed + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6) + body
    body = body[:2] + struct.pack("!H", _checksum(summed)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + source.packed + ALL_NODES.packed
    return bytes.fromhex("333300000001") + mac + struct.pack("!H", ETH_P_IPV6) + head + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def advertise(name: str) -> None:
    """Once, on a link of the calling thread's namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IPV6)) as wire:
        wire.bind((name, 0))
        wire.send(advertisement(wire.getsockname()[4]))
