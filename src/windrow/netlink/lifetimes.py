"""Addresses for a time only: what a DHCP client gave a link, and will give it again when it renews the lease.

`Observed` leaves them out (`IFA_F_PERMANENT`): who gave them keeps them. Whoever takes a link over has to know them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from struct import Struct

from windrow.model.values import Cidr, IfName
from windrow.netlink import codec
from windrow.netlink.sock import Message, Rtnl

_RTM_GETADDR = 22
_IFA_F_PERMANENT = 0x80
_IFA_CACHEINFO = 6
_CACHEINFO = Struct("=IIII")
_ATTRIBUTE = Struct("=HH")


def dynamic_addresses(rtnl: Rtnl) -> dict[IfName, Mapping[Cidr, int]]:
    """Link -> IPv4 address -> the seconds that are left of it. IPv6 ones come by themselves again, from the same
    router and for the same MAC address. Raises KernelError."""
    names = {index: name for name, index in rtnl.indexes().items()}
    found: dict[IfName, dict[Cidr, int]] = {}
    dump = rtnl.dump(
        Message(_RTM_GETADDR, codec.ADDR_HEADER.pack(socket.AF_INET, 0, 0, 0, 0), doing="list the addresses")
    )
    for data, start, end in dump:
        family, length, flags, _, index = codec.ADDR_HEADER.unpack_from(data, start)
        attributes = codec.ADDR.decode(data, start + codec.ADDR_HEADER.size, end)
        text = attributes.get("local") or attributes.get("address")
        if family != socket.AF_INET or not text or attributes.get("flags", flags) & _IFA_F_PERMANENT:
            continue
        left = _valid(bytes(data[start + codec.ADDR_HEADER.size : end]))
        found.setdefault(IfName(names.get(index, str(index))), {})[Cidr(f"{text}/{length}")] = left
    return dict(found)


def _valid(data: bytes) -> int:
    """`ifa_valid` of struct ifa_cacheinfo; 0 where it is not said."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == _IFA_CACHEINFO and length >= _ATTRIBUTE.size + _CACHEINFO.size:
            return int(_CACHEINFO.unpack_from(data, at + _ATTRIBUTE.size)[1])
        at += (length + 3) & ~3
    return 0
