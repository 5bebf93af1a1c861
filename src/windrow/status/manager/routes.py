"""The annotation `route` of a network: in mode `auto` subnet and gateway, where the cluster's objects or a DHCP server
tell them, and in every mode whether the gateway is there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.layer3 import DHCP_FAILED, Layer3, RouteMode
from windrow.model.objects import HostNetworkConfig, NetworkAttachmentDefinition, Node
from windrow.status import routes
from windrow.status.routes import PERIOD_S, Answer, Gateway, Heard, Offered, Place


class Routes:
    """Of one cluster. `now`: RFC 3339."""

    def __init__(self, cluster: Cluster, now: str) -> None:
        self._cluster, self._now = cluster, now

    def of(self, nad: NetworkAttachmentDefinition) -> dict[str, str | None]:
        """The hosts' own addresses in its VLAN say it, else a DHCP server there that a node has asked. Where nothing
        says it, the annotation stays as it is."""
        route = told = routes.route_of(nad)
        if route is None or told is None:
            return {}
        if route.mode is RouteMode.AUTO:
            told = self._by_hosts(nad, route) or self._by_dhcp(nad, route) or route
        told = self._reached(nad, told)
        return {names.ANNOTATION_ROUTE: told.text()} if told != route else {}

    def _by_hosts(self, nad: NetworkAttachmentDefinition, route: Layer3) -> Layer3 | None:
        for host in self._cluster.host_networks(nad.cluster_network or ""):
            usable = host.vid == nad.vid and not (host.meta.deleting or host.doubts)
            found = _said(host) if usable else None
            # What is whole may be what a host said before: only of a half one it is known that somebody wrote it.
            if found is not None and (not routes.lacks(route) or _agrees(route, *found)):
                return _told_by_hosts(route, *found)
        return None

    def _by_dhcp(self, nad: NetworkAttachmentDefinition, route: Layer3) -> Layer3 | None:
        """Once it is known it stays, until the network has another VLAN: nodes may hear different servers."""
        offers = self._heard.offers.get((nad.cluster_network or "", nad.vid))
        if offers is None or not routes.lacks(route):
            return None
        of_server = (one for one in offers if route.server in ("", one.server))
        found = next((one for one in of_server if _agrees(route, one.cidr, one.gateway)), None)
        if found is None:
            return replace(route, connectivity=DHCP_FAILED)
        cidr = _cidr(route, found.cidr)
        reached = routes.said_of(found.answers)
        return replace(route, cidr=cidr, gateway=found.gateway, connectivity=reached, outdated=False)

    def _reached(self, nad: NetworkAttachmentDefinition, route: Layer3) -> Layer3:
        answer = self._heard.gateways.get((nad.cluster_network or "", nad.vid, routes.gateway_of(route)))
        return replace(route, connectivity=routes.said_of(answer.there)) if answer is not None else route

    @cached_property
    def _heard(self) -> Heard:
        """By all nodes that are to have the network: where one of them was told something, it does not matter that
        another one was not."""
        offers: dict[Place, list[Offered]] = {}
        gateways: dict[Gateway, Answer] = {}
        for node, heard in self._said():
            for place, of in heard.offers.items():
                if routes.is_to_have(self._cluster, node, place[0]):
                    offers.setdefault(place, []).extend(of)
            for gateway, answer in heard.gateways.items():
                fresh = self._is_fresh(answer) and routes.is_to_have(self._cluster, node, gateway[0])
                if fresh and (answer.there or gateway not in gateways):
                    gateways[gateway] = answer
        return Heard(offers={place: sorted(of, key=_order) for place, of in offers.items()}, gateways=gateways)

    def _said(self) -> Iterator[tuple[Node, Heard]]:
        for node in self._cluster.nodes():
            if said := node.meta.annotations.get(names.ANNOTATION_ROUTES_HEARD):
                yield node, routes.parse(said)

    def _is_fresh(self, answer: Answer) -> bool:
        """A node that is off takes nothing back."""
        return abs(datetime.fromisoformat(self._now).timestamp() - answer.at) <= PERIOD_S


def _agrees(route: Layer3, cidr: str, gateway: str) -> bool:
    """Of what somebody has written down himself, nothing is changed."""
    return route.outdated or (_cidr(route, cidr) == (route.cidr or cidr) and route.gateway in ("", gateway))


def _cidr(route: Layer3, cidr: str) -> str:
    """That one, as the network has it already where it means the same."""
    try:
        same = str(ipaddress.ip_network(route.cidr, strict=False)) == cidr
    except ValueError:
        same = False
    return route.cidr if same else cidr


def _told_by_hosts(route: Layer3, cidr: str, gateway: str) -> Layer3:
    """What was found out of another gateway, or of a DHCP server, says nothing of this one."""
    still = route.gateway == gateway and route.connectivity != DHCP_FAILED and not route.outdated
    connectivity = route.connectivity if still else ""
    cidr = _cidr(route, cidr)
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
