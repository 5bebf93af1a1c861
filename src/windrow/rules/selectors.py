"""Do two node selectors meet? Judged by the nodes that are known, and by the selectors alone where that is sure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windrow.model.cluster import matches_selector
from windrow.model.objects import HostNetworkConfig, LabelSelector, Node, Operator, Requirement, VlanConfig
from windrow.model.problems import Problem
from windrow.rules.review import Review, warning

_NAMED = 3
"""Nodes whose labels are told."""
Requirements = frozenset[Requirement]


def requirements(config: VlanConfig | HostNetworkConfig) -> Requirements:
    """A selector as what it asks of a node; nothing asked: every node."""
    match config:
        case VlanConfig():
            pairs = config.node_selector.items()
            return frozenset(Requirement(key=k, operator=Operator.IN, values=(v,)) for k, v in pairs)
        case HostNetworkConfig():
            return frozenset(config.node_selector.requirements if config.node_selector else ())


def selects(config: VlanConfig | HostNetworkConfig, node: Node) -> bool:
    """Witness nodes carry no VlanConfig, whatever their labels (Harvester)."""
    if isinstance(config, VlanConfig) and node.witness:
        return False
    return matches_selector(LabelSelector(requirements=tuple(requirements(config))), node.meta.labels)


def matches_a_node(config: VlanConfig | HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Where nodes have manifests, all that is known of nodes is known; without one, other hosts may have any label."""
    nodes = review.nodes()
    if not review.after.nodes() or not requirements(config) or any(selects(config, node) for node in nodes):
        return
    asked = sorted({requirement.key for requirement in requirements(config)})
    have = [f"{n.name}: {_labels(n, asked)}" for n in nodes[:_NAMED]]
    more = f"; and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    message = "it selects no node that is known, and so nothing is made from it"
    hint = f"of what it asks for there is, on {'; '.join(have)}{more}"
    yield warning(config, "selects-no-node", "spec.nodeSelector", message, hint)


def _labels(node: Node, keys: list[str]) -> str:
    found = [f"{key}={node.meta.labels[key]}" for key in keys if key in node.meta.labels]
    return ", ".join(found) or f"none of {', '.join(keys)}"


def meeting(
    one: VlanConfig | HostNetworkConfig, other: VlanConfig | HostNetworkConfig, nodes: Iterable[Node]
) -> str | None:
    """Where both apply, in words: the nodes, or why there is no node where only one of them does; else None."""
    both = [node.name for node in nodes if selects(one, node) and selects(other, node)]
    if both:
        return f"node{'s' if len(both) > 1 else ''} {', '.join(both)}"
    if requirements(one) <= requirements(other):
        return "every node that the other one selects"
    if requirements(other) <= requirements(one):
        return "every node that this one selects"
    return None
