"""What clients of a pool are told beside their address, whichever server tells it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from windrow.model.lazy import dataclass
from windrow.model.pools import Scope, with_default_route


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Empty, or 0: nothing is said about it."""

    router: str
    dns: tuple[str, ...]
    domain: str
    search: tuple[str, ...]
    ntp: tuple[str, ...]
    mtu: int
    routes: tuple[tuple[str, str], ...]
    """(prefix, router), the default route among them where there are others (RFC 3442)."""


def told(scope: Scope) -> Told:
    pool = scope.pool
    return Told(
        router=pool.router,
        dns=pool.dns,
        domain=pool.domain,
        search=pool.search,
        ntp=tuple(filter(_is_address, pool.ntp)),
        mtu=scope.mtu,
        routes=with_default_route(pool),
    )


def _is_address(text: str) -> bool:
    """Option 42 carries nothing else; admission says so of a name."""
    return text.replace(".", "").isdigit()


def classless(routes: tuple[tuple[str, str], ...]) -> bytes:
    """Option 121 (RFC 3442): of each the prefix length, the bytes of the prefix that count, the router."""
    return b"".join(_descriptor(to, via) for to, via in routes)


def _descriptor(to: str, via: str) -> bytes:
    network = ipaddress.IPv4Network(to)
    bytes_that_count = network.network_address.packed[: (network.prefixlen + 7) // 8]
    return bytes([network.prefixlen]) + bytes_that_count + ipaddress.IPv4Address(via).packed


def searched(names: tuple[str, ...]) -> bytes:
    """Option 119 (RFC 3397): the names, each with a pointer to the longest end of it that was there before."""
    found, places = bytearray(), dict[str, int]()
    for name in names:
        rest = name
        while rest and rest not in places:
            places[rest] = len(found)
            label, _, rest = rest.partition(".")
            found += bytes([len(label)]) + label.encode("ascii")
        found += (0xC000 | places[rest]).to_bytes(2, "big") if rest else b"\0"
    return bytes(found)


def hosts_of(scope: Scope) -> Iterator[tuple[str, str, str]]:
    """(MAC, address, host name; empty: none is told), by address."""
    return ((str(r.mac), r.address, r.hostname) for r in scope.reservations)
