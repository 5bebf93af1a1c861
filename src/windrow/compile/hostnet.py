"""Pass: HostNetworkConfig -> a VLAN interface of the bridge, with the node's address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector
from windrow.model.facts import NodeFacts
from windrow.model.host import Link, VlanIf
from windrow.model.objects import AddressMode, HostNetworkConfig
from windrow.model.problems import Problem, Severity
from windrow.model.values import Cidr


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetworks:
    """`held`: the interfaces whose configs contradict each other; they stay as they are."""

    configs: tuple[HostNetworkConfig, ...]
    held: frozenset[str]
    problems: tuple[Problem, ...]


def choose_host_networks(cluster: Cluster, facts: NodeFacts, present: frozenset[str]) -> HostNetworks:
    """The HostNetworkConfigs of this node on the cluster networks that are `present` on it."""
    labels = cluster.node(facts.node).meta.labels
    chosen: dict[str, HostNetworkConfig] = {}
    held: set[str] = set()
    problems: list[Problem] = []
    for config in cluster.all(HostNetworkConfig):
        if config.cluster_network not in present or not matches_selector(config.node_selector, labels):
            continue
        name = names.subinterface_of(config.cluster_network, config.vid)
        problems += _problems(config, chosen.get(name), facts)
        if any(p.about == config.ref and p.severity is Severity.ERROR for p in problems):
            held.add(name)
        chosen.setdefault(name, config)
    configs = tuple(c for name, c in chosen.items() if name not in held)
    return HostNetworks(configs=configs, held=frozenset(held), problems=tuple(problems))


def _problems(config: HostNetworkConfig, other: HostNetworkConfig | None, facts: NodeFacts) -> Iterator[Problem]:
    if other is not None:
        yield Problem(
            code="hostnetwork-overlap",
            message=f"{other.ref} already gives node {facts.node} VLAN {config.vid} of {config.cluster_network}",
            hint="give the two HostNetworkConfigs node selectors that no node matches together",
            path="spec.nodeSelector",
            about=config.ref,
        )
    if not facts.features.vlan_interfaces:
        yield Problem(
            code="kernel-feature",
            message=f"the kernel of node {facts.node} has no 802.1Q interfaces",
            hint="load the kernel module: modprobe 8021q",
            about=config.ref,
        )
    if config.mode is AddressMode.STATIC and facts.node not in config.ips:
        yield Problem(
            code="address-missing",
            message=f"there is no address for node {facts.node}",
            hint=f"add spec.ips[{facts.node}]",
            path="spec.ips",
            about=config.ref,
        )
    if config.mode is AddressMode.DHCP:
        yield Problem(
            code="dhcp-without-agent",
            message="the interface is made, but no address is asked for: only static addresses are given by `apply`",
            hint="use mode: static, or run a DHCP client on the interface",
            path="spec.mode",
            about=config.ref,
            severity=Severity.WARNING,
        )


def host_links(configs: tuple[HostNetworkConfig, ...], cluster: Cluster, facts: NodeFacts) -> list[Link]:
    """`<cn>-br.<vid>`; with mode `dhcp` the addresses are not managed."""
    return [
        Link(
            name=names.subinterface_of(config.cluster_network, config.vid),
            spec=VlanIf(parent=names.bridge_of(config.cluster_network), vid=config.vid),
            up=True,
            mtu=None if config.cluster_network == names.MGMT else cluster.mtu(config.cluster_network),
            addrs=_addresses(config, facts.node),
            origin=(config.ref,),
        )
        for config in configs
    ]


def _addresses(config: HostNetworkConfig, node: str) -> frozenset[Cidr] | None:
    return frozenset({config.ips[node]}) if config.mode is AddressMode.STATIC else None
