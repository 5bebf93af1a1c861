"""ISC dhcpd: a subnet for each pool, with a host for each reservation, and no range: strangers get nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windrow.dhcp.told import classless, hosts_of, told
from windrow.model.pools import Scope

_ROUTES = "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;"


def text(scopes: Iterable[Scope]) -> str:
    return "".join(f"{line}\n" for line in _lines(list(scopes)))


def _lines(scopes: list[Scope]) -> Iterator[str]:
    # Not authoritative: it would refuse (DHCPNAK) whoever another server of the same VLAN knows.
    yield "not authoritative;"
    yield "ddns-update-style none;"
    if any(told(scope).routes for scope in scopes):
        yield _ROUTES
    for scope in scopes:
        yield ""
        yield f"# {scope.pool.network}: VLAN {scope.vid or 'untagged'} of {scope.cluster_network}"
        yield f"subnet {scope.pool.subnet.network_address} netmask {scope.pool.subnet.netmask} {{"
        yield from (f"  {line}" for line in _statements(scope))
        yield "}"
        yield from (_host(scope, *host) for host in hosts_of(scope))


def _statements(scope: Scope) -> Iterator[str]:
    said, lease = told(scope), scope.pool.lease_s
    yield f"default-lease-time {lease};"
    yield f"max-lease-time {lease};"
    quoted = ", ".join(f'"{name}"' for name in said.search)
    found = (
        ("routers", said.router),
        ("domain-name-servers", ", ".join(said.dns)),
        ("domain-name", f'"{said.domain}"' if said.domain else ""),
        ("domain-search", quoted),
        ("ntp-servers", ", ".join(said.ntp)),
        ("interface-mtu", str(said.mtu or "")),
        ("rfc3442-classless-static-routes", ", ".join(map(str, classless(said.routes)))),
    )
    yield from (f"option {name} {value};" for name, value in found if value)


def _host(scope: Scope, mac: str, address: str, name: str) -> str:
    """Called after pool and MAC address: one MAC may be in two pools."""
    called = f"{scope.tag}-{mac.replace(':', '')}"
    option = f' option host-name "{name}";' if name else ""
    return f"host {called} {{ hardware ethernet {mac}; fixed-address {address};{option} }}"
