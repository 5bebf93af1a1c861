"""What the kernel of this node must be able to do. Probed, never guessed from its version."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.names import ANNOTATION_SNOOPING
from windrow.model.objects import HostNetworkConfig, NetworkAttachmentDefinition, VlanConfig
from windrow.model.problems import Problem
from windrow.rules.review import Review, problem
from windrow.rules.selectors import selects


def can_bond_and_filter(config: VlanConfig, review: Review) -> Iterator[Problem]:
    for missing, hint in _missing(config, review):
        yield problem(config, "kernel-feature", "", f"the kernel of this node has no {missing}", hint)


def can_snoop_by_vlan(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    node = review.here()
    if not nad.snooped or review.facts is None or node is None or review.facts.features.vlan_snooping:
        return
    if any(selects(config, node) for config in review.after.vlan_configs(nad.cluster_network or "")):
        message = "the kernel of this node cannot snoop for multicast groups in single VLANs (mcast_vlan_snooping)"
        hint = "it is in Linux 5.16 and later; or remove the annotation: multicast then goes to all ports of the VLAN"
        yield problem(nad, "kernel-feature", f"metadata.annotations[{ANNOTATION_SNOOPING}]", message, hint)


def can_make_vlan_interfaces(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    node = review.here()
    if not config.vid or review.facts is None or node is None or not selects(config, node):
        return
    if not review.facts.features.vlan_interfaces:
        message = "the kernel of this node has no 802.1Q VLAN interfaces"
        yield problem(config, "kernel-feature", "", message, _load("8021q"))


def _missing(config: VlanConfig, review: Review) -> Iterator[tuple[str, str]]:
    node = review.here()
    if review.facts is None or node is None or not selects(config, node):
        return
    if not review.facts.features.bonding:
        yield "bonding", _load("bonding")
    if not review.facts.features.vlan_filtering:
        hint = f"{_load('bridge')}; it must be built with CONFIG_BRIDGE_VLAN_FILTERING"
        yield "bridge VLAN filtering", hint


def _load(module: str) -> str:
    return f"load the kernel module: modprobe {module}"
