"""A DHCP client for an endpoint (RFC 2131): discover, offer, request, acknowledge; IPv4 over raw frames."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator

from windrow.frames import dhcp
from windrow.frames.ethernet import IPV4
from windrow.lab.probe import Station
from windrow.model.values import Cidr

RETRY_S = 1.0
_HEADER = 14
"""Bytes of an Ethernet header."""


def request_lease(station: Station, *, timeout_s: float) -> Cidr | None:
    """The address that a server gave; None where none answered in time. Lasts as long as the lease does."""
    end = time.monotonic() + timeout_s
    one = station.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV4)))
    with one:
        station.inside(lambda: _bound(one, station.interface))
        mac = one.getsockname()[4]
        transaction = int.from_bytes(mac[2:], "big")
        wanted: dict[int, bytes] = {}
        while time.monotonic() < end:
            kind = dhcp.REQUEST if wanted else dhcp.DISCOVER
            options = {dhcp.MESSAGE: bytes([kind]), **wanted, dhcp.ASKED_FOR: bytes([dhcp.MASK, dhcp.ROUTERS])}
            one.send(dhcp.ask(mac, transaction, options))
            for reply in _answers(one, transaction, min(end, time.monotonic() + RETRY_S)):
                if kind == dhcp.DISCOVER and reply.message == dhcp.OFFER and dhcp.SERVER in reply.options:
                    wanted = {dhcp.WANTED: reply.address, dhcp.SERVER: reply.options[dhcp.SERVER]}
                    break
                if kind == dhcp.REQUEST and reply.message == dhcp.ACK:
                    mask = ipaddress.IPv4Address(reply.options.get(dhcp.MASK, b"\xff" * 4))
                    return Cidr(str(ipaddress.ip_interface(f"{ipaddress.IPv4Address(reply.address)}/{mask}")))
    return None


def _bound(one: socket.socket, interface: str) -> socket.socket:
    one.bind((interface, IPV4))
    return one


def _answers(one: socket.socket, transaction: int, end: float) -> Iterator[dhcp.Reply]:
    """Every answer to us until `end`."""
    while (left := end - time.monotonic()) > 0:
        one.settimeout(left)
        try:
            frame = one.recv(65536)
        except TimeoutError:
            return
        reply = dhcp.parse(frame[_HEADER:])
        if isinstance(reply, dhcp.Reply) and reply.transaction == transaction:
            yield reply
