"""Tell a DHCP server that somebody else has the address that it gave (DHCPDECLINE, RFC 2131 §4.4.4).

In the name of a client that was ended for it: udhcpc declines only where it asks by ARP itself (`-a`), and then it asks
at each renewal, too, and loses leases that it keeps without (ADR 26).
"""

from __future__ import annotations

import os
import socket
from contextlib import closing

from windrow.frames import dhcp
from windrow.frames.ethernet import IPV4
from windrow.model.leases import NO_CLIENT_ID, Lease

_ETHERNET = b"\x01"
"""Type of a client identifier that is a MAC address (RFC 2132 §9.14)."""


def decline(lease: Lease, client_id: str, why: str) -> None:
    """By the lease's link, in the calling thread's namespace. `client_id`: as of `model.leases.ClientOptions`. Raises
    OSError."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with closing(socket.socket(socket.AF_PACKET, kind, 0)) as one:  # protocol 0: it hears nothing
        one.bind((lease.interface, 0))
        mac = one.getsockname()[4]
        address = socket.inet_aton(lease.address.partition("/")[0])
        server, said = socket.inet_aton(lease.server), _client_id(client_id, mac)
        one.sendto(
            dhcp.decline(mac, int.from_bytes(os.urandom(4)), address, server, said, why),
            (lease.interface, IPV4),
        )


def _client_id(said: str, mac: bytes) -> bytes:
    """What udhcpc says: its MAC address where it is told nothing else (`udhcpc_main`, busybox 1.35)."""
    if said == NO_CLIENT_ID:
        return b""
    return bytes.fromhex(said.replace(":", "")) if said else _ETHERNET + mac
