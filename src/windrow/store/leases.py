"""Leases on disk: a file for each link, written by the DHCP client's own program (`services/dhcpevent.py`).

What is in them comes from a server, which may be anybody's: everything is checked. A lease runs by the clock that
counts since the boot, sleep included, and that nobody sets (CLOCK_BOOTTIME); after a reboot, by the wall clock.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.leases import Asking, Lease, LeasedRoute
from windrow.model.values import MTU_MIN, Cidr, IfName, parse_ifname
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths

SUFFIX, ASKED = ".json", ".asked"
FOREVER = 0xFFFFFFFF
UNSAID_S = 3600
"""What udhcpc takes a lease for whose time the server does not say."""
SHORTEST_S = 30
"""udhcpc makes this of every shorter one."""
_MOST = 64
"""Routes, name servers: no server of good will names more."""
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """`boot`: which boot `booted_s` counts from; `wall_s`: Unix time."""

    boot: str
    booted_s: float
    wall_s: float


def this_moment() -> Moment:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Moment(boot=boot, booted_s=time.clock_gettime(time.CLOCK_BOOTTIME), wall_s=time.time())


class Leases:
    """Reading never fails: a file that is no lease is none."""

    def __init__(self, paths: Paths) -> None:
        self._leases, self._asked = paths.leases, paths.dhcp

    def path(self, interface: IfName) -> Path:
        return self._leases / f"{interface}{SUFFIX}"

    def asked_path(self, interface: IfName) -> Path:
        return self._asked / f"{interface}{ASKED}"

    def in_force(self, now: Moment) -> dict[IfName, Lease]:
        """Those that have not run out, by the link."""
        return {name: lease for name, lease, _ in self._in_force(now)}

    def next_expiry(self, now: Moment) -> float | None:
        """Seconds until the first of them runs out; None: none does."""
        return min((left for _, _, left in self._in_force(now) if left is not None), default=None)

    def address(self, interface: IfName) -> str:
        """The address of the last lease, in force or not, to be asked for again; empty: there was none."""
        try:
            return str(ipaddress.ip_interface(_lease(interface, _read(self.path(interface))).address).ip)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return ""

    def names(self) -> tuple[IfName, ...]:
        """The links with a file, whatever is in it."""
        return _names(self._leases, SUFFIX)

    def asking(self) -> dict[IfName, Asking]:
        """The clients that are looking for a server."""
        return {name: found for name in _names(self._asked, ASKED) if (found := _asking(self.asked_path(name)))}

    def adopt(self, lease: Lease, now: Moment) -> None:
        """One that another client was given, for the rest of its time: its address is kept, and asked for again.
        Raises StoreError."""
        address = ipaddress.IPv4Interface(lease.address)
        options = {"ip": str(address.ip), "subnet": str(address.netmask), "lease": str(lease.lease_s or FOREVER)}
        if gateways := [route.gateway for route in lease.routes if route.gateway]:
            options["router"] = " ".join(gateways)
        when = {"boot": now.boot, "booted_s": now.booted_s, "wall_s": now.wall_s}
        path = self.path(lease.interface)
        with explained(path, "keep the lease"):
            records.make_directory(path.parent)
            data = json.dumps(records.stamped({"event": "bound", **when, "options": options})).encode()
            records.write(path, data, mode=records.SHARED, flush="content")

    def forget(self, interface: IfName) -> None:
        """Raises OSError."""
        for path in (self.path(interface), self.asked_path(interface)):
            path.unlink(missing_ok=True)

    def _in_force(self, now: Moment) -> Iterator[tuple[IfName, Lease, float | None]]:
        """(link, lease, seconds left or None: for ever)."""
        for name in self.names():
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                document = _read(self.path(name))
                lease = _lease(name, document)
                left = lease.lease_s - _age(document, now) if lease.lease_s else None
                if left is None or left > 0:
                    yield name, _until(lease, now, left), left


def _until(lease: Lease, now: Moment, left: float | None) -> Lease:
    return lease if left is None else replace(lease, expires=round(now.wall_s + left))


def _names(directory: Path, suffix: str) -> tuple[IfName, ...]:
    found = []
    with suppress(OSError):
        for path in sorted(directory.iterdir()):
            if path.name.endswith(suffix) and not path.name.startswith("."):
                with suppress(ValueError):
                    found.append(parse_ifname(path.name.removesuffix(suffix)))
    return tuple(found)


def _read(path: Path) -> Mapping[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    records.understand(document)
    return document


def _age(document: Mapping[str, Any], now: Moment) -> float:
    """Seconds since it was given. After a reboot a clock that stands before that moment knows nothing: too old."""
    if document["boot"] == now.boot:
        return now.booted_s - float(document["booted_s"])
    age = now.wall_s - float(document["wall_s"])
    return age if age >= 0 else float("inf")


def _asking(path: Path) -> Asking | None:
    try:
        document = _read(path)
        said = {name: str(document.get(name, ""))[:200] for name in ("trouble", "declined")}
        return Asking(times=int(document["times"]), since=float(document["since"]), **said)
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None


# What a server says -----------------------------------------------------------------------------------------------


def _lease(interface: IfName, document: Mapping[str, Any]) -> Lease:
    """Raises ValueError, TypeError, KeyError: there is none, or no address could be set from it."""
    if document["event"] not in ("bound", "renew"):
        raise ValueError("no lease")
    said = {str(name): str(value) for name, value in document["options"].items()}
    address = _address(said["ip"], said["subnet"])
    return Lease(
        interface=interface,
        address=address,
        routes=tuple(_routes(said)),
        mtu=_mtu(said.get("mtu", "")),
        dns=tuple(_addresses(said.get("dns", ""))),
        domain=_domain(said.get("domain", "")),
        server=next(_addresses(said.get("serverid", "")), ""),
        lease_s=_lease_s(said.get("lease", "")),
    )


def _address(ip: str, subnet: str) -> Cidr:
    """Raises ValueError where no host has such an address, or the mask is none or all."""
    mask = int(ipaddress.IPv4Address(subnet))
    host = mask ^ 0xFFFFFFFF
    if not mask or host & (host + 1):
        raise ValueError(f"{subnet} is no network mask")
    found = ipaddress.IPv4Interface(f"{ipaddress.IPv4Address(ip)}/{32 - host.bit_length()}")
    network = found.network
    if not _of_a_host(found.ip) or (network.num_addresses > 2 and found.ip in (network[0], network[-1])):
        raise ValueError(f"{found} is no address of a host")
    return Cidr(found.with_prefixlen)


def _of_a_host(address: ipaddress.IPv4Address) -> bool:
    """240.0.0.0/4 is reserved, 0.0.0.0/8 is this network (RFC 6890)."""
    first = address.packed[0]
    return not (address.is_loopback or address.is_multicast or address.is_link_local or first == 0 or first >= 240)


def _routes(said: Mapping[str, str]) -> Iterator[LeasedRoute]:
    """Option 121, which replaces the router option where a server sends both (RFC 3442); each destination once."""
    seen: set[str] = set()
    for to, gateway in _pairs(said["staticroutes"]) if "staticroutes" in said else _default(said.get("router", "")):
        if to not in seen and len(seen) < _MOST:
            seen.add(to)
            yield LeasedRoute(to=to, gateway=gateway)


def _default(routers: str) -> Iterator[tuple[str, str]]:
    """They are in the order of preference (RFC 2132 §3.5)."""
    for router in _addresses(routers):
        yield "default", router
        return


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """`10.0.0.0/8 192.0.2.1 0.0.0.0/0 192.0.2.2`, as udhcpc writes it. One that makes no sense is left out."""
    words = text.split()
    for to, gateway in zip(words[::2], words[1::2], strict=False):
        with suppress(ValueError):
            network, router = ipaddress.IPv4Network(to, strict=False), ipaddress.IPv4Address(gateway)
            if network.prefixlen and not _of_a_host(network.network_address):
                continue
            via = "" if router == ipaddress.IPv4Address(0) else str(router)
            if network.prefixlen == 0 and not via:
                continue
            if not via or _of_a_host(router):
                yield (str(network) if network.prefixlen else "default"), via


def _addresses(text: str) -> Iterator[str]:
    for word in text.split()[:_MOST]:
        with suppress(ValueError):
            address = ipaddress.IPv4Address(word)
            if _of_a_host(address):
                yield str(address)


def _mtu(text: str) -> int:
    """0 where it says none, or one that would make the link useless (RFC 791: 576 is what every host takes)."""
    return int(text) if text.isascii() and text.isdigit() and MTU_MIN <= int(text) <= 65535 else 0


def _domain(text: str) -> str:
    return text if len(text) <= 253 and _NAME.issuperset(text) else ""


def _lease_s(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        return UNSAID_S
    seconds = int(text)
    return 0 if seconds >= FOREVER else max(seconds, SHORTEST_S)
