"""ARP (RFC 826) and reverse ARP (RFC 903) of IPv4 on Ethernet: the payload of a frame, 28 bytes."""

from __future__ import annotations

import struct

from windrow.frames.ethernet import ARP, BROADCAST, RARP, frame
from windrow.model.lazy import dataclass

_LAYOUT = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET, _IPV4 = 1, 0x0800
REQUEST, REPLY, _REVERSE_REQUEST = 1, 2, 3
NOBODY = bytes(4)
"""0.0.0.0: the sender of a probe (RFC 5227 §2.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arp:
    """MAC addresses are 6 bytes, IPv4 addresses 4, all zero where not known."""

    operation: int
    sender_mac: bytes
    sender: bytes = NOBODY
    target_mac: bytes = bytes(6)
    target: bytes = NOBODY

    def pack(self) -> bytes:
        return _LAYOUT.pack(
            _ETHERNET, _IPV4, 6, 4, self.operation, self.sender_mac, self.sender, self.target_mac, self.target
        )


def parse(payload: bytes) -> Arp | None:
    """What a payload says; None where it is too short, or not about IPv4 on Ethernet."""
    if len(payload) < _LAYOUT.size:
        return None
    hardware, protocol, hardware_size, size, operation, mac, sender, target_mac, target = _LAYOUT.unpack_from(payload)
    if (hardware, protocol, hardware_size, size) != (_ETHERNET, _IPV4, 6, 4):
        return None
    return Arp(operation=operation, sender_mac=mac, sender=sender, target_mac=target_mac, target=target)


def gratuitous(mac: bytes, address: bytes) -> bytes:
    """A frame to all by which they learn that `address` is at `mac`: an ARP announcement (RFC 5227 §3), as the kernel
    sends it (`inetdev_send_gratuitous_arp`)."""
    told = Arp(operation=REQUEST, sender_mac=mac, sender=address, target_mac=mac, target=address)
    return frame(BROADCAST, mac, ARP, told.pack())


def whereabouts(mac: bytes, vid: int | None) -> bytes:
    """A frame to all from `mac`, by which switches learn its port and nobody else anything: the request of reverse ARP
    that QEMU sends after a migration (`announce_self_create`)."""
    told = Arp(operation=_REVERSE_REQUEST, sender_mac=mac, target_mac=mac)
    return frame(BROADCAST, mac, RARP, told.pack(), vid)


def whose(mac: bytes, address: bytes, vid: int | None = None) -> bytes:
    """A frame that asks who has `address`, from nobody: a probe (RFC 5227 §2.1.1), which changes no one's cache."""
    asked = Arp(operation=REQUEST, sender_mac=mac, target=address)
    return frame(BROADCAST, mac, ARP, asked.pack(), vid)
