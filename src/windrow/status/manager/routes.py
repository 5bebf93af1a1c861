"""The annotation `route` of a network in mode `auto`: subnet and gateway, where the cluster's objects tell them."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.layer3 import Layer3, RouteMode
from windrow.model.objects import HostNetworkConfig, NetworkAttachmentDefinition, NetworkType


def of(nad: NetworkAttachmentDefinition, cluster: Cluster) -> dict[str, str | None]:
    """Harvester asks a DHCP server in the VLAN; the hosts' own addresses in it say the same. Where nothing says it, the
    annotation stays as it is."""
    text = nad.meta.annotations.get(names.ANNOTATION_ROUTE)
    if text is None or nad.type is not NetworkType.VLAN:
        return {}
    try:
        route = Layer3.parse(text)
    except ValueError:
        return {}
    if route.mode is not RouteMode.AUTO:
        return {}
    for host in cluster.host_networks(nad.cluster_network or ""):
        if host.vid == nad.vid and not host.meta.deleting and (found := _said(host)) is not None:
            told = replace(route, cidr=found[0], gateway=found[1], outdated=False)
            return {names.ANNOTATION_ROUTE: told.text()} if told != route else {}
    return {}


def _said(host: HostNetworkConfig) -> tuple[str, str] | None:
    """(subnet, gateway) of IPv4, as Harvester's has it; None: it does not say both."""
    gateway = next((one for one in host.routing.gateways if "." in one), "")
    given = sorted({str(ipaddress.ip_interface(a).network) for all_ in host.ips.values() for a in all_ if "." in a})
    if not gateway or len(given) != 1 or ipaddress.ip_address(gateway) not in ipaddress.ip_network(given[0]):
        return None
    return given[0], gateway
