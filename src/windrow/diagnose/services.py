"""Who answers in a VLAN: DHCP servers, gateways, routers that advertise, and others with our addresses."""

from __future__ import annotations

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from windrow.compile.pools import scopes
from windrow.diagnose.situation import Situation
from windrow.model.cluster import Cluster
from windrow.model.evidence import DhcpOffer, Kind, VlanEvidence
from windrow.model.findings import Certainty, Finding, Fix, Reason
from windrow.model.lazy import dataclass
from windrow.model.names import ANNOTATION_ROUTE
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType, VlanConfig
from windrow.model.values import MTU_DEFAULT, VID_MAX, Ref, VidSet
from windrow.render.text import plural

NO_VIDS = VidSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is wanted of a VLAN. `subnet` and `gateway` empty: nothing is said of them. `dhcp`: an address is to come
    from a server. `mtu`: bytes; 0: not known."""

    cluster_network: str
    vid: int
    subnet: str = ""
    gateway: str = ""
    dhcp: bool = False
    mtu: int = 0
    about: Ref | None = None


Seen = list[tuple[str, VlanEvidence]]
"""Node and what it met in one VLAN."""


def service_findings(
    situation: Situation, services: tuple[Service, ...], cut: Mapping[tuple[str, str], VidSet]
) -> Iterator[Finding]:
    """`cut`: (node, cluster network) -> VLANs of which it is known why nothing answers there."""
    told: dict[tuple[str, int], Seen] = defaultdict(list)
    for node in situation.evidence.nodes.values():
        for vlan in node.vlans:
            if 0 <= vlan.vid <= VID_MAX:
                told[vlan.cluster_network, vlan.vid].append((node.node, vlan))
    wanted = {(s.cluster_network, s.vid): s for s in services}
    for (network, vid), seen in sorted(told.items()):
        service = wanted.get((network, vid), Service(cluster_network=network, vid=vid))
        reached = [(node, vlan) for node, vlan in seen if vid not in cut.get((node, network), NO_VIDS)]
        yield from _dhcp(service, reached, services)
        yield from _offers(service, seen)
        yield from _gateway(service, seen, reached)
        yield from _duplicates(situation, service, seen)
        yield from _routers(service, seen)


def _dhcp(service: Service, seen: Seen, services: tuple[Service, ...]) -> Iterator[Finding]:
    asked = [(node, vlan) for node, vlan in seen if Kind.DHCP in vlan.asked]
    offers = [offer for _, vlan in asked for offer in vlan.offers]
    silent = [node for node, vlan in asked if not vlan.offers]
    where = _where(service)
    if asked and not offers and service.dhcp:
        found = _finding(
            service,
            Reason.DHCP_SILENT,
            f"no DHCP server answers in {where}",
            "start one, or let the relay of the router reach it; a switch with DHCP snooping has to trust its port",
            f"DHCP: {plural(len(asked), 'node')} asked",
        )
        lacks = "whether a server that knows its clients only, or whose pool is empty, is there"
        yield replace(found, certainty=Certainty.LIKELY, lacks=lacks)
    elif silent and offers:
        found = _finding(
            service,
            Reason.DHCP_EXHAUSTED,
            f"a DHCP server answers in {where}, and {' and '.join(silent)} got nothing from it",
            "look whether the pool has free addresses, and whether the switch drops answers on the way to these nodes "
            "(DHCP snooping)",
            f"DHCP: {len(asked) - len(silent)} of {len(asked)} nodes that asked got an offer",
        )
        yield replace(found, certainty=Certainty.LIKELY, lacks="how many addresses of the pool are free")
    for offer in {(o.server, o.address): o for o in offers}.values():
        if service.subnet and not _inside(offer.address, service.subnet):
            yield _wrong_pool(service, services, offer)
            break


def _wrong_pool(service: Service, services: tuple[Service, ...], offer: DhcpOffer) -> Finding:
    other = next((s for s in services if s.subnet and s.vid != service.vid and _inside(offer.address, s.subnet)), None)
    whose = f"which belongs to VLAN {other.vid}" if other else f"which is outside of {service.subnet}"
    return _finding(
        service,
        Reason.DHCP_WRONG_VLAN if other else Reason.DHCP_WRONG_POOL,
        f"the DHCP server {offer.server} gives {offer.address} in {_where(service)}, {whose}",
        f"correct the pool of {offer.server}" + (", or the VLAN that its port is in" if other else ""),
        f"DHCP: it offered {offer.address}/{offer.prefix}",
    )


def _offers(service: Service, seen: Seen) -> Iterator[Finding]:
    offers = [offer for _, vlan in seen for offer in vlan.offers]
    servers = sorted({(offer.server_mac, offer.server) for offer in offers})
    if len({mac for mac, _ in servers}) > 1:
        names = ", ".join(f"{server} ({mac})" for mac, server in servers)
        yield _finding(
            service,
            Reason.DHCP_TWO_SERVERS,
            f"{len(servers)} DHCP servers answer in {_where(service)}: {names}",
            "switch off the one that does not belong there",
            "DHCP: each sent an offer",
        )


def _gateway(service: Service, seen: Seen, reached: Seen) -> Iterator[Finding]:
    if not service.gateway:
        return
    answers = [a for _, vlan in reached for a in vlan.gateways if a.address == service.gateway and a.asked]
    every = [a for _, vlan in seen for a in vlan.gateways if a.address == service.gateway]
    if answers and not any(answer.macs for answer in every):
        found = _finding(
            service,
            Reason.GATEWAY_SILENT,
            f"the gateway {service.gateway} of {_where(service)} does not answer",
            f"check the router's interface in VLAN {service.vid}, and that its switch port carries the VLAN",
            f"ARP: {plural(len(answers), 'node')} asked, and nobody answered",
        )
        yield replace(found, certainty=Certainty.LIKELY)
    macs = {mac for answer in every for mac in answer.macs}
    if len(macs) > 1:
        yield _duplicate(service, service.gateway, sorted(macs))


def _duplicates(situation: Situation, service: Service, seen: Seen) -> Iterator[Finding]:
    """Where a node's own probes come back to it, so do its other frames: that is a loop, and no other machine."""
    claimed: dict[str, set[str]] = defaultdict(set)
    for _, vlan in seen:
        for answer in vlan.duplicates:
            claimed[answer.address] |= set(answer.macs)
    for address, macs in sorted(claimed.items()):
        if macs and address != service.gateway:
            yield _duplicate(service, address, sorted(macs))
    loops = {receiver.node for sender, receiver in situation.passed if sender == receiver}
    moved = sorted({mac for node, vlan in seen for mac in vlan.moved if node not in loops})
    if moved:
        what = "a MAC address" if len(moved) == 1 else "MAC addresses"
        yield _finding(
            service,
            Reason.MAC_DUPLICATE,
            f"somebody else in {_where(service)} sends with {what} of this cluster: {', '.join(moved)}",
            "find the other machine (on the switch: the ports where the address moves), and give it another MAC",
            "frames with it came in from outside",
        )


def _duplicate(service: Service, address: str, macs: list[str]) -> Finding:
    return _finding(
        service,
        Reason.ADDRESS_DUPLICATE,
        f"somebody else has {address} in {_where(service)}: {', '.join(macs)}",
        "give one of the two another address",
        f"ARP: {address} is answered for by {', '.join(macs)}",
    )


def _routers(service: Service, seen: Seen) -> Iterator[Finding]:
    routers = {r.mac: r for _, vlan in seen for r in vlan.routers if r.lifetime_s > 0}
    if len(routers) > 1:
        names = ", ".join(f"{r.router} ({mac})" for mac, r in sorted(routers.items()))
        yield _finding(
            service,
            Reason.ROUTER_ROGUE,
            f"{len(routers)} routers advertise themselves in {_where(service)}: {names}",
            "switch off the advertisements of the one that does not belong there, or guard the port (RA guard)",
            "RA: each with a lifetime above 0",
        )
    said = {f"the router {r.router}": r.mtu for r in routers.values()}
    said |= {f"the DHCP server {o.server}": o.mtu for _, vlan in seen for o in vlan.offers}
    for who, mtu in sorted(said.items()):
        if mtu > service.mtu > 0:
            yield _finding(
                service,
                Reason.MTU_ANNOUNCED_WRONG,
                f"{who} announces an MTU of {mtu} in {_where(service)}, which has {service.mtu}",
                f"announce {service.mtu} at most, or raise the MTU of {service.cluster_network}",
                f"it was announced by {who}",
            )


def _inside(address: str, subnet: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(subnet, strict=False)
    except ValueError:
        return False


def _where(service: Service) -> str:
    return f"VLAN {service.vid} of {service.cluster_network}" if service.vid else f"{service.cluster_network}, untagged"


def _finding(service: Service, reason: Reason, message: str, fix: str, evidence: str) -> Finding:
    return Finding(
        reason=reason,
        grade=reason.grade,
        certainty=Certainty.SURE,
        message=message,
        fix=Fix(words=fix),
        place=_where(service),
        about=service.about,
        network=service.cluster_network,
        vids=VidSet.of([service.vid]),
        evidence=(evidence,),
    )


def services_of(cluster: Cluster) -> tuple[Service, ...]:
    """What the VLAN networks say of their subnets (Harvester's annotation `route`), and else what their pools say."""
    pools = {(scope.cluster_network, scope.vid): scope for scope in scopes(cluster, {})}
    mtus = {config.cluster_network: config.uplink.mtu or MTU_DEFAULT for config in cluster.all(VlanConfig)}
    found: dict[tuple[str, int], Service] = {}
    for nad in cluster.all(NetworkAttachmentDefinition):
        if nad.cluster_network and nad.type in (NetworkType.VLAN, NetworkType.UNTAGGED):
            route, pool = _route(nad), pools.get((nad.cluster_network, nad.vid))
            service = Service(
                cluster_network=nad.cluster_network,
                vid=nad.vid,
                subnet=str(route.get("cidr") or (pool.pool.cidr if pool else "")),
                gateway=str(route.get("gateway") or (pool.pool.router if pool else "")),
                dhcp=route.get("mode") == "auto" or bool(pool and pool.reservations and not pool.pool.paused),
                mtu=mtus.get(nad.cluster_network, 0),
                about=nad.ref,
            )
            found.setdefault((service.cluster_network, service.vid), service)
    return tuple(found.values())


def _route(nad: NetworkAttachmentDefinition) -> Mapping[str, Any]:
    """`{"mode": "auto" or "manual", "cidr": …, "gateway": …}`; rules say where it is wrong, nothing is told here."""
    try:
        found = json.loads(nad.meta.annotations.get(ANNOTATION_ROUTE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
