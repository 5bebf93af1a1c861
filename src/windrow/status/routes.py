"""What a node has heard of the subnets of VLANs, for networks whose annotation `route` says `auto`: an annotation of
its Node, which the manager reads.

An agent writes what is of its node alone, and no network is. So it says what DHCP servers answered, for as long as some
network waits for that; the manager makes of it what Harvester's helper writes.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.evidence import DhcpOffer
from windrow.model.layer3 import Layer3, RouteMode
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, NetworkAttachmentDefinition, NetworkType, Node

Place = tuple[str, int]
"""A cluster network and a VID."""
ASKERS = 3
"""So many nodes ask in a VLAN, one after the other: the first may be off, or plugged in wrongly."""
PLACES_MAX, SILENT_MAX, OFFERS_MAX, TEXT_MAX = 128, 256, 4, 65536
"""So much a node says at once: VLANs where somebody answered, and where nobody did, offers of each, characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """By the DHCP server `server`, in IPv4. `answers`: whether somebody in the VLAN has the gateway's address."""

    server: str
    cidr: str
    gateway: str
    answers: bool = False


Heard = Mapping[Place, Sequence[Offered]]
"""Empty for a place: it was asked, and nobody said both a subnet and a gateway."""


def offered(offer: DhcpOffer) -> Offered | None:
    """None: it does not say both."""
    if not 0 <= offer.prefix <= 32:
        return None
    network = ipaddress.IPv4Network(f"{offer.address}/{offer.prefix}", strict=False)
    others = (one for one in offer.routers if one != offer.address)
    gateway = next((one for one in others if _is_gateway(ipaddress.IPv4Address(one), network)), "")
    return Offered(server=offer.server, cidr=str(network), gateway=gateway) if gateway else None


def _is_gateway(gateway: ipaddress.IPv4Address, network: ipaddress.IPv4Network) -> bool:
    """A host of a subnet in which there may be others (RFC 3021: two in a /31, which has no broadcast address)."""
    if not 0 < network.prefixlen < 32 or gateway not in network or _is_special(network.network_address):
        return False
    return network.prefixlen == 31 or gateway not in (network.network_address, network.broadcast_address)


def _is_special(address: ipaddress.IPv4Address) -> bool:
    """No router's: this host, loopback, link-local, multicast and above (RFC 6890, RFC 5771)."""
    return int(address) < 1 << 24 or address.is_loopback or address.is_link_local or int(address) >= 224 << 24


# Who asks, and where ------------------------------------------------------------------------------


def auto(nad: NetworkAttachmentDefinition) -> Layer3 | None:
    """Its annotation, where a DHCP server is to be asked."""
    text = nad.meta.annotations.get(names.ANNOTATION_ROUTE)
    if text is None or nad.type is not NetworkType.VLAN or nad.meta.deleting:
        return None
    try:
        route = Layer3.parse(text)
    except ValueError:
        return None
    return route if route.mode is RouteMode.AUTO else None


def lacks(route: Layer3) -> bool:
    return route.outdated or not (route.cidr and route.gateway)


def turns(cluster: Cluster, node: str) -> dict[Place, int]:
    """Where this node is to ask, and how many others do so before it."""
    found: dict[Place, int] = {}
    here = cluster.node(node)
    for network in (one.name for one in cluster.all(ClusterNetwork)):
        if is_to_have(cluster, here, network) and (vids := _waiting(cluster, network)):
            nodes = _nodes(cluster, network)
            said = (((network, vid), _turn(nodes, vid, node)) for vid in sorted(vids))
            found |= {place: turn for place, turn in said if turn is not None}
    return found


def _waiting(cluster: Cluster, network: str) -> set[int]:
    """The VLANs of networks that wait."""
    return {nad.vid for nad in cluster.nads(network) if (route := auto(nad)) is not None and lacks(route)}


def _nodes(cluster: Cluster, network: str) -> dict[str, int]:
    """Those that are to have it, numbered."""
    nodes = [node for node in cluster.nodes() if not node.meta.deleting and is_to_have(cluster, node, network)]
    return {name: number for number, name in enumerate(sorted(node.name for node in nodes))}


def is_to_have(cluster: Cluster, node: Node, network: str) -> bool:
    if network == names.MGMT:
        return not node.witness
    return any(selects_node(config, node) for config in cluster.vlan_configs(network))


def _turn(nodes: Mapping[str, int], vid: int, node: str) -> int | None:
    """Each VLAN begins with another node. None: enough others ask."""
    if node not in nodes:
        return None
    turn = (nodes[node] - vid) % len(nodes)
    return turn if turn < ASKERS else None


# The annotation -----------------------------------------------------------------------------------


def text(heard: Heard) -> str:
    """Empty: nothing. Answers are forgotten once the networks have them, and others have their turn. Silence lasts: it
    keeps no answer back."""
    answered = sorted(place for place, offers in heard.items() if offers)[:PLACES_MAX]
    silent = sorted(place for place, offers in heard.items() if not offers)[:SILENT_MAX]
    said = {
        f"{network}/{vid}": [_document(one) for one in sorted(heard[network, vid], key=_server)[:OFFERS_MAX]]
        for network, vid in (*answered, *silent)
    }
    return json.dumps(said, separators=(",", ":")) if said else ""


def _server(one: Offered) -> str:
    return one.server


def _document(one: Offered) -> dict[str, str | bool]:
    return {"server": one.server, "cidr": one.cidr, "gateway": one.gateway, "answers": one.answers}


def parse(said: str) -> Heard:
    """Of what is no such thing, nothing: whoever may write a Node may write anything there."""
    if len(said) > TEXT_MAX:
        return {}
    try:
        return dict(_places(json.loads(said)))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _places(document: Mapping[str, Sequence[object]]) -> Iterator[tuple[Place, Sequence[Offered]]]:
    """What is wrong with one takes nothing from the others. Where all are wrong, nobody was asked."""
    for name, offers in document.items():
        network, _, vid = name.rpartition("/")
        read = tuple(filter(None, map(_read, offers)))
        if vid.isascii() and vid.isdigit() and (read or not offers):
            yield (network, int(vid)), read


def _read(one: object) -> Offered | None:
    if not isinstance(one, dict):
        return None
    try:
        network, gateway = ipaddress.IPv4Network(str(one["cidr"])), ipaddress.IPv4Address(str(one["gateway"]))
        server = str(ipaddress.IPv4Address(str(one["server"])))
    except (ValueError, KeyError):
        return None
    if not _is_gateway(gateway, network):
        return None
    return Offered(server=server, cidr=str(network), gateway=str(gateway), answers=one.get("answers") is True)
