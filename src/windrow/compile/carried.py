"""Pass: what a NIC had that no manifest can say goes with its address, to the link of the management network.

`windrow init` keeps the NIC as it was. Its address, its gateways and its plain routes are in a HostNetworkConfig since
then. The rest is carried as it is: routes of other tables, with a source, an MTU, several next hops, …; rules that
name the NIC; neighbours that were set by hand; what its addresses are beyond their text; its sysctls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from windrow.compile.hostnet import addresses_of, on_the_link, reaches
from windrow.compile.ipv6 import possible
from windrow.model import names
from windrow.model.facts import NodeFacts
from windrow.model.host import (
    MAIN_TABLE,
    OWNER_PROTOCOL,
    Details,
    HostState,
    Link,
    Other,
    Route,
    Rule,
    StaticNeighbour,
    settled_metric,
)
from windrow.model.lazy import dataclass, replace
from windrow.model.objects import AddressMode, HostNetworkConfig, HostRoute, HostRouting
from windrow.model.problems import Problem, Severity
from windrow.model.reach import missing_source
from windrow.model.values import Cidr, IfName
from windrow.model.verbatim import onlink

_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The routes of a NIC: what a HostNetworkConfig says of them, and what it cannot say."""

    routing: HostRouting
    rest: frozenset[Route]


def told(routes: Iterable[Route], addresses: Iterable[Cidr], *, in_place: bool = False) -> Said:
    """Of each family that has a static address the best default route is the gateway; a plain route of the main table
    is a route. The others, a second default route among them, are the rest.

    `in_place`: they stay on their link, so a router is said that is there whatever networks the addresses have
    (`onlink`), and one that is not there any more is the rest. `windrow init` carries both to another link."""
    networks = [ip_interface(address).network for address in addresses]
    plain = [r for r in routes if _is_plain(r, networks) or (in_place and _is_plain(_without_exact(r), networks))]
    if in_place:
        there = on_the_link(networks, map(_said, plain))
        plain = [r for r in plain if reaches(_said(r), there)]
    best: dict[int, Route] = {}
    for route in sorted(plain, key=lambda r: (-r.metric, -r.order)):
        if route.dst == "default" and route.gateway:
            best[route.version] = route
    metric = next((_said_metric(best[version]) for version in (4, 6) if version in best), None)
    if 6 in best and settled_metric(best[6]) != settled_metric(replace(best[6], metric=metric or 0)):
        best.pop(6)  # one metric is said for both
    if len({_on_link(route) for route in best.values()}) > 1:
        best.pop(6)  # and so is this
    others: dict[tuple[str, int], Route] = {}
    for route in sorted(plain, key=lambda r: (r.dst, r.metric, r.order)):
        if route.dst != "default":
            others.setdefault((route.dst, route.metric), route)
    said = {*best.values(), *others.values()}
    return Said(
        routing=HostRouting(
            gateways=tuple(str(route.gateway) for _, route in sorted(best.items())),
            gateway_on_link=any(map(_on_link, best.values())),
            metric=metric,
            routes=tuple(map(_said, others.values())),
        ),
        rest=frozenset(routes) - said,
    )


def _said(route: Route) -> HostRoute:
    return HostRoute(to=route.dst, via=route.gateway or "", metric=_said_metric(route), on_link=_on_link(route))


def _on_link(route: Route) -> bool:
    """Whether that is all that its fields do not say."""
    if route.exact is None or route.dev is None or not route.gateway:
        return False
    to = Cidr(_EVERYTHING[route.version]) if route.dst == "default" else Cidr(route.dst)
    if ip_address(route.gateway).version != route.version:
        return False
    return onlink(to, route.gateway, route.dev, route.metric).exact == route.exact


def _said_metric(route: Route) -> int | None:
    """None: the one that the kernel takes by itself."""
    return None if route.metric == settled_metric(replace(route, metric=0)) else route.metric


def _without_exact(route: Route) -> Route:
    """Where `_on_link` is all that it says beyond the fields."""
    return replace(route, exact=None) if _on_link(route) else route


def _is_plain(route: Route, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Within the network of the address no route may be said (`rules.hostnetworkconfig.routes_lead_elsewhere`)."""
    if route.exact is not None or route.table != MAIN_TABLE or route.until is not None:
        return False
    if route.dst == "default" and not route.gateway:
        return False
    if route.dst == "default":
        return any(network.version == route.version for network in networks)
    to = ip_network(route.dst)
    same = [network for network in networks if network.version == to.version]
    return bool(same) and not any(to.network_address in network for network in same)


# -- the pass --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """`to`: the link that it all goes to; None: there is none, or nothing to carry."""

    to: IfName | None = None
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()
    neighbours: frozenset[StaticNeighbour] = frozenset()
    addresses: frozenset[Cidr] = frozenset()
    """Those that the HostNetworkConfig does not say: IPv6 ones for a time, or deprecated; with DHCP all IPv6 ones."""
    details: Mapping[Cidr, Details] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def carried(configs: tuple[HostNetworkConfig, ...], said: frozenset[Route], facts: NodeFacts) -> Carried:
    """`said`: the routes that manifests say; they count where one of the rest has the same destination and metric."""
    origin = facts.origin
    link = next((link for link in (origin.links if origin else {}).values() if link.addrs), None)
    config = None if link is None else _heir(configs, link, facts)
    if origin is None or link is None or config is None:
        return Carried()
    addresses = addresses_of(config, facts)
    details = _details(link, config, addresses)
    to = config.interface
    extra = possible(details, to, facts) - addresses
    moves = {link.name: to}
    taken = {(r.dst, r.version, settled_metric(r)) for r in said if r.table == MAIN_TABLE}
    elsewhere = frozenset(a for name, found in facts.addrs.items() if name not in (link.name, to) for a in found)
    routes, problems = set(), []
    for route in sorted(_rest(origin, link), key=lambda r: (r.table, r.order)):
        if route.table == MAIN_TABLE and (route.dst, route.version, settled_metric(route)) in taken:
            continue
        if why := _lost(route, addresses | extra, elsewhere):
            problems.append(_left_out(route, why, config))
        else:
            routes.add(route.moved(moves, OWNER_PROTOCOL))
    return Carried(
        to=to,
        routes=frozenset(routes),
        rules=frozenset(r.moved(moves, OWNER_PROTOCOL) for r in origin.rules if link.name in (r.iif, r.oif)),
        neighbours=frozenset(replace(n, protocol=OWNER_PROTOCOL) for n in link.neighbours),
        addresses=extra,
        details=details,
        settings=link.settings,
        problems=tuple(problems),
    )


def foremost(link: Link) -> frozenset[Cidr]:
    """Its static addresses that a manifest says: not an IPv6 one whose preferred time ends, beside one without such an
    end. That is for whoever has it already (RFC 4862 §5.5.4, RFC 4192), and goes along as it is."""
    static = {a for a in link.addrs or () if a not in link.details or link.details[a].static or ":" not in a}
    ending = {a for a in static if ":" in a and a in link.details and link.details[a].preferred_until is not None}
    lasting = {a for a in static - ending if ":" in a}
    return frozenset(static - ending if lasting else static)


def _rest(origin: HostState, link: Link) -> frozenset[Route]:
    mine = [route for route in origin.routes if set(route.links) == {link.name}]
    leased = any(not details.static for address, details in link.details.items() if ":" not in address)
    return told(mine, sayable(foremost(link), dhcp=leased)).rest


def sayable(addresses: Iterable[Cidr], *, dhcp: bool) -> list[Cidr]:
    """Those whose routes a HostNetworkConfig says: with DHCP, which is of IPv4, those alone."""
    return [address for address in addresses if not (dhcp and ":" in address)]


def _heir(configs: tuple[HostNetworkConfig, ...], link: Link, facts: NodeFacts) -> HostNetworkConfig | None:
    """Who has the address now; else whoever stands for the management network."""
    on_mgmt = [c for c in configs if c.cluster_network == names.MGMT and addresses_of(c, facts)]
    had = link.addrs or frozenset()
    return min(on_mgmt, key=lambda c: (not addresses_of(c, facts) & had, not c.routing.gateways, c.vid), default=None)


def _lost(route: Route, addresses: frozenset[Cidr], elsewhere: frozenset[Cidr]) -> str:
    """Why the kernel would refuse it on a link with these addresses, and others `elsewhere`; empty: it would not."""
    interfaces = [ip_interface(address) for address in addresses]
    if source := missing_source(route, addresses | elsewhere):
        return f"its source {source} is no address of this host any more"
    free = route.exact is not None and route.exact.reached
    if not route.gateway or free or route.gateway.startswith("fe80:"):
        return ""
    router = ip_address(route.gateway)
    if not any(router in i.network for i in interfaces):
        return f"its router {router} is not in the network of {', '.join(sorted(addresses))}"
    return ""


def _left_out(route: Route, why: str, config: HostNetworkConfig) -> Problem:
    table = f" in table {route.table}" if route.table != MAIN_TABLE else ""
    return Problem(
        code="route-dropped",
        message=f"the route to {route.dst}{table}, which was here before `windrow init`, is left out: {why}",
        hint="add it again with another router, to spec.routes, if it is still needed",
        about=config.ref,
        severity=Severity.WARNING,
    )


def _details(link: Link, config: HostNetworkConfig, addresses: frozenset[Cidr]) -> dict[Cidr, Details]:
    """Of the addresses that the heir gets. With DHCP the lease says how long the address lives."""
    dhcp = config.mode is AddressMode.DHCP
    said = foremost(link)
    return {
        address: replace(details, label=_label(details.label, link.name, config.interface))
        for address, details in link.details.items()
        if (":" in address and (dhcp or address not in said)) or (address in addresses and not dhcp)
    }


def _label(label: str, was: IfName, to: IfName) -> str:
    """`eth0:1` becomes `mgmt-br:1`, where that fits (IFNAMSIZ)."""
    moved = f"{to}{label.removeprefix(was)}" if label.startswith(was) else label
    return moved if len(moved.encode()) < 16 else ""


def with_carried(links: list[Link], what: Carried) -> list[Link]:
    """The link that inherits, with what its addresses are, the ones for a time, and its settings."""

    def amended(link: Link) -> Link:
        if link.name != what.to or isinstance(link.spec, Other):
            return link
        addrs = None if link.addrs is None else link.addrs | what.addresses
        details = {**link.details, **what.details}
        return replace(link, addrs=addrs, details=details, neighbours=what.neighbours, settings=what.settings)

    return [amended(link) for link in links]
