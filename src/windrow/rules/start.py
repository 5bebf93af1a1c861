"""May this machine start on this node, now? What admission cannot know: where it is asked for, and what is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from windrow.model import names
from windrow.model.cluster import Cluster, may_run, selects_node
from windrow.model.machines import AnyMachine, LinkState
from windrow.model.objects import NetworkAttachmentDefinition, Node
from windrow.model.problems import Problem
from windrow.rules.review import problem
from windrow.rules.virtualmachine import (
    base,
    duplicate_macs,
    find_nad,
    lacks,
    mac_twice,
    network_path,
    no_nad,
    placement_path,
)


def machine_obstacles(
    machine: AnyMachine,
    cluster: Cluster,
    *,
    node: str,
    links: Collection[str],
    default_network: bool,
    hypervisor: bool = True,
) -> tuple[Problem, ...]:
    """All reasons against it; none: go ahead.

    `links`: the names of the links of this node. `default_network`: the operator has named a configuration for the
    pod network, so that no `podCIDR` is needed. `hypervisor`: it is Windrow that runs the guest; else what lies
    between pod and guest is all that has to be made.
    """
    here = cluster.node(node)
    return (
        *lacks(machine, hypervisor=hypervisor),
        *_selected(machine, here, cluster),
        *_networks(machine, cluster, here, links),
        *_pod_network(machine, here, default_network=default_network),
        *(mac_twice(machine, *found) for found in duplicate_macs(machine, cluster)),
    )


def _selected(machine: AnyMachine, node: Node, cluster: Cluster) -> Iterator[Problem]:
    wanted, labels = dict(machine.spec.node_selector), cluster.labels(node)
    if may_run(machine.spec, node, cluster):
        return
    missing = ", ".join(f"{k}={v}" for k, v in wanted.items() if labels.get(k) != v)
    reason = f"which has no label {missing}" if missing else "which its required node affinity does not match"
    message = f"it is not for node {node.name}, {reason}"
    yield problem(machine, "node-selector", placement_path(machine), message, "start it on another node")


def _networks(machine: AnyMachine, cluster: Cluster, node: Node, links: Collection[str]) -> Iterator[Problem]:
    needed = {nic.name for nic in machine.spec.nics if nic.state is not LinkState.ABSENT}
    for i, network in enumerate(machine.spec.networks):
        if not network.nad or network.name not in needed:
            continue
        nad = find_nad(cluster, network.nad)
        if nad is None:
            yield no_nad(machine, i, network.nad, cluster)
        elif nad.cluster_network and nad.bridge not in links:  # any other bridge is made by the plugin
            yield _no_bridge(machine, i, nad, cluster, node)


def _no_bridge(
    machine: AnyMachine, index: int, nad: NetworkAttachmentDefinition, cluster: Cluster, node: Node
) -> Problem:
    cn = nad.cluster_network or ""
    message = f"cluster network {cn} of {nad.ref} is not on node {node.name}: there is no bridge {nad.bridge}"
    path = network_path(machine, index)
    return problem(machine, "clusternetwork-absent", path, message, _way_out(cn, cluster, node))


def _way_out(cn: str, cluster: Cluster, node: Node) -> str:
    configs = cluster.vlan_configs(cn)
    if cn == names.MGMT:
        return f"the operating system makes {names.bridge_of(cn)}, with the node's own address on it"
    if cluster.cluster_network(cn) is None:
        return f"there is no ClusterNetwork {cn}"
    if any(selects_node(config, node) for config in configs):
        return "windrow apply makes it"
    if not configs:
        return f"there is no VlanConfig of {cn}; it says which NICs carry it"
    there = ", ".join(config.name for config in configs)
    return f"no VlanConfig of {cn} is for this node ({there}); start it on another one"


def _pod_network(machine: AnyMachine, node: Node, *, default_network: bool) -> Iterator[Problem]:
    """A machine without a NIC on it does without; a NAD with `default` takes its place."""
    place = next((i for i, network in enumerate(machine.spec.networks) if network.on_pod), None)
    if place is not None and not default_network and not node.pod_cidrs:
        message = f"node {node.name} has no addresses for pods"
        hint = "give the Node a spec.podCIDR, or name the configuration of a default network"
        yield problem(machine, "pod-network-missing", f"{base(machine)}.networks[{place}]", message, hint)
