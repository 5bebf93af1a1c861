"""HostNetworkConfig: `status.nodeStatus` of each node that it selects."""

from __future__ import annotations

from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector
from windrow.model.objects import HostNetworkConfig
from windrow.status.report import NodeReport


def node_status(config: HostNetworkConfig, cluster: Cluster, report: NodeReport) -> dict[str, Any] | None:
    """None where it does not select the node."""
    if not matches_selector(config.node_selector, cluster.node(report.node).meta.labels):
        return None
    link = names.subinterface_of(config.cluster_network, config.vid)
    return {
        "clusterNetwork": config.cluster_network,
        "vlanID": config.vid,
        "mode": config.mode.value,
        "conditions": [report.verdict(config.ref, [link]).condition()],
    }
