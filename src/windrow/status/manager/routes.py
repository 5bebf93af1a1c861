"""The annotation `route` of a network in mode `auto`: subnet and gateway, where the cluster's objects or a DHCP server
tell them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.layer3 import DHCP_FAILED, NOT_REACHED, REACHED, Layer3
from windrow.model.objects import HostNetworkConfig, NetworkAttachmentDefinition
from windrow.status import routes
from windrow.status.routes import Offered, Place


class Routes:
    """Of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def of(self, nad: NetworkAttachmentDefinition) -> dict[str, str | None]:
        """The hosts' own addresses in its VLAN say it, else a DHCP server there that a node has asked. Where nothing
        says it, the annotation stays as it is."""
        route = routes.auto(nad)
        if route is None:
            return {}
        told = self._by_hosts(nad, route) or self._by_dhcp(nad, route) or route
        return {names.ANNOTATION_ROUTE: told.text()} if told != route else {}

    def _by_hosts(self, nad: NetworkAttachmentDefinition, route: Layer3) -> Layer3 | None:
        for host in self._cluster.host_networks(nad.cluster_network or ""):
            usable = host.vid == nad.vid and not (host.meta.deleting or host.doubts)
            if usable and (found := _said(host)) is not None:
                return _told_by_hosts(route, *found)
        return None

    def _by_dhcp(self, nad: NetworkAttachmentDefinition, route: Layer3) -> Layer3 | None:
        """Once it is known it stays, until the network has another VLAN: nodes may hear different servers."""
        offers = self._heard.get((nad.cluster_network or "", nad.vid))
        if offers is None or not routes.lacks(route):
            return None
        found = next((one for one in offers if route.server in ("", one.server)), None)
        if found is None:
            return replace(route, connectivity=DHCP_FAILED)
        reached = REACHED if found.answers else NOT_REACHED
        return replace(route, cidr=found.cidr, gateway=found.gateway, connectivity=reached, outdated=False)

    @cached_property
    def _heard(self) -> Mapping[Place, Sequence[Offered]]:
        """By all nodes that are to have the network: where one of them was told something, it does not matter that
        another one was not."""
        found: dict[Place, list[Offered]] = {}
        for node in self._cluster.nodes():
            if said := node.meta.annotations.get(names.ANNOTATION_ROUTES_HEARD):
                for place, offers in routes.parse(said).items():
                    if routes.is_to_have(self._cluster, node, place[0]):
                        found.setdefault(place, []).extend(offers)
        return {place: sorted(offers, key=_order) for place, offers in found.items()}


def _told_by_hosts(route: Layer3, cidr: str, gateway: str) -> Layer3:
    """What was found out of another gateway, or of a DHCP server, says nothing of this one."""
    still = route.gateway == gateway and route.connectivity != DHCP_FAILED and not route.outdated
    connectivity = route.connectivity if still else ""
    return replace(route, cidr=cidr, gateway=gateway, connectivity=connectivity, outdated=False)


def _order(one: Offered) -> tuple[bool, str, str]:
    """Whose gateway is there comes first."""
    return (not one.answers, one.server, one.cidr)


def _said(host: HostNetworkConfig) -> tuple[str, str] | None:
    """(subnet, gateway) of IPv4, as Harvester's has it; None: it does not say both."""
    gateway = next((one for one in host.routing.gateways if "." in one), "")
    given = sorted({str(ipaddress.ip_interface(a).network) for all_ in host.ips.values() for a in all_ if "." in a})
    if not gateway or len(given) != 1 or ipaddress.ip_address(gateway) not in ipaddress.ip_network(given[0]):
        return None
    return given[0], gateway
