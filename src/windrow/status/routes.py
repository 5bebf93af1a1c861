"""What a node has heard of the subnets of VLANs and of their gateways, for networks with the annotation `route`: an
annotation of its Node, which the manager reads.

An agent writes what is of its node alone, and no network is. So it says what DHCP servers answered, and which gateways
do, for as long as some network says otherwise; the manager makes of it what Harvester's helper and pings write.
"""

from __future__ import annotations

import ipaddress
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.evidence import DhcpOffer
from windrow.model.layer3 import DHCP_FAILED, NOT_REACHED, REACHED, Layer3, RouteMode
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, NetworkAttachmentDefinition, NetworkType, Node

Place = tuple[str, int]
"""A cluster network and a VID."""
Gateway = tuple[str, int, str]
"""A place, and an address there as `ipaddress` writes it."""
ASKERS = 3
"""So many nodes ask in a VLAN, one after the other, before others have their turn: one may be off, or plugged in
wrongly."""
PERIOD_S = 900.0
"""Then others do, and gateways are asked again, as Harvester's manager pings them."""
APART_S = 20.0
"""From one node's turn to the next one's: by then the first has its answer, and the networks wait no longer."""
PLACES_MAX, SILENT_MAX, OFFERS_MAX, GATEWAYS_MAX, TEXT_MAX = 128, 256, 4, 56, 65536
"""So much a node says at once: VLANs where somebody answered, and where nobody did, offers of each, gateways,
characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """By the DHCP server `server`, in IPv4. `answers`: whether somebody in the VLAN has the gateway's address."""

    server: str
    cidr: str
    gateway: str
    answers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether somebody has a gateway's address. `at`: when that was asked, in Unix seconds."""

    there: bool
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """`offers`: empty for a place that was asked where nobody said both a subnet and a gateway."""

    offers: Mapping[Place, Sequence[Offered]] = field(default_factory=dict)
    gateways: Mapping[Gateway, Answer] = field(default_factory=dict)


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


# Who asks, where, and when ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One of those that are to have a cluster network: its number, and how many they are."""

    number: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """`now`: it is one of those that ask in this period. `number`: how many others do so before it. `in_s`: from now
    until it is to ask; negative: for so long it has been due."""

    now: bool
    number: int
    in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the networks of a VLAN want to know. `dhcp`: one of them has no subnet or no gateway. `gateways`: address ->
    what they say of it. `new`: one of them knows nothing at all yet."""

    dhcp: bool = False
    gateways: Mapping[str, frozenset[str]] = field(default_factory=dict)
    new: bool = False


KNOWN = frozenset({REACHED, NOT_REACHED})
"""What a network may say of a gateway that somebody has asked for."""


def route_of(nad: NetworkAttachmentDefinition) -> Layer3 | None:
    """Its annotation, where it is one, and of a VLAN."""
    text = nad.meta.annotations.get(names.ANNOTATION_ROUTE)
    if text is None or nad.type is not NetworkType.VLAN or nad.meta.deleting:
        return None
    try:
        return Layer3.parse(text)
    except ValueError:
        return None


def lacks(route: Layer3) -> bool:
    return route.outdated or not (route.cidr and route.gateway)


def gateway_of(route: Layer3) -> str:
    """That may be asked whether it is there; empty: there is none, or what it says is no address."""
    try:
        return "" if lacks(route) else str(ipaddress.ip_address(route.gateway))
    except ValueError:
        return ""


def said_of(there: bool) -> str:
    """In Harvester's words."""
    return REACHED if there else NOT_REACHED


def wishes(cluster: Cluster, node: str) -> dict[Place, tuple[Seat, Wish]]:
    """Where this node has its turns, and what about."""
    found: dict[Place, tuple[Seat, Wish]] = {}
    here = cluster.node(node)
    for network in (one.name for one in cluster.all(ClusterNetwork)):
        if is_to_have(cluster, here, network) and (wished := _wishes(cluster, network)):
            nodes = _nodes(cluster, network)
            if node in nodes:
                seat = Seat(number=nodes[node], of=len(nodes))
                found |= {(network, vid): (seat, wish) for vid, wish in sorted(wished.items())}
    return found


def _wishes(cluster: Cluster, network: str) -> dict[int, Wish]:
    routes: dict[int, list[Layer3]] = {}
    for nad in cluster.nads(network):
        if (route := route_of(nad)) is not None:
            routes.setdefault(nad.vid, []).append(route)
    found = {vid: _wish(of) for vid, of in routes.items()}
    return {vid: wish for vid, wish in found.items() if wish.dhcp or wish.gateways}


def _wish(routes: Sequence[Layer3]) -> Wish:
    waiting = [one for one in routes if one.mode is RouteMode.AUTO and lacks(one)]
    said: dict[str, frozenset[str]] = {}
    for route in routes:
        if gateway := gateway_of(route):
            said[gateway] = said.get(gateway, frozenset()) | {route.connectivity}
    new = any(one.connectivity != DHCP_FAILED for one in waiting)
    return Wish(dhcp=bool(waiting), gateways=said, new=new or not all(of <= KNOWN for of in said.values()))


_TIME_MAX = 1 << 40


def _nodes(cluster: Cluster, network: str) -> dict[str, int]:
    """Those that are to have it, numbered."""
    nodes = [node for node in cluster.nodes() if not node.meta.deleting and is_to_have(cluster, node, network)]
    return {name: number for number, name in enumerate(sorted(node.name for node in nodes))}


def is_to_have(cluster: Cluster, node: Node, network: str) -> bool:
    if network == names.MGMT:
        return not node.witness
    return any(selects_node(config, node) for config in cluster.vlan_configs(network))


def turn(place: Place, seat: Seat, clock: float) -> Turn:
    """`clock`: Unix seconds, which all nodes have. Each VLAN begins with another node, and each period with those that
    come after the last ones, so where some are off others ask instead, and never more than a few. VLANs have their
    periods at different moments, a few to a bunch: a node that has many is not waked for each."""
    number, gone_s = divmod(clock + _offset(place), PERIOD_S)
    later, turn = divmod((seat.number - place[1] - ASKERS * int(number)) % seat.of, ASKERS)
    return Turn(now=not later, number=turn, in_s=later * PERIOD_S + turn * APART_S - gone_s)


def next_turn(place: Place, seat: Seat, clock: float) -> float:
    """In how many seconds it has one after this period."""
    left_s = PERIOD_S - (clock + _offset(place)) % PERIOD_S
    return left_s + max(0.0, turn(place, seat, math.ceil(clock + left_s)).in_s)


def _offset(place: Place) -> float:
    network, vid = place
    return zlib.crc32(f"{network}/{vid}".encode()) % int(PERIOD_S / APART_S) * APART_S


# The annotation -----------------------------------------------------------------------------------


def text(heard: Heard) -> str:
    """Empty: nothing. What it says is forgotten once the networks say so, and others have their turn; silence keeps no
    answer back."""
    answered = sorted(place for place, offers in heard.offers.items() if offers)[:PLACES_MAX]
    silent = sorted(place for place, offers in heard.offers.items() if not offers)[:SILENT_MAX]
    offers = {
        f"{network}/{vid}": [_document(one) for one in sorted(heard.offers[network, vid], key=_server)[:OFFERS_MAX]]
        for network, vid in (*answered, *silent)
    }
    asked = sorted(heard.gateways.items())[:GATEWAYS_MAX]
    gateways = {f"{network}/{vid}/{address}": [said.there, said.at] for (network, vid, address), said in asked}
    said = {key: of for key, of in (("offers", offers), ("gateways", gateways)) if of}
    return json.dumps(said, separators=(",", ":")) if said else ""


def _server(one: Offered) -> str:
    return one.server


def _document(one: Offered) -> dict[str, str | bool]:
    return {"server": one.server, "cidr": one.cidr, "gateway": one.gateway, "answers": one.answers}


def parse(said: str) -> Heard:
    """Of what is no such thing, nothing: whoever may write a Node may write anything there."""
    if len(said) > TEXT_MAX:
        return Heard()
    try:
        document = json.loads(said)
        offers, gateways = document.get("offers") or {}, document.get("gateways") or {}
        return Heard(offers=dict(_places(offers)), gateways=dict(_gateways(gateways)))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Heard()


def _gateways(document: Mapping[str, object]) -> Iterator[tuple[Gateway, Answer]]:
    for name, answer in document.items():
        match name.split("/"), answer:
            case [network, vid, address], [bool(there), int(at)] if _is_vid(vid) and 0 <= at < _TIME_MAX:
                yield (network, int(vid), address), Answer(there=there, at=at)
            case _:
                pass


def _places(document: Mapping[str, Sequence[object]]) -> Iterator[tuple[Place, Sequence[Offered]]]:
    """What is wrong with one takes nothing from the others. Where all are wrong, nobody was asked."""
    for name, offers in document.items():
        network, _, vid = name.rpartition("/")
        read = tuple(filter(None, map(_read, offers)))
        if _is_vid(vid) and (read or not offers):
            yield (network, int(vid)), read


def _is_vid(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


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
