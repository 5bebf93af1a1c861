"""VlanStatus: what became of a VlanConfig on one node. Name, labels and fields are Harvester's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.objects import VlanConfig, VlanStatus
from windrow.status import lostframes
from windrow.status.report import NodeReport, devices_of, metadata


def vlan_statuses(cluster: Cluster, report: NodeReport) -> Iterator[dict[str, Any]]:
    """One for each VlanConfig that selects the node; `mgmt` has none."""
    node = cluster.node(report.node)
    for config in cluster.all(VlanConfig):
        if config.effective and selects_node(config, node):
            yield vlan_status(config, report)


def vlan_status(config: VlanConfig, report: NodeReport) -> dict[str, Any]:
    """The document, with the condition `ready`: True, or False and the reason; and with `VlanTaken` where it is so."""
    cn, node = config.cluster_network, report.node
    labels = {
        names.LABEL_CLUSTERNETWORK: cn,
        names.LABEL_NODE: names.label_value(node),
        names.LABEL_VLANCONFIG: names.label_value(config.name),
    }
    return {
        "apiVersion": VlanStatus.API_VERSION,
        "kind": VlanStatus.KIND,
        "metadata": metadata(names.vlan_status_name(cn, node), labels=labels),
        "status": {
            "clusterNetwork": cn,
            "vlanConfig": config.name,
            "linkMonitor": cn,
            "node": node,
            "conditions": [
                report.verdict(config.ref, devices_of(cn)).condition(),
                *lostframes.documents(config.ref, report),
            ],
        },
    }
