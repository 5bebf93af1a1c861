"""Give an address back in the name of a client that is gone: what `dhcp_release` of dnsmasq-utils does.

dnsmasq refuses an address to a new owner for as long as the old one's lease lives, which is the guard against giving
it twice; so whoever has deleted a machine says that its lease has ended (DHCPRELEASE, RFC 2131 §4.4.6).
"""

from __future__ import annotations

import socket
import struct

from windrow.frames.ethernet import mac_bytes
from windrow.model.values import IfName, Mac

SERVER_PORT = 67
BOOTREQUEST, ETHERNET, RELEASE = 1, 1, 7
_COOKIE = b"\x63\x82\x53\x63"


def release(interface: IfName, server: str, mac: Mac, address: str) -> None:
    """To the server at an address of this host on `interface`, in the calling thread's namespace. Raises OSError.

    Bound to the link, so that the server sees the frame come from there though it never leaves the host (the kernel
    routes it by `lo`; `ipv4_pktinfo_prepare` names the link that was bound to).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        one.sendto(message(server, mac, address), (server, SERVER_PORT))


def message(server: str, mac: Mac, address: str) -> bytes:
    chaddr = mac_bytes(mac)
    head = struct.pack("!BBBBIHH4s12x", BOOTREQUEST, ETHERNET, len(chaddr), 0, 0, 0, 0, _ip(address))
    options = bytes([53, 1, RELEASE, 54, 4]) + _ip(server) + b"\xff"
    return (head + chaddr.ljust(16, b"\0") + bytes(64 + 128) + _COOKIE + options).ljust(300, b"\0")


def _ip(text: str) -> bytes:
    return socket.inet_aton(text)
