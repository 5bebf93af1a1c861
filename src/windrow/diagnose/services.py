"""Who answers in a VLAN: DHCP servers, gateways, routers that advertise, and others with our addresses."""

from __future__ import annotations

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from windrow.diagnose.situation import Situation
from windrow.model.cluster import Cluster
from windrow.model.evidence import Kind, VlanEvidence
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.lazy import dataclass
from windrow.model.names import ANNOTATION_ROUTE
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.values import Ref, VidSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is wanted of a VLAN. `subnet` and `gateway` empty: nothing is said of them. `dhcp`: an address is expected."""

    cluster_network: str
    vid: int
    subnet: str = ""
    gateway: str = ""
    dhcp: bool = False
    about: Ref | None = None


def service_findings(situation: Situation, services: tuple[Service, ...]) -> Iterator[Finding]:
    told: dict[tuple[str, int], list[tuple[str, VlanEvidence]]] = defaultdict(list)
    for node in situation.evidence.nodes.values():
        for vlan in node.vlans:
            told[vlan.cluster_network, vlan.vid].append((node.node, vlan))
    wanted = {(s.cluster_network, s.vid): s for s in services}
    for key, seen in sorted(told.items()):
        service = wanted.get(key, Service(cluster_network=key[0], vid=key[1]))
        vlans = [vlan for _, vlan in seen]
        yield from _dhcp(service, vlans, services)
        yield from _gateway(service, seen)
        yield from _duplicates(service, vlans)
        yield from _routers(service, vlans)


def _dhcp(service: Service, seen: list[VlanEvidence], services: tuple[Service, ...]) -> Iterator[Finding]:
    asked = [vlan for vlan in seen if Kind.DHCP in vlan.asked]
    offers = [offer for vlan in asked for offer in vlan.offers]
    servers = sorted({(offer.server, offer.server_mac) for offer in offers})
    where = _where(service)
    if asked and not offers and service.dhcp:
        yield _finding(
            service,
            "DhcpSilent",
            Grade.ERROR,
            f"no DHCP server answers in {where}",
            "start one, or let the relay of the router reach it; a switch with DHCP snooping has to trust the server's port",
            f"{len(asked)} nodes asked",
        )
    if len({mac for _, mac in servers}) > 1:
        names = ", ".join(f"{server} ({mac})" for server, mac in servers)
        yield _finding(
            service,
            "DhcpTwoServers",
            Grade.WARNING,
            f"{len(servers)} DHCP servers answer in {where}: {names}",
            "switch off the one that does not belong there",
            "DHCP: each sent an offer",
        )
    for offer in {(o.server, o.address): o for o in offers}.values():
        if service.subnet and not _inside(offer.address, service.subnet):
            other = next(
                (s for s in services if s.subnet and s.vid != service.vid and _inside(offer.address, s.subnet)), None
            )
            yield _finding(
                service,
                "DhcpWrongVlan" if other else "DhcpWrongPool",
                Grade.ERROR,
                f"the DHCP server {offer.server} gives {offer.address} in {where}, "
                + (f"which belongs to VLAN {other.vid}" if other else f"which is outside of {service.subnet}"),
                f"correct the pool of {offer.server}" + (", or the VLAN that its port is in" if other else ""),
                f"DHCP: it offered {offer.address}/{offer.prefix}",
            )
            break


def _gateway(service: Service, seen: list[tuple[str, VlanEvidence]]) -> Iterator[Finding]:
    if not service.gateway:
        return
    asked = [(n, a) for n, vlan in seen for a in vlan.gateways if a.address == service.gateway and a.asked]
    if asked and not any(answer.macs for _, answer in asked):
        yield _finding(
            service,
            "GatewaySilent",
            Grade.ERROR,
            f"the gateway {service.gateway} of {_where(service)} does not answer",
            f"check the router's interface in VLAN {service.vid}, and that its switch port carries the VLAN",
            f"ARP: {len(asked)} nodes asked, and nobody answered",
        )
    macs = {mac for _, answer in asked for mac in answer.macs}
    if len(macs) > 1:
        yield _duplicate(service, service.gateway, sorted(macs))


def _duplicates(service: Service, seen: list[VlanEvidence]) -> Iterator[Finding]:
    claimed: dict[str, set[str]] = defaultdict(set)
    for vlan in seen:
        for answer in vlan.duplicates:
            claimed[answer.address] |= set(answer.macs)
    for address, macs in sorted(claimed.items()):
        if macs:
            yield _duplicate(service, address, sorted(macs))
    moved = sorted({mac for vlan in seen for mac in vlan.moved})
    if moved:
        yield _finding(
            service,
            "MacDuplicate",
            Grade.ERROR,
            f"somebody else in {_where(service)} sends with {'a MAC address' if len(moved) == 1 else 'MAC addresses'} of "
            f"this cluster: {', '.join(moved)}",
            "find the other machine (on the switch: the ports where the address moves), and give it another MAC",
            "frames with it came in from outside",
        )


def _duplicate(service: Service, address: str, macs: list[str]) -> Finding:
    return _finding(
        service,
        "AddressDuplicate",
        Grade.ERROR,
        f"somebody else has {address} in {_where(service)}: {', '.join(macs)}",
        "give one of the two another address",
        f"ARP: {address} is answered for by {', '.join(macs)}",
    )


def _routers(service: Service, seen: list[VlanEvidence]) -> Iterator[Finding]:
    routers = {r.mac: r for vlan in seen for r in vlan.routers if r.lifetime_s > 0}
    if len(routers) > 1:
        names = ", ".join(f"{r.router} ({mac})" for mac, r in sorted(routers.items()))
        yield _finding(
            service,
            "RouterRogue",
            Grade.WARNING,
            f"{len(routers)} routers advertise themselves in {_where(service)}: {names}",
            "switch off the advertisements of the one that does not belong there, or guard the port (RA guard)",
            "RA: each with a lifetime above 0",
        )


def _inside(address: str, subnet: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(subnet, strict=False)
    except ValueError:
        return False


def _where(service: Service) -> str:
    return f"VLAN {service.vid} of {service.cluster_network}" if service.vid else f"{service.cluster_network}, untagged"


def _finding(service: Service, reason: str, grade: Grade, message: str, fix: str, evidence: str) -> Finding:
    return Finding(
        reason=reason,
        grade=grade,
        certainty=Certainty.SURE,
        message=message,
        fix=fix,
        place=_where(service),
        about=service.about,
        vids=VidSet.of([service.vid]),
        evidence=(evidence,),
    )


def services_of(cluster: Cluster) -> tuple[Service, ...]:
    """What the VLAN networks say of their subnets (Harvester's annotation `route`)."""
    found: dict[tuple[str, int], Service] = {}
    for nad in cluster.all(NetworkAttachmentDefinition):
        if nad.cluster_network and nad.type in (NetworkType.VLAN, NetworkType.UNTAGGED):
            route = _route(nad)
            service = Service(
                cluster_network=nad.cluster_network,
                vid=nad.vid,
                subnet=str(route.get("cidr") or ""),
                gateway=str(route.get("gateway") or ""),
                dhcp=route.get("mode") == "auto",
                about=nad.ref,
            )
            found.setdefault((service.cluster_network, service.vid), service)
    return tuple(found.values())


def _route(nad: NetworkAttachmentDefinition) -> Mapping[str, Any]:
    """`{"mode": "auto" or "manual", "cidr": …, "gateway": …}`; rules say where it is wrong, and nothing is told here."""
    try:
        found = json.loads(nad.meta.annotations.get(ANNOTATION_ROUTE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
