"""Do two node selectors meet? Judged by the nodes that are known, and by the selectors alone where that is sure."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.model.cluster import matches_labels, matches_selector, selects_node
from windrow.model.objects import HostNetworkConfig, LinkMonitor, Node, VlanConfig
from windrow.model.selectors import Operator, Requirement

Requirements = frozenset[Requirement]
Config = VlanConfig | HostNetworkConfig | LinkMonitor


def requirements(config: Config) -> Requirements:
    """A selector as what it asks of a node; nothing asked: every node."""
    match config:
        case VlanConfig() | LinkMonitor():
            pairs = config.node_selector.items()
            return frozenset(Requirement(key=k, operator=Operator.IN, values=(v,)) for k, v in pairs)
        case HostNetworkConfig():
            return frozenset(config.node_selector.requirements if config.node_selector else ())


def selects(config: Config, node: Node) -> bool:
    """Witness nodes carry no VlanConfig, whatever their labels (Harvester)."""
    match config:
        case VlanConfig():
            return selects_node(config, node)
        case LinkMonitor():
            return matches_labels(config.node_selector, node.labels)
        case HostNetworkConfig():
            return matches_selector(config.node_selector, node.labels)


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
