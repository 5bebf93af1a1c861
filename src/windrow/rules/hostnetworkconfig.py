"""HostNetworkConfig: an interface name that fits, a VLAN that is free, addresses and routes that make sense."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from windrow.compile.hostnet import SECOND_METRIC, default_metric, on_the_link, reaches
from windrow.compile.routers import asks_for_routers
from windrow.model import names
from windrow.model.cluster import selects_node
from windrow.model.host import IP6_RT_PRIO_USER
from windrow.model.leases import NO_CLIENT_ID, parse_client_id
from windrow.model.objects import AddressMode, HostNetworkConfig, HostRoute, Node
from windrow.model.problems import Problem
from windrow.model.reach import Reach, taken_by_address, taken_by_route, taken_by_routers
from windrow.model.values import IFNAME_MAX, IPV6_MTU_MIN
from windrow.model.wire.text import join
from windrow.rules import kernel
from windrow.rules.review import Review, cluster_network_exists, problem, selects_some_node, some_node_has, warning
from windrow.rules.selectors import meeting, selects

CLIENT_ID = f"metadata.annotations[{names.ANNOTATION_CLIENT_ID}]"
VLAN, IPS, GATEWAY, ROUTES, MTU = "spec.vlanID", "spec.ips", "spec.gateway", "spec.routes", "spec.mtu"
UNDERLAY, ROUTERS = "spec.underlay", "spec.routerAdvertisements"
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def device_name_fits(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    device = config.interface
    if config.vid and len(device.encode()) > IFNAME_MAX:
        left = IFNAME_MAX - len(f"-br.{config.vid}")
        yield problem(
            config,
            "device-name-too-long",
            VLAN,
            f"its interface would be called {device}, and a device name has at most {IFNAME_MAX} bytes",
            f"for VLAN {config.vid} the name of the cluster network may have {left} characters",
        )


def its_cluster_network_exists(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    yield from cluster_network_exists(config, config.cluster_network, "spec.clusterNetwork", review)


def has_an_uplink(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    cn = config.cluster_network
    if cn != names.MGMT and review.after.cluster_network(cn) and not review.after.vlan_configs(cn):
        message = f"no VlanConfig brings cluster network {cn} to any node, so there will be no interface"
        yield warning(config, "no-uplink", "spec.clusterNetwork", message, "add a VlanConfig")
    elif review.after.vlan_configs(cn):
        mine = [node for node in review.nodes() if selects(config, node)]
        yield from some_node_has(config, cn, "spec.clusterNetwork", mine, review)


def stays_where_it_is(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """The interface is called after both."""
    old = review.old(config)
    if old is None:
        return
    hint = "delete this HostNetworkConfig and make another"
    if old.cluster_network != config.cluster_network and old.cluster_network:
        message = f"the cluster network cannot change ({old.cluster_network} to {config.cluster_network})"
        yield problem(config, "immutable", "spec.clusterNetwork", message, hint)
    if old.vid != config.vid and old.knows(VLAN) and config.cluster_network != names.MGMT:
        yield problem(config, "immutable", VLAN, f"the VLAN cannot change ({old.vid} to {config.vid})", hint)


def one_per_vlan(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Harvester allows one for the whole cluster; here, one on each node."""
    for other in _same_vlan(config, review):
        where = meeting(config, other, review.nodes()) if review.earlier(config, other) else None
        if where:
            message = f"{other.ref} is for VLAN {config.vid} of {config.cluster_network} too, on {where}"
            hint = "give the two node selectors that no node matches together, or make them one"
            yield problem(config, "hostnetwork-overlap", VLAN, message, hint, [other.ref])


def not_the_management_vlan(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """`mgmt-br.<vid>` is the interface that the node is reached by; two owners would fight over it."""
    facts, node = review.facts, review.here()
    if facts is None or node is None or not selects(config, node):
        return
    bridge = names.bridge_of(config.cluster_network)
    if config.cluster_network == names.MGMT and config.vid in facts.management_vids:
        message = f"VLAN {config.vid} is the management VLAN of node {facts.node}"
        yield problem(config, "management-vlan", VLAN, message, "choose another VLAN")
    elif bridge in facts.foreign_vids and config.vid in facts.foreign_vids[bridge]:
        message = f"node {facts.node} has an interface for VLAN {config.vid} on {bridge} that is not Windrow's"
        yield problem(config, "interface-foreign", VLAN, message, "choose another VLAN, or remove that interface")


def every_node_has_an_address(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    if config.mode is not AddressMode.STATIC:
        return
    for node in review.nodes():
        if selects(config, node) and node.name not in config.ips:
            message = f"there is no address for node {node.name}, which it selects"
            yield problem(config, "address-missing", IPS, message, f"add {node.name}, or narrow spec.nodeSelector")


def its_client_id_is_of_one_host(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Servers give the same address to whoever says the same."""
    text = config.meta.annotations.get(names.ANNOTATION_CLIENT_ID)
    if text is None or config.mode is not AddressMode.DHCP:
        return
    try:
        said = parse_client_id(text)
    except ValueError as error:
        yield problem(config, "client-id-invalid", CLIENT_ID, str(error), "its bytes in hexadecimal, the type first")
        return
    chosen = [node.name for node in review.nodes() if selects(config, node)]
    if len(chosen) > 1 and said != NO_CLIENT_ID:
        message = f"{' and '.join(chosen[:2])} would say the same client identifier, and be given the same address"
        yield problem(config, "client-id-shared", CLIENT_ID, message, "make a HostNetworkConfig for each node")


def addresses_are_of_hosts(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    for node, addresses in _interfaces(config).items():
        for address in addresses:
            if why := _no_host(address):
                place = join(IPS, node)
                yield problem(config, "address-invalid", place, f"{address} {why}", "give the address of a host")


def _no_host(address: Interface) -> str:
    network, ip = address.network, address.ip
    if network.prefixlen == 0:
        return "has a prefix of length 0: every address would be on this link, the default route gone"
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return "is a loopback, multicast or unspecified address"
    if ip.version == 6 and ip.is_link_local:
        return "is a link-local address: the kernel gives every link its own"
    if network.num_addresses <= 2:
        return ""  # /31 and /127: RFC 3021, RFC 6164; /32 and /128
    if ip == network.network_address:
        return f"is the address of the network {network} itself"
    if ip.version == 4 and ip == network.broadcast_address:
        return f"is the broadcast address of {network}"
    return ""


def one_network(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    """All addresses of a VLAN are in one network with one mask (Harvester), for each family."""
    first: dict[int, tuple[str, Interface]] = {}
    for node, addresses in _interfaces(config).items():
        for address in addresses:
            if _no_host(address):
                continue
            first_node, known = first.setdefault(address.version, (node, address))
            if address.network != known.network:
                message = f"{address} is outside the network of {first_node}, {known.network}"
                hint = "all addresses share network and mask"
                yield problem(config, "address-network", join(IPS, node), message, hint)


def no_address_twice(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """In this config, and in the others of the same VLAN."""
    seen: dict[object, str] = {}
    for other in _same_vlan(config, review):
        if review.earlier(config, other):
            seen |= {a.ip: f"{node} in {other.ref}" for node, found in _interfaces(other).items() for a in found}
    for node, addresses in _interfaces(config).items():
        for address in addresses:
            if (owner := seen.get(address.ip)) is not None:
                message = f"{address.ip} is already the address of {owner}"
                yield problem(
                    config, "address-twice", join(IPS, node), message, "give every node an address of its own"
                )
            seen.setdefault(address.ip, node)


def one_address_per_node(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """The same address in two VLANs of one node: the kernel takes it and answers on either."""
    here = _same_vlan(config, review)
    others = [h for h in review.staying(review.after.all(HostNetworkConfig)) if h not in here]
    for node, addresses in _interfaces(config).items():
        for other in (o for o in others if o.ref != config.ref and review.earlier(config, o)):
            theirs = {a.ip for a in _interfaces(other).get(node, ())}
            for address in (a for a in addresses if a.ip in theirs):
                message = f"{address.ip} is already the address of {node} in {other.ref}"
                yield problem(config, "address-twice", join(IPS, node), message, "an address belongs to one VLAN")


# Untagged, MTU, underlay ------------------------------------------------------------------------------------------


def the_bridge_is_ours(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Untagged, the address is on the bridge: `mgmt-br` has the operating system's, until Windrow is given it."""
    if config.vid or config.cluster_network != names.MGMT:
        return
    managed = [v for v in review.after.vlan_configs(names.MGMT) if v.effective]
    others = [n.name for n in review.nodes() if selects(config, n) and not any(selects_node(v, n) for v in managed)]
    if others:
        message = f"{config.interface} and its addresses are the operating system's on {', '.join(others)}"
        hint = "let Windrow have the management network there (windrow init), or choose a VLAN"
        yield problem(config, "bridge-foreign", VLAN, message, hint)


def untagged_is_vlan_1(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """The native VLAN of the bridge is VLAN 1: frames come to the host either without a tag or with it."""
    if config.vid > 1:
        return
    for other in review.staying(review.after.host_networks(config.cluster_network)):
        both = {config.vid, other.vid} == {0, 1} and other.knows(VLAN) and review.earlier(config, other)
        if both and (where := meeting(config, other, review.nodes())):
            message = f"VLAN 1 of {config.cluster_network} is the untagged network, where {other.ref} is, on {where}"
            yield problem(config, "hostnetwork-overlap", VLAN, message, "use one of the two", [other.ref])


def mtu_fits(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    if not config.mtu:
        return
    cn, most = config.cluster_network, review.after.mtu(config.cluster_network)
    if not config.vid:
        message = f"untagged, the address is on {config.interface}, whose MTU is that of its uplink"
        yield problem(config, "mtu-range", MTU, message, "set it in the VlanConfig: spec.uplink.linkAttributes.mtu")
    elif config.mtu > most and (cn != names.MGMT or review.after.vlan_configs(cn)):
        # vlan_dev_change_mtu: ERANGE
        message = f"{config.mtu} is more than the {most} of cluster network {cn}"
        yield problem(config, "mtu-range", MTU, message, "raise that of its VlanConfigs first, or lower this one")
    six = any(a.version == 6 for found in _interfaces(config).values() for a in found) or config.routing.advertised
    if config.mtu < IPV6_MTU_MIN and six:
        yield problem(config, "mtu-range", MTU, f"IPv6 needs an MTU of {IPV6_MTU_MIN}", f"{IPV6_MTU_MIN} or more")


def one_underlay(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """All tunnels of a node begin at one interface (Harvester)."""
    for other in review.staying(review.after.all(HostNetworkConfig)):
        both = config.underlay and other.underlay and other.ref != config.ref and review.earlier(config, other)
        if both and (where := meeting(config, other, review.nodes())):
            message = f"{other.ref} is the underlay already, on {where}"
            yield problem(config, "underlay-twice", UNDERLAY, message, "one of the two: underlay: false", [other.ref])


# Routes -----------------------------------------------------------------------------------------------------------


def gateways_are_on_the_link(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    """On every node: the kernel refuses a router that no network of the link has (`fib_check_nh`, ENETUNREACH)."""
    for gateway in config.routing.gateways:
        default = HostRoute(to="default", via=gateway, on_link=config.routing.gateway_on_link)
        yield from _router(config, default, GATEWAY)
    for number, route in enumerate(config.routing.routes):
        place = f"{ROUTES}[{number}].via"
        if route.via and _version(route.via) != _version(route.to):
            message = f"{route.via} and {route.to} are of two families"
            yield problem(config, "route-invalid", place, message, "the router's is that of the network")
        elif route.via:
            yield from _router(config, route, place)


def _router(config: HostNetworkConfig, route: HostRoute, place: str) -> Iterator[Problem]:
    router = ipaddress.ip_address(route.via)
    if router.is_loopback or router.is_multicast or router.is_unspecified:
        message = f"{router} is a loopback, multicast or unspecified address"
        yield problem(config, "gateway-invalid", place, message, "name the router's address in this VLAN")
        return
    for node, addresses in _interfaces(config).items():
        same = [a for a in addresses if a.version == router.version]
        if not same:
            message = f"{node} has no IPv{router.version} address, and {router} is one"
            yield problem(config, "gateway-family", place, message, f"add one to {join(IPS, node)}")
        elif router in (a.ip for a in same):
            yield problem(config, "gateway-own", place, f"{router} is the address of {node}", "name another host")
        elif not reaches(route, on_the_link((a.network for a in same), config.routing.routes)):
            message = f"{router} is not in the network of {node}, {same[0].network}"
            field = "gatewayOnLink" if place == GATEWAY else "onLink"
            hint = f"name a router in this VLAN; where it is on the link all the same, say {field}: true"
            yield problem(config, "gateway-network", place, message, hint)
        elif any(_no_host(_at(router, a)) for a in same if router in a.network):
            message = f"{router} is the network's own or its broadcast address"
            yield problem(config, "gateway-invalid", place, message, "name the router's address in this VLAN")


def _at(router: Address, address: Interface) -> Interface:
    return ipaddress.ip_interface(f"{router}/{address.network.prefixlen}")


def routes_lead_elsewhere(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    """Not to the VLAN's own network, which the kernel has a route to, nor to what is never routed."""
    own = [(node, a.network) for node, addresses in _interfaces(config).items() for a in addresses]
    for number, route in enumerate(config.routing.routes):
        network = ipaddress.ip_network(route.to)
        place = f"{ROUTES}[{number}].to"
        if network.prefixlen and (network.is_multicast or network.is_loopback or network.is_link_local):
            message = f"{network} is never routed: it is loopback, multicast or link-local"
            yield problem(config, "route-invalid", place, message, "remove it")
        elif not network.prefixlen and not route.via:
            message = f"{network} without a router: the whole internet would be on this link"
            yield problem(config, "route-invalid", place, message, "name the router: gateway")
        elif same := [node for node, mine in own if mine.version == network.version and _within(network, mine)]:
            message = f"{network} is in the VLAN's own network, which {same[0]} is in"
            yield problem(config, "route-own-network", place, message, "remove it: the kernel has that route")


def _within(network: ipaddress.IPv4Network | ipaddress.IPv6Network, other: object) -> bool:
    match network, other:
        case ipaddress.IPv4Network(), ipaddress.IPv4Network():
            return network.subnet_of(other)
        case ipaddress.IPv6Network(), ipaddress.IPv6Network():
            return network.subnet_of(other)
        case _:
            return False


def no_route_twice(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """A destination has one route of each metric on a node (`fib_table_insert`: EEXIST)."""
    seen: set[tuple[str, int, int]] = set()
    for key, place in _routes(config):
        if key in seen:
            message = f"the node would have {_called(key[0])} twice with metric {key[2]}"
            yield problem(config, "route-twice", place, message, "give one of them another metric, or remove it")
        seen.add(key)
    for other in review.staying(review.after.all(HostNetworkConfig)):
        if other.ref == config.ref or not review.earlier(config, other):
            continue
        theirs = {key for key, _ in _routes(other)}
        both = [(key, place) for key, place in _routes(config) if key in theirs]
        where = meeting(config, other, review.nodes()) if both else None
        for key, place in both if where else ():
            message = f"{other.ref} has {_called(key[0])} with metric {key[2]}, too, on {where}"
            yield problem(config, "route-twice", place, message, "give one of them another metric")


def _routes(config: HostNetworkConfig) -> Iterator[tuple[tuple[str, int, int], str]]:
    """((destination, family, metric), place) of each that the manifest names."""
    for gateway in config.routing.gateways:
        yield _key("default", _version(gateway), default_metric(config)), GATEWAY
    for number, route in enumerate(config.routing.routes):
        default = not ipaddress.ip_network(route.to).prefixlen
        to = "default" if default else route.to
        yield _key(to, _version(route.to), route.metric or 0), f"{ROUTES}[{number}].to"


def _called(to: str) -> str:
    return "a default route" if to == "default" else f"a route to {to}"


def _key(to: str, version: int, metric: int) -> tuple[str, int, int]:
    return to, version, metric or (IP6_RT_PRIO_USER if version == 6 else 0)


def leaves_the_management_network_alone(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Another network of the host must not take over what the host is reached by: its management network, whoever is
    in it, its gateway, its default route, whoever is logged in, the other nodes."""
    facts, node = review.facts, review.here()
    if facts is None or node is None or not selects(config, node) or _is_management(config, review, node):
        return
    hint = "the host would be lost to whoever reaches it there; choose another network"
    reach = _with_other_nodes(facts.reach, review, facts.node)
    addresses = config.ips.get(facts.node, ()) if config.mode is AddressMode.STATIC else ()
    for address in addresses:
        if taken := taken_by_address(reach, address):
            yield problem(config, "management-taken", join(IPS, facts.node), f"{address} would take over {taken}", hint)
    for (to, version, metric), place in _routes(config):
        if taken := taken_by_route(reach, to, version, metric):
            default = to == "default"
            more = f"give it a greater metric: {SECOND_METRIC * 2}" if default else hint
            yield problem(config, "management-taken", place, f"{_called(to)} would take over {taken}", more)
    if asks_for_routers(config) and (taken := taken_by_routers(reach)):
        text = f"a router that announces itself there would take over {taken}"
        yield problem(config, "management-taken", ROUTERS, text, "say routerAdvertisements: false, and name its routes")


def _with_other_nodes(reach: Reach, review: Review, node: str) -> Reach:
    """The other nodes are behind the default routes of the management network, or in it."""
    told = (
        interface.ip
        for config in review.staying(review.after.host_networks(names.MGMT))
        for name, interfaces in _interfaces(config).items()
        if name != node
        for interface in interfaces
    )
    return replace(reach, peers=reach.peers.union(str(ip) for ip in told if ip.version in reach.defaults))


def _is_management(config: HostNetworkConfig, review: Review, node: Node) -> bool:
    """The management network itself, wherever it is or is to be: on the link that carries it, or on one of `mgmt` once
    that is Windrow's. What becomes of it is asked by a probe."""
    if review.facts is not None and config.interface in review.facts.protected:
        return True
    managed = (v for v in review.after.vlan_configs(names.MGMT) if v.effective)
    return config.cluster_network == names.MGMT and any(selects_node(v, node) for v in managed)


def _version(text: str) -> int:
    return 6 if ":" in text else 4


def _same_vlan(config: HostNetworkConfig, review: Review) -> list[HostNetworkConfig]:
    others = review.staying(review.after.host_networks(config.cluster_network))
    return [h for h in others if h.vid == config.vid and h.ref != config.ref and h.knows(VLAN)]


def _interfaces(config: HostNetworkConfig) -> dict[str, tuple[Interface, ...]]:
    if config.mode is not AddressMode.STATIC:
        return {}
    return {node: tuple(map(ipaddress.ip_interface, cidrs)) for node, cidrs in config.ips.items()}


def is_for_some_node(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    yield from selects_some_node(config, "spec.nodeSelector", review)


def underlay_is_not_made(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    """Harvester's agent would write the interface into a label of the node, from which kube-ovn takes it."""
    if config.underlay:
        message = "the address is made, and no overlay's tunnels are moved to it: kube-ovn is not told here"
        yield warning(config, "field-without-effect", UNDERLAY, message)


ON_PUT = (
    is_for_some_node,
    underlay_is_not_made,
    device_name_fits,
    its_cluster_network_exists,
    has_an_uplink,
    stays_where_it_is,
    one_per_vlan,
    not_the_management_vlan,
    the_bridge_is_ours,
    untagged_is_vlan_1,
    kernel.can_make_vlan_interfaces,
    every_node_has_an_address,
    its_client_id_is_of_one_host,
    addresses_are_of_hosts,
    one_network,
    no_address_twice,
    one_address_per_node,
    mtu_fits,
    one_underlay,
    gateways_are_on_the_link,
    routes_lead_elsewhere,
    no_route_twice,
    leaves_the_management_network_alone,
)
