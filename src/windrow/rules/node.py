"""Node: its labels decide what is for it, so a new label can bring two configs into conflict there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from windrow.model import names
from windrow.model.objects import AddressMode, HostNetworkConfig, Node, VlanConfig
from windrow.model.problems import Problem
from windrow.rules.review import Review, problem, warning
from windrow.rules.selectors import selects

LABELS = "metadata.labels"
Config = VlanConfig | HostNetworkConfig


def one_config_for_each_thing(node: Node, review: Review) -> Iterator[Problem]:
    """What the configs themselves could not know: which nodes match both."""
    before = review.before.node(node.name)
    configs: list[Config] = [*review.after.all(VlanConfig), *review.after.all(HostNetworkConfig)]
    configs = review.staying(configs)
    mine = [c for c in configs if selects(c, node)]
    for one, other in combinations(mine, 2):
        # Configs that change too speak for themselves; where both applied before, this change is not to blame.
        if {one.ref, other.ref} & review.changed or (selects(one, before) and selects(other, before)):
            continue
        if what := _same_thing(one, other):
            message = f"with these labels, {one.ref} and {other.ref} both give the node {what}"
            code = "vlanconfig-overlap" if isinstance(one, VlanConfig) else "hostnetwork-overlap"
            yield problem(node, code, LABELS, message, "change a label")


def _same_thing(one: Config, other: Config) -> str:
    if isinstance(one, VlanConfig) and isinstance(other, VlanConfig) and one.cluster_network == other.cluster_network:
        return f"cluster network {one.cluster_network}"
    if (
        isinstance(one, HostNetworkConfig)
        and isinstance(other, HostNetworkConfig)
        and (one.cluster_network, one.vid) == (other.cluster_network, other.vid)
    ):
        return f"VLAN {one.vid} of {one.cluster_network}"
    return ""


def has_no_other_ones_address(node: Node, review: Review) -> Iterator[Problem]:
    """A VlanConfig with the MAC address of a bond is for one host, and a second one comes by its labels."""
    for config in review.staying(review.after.all(VlanConfig)):
        if names.ANNOTATION_BOND_MAC not in config.meta.annotations or config.ref in review.changed:
            continue
        before = {other.name for other in review.before.all(Node) if selects(config, other)}
        others = sorted(other.name for other in review.nodes() if selects(config, other) and other.name != node.name)
        if others and selects(config, node) and node.name not in before:
            message = f"with these labels, {config.ref} gives the node the MAC address that {others[0]} has"
            yield problem(node, "mac-shared", LABELS, message, "make a VlanConfig for each node, or change a label")


def has_its_addresses(node: Node, review: Review) -> Iterator[Problem]:
    """A new node is let in; it only has no address there yet."""
    for config in review.after.all(HostNetworkConfig):
        static = config.mode is AddressMode.STATIC and config.ref not in review.changed
        if static and selects(config, node) and node.name not in config.ips:
            message = f"{config.ref} selects it and has no address for it"
            yield warning(node, "address-missing", "metadata.name", message, f"add spec.ips of {node.name} there")


def no_config_loses_its_last_node(node: Node, review: Review) -> Iterator[Problem]:
    """What a new label takes from a config; one that changes too speaks for itself."""
    before, known = review.before.node(node.name), review.nodes()
    configs: list[Config] = [*review.after.all(VlanConfig), *review.after.all(HostNetworkConfig)]
    for config in configs:
        lost = config.ref not in review.changed and selects(config, before) and not selects(config, node)
        if lost and not any(selects(config, other) for other in known):
            message = f"with these labels, {config.ref} selects no node that is known any more"
            yield warning(node, "selects-no-node", LABELS, message, "change a label, or its node selector")


ON_PUT = (one_config_for_each_thing, has_no_other_ones_address, has_its_addresses, no_config_loses_its_last_node)
