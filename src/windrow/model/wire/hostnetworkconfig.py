"""HostNetworkConfig: an address of the host itself in a VLAN of a cluster network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from windrow.model.objects import AddressMode, HostNetworkConfig, HostRoute, HostRouting
from windrow.model.values import MTU_MAX, MTU_MIN, VID_MAX, Cidr
from windrow.model.wire.reader import Envelope, Table
from windrow.model.wire.selectors import read_label_selector, write_requirements
from windrow.model.wire.text import quoted

FIELDS = (
    *("description", "clusterNetwork", "vlanID", "mode", "ips", "nodeSelector", "underlay"),
    *("gateway", "gatewayOnLink", "metric", "routes", "defaultRoute", "routerAdvertisements", "mtu"),
)
MAX_IPS = 500
MAX_ROUTES = 100
METRIC_MAX = 2**32 - 1
"""RTA_PRIORITY has 32 bits."""
_CIDR_HINT = "an address with its prefix length, such as 192.0.2.10/24; two of them: 192.0.2.10/24,2001:db8::10/64"
_ROUTER_HINT = "the address of a router, such as 192.0.2.1; two of them: 192.0.2.1,2001:db8::1"


def read(spec: Table, envelope: Envelope) -> HostNetworkConfig:
    vid = spec.required("vlanID")
    mode = spec.required("mode", "static or dhcp")
    chosen = mode.choice(AddressMode) if mode else None
    ips = _ips(spec)
    if chosen is AddressMode.STATIC and "ips" not in spec:
        spec.report.add("required", "spec.ips", "is missing, and mode is static", "give each node an address")
    elif chosen is AddressMode.STATIC and spec["ips"].value == {}:
        spec["ips"].wrong("required", "is empty, and mode is static", "give each node an address")
    selector = spec.get("nodeSelector")
    mtu = spec.get("mtu")
    return HostNetworkConfig(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        cluster_network=spec.text("clusterNetwork", required=True, hint="name a ClusterNetwork"),
        vid=(vid.integer(0, VID_MAX, code="vid-range", hint=_VID_HINT) if vid else None) or 0,
        mode=chosen or AddressMode.STATIC,
        ips=ips,
        node_selector=read_label_selector(selector) if selector else None,
        underlay=spec.flag("underlay"),
        description=spec.text("description"),
        routing=_routing(spec, chosen),
        mtu=(mtu.integer(MTU_MIN, MTU_MAX) if mtu else None) or 0,
    )


_VID_HINT = "0 is untagged; 4095 is reserved (IEEE 802.1Q)"


def _ips(spec: Table) -> dict[str, tuple[Cidr, ...]]:
    table = spec.table("ips")
    if len(table.value) > MAX_IPS:
        spec["ips"].wrong("out-of-range", f"has {len(table.value)} entries, {MAX_IPS} is the most")
    pairs = ((node, field.parsed(parse_cidrs, "address-invalid", _CIDR_HINT)) for node, field in table.fields())
    return {node: cidrs for node, cidrs in pairs if cidrs is not None}


def parse_cidrs(text: str) -> tuple[Cidr, ...]:
    """`10.0.0.1/24`, `2001:db8::1/64`, or both with a comma between, IPv4 first. Raises ValueError."""
    found = tuple(parse_cidr(part.strip()) for part in text.split(","))
    _one_of_each_family(text, [ipaddress.ip_interface(cidr).version for cidr in found])
    return found


def _one_of_each_family(text: str, versions: list[int]) -> None:
    """IPv4 first, as Harvester's own plan for two families has it. Raises ValueError."""
    if versions not in ([4], [6], [4, 6]):
        raise ValueError(f"{quoted(text)} is not one address, nor an IPv4 and then an IPv6 one")


def parse_cidr(text: str) -> Cidr:
    """`10.0.0.1/24`, as Go's netip.ParsePrefix takes it: no netmask, no zone. Raises ValueError."""
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
        raise ValueError(f"{quoted(text)} has no prefix length")
    try:
        if "%" in address:
            raise ValueError("a zone")
        return Cidr(ipaddress.ip_interface(f"{address}/{length}").with_prefixlen)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address with a prefix length") from None


def parse_routers(text: str) -> tuple[str, ...]:
    """`192.0.2.1`, `2001:db8::1`, or both with a comma between. Raises ValueError."""
    found = tuple(map(parse_address, text.split(",")))
    _one_of_each_family(text, [ipaddress.ip_address(address).version for address in found])
    return found


def parse_address(text: str) -> str:
    """An IP address without prefix length and zone. Raises ValueError."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError(f"{quoted(text)} has a zone: the interface is known")
    return str(address)


def parse_destination(text: str) -> str:
    """A prefix, without bits behind it. Raises ValueError."""
    network, slash, _ = text.partition("/")
    try:
        found = ipaddress.ip_network(text.strip())
    except ValueError:
        try:
            found = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            raise ValueError(f"{quoted(text)} is not a network with its prefix length") from None
        raise ValueError(f"{quoted(text)} has bits set behind its prefix; it would be {found}") from None
    if not slash or "%" in network:
        raise ValueError(f"{quoted(text)} is not a network with its prefix length")
    return str(found)


def _routing(spec: Table, mode: AddressMode | None) -> HostRouting:
    gateway, server = spec.get("gateway"), spec.get("defaultRoute")
    gateways = gateway.parsed(parse_routers, "gateway-invalid", _ROUTER_HINT) if gateway else None
    from_server = server.flag() if server else None
    if gateway and mode is AddressMode.DHCP:
        hint = "say defaultRoute: true to take the server's router"
        gateway.wrong("mode-field", "means nothing with mode dhcp: the server names the router", hint)
    if server and mode is AddressMode.STATIC:
        server.wrong("mode-field", "means nothing with mode static: there is no server", "name the router: gateway")
    advertised = spec.get("routerAdvertisements")
    return HostRouting(
        gateways=gateways or (),
        gateway_on_link=_on_link(spec, "gatewayOnLink", "gateway"),
        metric=spec.integer("metric", 0, METRIC_MAX),
        routes=tuple(_routes(spec)),
        from_server=from_server,
        advertised=advertised.flag() if advertised else None,
    )


def _routes(spec: Table) -> Iterator[HostRoute]:
    field = spec.get("routes")
    if field and isinstance(field.value, list) and len(field.value) > MAX_ROUTES:
        field.wrong("out-of-range", f"has {len(field.value)} entries, {MAX_ROUTES} is the most")
    for item in field.items() if field else ():
        table = item.table(("to", "via", "metric", "onLink"))
        if table is None:
            continue
        said = table.required("to", "the network that it leads to, such as 198.51.100.0/24")
        to = said.parsed(parse_destination, "route-invalid", "for example: 198.51.100.0/24") if said else None
        router = table.get("via")
        via = router.parsed(parse_address, "route-invalid", "the address of a router in this VLAN") if router else ""
        metric = table.integer("metric", 0, METRIC_MAX)
        if to is not None and via is not None:
            yield HostRoute(to=to, via=via, metric=metric, on_link=_on_link(table, "onLink", "via"))


def _on_link(table: Table, name: str, router: str) -> bool:
    """It is said of a router."""
    field = table.get(name)
    said = bool(field and field.flag())
    if field and said and not table.get(router):
        field.wrong("route-invalid", f"means nothing without {router}", f"name the router: {router}")
    return said


def write(config: HostNetworkConfig) -> dict[str, Any]:
    spec: dict[str, Any] = {"description": config.description} if config.description else {}
    spec |= {"clusterNetwork": config.cluster_network, "vlanID": config.vid, "mode": str(config.mode)}
    if config.ips:
        spec["ips"] = {node: ",".join(addresses) for node, addresses in config.ips.items()}
    if config.node_selector is not None:
        expressions = write_requirements(config.node_selector.requirements)
        spec["nodeSelector"] = {"matchExpressions": expressions} if expressions else {}
    if config.underlay:
        spec["underlay"] = True
    if config.mtu:
        spec["mtu"] = config.mtu
    return spec | _write_routing(config.routing)


def _write_routing(routing: HostRouting) -> dict[str, Any]:
    spec: dict[str, Any] = {"gateway": ",".join(routing.gateways)} if routing.gateways else {}
    if routing.gateway_on_link:
        spec["gatewayOnLink"] = True
    if routing.metric is not None:
        spec["metric"] = routing.metric
    if routing.routes:
        spec["routes"] = [_write_route(route) for route in routing.routes]
    if routing.from_server is not None:
        spec["defaultRoute"] = routing.from_server
    if routing.advertised is not None:
        spec["routerAdvertisements"] = routing.advertised
    return spec


def _write_route(route: HostRoute) -> dict[str, Any]:
    via: dict[str, Any] = {"via": route.via} if route.via else {}
    metric = {} if route.metric is None else {"metric": route.metric}
    return {"to": route.to, **via, **metric, **({"onLink": True} if route.on_link else {})}
