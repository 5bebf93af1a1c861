"""The host's addresses on a bridge and its VLAN interfaces, as HostNetworkConfigs: with gateways, routes and DHCP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from windrow.adopt.networks import Scene, unsayable
from windrow.adopt.values import Network
from windrow.compile.carried import foremost, sayable, told
from windrow.compile.hostnet import default_metric, takes_routes
from windrow.model import names
from windrow.model.host import (
    ACCEPT_RA,
    COMES_BY_ITSELF,
    MAIN_TABLE,
    RTPROT_RA,
    Link,
    Route,
    settled_metric,
)
from windrow.model.lazy import dataclass
from windrow.model.leases import Lease, LeasedRoute
from windrow.model.meta import Meta
from windrow.model.objects import AddressMode, HostNetworkConfig, HostRouting
from windrow.model.problems import Problem
from windrow.model.selectors import LabelSelector, Operator, Requirement
from windrow.model.values import DEFAULT_PVID, Cidr, IfName


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """This host's part in one VLAN. `lease`: what a DHCP server gave it, if one did."""

    config: HostNetworkConfig
    lease: Lease | None = None
    problems: tuple[Problem, ...] = ()


def parts(scene: Scene, network: Network) -> Iterator[Part]:
    bridge = scene.observed.state.links[network.bridge]
    if scene.has_addresses(bridge) or _asks_untagged(scene, bridge):
        yield _part(scene, network, 0, bridge)
    for vid, name in network.interfaces.items():
        yield _part(scene, network, vid, scene.observed.state.links[name])


def _asks_untagged(scene: Scene, bridge: Link) -> bool:
    """A bridge of ours is in its native VLAN itself only for a HostNetworkConfig (`compile.vlans.self_vlans`)."""
    native = bridge.self_vlans is not None and bridge.self_vlans.pvid == DEFAULT_PVID
    return native and scene.observed.owned(bridge.name)


def _part(scene: Scene, network: Network, vid: int, link: Link) -> Part:
    cn = network.cluster_network
    leased = _leased(scene, link)
    dhcp = bool(leased) or link.name in scene.facts.leases or not scene.has_addresses(link)
    addresses, spare = _one_of_each_family(link, leased, dhcp=dhcp)
    routes = [route for route in scene.observed.state.routes if set(route.links) == {link.name}]
    routes = [route for route in routes if route.protocol not in COMES_BY_ITSELF]
    said = told(routes, sayable(addresses, dhcp=dhcp), in_place=True)
    config = HostNetworkConfig(
        meta=Meta(name=_name(cn, vid, scene.facts.node)),
        cluster_network=cn,
        vid=vid,
        mode=AddressMode.DHCP if dhcp else AddressMode.STATIC,
        ips={} if dhcp else {scene.facts.node: addresses},
        node_selector=_this_node(scene.facts.node),
        mtu=_own_mtu(scene, network, link),
    )
    config = replace(config, routing=_routing(config, said.routing, routes, scene, link))
    lost = [*_spare_addresses(link, spare), *_spare_routes(link, said.rest, config), *_other(scene, link)]
    lease = _lease(config, leased, said.routing) if leased else None
    return Part(config=config, lease=lease, problems=tuple(lost))


def _name(cluster_network: str, vid: int, node: str) -> str:
    return names.label_value(f"{cluster_network}-{vid}-{node}" if vid else f"{cluster_network}-{node}")


def _this_node(node: str) -> LabelSelector:
    return LabelSelector(requirements=(Requirement(key=names.LABEL_HOSTNAME, operator=Operator.IN, values=(node,)),))


def _own_mtu(scene: Scene, network: Network, link: Link) -> int:
    """0: that of the cluster network."""
    bridge = scene.observed.state.links[network.bridge]
    return link.mtu if link.mtu and bridge.mtu and link.mtu < bridge.mtu else 0


# -- addresses -------------------------------------------------------------------------------------


def _leased(scene: Scene, link: Link) -> dict[Cidr, int]:
    """The IPv4 addresses that a DHCP server may have given; none where there is a static one."""
    static = {address for address in link.addrs or () if ":" not in address}
    found = {a: left for a, left in scene.dynamic.get(link.name, {}).items() if ":" not in a}
    return found if static <= found.keys() else {}


def _one_of_each_family(
    link: Link, leased: dict[Cidr, int], *, dhcp: bool
) -> tuple[tuple[Cidr, ...], tuple[Cidr, ...]]:
    """(those that an object says, the others). With DHCP an object names none; the one that was given goes along."""
    there = sorted(foremost(link) | leased.keys(), key=lambda address: _rank(link, address))
    chosen: dict[bool, Cidr] = {}
    for address in there:
        chosen.setdefault(":" in address, address)
    if dhcp:
        chosen.pop(True, None)
    return tuple(chosen.values()), tuple(address for address in there if address not in chosen.values())


def _rank(link: Link, address: Cidr) -> tuple[bool, int, str]:
    """IPv4 first; of several in one network the primary one."""
    details = link.details.get(address)
    return ":" in address, details.rank if details else 0, address


def _lease(config: HostNetworkConfig, leased: dict[Cidr, int], routing: HostRouting) -> Lease:
    address, left = next(iter(leased.items()))
    routes = tuple(LeasedRoute(to="default", gateway=gateway) for gateway in routing.gateways if ":" not in gateway)
    return Lease(interface=config.interface, address=address, routes=routes, lease_s=left)


# -- routes ----------------------------------------------------------------------------------------


def _routing(
    config: HostNetworkConfig, said: HostRouting, routes: Iterable[Route], scene: Scene, link: Link
) -> HostRouting:
    metric = _metric(config, said, routes)
    advertised = _advertised(config, scene, link)
    if config.mode is AddressMode.STATIC:
        return replace(said, metric=metric, advertised=advertised)
    named = any(":" not in gateway for gateway in said.gateways)
    lease = scene.facts.leases.get(link.name)
    given = {(route.to, route.gateway) for route in lease.routes} if lease is not None else set()
    return HostRouting(
        metric=metric if named else None,
        routes=tuple(route for route in said.routes if (route.to, route.via) not in given),
        from_server=True if named and not takes_routes(config) else None,
        advertised=advertised,
    )


def _metric(config: HostNetworkConfig, said: HostRouting, routes: Iterable[Route]) -> int | None:
    """Of the default routes; None: what a HostNetworkConfig of this network has without a word."""
    best = [r for r in routes if r.dst == "default" and r.gateway in said.gateways and r.table == MAIN_TABLE]
    if not best:
        return None
    chosen = min(best, key=lambda route: (route.version, route.metric))
    usual = settled_metric(replace(chosen, metric=default_metric(config)))
    return None if chosen.metric == usual else chosen.metric


def _advertised(config: HostNetworkConfig, scene: Scene, link: Link) -> bool | None:
    """Whether it takes routers: it was told to (`accept_ra` 2), or has a route of one. The kernel's usual `accept_ra` 1
    is no wish: a link of ours takes none unless somebody says so (`compile.routers`)."""
    routed = any(r.protocol == RTPROT_RA and link.name in r.links for r in scene.observed.state.routes)
    accepts = link.settings.get(ACCEPT_RA)
    takes = routed or accepts == "2"
    usual = takes_routes(config)
    if takes == usual or (usual and not scene.observed.owned(link.name)) or (not takes and accepts is None):
        return None
    return takes


# -- what no object says ---------------------------------------------------------------------------

KEPT = "it stays as it is until the next start of this host, and then has to come from elsewhere"


def _left(text: str) -> Problem:
    return unsayable(text, KEPT)


def _spare_addresses(link: Link, spare: Iterable[Cidr]) -> Iterator[Problem]:
    for address in spare:
        yield _left(f"{address} on {link.name}: a HostNetworkConfig has one of each family, with DHCP none of IPv6")


def _spare_routes(link: Link, rest: Iterable[Route], config: HostNetworkConfig) -> Iterator[Problem]:
    for route in sorted(rest, key=lambda r: (r.table, r.dst, r.order)):
        if config.mode is AddressMode.DHCP and route.dst == "default" and route.version == 4:
            continue  # the server's, whose lease says it
        table = f" of table {route.table}" if route.table != MAIN_TABLE else ""
        via = f" via {route.gateway}" if route.gateway else ""
        yield _left(f"the route to {route.dst}{via}{table} on {link.name}: no field says one like it")


def _other(scene: Scene, link: Link) -> Iterator[Problem]:
    own = scene.observed.runtime[link.name].own_name or link.name
    for rule in scene.observed.state.rules:
        if IfName(own) in (rule.iif, rule.oif):
            yield _left(f"a rule for packets by {own} (ip rule): no object says one")
    for one in sorted(link.neighbours, key=lambda n: n.address):
        yield _left(f"the neighbour {one.address} that was set by hand on {link.name}: no object says one")
