"""Pass: a port that a CNI call made -> the host's end of it, in its bridge, in its VLANs, up.

The record says what the call has set, and so what should be; the link itself is neither made nor deleted here. A
record whose bridge is nobody's cluster network on this node asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from windrow.model import names
from windrow.model.bridging import FRESH_BRIDGE_PORT, BridgePort
from windrow.model.facts import NodeFacts
from windrow.model.host import Link, Other, PortFilter, Route
from windrow.model.objects import ClusterNetwork
from windrow.model.ports import PortRecord, users
from windrow.model.problems import Problem, Severity
from windrow.model.values import DEFAULT_PVID, IfName, Ref, VidSet

_NATIVE = VidSet.of([DEFAULT_PVID])


def ports_of(facts: NodeFacts, cluster_networks: Iterable[str]) -> tuple[PortRecord, ...]:
    """The records whose bridges are those of these cluster networks."""
    bridges = {names.bridge_of(cn) for cn in cluster_networks}
    return tuple(record for record in facts.ports if record.bridge in bridges)


def port_links(ports: Iterable[PortRecord], bridges: Iterable[Link], facts: NodeFacts) -> list[Link]:
    """One for each port that is there, with the MTU of its bridge where that is wanted from a manifest."""
    mtus = {bridge.name: bridge.mtu for bridge in bridges}
    return [
        Link(
            name=record.host,
            spec=Other(kind="veth"),
            up=True,
            mark=True,
            mtu=mtus.get(record.bridge),
            master=record.bridge,
            vlans=record.vlans,
            port=_as_new(record.isolated, record.hairpin),
            origin=(record.ref,),
        )
        for record in ports
        if record.host in facts.port_links
    ]


def port_routes(facts: NodeFacts) -> frozenset[Route]:
    """The ways to point-to-point ports that are there, with the bridge that each has of its own."""
    there = (r for r in facts.ports if r.host in facts.port_links and r.bridge in facts.links)
    return frozenset(way for record in there for way in record.ways)


def port_filters(facts: NodeFacts) -> dict[IfName, PortFilter]:
    """Of each port that is there, on whomever's bridge: who asked for the rules is its record, and no manifest.

    A port that is not there (yet, or any more) is its CNI call's: ADD makes the rules before the port, DEL takes them
    away after it.
    """
    found = ((record.host, record.filter) for record in facts.ports if record.host in facts.links)
    return {host: wanted for host, wanted in found if wanted is not None}


def filter_problems(facts: NodeFacts) -> Iterator[Problem]:
    if facts.filters_unread:
        yield Problem(
            code="filters-unread",
            message=f"whether the rules of ports are as they were made cannot be said: {facts.filters_unread}",
            hint="run it as root, with nft and iptables installed as they were when the ports were made",
            about=Ref("Node", facts.node),
            severity=Severity.WARNING,
        )


@cache
def _as_new(isolated: bool | None, hairpin: bool | None) -> BridgePort:
    """What a call has set, and the rest as the kernel gives it to a new port."""
    port = replace(FRESH_BRIDGE_PORT, isolated=isolated, hairpin=hairpin)
    return FRESH_BRIDGE_PORT if port == FRESH_BRIDGE_PORT else port


def port_problems(
    ports: tuple[PortRecord, ...], uplinks: Mapping[IfName, tuple[IfName, VidSet]], facts: NodeFacts
) -> Iterator[Problem]:
    """`uplinks`: per bridge its uplink and the VIDs that leave the node over it. All are warnings."""
    for record in ports:
        if record.host not in facts.port_links:
            yield _gone(record)
    for record in facts.ports:
        if record.routed and record.host in facts.port_links and record.bridge not in facts.links:
            yield _stranded(record)
    there = [record for record in ports if record.host in facts.port_links]
    for bridge, (uplink, vids) in uplinks.items():
        yield from _cut_off([r for r in there if r.bridge == bridge], uplink, vids)


def _gone(record: PortRecord) -> Problem:
    return Problem(
        code="port-gone",
        message=f"{record.host}, the port of {record.user} ({record.ifname}) on {record.bridge}, is not there",
        hint="if it has just been started or stopped, look again; else clear the record away: windrow cni gc",
        about=record.ref,
        severity=Severity.WARNING,
    )


def _stranded(record: PortRecord) -> Problem:
    return Problem(
        code="port-stranded",
        message=f"{record.bridge}, on which {record.user} ({record.ifname}) is alone, is not there: nothing reaches it",
        hint="start the pod again",
        about=record.ref,
        severity=Severity.WARNING,
    )


def _cut_off(ports: list[PortRecord], uplink: IfName, vids: VidSet) -> Iterator[Problem]:
    """Ports in VLANs that stay on this node: who takes the VID of a running machine out of the networks, or never
    put it in, is told."""
    missing: dict[VidSet, list[PortRecord]] = {}
    for record in ports:
        lost = (record.vlans.all if record.vlans else VidSet()) - vids - _NATIVE
        if lost:
            missing.setdefault(lost, []).append(record)
    for lost, inside in sorted(missing.items()):
        yield Problem(
            code="port-vlan",
            message=f"VLAN {lost} is not on {uplink} and so ends on this node; in it are {users(inside)}",
            hint="restart them: then they are in the VLAN of their network; or have a network with this VLAN: "
            f"a NetworkAttachmentDefinition on {inside[0].bridge}",
            about=Ref(ClusterNetwork.KIND, names.cluster_network_of_bridge(inside[0].bridge) or ""),
            severity=Severity.WARNING,
        )
