"""compile_node: the passes in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from windrow.compile.carried import carried, with_carried
from windrow.compile.hostnet import (
    Given,
    choose_host_networks,
    dhcp_clients,
    host_links,
    host_routes,
    remembered,
    there,
    with_addresses,
)
from windrow.compile.ipv6 import left_out
from windrow.compile.overlay import overlay
from windrow.compile.pins import pinned_mac
from windrow.compile.policies import policy_problems, rule_table
from windrow.compile.poolports import served_here
from windrow.compile.pools import scopes, waiting_problems
from windrow.compile.ports import filter_problems, port_filters, port_links, port_problems, port_routes, ports_of
from windrow.compile.routers import with_routers
from windrow.compile.uplinks import Choice, choose_uplinks, uplink_links
from windrow.compile.vlans import mgmt_links, self_vids, self_vlans, snooped_vids, snooping_problems, uplink_vids
from windrow.model import names
from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.cluster import Cluster
from windrow.model.facts import Memory, NodeFacts
from windrow.model.host import FOR_ROOT, Bond, HostState, Link
from windrow.model.lazy import dataclass
from windrow.model.leases import ClientOptions
from windrow.model.objects import HostNetworkConfig
from windrow.model.overlay import Start
from windrow.model.pools import Candidate, Scope
from windrow.model.problems import Problem, Severity
from windrow.model.ruletable import RuleTable
from windrow.model.values import IfName, Ref, VidSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """`state`: what this node should be. `held`: links that nothing is said about because their manifests
    contradict each other or cannot be carried out; a plan leaves them as they are."""

    state: HostState
    held: frozenset[IfName] = frozenset()
    problems: tuple[Problem, ...] = ()
    memory: Memory = Memory()
    """What is to be remembered once this is so."""
    clients: Mapping[IfName, ClientOptions] = field(default_factory=dict)
    """The links on which a DHCP client is to be at work."""
    scopes: tuple[Scope, ...] = ()
    """The address pools of the whole cluster, with who has which address."""
    serving: tuple[Scope, ...] = ()
    """Those of them that a DHCP server of this node is to serve now."""
    tunnel_start: Mapping[int, Start] = field(default_factory=dict)
    """This node's end of an encrypted overlay, by version of IP."""
    candidates: tuple[Candidate, ...] = ()
    """For those that this node and others may serve, one of them at a time."""


def compile_node(cluster: Cluster, facts: NodeFacts) -> Compiled:
    """The wanted network of one node, whole: what is ours and not in it is to go."""
    choice = choose_uplinks(cluster, facts)
    present = {u.cluster_network for u in choice.uplinks} | (_mgmt(facts) - choice.held)
    ours = frozenset(u.cluster_network for u in choice.uplinks)
    hosts = choose_host_networks(cluster, facts, frozenset(present), ours=ours)
    managed = names.MGMT in ours | choice.held
    said = [p for u in choice.uplinks for p in snooping_problems(cluster, u.cluster_network, facts)]
    pools = scopes(cluster, facts.record)
    served = served_here(pools, cluster, facts, hosts, present=frozenset(present), ours=ours)
    hosts = served.hosts
    links: list[Link] = [] if managed else mgmt_links(cluster, hosts.configs, facts)
    links += _of_uplinks(cluster, choice, hosts.configs, facts)
    links += host_links(hosts.configs, cluster, facts, ours)
    links = with_addresses(links, hosts.configs, facts, served.asked_for)
    routes = host_routes(hosts.configs, facts)
    luggage = carried(hosts.configs, routes.routes, facts)
    links = with_routers(with_carried(links, luggage), hosts.configs, luggage.to, facts)
    tunnels = overlay(cluster, facts, hosts.configs, links)
    links += tunnels.links
    ports = ports_of(facts, present)
    said += port_problems(ports, _carried(links), facts)
    links += port_links(ports, links, facts)
    given = remembered(hosts.configs, facts)
    policies = rule_table(cluster, facts, tunnels.ends)
    held = _held(choice.held, facts) | {IfName(name) for name in hosts.held} | tunnels.held
    return Compiled(
        state=HostState(
            links={link.name: link for link in links},
            routes=routes.routes | luggage.routes | tunnels.routes | port_routes(facts),
            rules=luggage.rules,
            sysctls=_sysctls(facts) if links else {},
            filters=port_filters(facts),
            policies=policies,
        ),
        held=held,
        problems=choice.problems
        + hosts.problems
        + routes.problems
        + luggage.problems
        + tunnels.problems
        + tuple(left_out(hosts.configs, facts))
        + tuple(said)
        + tuple(_unreadable(facts))
        + tuple(filter_problems(facts))
        + tuple(policy_problems(cluster, facts, policies, guarded=not tunnels.ends))
        + tuple(waiting_problems(pools))
        + served.problems,
        memory=_memory(choice, given, policies, facts),
        clients=dhcp_clients(hosts.configs, held, facts),
        scopes=pools,
        serving=served.scopes,
        candidates=served.candidates,
        tunnel_start=tunnels.start,
    )


def _memory(choice: Choice, given: Given, policies: RuleTable, facts: NodeFacts) -> Memory:
    """What the next compilation is to know of this one."""
    return Memory(
        nics=choice.cards,
        given=given,
        had=there(given, facts),
        policed=facts.policies_there or not policies.empty,
        judges=facts.judges_ports or policies.judges,
        of_cluster=facts.of_cluster,
    )


def _of_uplinks(
    cluster: Cluster, choice: Choice, configs: tuple[HostNetworkConfig, ...], facts: NodeFacts
) -> Iterator[Link]:
    for uplink in choice.uplinks:
        own = self_vids(uplink.cluster_network, configs, facts)
        vids = uplink_vids(cluster, uplink.cluster_network, own)
        snooped = snooped_vids(cluster, uplink.cluster_network, facts)
        on_bridge = self_vlans(uplink.cluster_network, configs, facts, snooped)
        yield from uplink_links(uplink, vids, on_bridge, snooped, pinned_mac(uplink, choice.uplinks, facts))


def _unreadable(facts: NodeFacts) -> Iterator[Problem]:
    for name, why in facts.unreadable.items():
        yield Problem(
            code="link-unreadable",
            message=f"what the kernel says of {name} cannot be read ({why}): it is left alone",
            hint="run it as root" if why == FOR_ROOT else "please report it, with what this prints: ip -d link show",
            about=Ref("Node", facts.node),
            severity=Severity.WARNING,
        )


def _carried(links: list[Link]) -> dict[IfName, tuple[IfName, VidSet]]:
    """Per bridge: its uplink, and the VIDs that leave the node over it."""
    bonds = (link for link in links if isinstance(link.spec, Bond) and link.vlans is not None)
    return {IfName(b.master or names.bridge_of(names.MGMT)): (b.name, b.vlans.all) for b in bonds if b.vlans}


def _mgmt(facts: NodeFacts) -> set[str]:
    return {names.MGMT} if names.bridge_of(names.MGMT) in facts.links - facts.made else set()


def _held(cluster_networks: frozenset[str], facts: NodeFacts) -> frozenset[IfName]:
    """All devices of these cluster networks, and the NICs in them."""
    devices: set[IfName] = set()
    for cn in cluster_networks:
        bridge = names.bridge_of(cn)
        devices |= {bridge, names.bond_of(cn), names.next_bond_of(cn)}
        devices |= {name for name in facts.links if name.startswith(f"{bridge}.")}
    return frozenset(devices | {n.name for n in facts.nics.values() if n.master in devices})


def _sysctls(facts: NodeFacts) -> dict[str, str]:
    """Bridged frames are layer 2: no packet filter of the host must see them, of whichever family (Harvester sees to
    IPv4 alone, at its agent's start)."""
    return dict.fromkeys(BRIDGE_NETFILTER, "0") if facts.features.bridge_netfilter else {}
