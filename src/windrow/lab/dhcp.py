"""A DHCP client for an endpoint (RFC 2131): discover, offer, request, acknowledge; IPv4 over raw frames."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterator

from windrow.frames.ethernet import checksum
from windrow.lab.probe import Station
from windrow.model.values import Cidr

DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
RETRY_S = 1.0

_COOKIE = b"\x63\x82\x53\x63"
_MESSAGE, _SERVER, _WANTED, _MASK = 53, 54, 50, 1
_ETH_P_IP, _UDP = 0x0800, 17
_FIXED = 236
"""Bytes of a BOOTP message before the cookie."""


def request_lease(station: Station, *, timeout_s: float) -> Cidr | None:
    """The address that a server gave; None where none answered in time. Lasts as long as the lease does."""
    end = time.monotonic() + timeout_s
    one = station.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP)))
    with one:
        station.inside(lambda: _bound(one, station.interface))
        mac = one.getsockname()[4]
        transaction = int.from_bytes(mac[2:], "big")
        wanted = b""
        while time.monotonic() < end:
            kind = REQUEST if wanted else DISCOVER
            one.send(_frame(mac, transaction, bytes([_MESSAGE, 1, kind]) + wanted))
            for options, address in _answers(one, transaction, min(end, time.monotonic() + RETRY_S)):
                said = options.get(_MESSAGE, b"\0")[0]
                if kind == DISCOVER and said == OFFER and _SERVER in options:
                    wanted = bytes([_WANTED, 4]) + address + bytes([_SERVER, 4]) + options[_SERVER]
                    break
                if kind == REQUEST and said == ACK:
                    mask = ipaddress.IPv4Address(options.get(_MASK, b"\xff" * 4))
                    return Cidr(str(ipaddress.ip_interface(f"{ipaddress.IPv4Address(address)}/{mask}")))
    return None


def _bound(one: socket.socket, interface: str) -> socket.socket:
    one.bind((interface, _ETH_P_IP))
    return one


def _frame(mac: bytes, transaction: int, options: bytes) -> bytes:
    """From 0.0.0.0:68 to 255.255.255.255:67; the broadcast flag, since we have no address to be answered at."""
    bootp = struct.pack("!BBBBIHH16x6s10x192x", 1, 1, 6, 0, transaction, 0, 0x8000, mac)
    data = bootp + _COOKIE + options + bytes([55, 2, 1, 3, 255])
    udp = struct.pack("!HHHH", 68, 67, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, _UDP, 0, b"\0" * 4, b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\xff" * 6 + mac + struct.pack("!H", _ETH_P_IP) + head + udp


def _answers(one: socket.socket, transaction: int, end: float) -> Iterator[tuple[dict[int, bytes], bytes]]:
    """(options, the address it is about) of every answer to us until `end`."""
    while (left := end - time.monotonic()) > 0:
        one.settimeout(left)
        try:
            frame = one.recv(65536)
        except TimeoutError:
            return
        start = 14 + (frame[14] & 0xF) * 4
        bootp = frame[start + 8 :]
        if len(bootp) < _FIXED + 4 or frame[23] != _UDP or frame[start + 2 : start + 4] != b"\0\x44":
            continue
        if bootp[0] == 2 and int.from_bytes(bootp[4:8], "big") == transaction and bootp[_FIXED:][:4] == _COOKIE:
            yield _options(bootp[_FIXED + 4 :]), bootp[16:20]


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        found[data[at]] = data[at + 2 : at + 2 + length]
        at += 2 + length
    return found
