"""HostNetworkConfig on an API server: its cluster network is set up, and an underlay reaches every node.

kube-ovn's tunnels start from the underlay, so that a node without it is cut off from all overlays.
"""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import selects_node
from windrow.model.objects import HostNetworkConfig, VlanStatus
from windrow.model.problems import Problem
from windrow.rules.review import Review, listed, problem, refs
from windrow.rules.selectors import selects
from windrow.rules.usage import on_overlays

CLUSTER_NETWORK, UNDERLAY, SELECTOR = "spec.clusterNetwork", "spec.underlay", "spec.nodeSelector"


def its_cluster_network_is_set_up(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Harvester's agent does not come back to one that came too early; Windrow's does."""
    cn = config.cluster_network
    if not review.terms.strict or cn == names.MGMT or review.old(config) is not None:
        return
    statuses = [one for one in review.after.all(VlanStatus) if one.cluster_network == cn]
    bad = [one for one in statuses if one.ready is False]
    if not statuses and review.after.cluster_network(cn) is not None:
        message = f"cluster network {cn} is not set up on any node"
        yield problem(config, "not-set-up", CLUSTER_NETWORK, message, "wait for its VlanStatus, or add a VlanConfig")
    elif bad:
        message = f"cluster network {cn} is not ready on {', '.join(one.node for one in bad)}"
        yield problem(config, "not-set-up", CLUSTER_NETWORK, message, "its VlanStatus says why", refs(bad))


def underlay_reaches_every_node(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """A witness carries no machines."""
    if not config.underlay:
        return
    nodes = [node for node in review.nodes() if not node.witness]
    left = [node.name for node in nodes if not selects(config, node)]
    if left:
        message = f"an underlay is for every node, and it leaves out {', '.join(left)}"
        yield problem(config, "underlay-nodes", SELECTOR, message, "remove spec.nodeSelector")
    if config.cluster_network == names.MGMT:
        return
    uplinks = review.staying(review.after.vlan_configs(config.cluster_network))
    without = [node.name for node in nodes if not any(selects_node(uplink, node) for uplink in uplinks)]
    if without or not uplinks:
        what = f"does not reach {', '.join(without)}" if uplinks else "has no VlanConfig"
        message = f"an underlay is for every node, and cluster network {config.cluster_network} {what}"
        yield problem(config, "underlay-nodes", CLUSTER_NETWORK, message, "add a VlanConfig for these nodes")


def underlay_stays_while_used(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    old = review.old(config)
    if old is not None and old.underlay and not config.underlay and (machines := on_overlays(review)):
        message = f"it is the underlay of {listed(machines)}"
        yield problem(
            config, "underlay-in-use", UNDERLAY, message, "take these off their overlays first", refs(machines)
        )


def underlay_is_not_deleted(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    if config.underlay:
        yield problem(config, "underlay-in-use", "", "it is the underlay", "set spec.underlay to false first")


ON_SERVED_PUT = (its_cluster_network_is_set_up, underlay_reaches_every_node, underlay_stays_while_used)
ON_SERVED_DELETE = (underlay_is_not_deleted,)
