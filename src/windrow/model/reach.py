"""What a host is reached by: the addresses of its management network, who is behind its default routes, and who is
logged in by way of it.

Whoever takes over what leads to these takes the host away from the people who look for it. It follows from what the
host has, not from names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from windrow.model.host import IP6_RT_PRIO_USER, MAIN_TABLE, Observed, Route, settled_metric
from windrow.model.lazy import dataclass
from windrow.model.values import Cidr, IfName

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`defaults`: version of IP -> the metric of the best default route of the main table. `peers`: addresses of those
    who are reached by way of the management network, wherever they are."""

    addresses: frozenset[Cidr] = frozenset()
    gateways: frozenset[str] = frozenset()
    defaults: Mapping[int, int] = field(default_factory=dict)
    peers: frozenset[str] = frozenset()


WIDE = {4: 8, 6: 7}
"""Version of IP -> a prefix that is shorter is no network that anybody has (the widest are 10.0.0.0/8 and fc00::/7),
but a part of a default route: `0.0.0.0/1`, `64.0.0.0/2`, and `2000::/3`, which is all of the IPv6 internet."""


def reach_of(observed: Observed, protected: Collection[IfName], peers: frozenset[str] = frozenset()) -> Reach:
    """`protected`: the links that carry the management traffic. `peers`: see `Reach`."""
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
        peers=peers,
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
    if network.prefixlen < WIDE[version] and version in reach.defaults:
        return "a large part of what the management network's default route leads to"
    return _taken(reach, network)


def taken_by_routers(reach: Reach) -> str:
    """What the routers that announce themselves on another link take away: the kernel gives their default routes the
    metric 1024, and of several equals it takes the one with the highest preference, which they say (RFC 4191)."""
    return taken_by_route(reach, "default", 6, IP6_RT_PRIO_USER)


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
    for peer in sorted(reach.peers):
        if ip_address(peer) in network:
            return f"the way to {peer}, which is reached by way of the management network"
    return ""


def route_taken(reach: Reach, route: Route) -> str:
    if route.table != MAIN_TABLE:
        return ""
    return taken_by_route(reach, route.dst, route.version, settled_metric(route))
