"""dnsmasq: the main file, which needs a restart, and the files of hosts and options, which SIGHUP has it read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from windrow.dhcp.told import hosts_of, told
from windrow.model.pools import LEASE_S_MIN, Scope

LEASES_MAX = 100_000
"""dnsmasq's own limit is 1,000, reservations included; the next client would get nothing (`dhcp-lease-max`)."""


def main(scopes: Sequence[Scope], directory: str, pid_file: str) -> str:
    """The configuration of our own server for the pools of one VLAN, whose other files are in `directory`."""
    interface = scopes[0].link
    lines = [
        *_common(),
        # What it gives stands in the pool's status: a line for each packet would cost it half its speed.
        *(f"interface={interface}", "except-interface=lo", "bind-dynamic", "quiet-dhcp"),
        # Whole, at each change: with 2,000 leases that is three quarters of its time. What it holds is reserved anyway.
        *("leasefile-ro", f"pid-file={pid_file}"),
        *(f"dhcp-hostsfile={directory}/hosts", f"dhcp-optsfile={directory}/options"),
        *(line for scope in scopes for line in _range(scope)),
        *(line for scope in scopes for line in _advertised(scope)),
    ]
    return _text(lines)


def hosts(scopes: Iterable[Scope]) -> str:
    """`dhcp-hostsfile`: who has which address. Whoever is not in it is met with silence."""
    return _text(line for scope in scopes for line in _hosts(scope))


def options(scopes: Iterable[Scope]) -> str:
    """`dhcp-optsfile`."""
    return _text(line for scope in scopes for line in _options(scope))


def whole(scopes: Iterable[Scope]) -> str:
    """One file, for a dnsmasq that is not ours: it says which pools, and not on which interfaces."""
    lines = [*_common()]
    for scope in scopes:
        lines += ["", f"# {scope.pool.network}: VLAN {scope.vid or 'untagged'} of {scope.cluster_network}"]
        lines += _range(scope)
        lines += (f"dhcp-option={line}" for line in _options(scope))
        lines += (f"dhcp-host={line}" for line in _hosts(scope))
    return _text(lines)


def _common() -> Iterator[str]:
    yield from ("port=0", "no-ping", f"dhcp-lease-max={LEASES_MAX}")
    # Without its lease file, too, it confirms what is reserved; and whoever is not known to it is none of its business.
    yield from ("dhcp-authoritative", "dhcp-ignore=tag:!known")


def _range(scope: Scope) -> Iterator[str]:
    subnet, lease = scope.pool.subnet, max(scope.pool.lease_s, LEASE_S_MIN)
    yield f"dhcp-range=set:{scope.tag},{subnet.network_address},static,{subnet.netmask},{lease}"


def _hosts(scope: Scope) -> Iterator[str]:
    for mac, address, name in hosts_of(scope):
        yield f"{mac},{address},{name}" if name else f"{mac},{address}"


def _options(scope: Scope) -> Iterator[str]:
    said, tag = told(scope), f"tag:{scope.tag}"
    # Without a router it would name itself: an empty option says that there is none.
    yield f"{tag},option:router,{said.router}" if said.router else f"{tag},option:router"
    found = (
        ("dns-server", ",".join(said.dns)),
        ("domain-name", said.domain),
        ("domain-search", ",".join(said.search)),
        ("ntp-server", ",".join(said.ntp)),
        ("mtu", str(said.mtu or "")),
        ("classless-static-route", ",".join(f"{to},{via}" for to, via in said.routes)),
    )
    yield from (f"{tag},option:{name},{value}" for name, value in found if value)


def _advertised(scope: Scope) -> Iterator[str]:
    """A prefix, and with a lifetime a router (RFC 4861 §6.2.1); the intervals are dnsmasq's own."""
    said = scope.pool.advertise
    if said is None:
        return
    address, _, length = said.prefix.partition("/")
    yield "enable-ra"
    yield f"dhcp-range={address},ra-only,{length}"
    mtu = f"mtu:{scope.mtu}," if scope.mtu else ""
    yield f"ra-param={scope.link},{mtu}0,{said.lifetime_s}"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
