"""What a guest's agent says of its network interfaces (`guest-network-get-interfaces`, QEMU's qga/qapi-schema.json)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from windrow.model.lazy import dataclass
from windrow.model.values import Mac, address_order, parse_mac, printable

PORT = "org.qemu.guest_agent.0"
"""The name of the port that agents look for (qga/main.c, QGA_VIRTIO_PATH_DEFAULT)."""
COMMAND = "guest-network-get-interfaces"
INTERFACES_MAX, ADDRESSES_MAX, NAME_MAX = 64, 64, 64
"""So many are taken of a guest, and so many characters of a name: whoever runs it may say what they like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestInterface:
    """`name`: the guest's own. `addresses`: each with its prefix length, IPv4 first and IPv6 of the link alone last."""

    name: str
    mac: Mac
    addresses: tuple[str, ...] = ()


def read_interfaces(answer: object) -> tuple[GuestInterface, ...]:
    """All that have a MAC address, as the guest lists them. What cannot be one is passed over."""
    listed = answer if isinstance(answer, list) else []
    return tuple(filter(None, map(_interface, listed[:INTERFACES_MAX])))


def own_of(mac: str, interfaces: Iterable[GuestInterface]) -> GuestInterface | None:
    """The one that is the NIC itself: a guest lists it before the VLAN interfaces and bridges that have its MAC address
    from it, for these are younger (`getifaddrs` goes by ifindex)."""
    return next((one for one in interfaces if one.mac == mac), None)


def _interface(entry: object) -> GuestInterface | None:
    if not isinstance(entry, Mapping):
        return None
    name, mac, addresses = (entry.get(key) for key in ("name", "hardware-address", "ip-addresses"))
    try:
        found = parse_mac(mac) if isinstance(mac, str) else None
    except ValueError:
        found = None
    if found is None or not int(found.replace(":", ""), 16):  # the loopback's is all zeros
        return None
    texts = sorted(set(_addresses(addresses)), key=address_order)
    return GuestInterface(name=_name(name), mac=found, addresses=tuple(texts))


def _name(name: object) -> str:
    """Windows' have blanks; what would move a terminal's cursor has no place in one."""
    return printable(name[:NAME_MAX]) if isinstance(name, str) else ""


def _addresses(listed: object) -> Iterator[str]:
    for entry in listed[:ADDRESSES_MAX] if isinstance(listed, list) else ():
        if isinstance(entry, Mapping):
            address = str(entry.get("ip-address")).partition("%")[0]
            try:
                yield str(ipaddress.ip_interface(f"{address}/{entry.get('prefix')}"))
            except ValueError:
                continue
