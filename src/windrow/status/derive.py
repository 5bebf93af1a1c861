"""The documents as Harvester's manager and webhooks would have left them: labels, annotations, status.

They are for showing. The manifests stay as their author wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from windrow.model import names, upkeep
from windrow.model.cluster import Cluster, selects_node
from windrow.model.kubeovn import Subnet, Vpc
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    Node,
    VlanConfig,
    VlanStatus,
)
from windrow.model.policies import Namespace, NetworkPolicy, Pod
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.upkeep import Upkeep
from windrow.model.wire import dump
from windrow.status import clusternetwork, hostnetworkconfig, linkmonitor, lostframes, pools
from windrow.status.report import NodeReport, devices_of
from windrow.status.stamped import stamped
from windrow.status.vlanstatus import vlan_statuses


def derive(cluster: Cluster, reports: Sequence[NodeReport] = ()) -> tuple[dict[str, Any], ...]:
    """Every document of the cluster, generated ones included. Without a report of a node its status is missing."""
    found = [_document(o, cluster, reports) for o in cluster.objects.values() if not isinstance(o, VlanStatus)]
    known = {n.name for n in cluster.nodes()}
    found += [_document(cluster.node(r.node), cluster, reports) for r in reports if r.node not in known]
    found += [status for report in reports for status in vlan_statuses(cluster, report)]
    found += [_document(c, cluster, reports) for c in pools.made_configs(cluster)]
    given = {m.name for m in cluster.all(LinkMonitor)}
    ready = [n.name for n in cluster.all(ClusterNetwork) if clusternetwork.verdict(n, cluster, reports).ready]
    found += [
        _document(m, cluster, reports) for m in linkmonitor.monitors(cluster, ready) if m.name not in given and reports
    ]
    return tuple(sorted((stamped(document, reports) for document in found), key=_order))


def _order(document: Mapping[str, Any]) -> tuple[str, str, str]:
    meta = document["metadata"]
    return document["kind"], meta.get("namespace", ""), meta["name"]


def _document(found: AnyObject, cluster: Cluster, reports: Sequence[NodeReport]) -> dict[str, Any]:
    document = _kept(found, cluster, reports).on(dump(found))
    labels, annotations, status = _derived(found, cluster, reports)
    meta = document.setdefault("metadata", {})
    if found.NAMESPACED:
        meta.setdefault("namespace", found.meta.namespace)
    for key, more in (("labels", labels), ("annotations", annotations)):
        if more:
            meta[key] = {**(meta.get(key) or {}), **more}
    if status:
        document["status"] = {**(document.get("status") or {}), **status}
    return document


def _kept(found: AnyObject, cluster: Cluster, reports: Sequence[NodeReport]) -> Upkeep:
    """What the webhook and the manager would keep on it."""
    match found:
        case VlanConfig():
            return upkeep.of_vlan_config(found, _nodes(cluster, reports))
        case HostNetworkConfig():
            return upkeep.of_host_network(found, _nodes(cluster, reports))
        case NetworkAttachmentDefinition():
            return upkeep.of_network(found, cluster, _is_ready(found, cluster, reports))
        case _:
            return Upkeep()


def _is_ready(nad: NetworkAttachmentDefinition, cluster: Cluster, reports: Sequence[NodeReport]) -> bool | None:
    network = cluster.cluster_network(nad.cluster_network or "")
    if not reports:
        return None
    return clusternetwork.verdict(network, cluster, reports).ready if network is not None else False


Derived = tuple[dict[str, str], dict[str, str], dict[str, Any]]


def _derived(found: AnyObject, cluster: Cluster, reports: Sequence[NodeReport]) -> Derived:
    """(labels, annotations, status)."""
    match found:
        case ClusterNetwork():
            verdict = clusternetwork.verdict(found, cluster, reports)
            others = [one for report in reports for one in lostframes.documents(found.ref, report)]
            status = {"conditions": [verdict.condition(), *others]} if reports else {}
            return {}, clusternetwork.annotations_of(found, cluster), status
        case LinkMonitor():
            seen = {r.node: linkmonitor.link_status(found, cluster, r) for r in reports}
            return {}, {}, {"linkStatus": seen} if seen else {}
        case HostNetworkConfig():
            states = ((r.node, hostnetworkconfig.node_status(found, cluster, r)) for r in reports)
            nodes = {node: state for node, state in states if state}
            return {}, {}, {"nodeStatus": nodes} if nodes else {}
        case NetworkAttachmentDefinition():
            bridged = found.type is not None and found.cluster_network is not None
            return pools.network_labels(found, cluster) if bridged else {}, {}, {}
        case Node():
            return node_labels(found, cluster, reports), {}, {}
        case IPPool():
            return {}, {}, pools.pool_status(found, pools.scopes_of(reports))
        case VirtualMachineNetworkConfig():
            status = pools.config_status(found, pools.given(pools.scopes_of(reports))) if reports else {}
            return pools.config_labels(found), {}, status
        case VlanConfig() | VlanStatus() | VirtualMachine() | VirtualMachineInstance():
            return {}, {}, {}
        case Namespace() | Pod() | NetworkPolicy() | Subnet() | Vpc():
            return {}, {}, {}


def _nodes(cluster: Cluster, reports: Sequence[NodeReport]) -> list[Node]:
    """Those with a manifest, and those that were looked at."""
    every = {n.name: n for n in cluster.nodes()} | {r.node: cluster.node(r.node) for r in reports}
    return [every[name] for name in sorted(every)]


def node_labels(node: Node, cluster: Cluster, reports: Sequence[NodeReport]) -> dict[str, str]:
    """`<cn>=true` where the cluster network stands; `vlanconfig` where there is one that made it."""
    labels = {f"{names.API_GROUP}/{names.MGMT}": "true"}
    for report in (r for r in reports if r.node == node.name):
        for config in cluster.all(VlanConfig):
            cn = config.cluster_network
            if selects_node(config, node) and report.verdict(config.ref, devices_of(cn)).ready:
                labels |= {f"{names.API_GROUP}/{cn}": "true", names.LABEL_VLANCONFIG: names.label_value(config.name)}
    return labels
