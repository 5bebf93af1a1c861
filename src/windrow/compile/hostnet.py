"""Pass: HostNetworkConfig -> the node's own addresses and routes, on the bridge or on a VLAN interface of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from windrow.compile.ipv6 import possible
from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector
from windrow.model.facts import NodeFacts
from windrow.model.host import (
    FRESH_FLAGS,
    FRESH_VLAN_FLAGS,
    IP6_RT_PRIO_USER,
    TXQLEN_DEFAULT,
    Bridge,
    Link,
    Route,
    VlanIf,
)
from windrow.model.lazy import dataclass, replace
from windrow.model.leases import ClientOptions, Lease, LeasedRoute, parse_client_id
from windrow.model.objects import AddressMode, HostNetworkConfig, HostRoute
from windrow.model.problems import Problem, Severity, errors
from windrow.model.values import MTU_MIN, OWNER_PROTOCOL, Cidr, IfName
from windrow.model.verbatim import onlink

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Given = Mapping[IfName, frozenset[Cidr]]
"""Addresses, by the link that they are given to."""
DEFAULT = "default"
SECOND_METRIC = 1024
"""Of default routes beside the management's, which has 0 or what the operating system chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetworks:
    """`held`: the interfaces whose configs contradict each other; they stay as they are."""

    configs: tuple[HostNetworkConfig, ...]
    held: frozenset[str]
    problems: tuple[Problem, ...]


def choose_host_networks(
    cluster: Cluster, facts: NodeFacts, present: frozenset[str], *, ours: frozenset[str]
) -> HostNetworks:
    """The HostNetworkConfigs of this node on the cluster networks that are `present` on it; of those, the bridges of
    `ours` were made by Windrow."""
    labels = cluster.node(facts.node).labels
    chosen: dict[str, HostNetworkConfig] = {}
    held: set[str] = set()
    problems: list[Problem] = []
    for config in cluster.all(HostNetworkConfig):
        if config.cluster_network not in present or not matches_selector(config.node_selector, labels):
            continue
        if not config.vid and config.cluster_network not in ours:
            problems.append(_not_ours(config))
            continue
        found = tuple(_problems(config, chosen.get(config.interface), facts))
        problems += found
        if errors(found):
            held.add(config.interface)
        chosen.setdefault(config.interface, config)
    configs = tuple(c for name, c in chosen.items() if name not in held)
    return HostNetworks(configs=configs, held=frozenset(held), problems=tuple(problems))


def _not_ours(config: HostNetworkConfig) -> Problem:
    return Problem(
        code="bridge-foreign",
        message=f"{config.interface} and its addresses are the operating system's",
        hint="let Windrow have the management network first (windrow init), or choose a VLAN",
        path="spec.vlanID",
        about=config.ref,
    )


def _problems(config: HostNetworkConfig, other: HostNetworkConfig | None, facts: NodeFacts) -> Iterator[Problem]:
    if other is not None:
        yield Problem(
            code="hostnetwork-overlap",
            message=f"{other.ref} already gives node {facts.node} VLAN {config.vid} of {config.cluster_network}",
            hint="give the two HostNetworkConfigs node selectors that no node matches together",
            path="spec.nodeSelector",
            about=config.ref,
        )
    if config.vid and not facts.features.vlan_interfaces:
        yield Problem(
            code="kernel-feature",
            message=f"the kernel of node {facts.node} has no 802.1Q interfaces",
            hint="load the kernel module: modprobe 8021q",
            about=config.ref,
        )
    if config.mode is AddressMode.STATIC and facts.node not in config.ips:
        yield Problem(
            code="address-missing",
            message=f"there is no address for node {facts.node}",
            hint=f"add spec.ips[{facts.node}]",
            path="spec.ips",
            about=config.ref,
        )
    if config.mode is AddressMode.DHCP and not facts.agent and config.interface not in facts.leases:
        yield Problem(
            code="dhcp-without-agent",
            message=f"nobody asks for an address on {config.interface}: the agent does that, and it does not run",
            hint="start it (windrow agent), or use mode: static",
            path="spec.mode",
            about=config.ref,
            severity=Severity.WARNING,
        )


# Links ------------------------------------------------------------------------------------------------------------


def host_links(
    configs: tuple[HostNetworkConfig, ...], cluster: Cluster, facts: NodeFacts, ours: frozenset[str]
) -> list[Link]:
    """`<cn>-br.<vid>` of each; what is untagged is on the bridge. Their addresses: `with_addresses`."""
    most = {cn: cluster.mtu(cn) if cn in ours else None for cn in {c.cluster_network for c in configs}}
    return [
        Link(
            name=config.interface,
            spec=VlanIf(parent=names.bridge_of(config.cluster_network), vid=config.vid, flags=FRESH_VLAN_FLAGS),
            up=True,
            txqlen=TXQLEN_DEFAULT,
            promisc=False,
            flags=FRESH_FLAGS,
            mark=True,
            mtu=_mtu(config, most[config.cluster_network], facts.leases.get(config.interface)),
            origin=(config.ref,),
        )
        for config in configs
        if config.vid
    ]


def _mtu(config: HostNetworkConfig, most: int | None, lease: Lease | None) -> int | None:
    """The manifest's; else the server's (option 26), where the cluster network carries it; else the cluster network's.
    `most` None: the bridge is the operating system's, and so is its MTU."""
    if config.mtu:
        return min(config.mtu, most or config.mtu)
    if config.mode is AddressMode.DHCP and lease is not None and most is not None and MTU_MIN <= lease.mtu < most:
        return lease.mtu
    return most


def addresses_of(config: HostNetworkConfig, facts: NodeFacts) -> frozenset[Cidr]:
    """With DHCP: what the lease says; nothing while there is none. Where IPv6 is switched off, those of IPv4."""
    if config.mode is AddressMode.STATIC:
        return possible(config.ips[facts.node], config.interface, facts)
    lease = facts.leases.get(config.interface)
    return frozenset() if lease is None else frozenset({lease.address})


def remembered(configs: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> Given:
    """The addresses that are Windrow's doing: those that it gives now, and those that it gave before and that are
    there yet. For `Memory`, of the next time."""
    now = {config.interface: addresses_of(config, facts) for config in configs}
    left = {name: gave & facts.addrs.get(name, frozenset()) for name, gave in facts.memory.given.items()}
    both = {name: now.get(name, frozenset()) | left.get(name, frozenset()) for name in (*now, *left)}
    return {name: addresses for name, addresses in both.items() if addresses}


def there(given: Given, facts: NodeFacts) -> Given:
    """Those of `given` that the links have, and that nobody else has."""
    has = {name: facts.addrs.get(name, frozenset()) - facts.duplicates.get(name, {}).keys() for name in given}
    return {name: found for name, addresses in given.items() if (found := addresses & has[name])}


def with_addresses(
    links: list[Link], configs: tuple[HostNetworkConfig, ...], facts: NodeFacts, asked_for: Given
) -> list[Link]:
    """Bridges and VLAN interfaces get the addresses of their host networks. Others that are there stay: a virtual IP, a
    hand's; only what Windrow gave goes again. A bridge to which it never gave one, and gives none, is not managed.

    `asked_for`: addresses that somebody has asked for already, so that the plan need not."""
    given = {config.interface: addresses_of(config, facts) for config in configs}
    why = {config.interface: config.ref for config in configs}
    before = facts.memory.given

    def amended(link: Link) -> Link:
        name = link.name
        if not isinstance(link.spec, Bridge | VlanIf) or (name not in given and not before.get(name)):
            return link
        wanted = given.get(name, frozenset())
        others = facts.addrs.get(name, frozenset()) - before.get(name, frozenset()) - wanted
        # Somebody else's address that is a duplicate is somebody else's trouble: wanted as it is.
        as_they_are = {a: one for a, one in facts.duplicates.get(name, {}).items() if a in others}
        return replace(
            link,
            addrs=others | wanted,
            details=as_they_are,
            settled=wanted & (facts.memory.had.get(name, frozenset()) | asked_for.get(name, frozenset())),
            origin=link.origin if why.get(name) in (None, *link.origin) else (*link.origin, why[name]),
        )

    return [amended(link) for link in links]


# Routes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoutes:
    routes: frozenset[Route]
    problems: tuple[Problem, ...]


def host_routes(configs: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> HostRoutes:
    """Of all host networks that have an address: without one the kernel takes no route with a gateway.

    The kernel has one route for each destination and metric (`fib_table_insert`, `fib6_add_rt2node`): the first counts.
    """
    found: dict[tuple[str, int, int], tuple[Route, HostNetworkConfig]] = {}
    problems = list(_unreachable(configs, facts))
    for config in configs:
        for route in _routes(config, facts):
            key = (route.dst, _version(route.gateway or route.dst), route.metric)
            first, owner = found.setdefault(key, (route, config))
            if first != route:
                problems.append(_route_twice(route, config, owner))
    return HostRoutes(routes=frozenset(route for route, _ in found.values()), problems=tuple(problems))


def _route_twice(route: Route, config: HostNetworkConfig, owner: HostNetworkConfig) -> Problem:
    what = "a default route" if route.dst == DEFAULT else f"a route to {route.dst}"
    where = "twice" if owner is config else f"with that metric from {owner.ref} already"
    return Problem(
        code="route-twice",
        message=f"the node has {what} {where}: the one by {route.gateway or route.dev} is left out",
        hint="give one of them another metric",
        path="spec.metric",
        about=config.ref,
        severity=Severity.WARNING,
    )


def _routes(config: HostNetworkConfig, facts: NodeFacts) -> Iterator[Route]:
    addresses = addresses_of(config, facts)
    families = {_version(a) for a in addresses}
    metric = default_metric(config)
    for gateway in config.routing.gateways:
        if _version(gateway) in families:
            yield _route(config, DEFAULT, gateway, metric, on_link=config.routing.gateway_on_link)
    there = _there(config, addresses)
    for said in config.routing.routes:
        if _version(said.via or said.to) in families and reaches(said, there):
            yield _route(config, said.to, said.via, said.metric or 0, on_link=said.on_link)
    lease = facts.leases.get(config.interface)
    if lease is not None and takes_routes(config):
        for leased in lease.routes:
            if _leads(leased, lease):
                yield _route(config, leased.to, leased.gateway, metric)


def _leads(leased: LeasedRoute, lease: Lease) -> bool:
    """Whether its router is on the link, by the address or by another route of the same lease, as servers with
    addresses of /32 have it; and is not the host itself."""
    if not leased.gateway:
        return True
    router, own = ipaddress.ip_address(leased.gateway), ipaddress.ip_interface(lease.address)
    on_link = [own.network, *(ipaddress.ip_network(r.to) for r in lease.routes if not r.gateway and r.to != DEFAULT)]
    return router != own.ip and any(router in network for network in on_link)


def _route(config: HostNetworkConfig, to: str, via: str, metric: int, *, on_link: bool = False) -> Route:
    """As the kernel will show it."""
    network = None if to == DEFAULT else ipaddress.ip_network(to)
    version = network.version if network else _version(via)
    if on_link:
        every = "::/0" if version == 6 else "0.0.0.0/0"
        return onlink(Cidr(to if network else every), via, config.interface, metric)
    dst = DEFAULT if network is None or network.prefixlen == 0 else to
    if version == 6:
        metric = metric or IP6_RT_PRIO_USER
    return Route(dst=dst, dev=config.interface, gateway=via or None, metric=metric, protocol=OWNER_PROTOCOL)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def default_metric(config: HostNetworkConfig) -> int:
    if config.routing.metric is not None:
        return config.routing.metric
    return 0 if config.cluster_network == names.MGMT else SECOND_METRIC


def takes_routes(config: HostNetworkConfig) -> bool:
    """Whether the routes that a DHCP server names are taken."""
    if config.mode is not AddressMode.DHCP:
        return False
    said = config.routing.from_server
    return config.cluster_network == names.MGMT if said is None else said


def on_the_link(networks: Iterable[Network], routes: Iterable[HostRoute]) -> list[Network]:
    """What is on it: the networks of its addresses, and what a route without a router leads to."""
    led_to = (ipaddress.ip_network(route.to) for route in routes if not route.via)
    return [*networks, *(network for network in led_to if network.prefixlen)]


def reaches(route: HostRoute, there: Iterable[Network]) -> bool:
    """Whether its router is on the link: the kernel refuses it otherwise (`fib_check_nh`, ENETUNREACH)."""
    if not route.via or route.on_link or route.via.startswith("fe80:"):
        return True
    router = ipaddress.ip_address(route.via)
    return any(router in network for network in there)


def _there(config: HostNetworkConfig, addresses: frozenset[Cidr]) -> list[Network]:
    return on_the_link((ipaddress.ip_interface(a).network for a in addresses), config.routing.routes)


def _unreachable(configs: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> Iterator[Problem]:
    """Which network a server's address is in is known only when it comes."""
    for config in configs:
        addresses = addresses_of(config, facts)
        versions, there = {_version(address) for address in addresses}, _there(config, addresses)
        for number, route in enumerate(config.routing.routes):
            if _version(route.via or route.to) in versions and not reaches(route, there):
                yield Problem(
                    code="route-unreachable",
                    message=f"no route to {route.to}: {route.via} is not in {', '.join(sorted(addresses))}",
                    hint="name a router in this VLAN",
                    path=f"spec.routes[{number}].via",
                    about=config.ref,
                    severity=Severity.WARNING,
                )


# DHCP -------------------------------------------------------------------------------------------------------------


def dhcp_clients(
    configs: tuple[HostNetworkConfig, ...], held: frozenset[IfName], facts: NodeFacts
) -> Mapping[IfName, ClientOptions]:
    """The links on which an address is to be asked for. One that is held keeps its client with its lease."""
    options = ClientOptions(hostname=facts.node.partition(".")[0][:63])
    wanted = {c.interface: replace(options, client_id=_client_id(c)) for c in configs if c.mode is AddressMode.DHCP}
    return {**{name: options for name in facts.leases if name in held}, **wanted}


def _client_id(config: HostNetworkConfig) -> str:
    """One that is wrong was told (`rules.hostnetworkconfig`), and is not sent."""
    try:
        return parse_client_id(config.meta.annotations[names.ANNOTATION_CLIENT_ID])
    except (KeyError, ValueError):
        return ""
