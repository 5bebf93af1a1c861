"""What the agent of a node says of a cluster's objects: partial documents, with Harvester's fields and no others.

Its CRDs know no others, and a server refuses them where they are applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster, matches_labels, matches_selector
from windrow.model.events import Event, EventType
from windrow.model.objects import KINDS, AnyObject, HostNetworkConfig, LinkMonitor, Node
from windrow.model.values import Ref
from windrow.render.tables import at
from windrow.render.text import timestamp
from windrow.status import routes
from windrow.status.derive import node_labels
from windrow.status.hostnetworkconfig import node_status
from windrow.status.linkmonitor import link_status
from windrow.status.overlay import tunnel_end
from windrow.status.report import NodeReport
from windrow.status.stamped import stamped
from windrow.status.vlanstatus import vlan_statuses

Document = dict[str, Any]
SOURCE = "windrow"
"""The component that events come from."""
_CONDITION = ("type", "status", "reason", "message", "lastUpdateTime", "lastTransitionTime")
_LINK = ("name", "index", "type", "mac", "promiscuous", "state", "masterIndex")
_HOST_NETWORK = ("clusterNetwork", "vlanID", "mode")
_VERSIONS = {kind.name: kind.cls.API_VERSION for kind in KINDS}
_NAMESPACE = "default"
"""Of events about what is in none."""


def published(cluster: Cluster, report: NodeReport) -> Iterator[Document]:
    """A VlanStatus for each VlanConfig here, and this node's part of each LinkMonitor, HostNetworkConfig and its Node.
    What is to say nothing of this node says so by an empty document."""
    for document in vlan_statuses(cluster, report):
        document = stamped(document, [report])
        status = document["status"]
        yield {**document, "status": {**status, "conditions": _conditions(status["conditions"])}}
    for monitor in cluster.all(LinkMonitor):
        yield _about(monitor, _links(monitor, cluster, report))
    for network in cluster.all(HostNetworkConfig):
        yield _about(network, _host_network(network, cluster, report))
    yield _node(cluster, report)


def _about(found: AnyObject, status: Mapping[str, Any]) -> Document:
    document: Document = {"apiVersion": found.API_VERSION, "kind": found.KIND, "metadata": {"name": found.name}}
    return {**document, "status": status} if status else document


def _links(monitor: LinkMonitor, cluster: Cluster, report: NodeReport) -> Document:
    """None where it does not select the node; else those that match, of which there may be none."""
    if not matches_labels(monitor.node_selector, cluster.node(report.node).labels):
        return {}
    links = [_only(link, _LINK) for link in link_status(monitor, cluster, report)]
    return {"linkStatus": {report.node: links}}


def _host_network(network: HostNetworkConfig, cluster: Cluster, report: NodeReport) -> Document:
    found = node_status(network, cluster, report)
    if found is None:
        return {}
    whole = {
        "kind": network.KIND,
        "metadata": {"name": network.name},
        "status": {"nodeStatus": {report.node: found}},
    }
    state = stamped(whole, [report])["status"]["nodeStatus"][report.node]
    said = {**_only(state, _HOST_NETWORK), "conditions": _conditions(state["conditions"])}
    return {"nodeStatus": {report.node: said}}


def _node(cluster: Cluster, report: NodeReport) -> Document:
    node = cluster.node(report.node)
    meta: Document = {"name": node.name, "labels": node_labels(node, cluster, [report])}
    tunnel = _tunnel_interface(node, cluster, report)
    said = {names.ANNOTATION_TUNNEL: tunnel, names.ANNOTATION_ROUTES_HEARD: routes.text(report.routes)}
    annotations = {**tunnel_end(node, cluster, report), **{key: text for key, text in said.items() if text}}
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": Node.API_VERSION, "kind": Node.KIND, "metadata": meta}


def _tunnel_interface(node: Node, cluster: Cluster, report: NodeReport) -> str:
    """What kube-ovn is to send its overlay through: the underlay's interface, else that of the management network.
    Harvester says it only where a HostNetworkConfig is for the node."""
    here = [h for h in cluster.all(HostNetworkConfig) if matches_selector(h.node_selector, node.labels)]
    there = report.observed.state.links
    underlay = [h.interface for h in here if h.underlay and h.interface in there]
    if underlay or not here:
        return underlay[0] if underlay else ""
    bridge = re.escape(names.bridge_of(names.MGMT))
    own = sorted(name for name in there if re.fullmatch(rf"{bridge}(\.[0-9]+)?", name))
    return next((name for name in own if any("." in address for address in there[name].addrs or ())), "")


def _only(found: Mapping[str, Any], keys: Sequence[str]) -> Document:
    return {key: found[key] for key in keys if key in found}


def _conditions(found: Sequence[Mapping[str, Any]]) -> list[Document]:
    return [_only(condition, _CONDITION) for condition in found]


# Events --------------------------------------------------------------------------------------------


def event_of(event: Event, node: str, uid: str) -> Document:
    """Kubernetes' Event (core/v1). The same one again has the same name, so it is counted there, too. `uid`: of the
    object that it is about."""
    here = Ref(Node.KIND, node)
    about = event.about if event.about.kind in _VERSIONS and event.about.name else here
    namespace = about.namespace or _NAMESPACE
    what = names.hashed(node, about.kind, about.name, event.reason, event.message, timestamp(event.first))
    involved = {"kind": about.kind, "name": about.name, "apiVersion": _VERSIONS.get(about.kind, "v1")}
    more = {"namespace": about.namespace, "uid": uid}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:100].rstrip('-.')}.{what[-8:]}", "namespace": namespace},
        "involvedObject": {**involved, **{key: value for key, value in more.items() if value}},
        "reason": event.reason,
        "message": event.message[:_MESSAGE_MAX],
        "type": event.type.value,
        "count": event.count,
        "firstTimestamp": timestamp(event.first),
        "lastTimestamp": timestamp(event.last),
        "source": {"component": SOURCE, "host": node},
        "reportingComponent": SOURCE,
        "reportingInstance": node,
    }


def event_in(document: Mapping[str, Any]) -> Event:
    """The other way: what one of our agents told, with its node. Of what is missing, nothing is said."""
    about = document.get("involvedObject") or {}
    node = at(document, "source", "host")
    message = str(document.get("message") or "")
    return Event(
        type=EventType.WARNING if document.get("type") == EventType.WARNING else EventType.NORMAL,
        reason=str(document.get("reason") or ""),
        about=Ref(str(about.get("kind") or ""), str(about.get("name") or ""), str(about.get("namespace") or "")),
        message=f"{node}: {message}" if node else message,
        first=_seconds(document.get("firstTimestamp")),
        last=_seconds(document.get("lastTimestamp")),
        count=int(document.get("count") or 1),
    )


def _seconds(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


_MESSAGE_MAX = 1024
"""kubernetes, pkg/apis/core/validation/events.go: noteLengthLimit."""
