"""Neighbours, as the kernel tells them: those that somebody set by hand, made again just so, and those that answer.

The kernel forgets them when their link is closed (`neigh_ifdown`) or gets another MAC address (`neigh_changeaddr`).
Whom it found by asking need not be made again: it asks again.
"""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.host import StaticNeighbour
from windrow.model.values import Mac, address_order
from windrow.netlink.codec import NEIGHBOUR_HEADER, NUD_PERMANENT, pack_attr, read_ip
from windrow.netlink.routes import attributes
from windrow.netlink.sock import RTM_GETNEIGH, Message, Rtnl, Span

_DST, _LLADDR, _CACHEINFO, _PROBES, _IFINDEX, _PROTOCOL = 1, 2, 3, 4, 8, 12
"""NDA_*."""
_APART = frozenset({_CACHEINFO, _PROBES, _IFINDEX, _PROTOCOL})
"""What moves by itself, and what has a field of its own."""
_NTF_PROXY = 0x08
_ANSWERED = 0x02 | 0x04 | 0x08 | 0x10 | NUD_PERMANENT
"""NUD_REACHABLE, _STALE, _DELAY, _PROBE: it has answered, be it long ago."""
_IP, _ETHERNET = (4, 16), 6
"""Bytes of an address. Other tables than those of IPv4 and IPv6, and other links, are not carried."""


def dump_neighbours(rtnl: Rtnl) -> dict[int, frozenset[StaticNeighbour]]:
    """By ifindex. A proxy entry for all links at once (`ip neigh add proxy …` without `dev`) is no link's, and stays
    when one goes. Raises KernelError."""
    found: dict[int, set[StaticNeighbour]] = {}
    for index, one in (*_read(_dump(rtnl, 0)), *_read(_dump(rtnl, _NTF_PROXY))):
        found.setdefault(index, set()).add(one)
    return {index: frozenset(those) for index, those in found.items() if index}


def dump_addresses(rtnl: Rtnl) -> dict[Mac, tuple[str, ...]]:
    """The addresses that the kernel knows or knew somebody by, IPv4 first and IPv6 of the link alone last. Raises
    KernelError."""
    found: dict[Mac, set[str]] = {}
    for data, start, end in _dump(rtnl, 0):
        _, _, state, _, _ = NEIGHBOUR_HEADER.unpack_from(data, start)
        attrs = attributes(data, start + NEIGHBOUR_HEADER.size, end)
        address, mac = attrs.get(_DST, b""), attrs.get(_LLADDR, b"")
        if state & _ANSWERED and len(address) in _IP and len(mac) == _ETHERNET:
            found.setdefault(Mac(mac.hex(":")), set()).add(read_ip(address))
    return {mac: tuple(sorted(those, key=address_order)) for mac, those in found.items()}


def _dump(rtnl: Rtnl, flags: int) -> list[Span]:
    """Of both families: a kernel without IPv6 has one table less."""
    return rtnl.dump(Message(RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(0, 0, 0, flags, 0), doing="list the neighbours"))


def _read(dump: list[Span]) -> Iterator[tuple[int, StaticNeighbour]]:
    for data, start, end in dump:
        family, index, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(data, start)
        if not (state & NUD_PERMANENT or flags & _NTF_PROXY):
            continue
        attrs = attributes(data, start + NEIGHBOUR_HEADER.size, end)
        address, mac = attrs.get(_DST, b""), attrs.get(_LLADDR, b"")
        if len(address) in _IP and len(mac) in (0, _ETHERNET):
            kept = (pack_attr(number, payload) for number, payload in sorted(attrs.items()) if number not in _APART)
            yield (
                index,
                StaticNeighbour(
                    message=NEIGHBOUR_HEADER.pack(family, 0, state, flags, 0) + b"".join(kept),
                    address=read_ip(address),
                    mac=Mac(mac.hex(":")) if mac else None,
                    protocol=attrs.get(_PROTOCOL, b"\0")[0],
                ),
            )


def write(one: StaticNeighbour, index: int) -> bytes:
    """The body of RTM_NEWNEIGH and RTM_DELNEIGH. Raises ValueError."""
    if len(one.message) < NEIGHBOUR_HEADER.size:
        raise ValueError(f"the neighbour {one.address} is kept without its header")
    family, _, state, flags, kind = NEIGHBOUR_HEADER.unpack_from(one.message)
    head = NEIGHBOUR_HEADER.pack(family, index, state, flags, kind)
    return head + one.message[NEIGHBOUR_HEADER.size :] + pack_attr(_PROTOCOL, bytes([one.protocol]))
