"""The verdicts on the objects of one node, as conditions to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.events import Condition
from windrow.model.objects import ClusterNetwork, HostNetworkConfig, VlanConfig
from windrow.model.values import Ref
from windrow.status import clusternetwork, lostframes
from windrow.status.conditions import READY
from windrow.status.hostnetworkconfig import node_status
from windrow.status.report import NodeReport, Verdict, devices_of

_STATUS = {"True": True, "False": False}


def verdicts(cluster: Cluster, report: NodeReport) -> Iterator[Condition]:
    """`ready` of each VlanConfig and HostNetworkConfig that selects the node, and of the cluster networks on it; and
    what takes a VLAN from one."""
    node = cluster.node(report.node)
    carried = set()
    for config in cluster.all(VlanConfig):
        if selects_node(config, node):
            carried.add(config.cluster_network)
            yield _of(config.ref, report.verdict(config.ref, devices_of(config.cluster_network)))
    for network in cluster.all(ClusterNetwork):
        if network.name in carried and network.name != names.MGMT:
            yield _of(network.ref, clusternetwork.verdict(network, cluster, (report,)))
    for host in cluster.all(HostNetworkConfig):
        status = node_status(host, cluster, report)
        for document in status["conditions"] if status is not None else ():
            yield _read(host.ref, document)
    yield from lostframes.conditions(report)


def _of(about: Ref, verdict: Verdict) -> Condition:
    return Condition(
        about=about,
        type=READY,
        status=verdict.ready,
        reason=verdict.reason,
        message=verdict.message,
        hint=verdict.hint,
    )


def _read(about: Ref, document: Mapping[str, Any]) -> Condition:
    return Condition(
        about=about,
        type=document["type"],
        status=_STATUS.get(document["status"]),
        reason=document.get("reason", ""),
        message=document.get("message", ""),
    )
