"""The documents as Harvester's manager and webhooks would have left them: labels, annotations, status.

They are for showing. The manifests stay as their author wrote them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    NetworkType,
    Node,
    VlanConfig,
    VlanStatus,
)
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.values import MTU_DEFAULT
from windrow.model.wire import dump
from windrow.model.wire.nad import with_mtu
from windrow.status import clusternetwork, hostnetworkconfig, linkmonitor, pools, vlantaken
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
    document = copy.deepcopy(dict(dump(found)))
    labels, annotations, status = _derived(found, cluster, reports)
    meta = document.setdefault("metadata", {})
    if found.NAMESPACED:
        meta.setdefault("namespace", found.meta.namespace)
    for key, more in (("labels", labels), ("annotations", annotations)):
        if more:
            meta[key] = {**(meta.get(key) or {}), **more}
    if status:
        document["status"] = {**(document.get("status") or {}), **status}
    if isinstance(found, NetworkAttachmentDefinition):
        _fill_mtu(document, found, cluster)
    return document


Derived = tuple[dict[str, str], dict[str, str], dict[str, Any]]


def _derived(found: AnyObject, cluster: Cluster, reports: Sequence[NodeReport]) -> Derived:
    """(labels, annotations, status)."""
    match found:
        case ClusterNetwork():
            verdict = clusternetwork.verdict(found, cluster, reports)
            others = [one for report in reports for one in vlantaken.documents(found.ref, report)]
            status = {"conditions": [verdict.condition(), *others]} if reports else {}
            return {}, clusternetwork.annotations_of(found, cluster), status
        case VlanConfig():
            matched = [n.name for n in _nodes(cluster, reports) if selects_node(found, n)]
            return {names.LABEL_CLUSTERNETWORK: found.cluster_network}, _matched(matched), {}
        case LinkMonitor():
            seen = {r.node: linkmonitor.link_status(found, cluster, r) for r in reports}
            return {}, {}, {"linkStatus": seen} if seen else {}
        case HostNetworkConfig():
            chosen = [n.name for n in _nodes(cluster, reports) if matches_selector(found.node_selector, n.meta.labels)]
            states = ((r.node, hostnetworkconfig.node_status(found, cluster, r)) for r in reports)
            nodes = {node: state for node, state in states if state}
            return {}, _matched(chosen) if found.node_selector else {}, {"nodeStatus": nodes} if nodes else {}
        case NetworkAttachmentDefinition():
            return _nad_labels(found, cluster, reports), {}, {}
        case Node():
            return node_labels(found, cluster, reports), {}, {}
        case IPPool():
            return {}, {}, pools.pool_status(found, reports)
        case VirtualMachineNetworkConfig():
            return pools.config_labels(found), {}, pools.config_status(found, reports)
        case VlanStatus() | VirtualMachine() | VirtualMachineInstance():
            return {}, {}, {}


def _nodes(cluster: Cluster, reports: Sequence[NodeReport]) -> list[Node]:
    """Those with a manifest, and those that were looked at."""
    every = {n.name: n for n in cluster.nodes()} | {r.node: cluster.node(r.node) for r in reports}
    return [every[name] for name in sorted(every)]


def _matched(nodes: Sequence[str]) -> dict[str, str]:
    """As Go's encoding/json writes it: no blanks."""
    return {names.ANNOTATION_MATCHED_NODES: json.dumps(list(nodes), separators=(",", ":"))} if nodes else {}


def _nad_labels(nad: NetworkAttachmentDefinition, cluster: Cluster, reports: Sequence[NodeReport]) -> dict[str, str]:
    if nad.type is None or nad.cluster_network is None:
        return {}
    labels = {names.LABEL_TYPE: nad.type.value, names.LABEL_CLUSTERNETWORK: nad.cluster_network}
    if nad.type is NetworkType.VLAN:
        labels[names.LABEL_VLAN_ID] = str(nad.vid)
    labels |= pools.network_labels(nad, cluster)
    network = cluster.cluster_network(nad.cluster_network)
    if reports:
        ready = clusternetwork.verdict(network, cluster, reports).ready if network is not None else False
        if ready is not None:
            labels[names.LABEL_READY] = str(ready).lower()
    return labels


def node_labels(node: Node, cluster: Cluster, reports: Sequence[NodeReport]) -> dict[str, str]:
    """`<cn>=true` where the cluster network stands; `vlanconfig` where there is one that made it."""
    labels = {f"{names.API_GROUP}/{names.MGMT}": "true"}
    for report in (r for r in reports if r.node == node.name):
        for config in cluster.all(VlanConfig):
            cn = config.cluster_network
            if selects_node(config, node) and report.verdict(config.ref, devices_of(cn)).ready:
                labels |= {f"{names.API_GROUP}/{cn}": "true", names.LABEL_VLANCONFIG: names.label_value(config.name)}
    return labels


def _fill_mtu(document: dict[str, Any], nad: NetworkAttachmentDefinition, cluster: Cluster) -> None:
    """The cluster network's MTU, where the config says another one (0 and 1500 are the same)."""
    if nad.type is None or nad.cluster_network is None:
        return
    mtu = cluster.mtu(nad.cluster_network)
    if mtu != (nad.mtu or MTU_DEFAULT):
        document["spec"] = {
            **document["spec"],
            "config": json.dumps(with_mtu(nad, mtu), separators=(",", ":"), ensure_ascii=False),
        }
