"""What a host is reached by: the addresses of its management network, and who is behind its default routes.

Whoever takes over what leads to these takes the host away from the people who look for it. It follows from what the
host has, not from names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from windrow.model.host import MAIN_TABLE, Observed, Route, settled_metric
from windrow.model.lazy import dataclass
from windrow.model.values import Cidr, IfName

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`defaults`: version of IP -> the metric of the best default route of the main table."""

    addresses: frozenset[Cidr] = frozenset()
    gateways: frozenset[str] = frozenset()
    defaults: Mapping[int, int] = field(default_factory=dict)


def reach_of(observed: Observed, protected: Collection[IfName]) -> Reach:
    """`protected`: the links that carry the management traffic."""
    links = observed.state.links
    addresses = {
        a for name in protected if name in links for a in (links[name].addrs or ()) | links[name].details.keys()
    }
    mine = [r for r in observed.state.routes if r.dst == "default" and r.table == MAIN_TABLE and r.dev in protected]
    defaults: dict[int, int] = {}
    for route in mine:
        defaults[route.version] = min(defaults.get(route.version, 1 << 33), route.metric)
    return Reach(
        addresses=frozenset(a for a in addresses if not _stays_on_its_link(a)),
        gateways=frozenset(r.gateway for r in mine if r.gateway and not ip_address(r.gateway).is_link_local),
        defaults=defaults,
    )


def _stays_on_its_link(address: Cidr) -> bool:
    interface = ip_interface(address)
    return interface.is_link_local or interface.is_loopback


def missing_source(route: Route, addresses: Collection[Cidr]) -> str:
    """Its preferred source where that is none of the host's `addresses`: the kernel refuses such a route
    (fib_valid_prefsrc, ip6_route_info_create); empty: it does not. On which link the address is does not matter."""
    source = route.exact.source if route.exact is not None else ""
    if not source or ip_address(source) in {ip_interface(address).ip for address in addresses}:
        return ""
    return source


def taken_by_address(reach: Reach, address: Cidr) -> str:
    """What an address on another link takes away, in words; empty: nothing."""
    return _taken(reach, ip_interface(address).network)


def taken_by_route(reach: Reach, to: str, version: int, metric: int) -> str:
    """What a route over another link takes away; `to` is `default` or a prefix, `metric` as the kernel will have it."""
    network = None if to == "default" else ip_network(to)
    if network is None or network.prefixlen == 0:
        best = reach.defaults.get(version)
        if best is None or metric > best:
            return ""
        return f"the way out of the management network, whose default route has metric {best}"
    if network.prefixlen == 1 and version in reach.defaults:
        return "half of what the management network's default route leads to"
    return _taken(reach, network)


def _taken(reach: Reach, network: Network) -> str:
    """The kernel takes the longest prefix: a part of the management network goes at once; the whole of it, or more,
    as soon as the management's own address is away for a moment, and then its answers never find back."""
    for address in sorted(reach.addresses):
        own = ip_interface(address)
        if own.version == network.version and own.network.overlaps(network):
            return f"the management network {own.network} of this host ({own.ip})"
    for gateway in sorted(reach.gateways):
        if ip_address(gateway) in network:
            return f"the management network's gateway {gateway}"
    return ""


def route_taken(reach: Reach, route: Route) -> str:
    if route.table != MAIN_TABLE:
        return ""
    return taken_by_route(reach, route.dst, route.version, settled_metric(route))
