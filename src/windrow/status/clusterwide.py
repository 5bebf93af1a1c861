"""A whole cluster on one screen, by what its agents said: which network is ready on how many nodes, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from windrow.model.cluster import Cluster, selects_node
from windrow.model.objects import ClusterNetwork, HostNetworkConfig, VlanConfig, VlanStatus
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.render.clusterwide import ClusterView, NetworkRow
from windrow.render.tables import at
from windrow.status.conditions import READY

Document = Mapping[str, Any]
SILENT = "NoStatus"


def clusterwide(cluster: Cluster, documents: Iterable[Document]) -> ClusterView:
    """`documents`: with their statuses, as the API has them."""
    listed = list(documents)
    said = {(at(d, "status", "clusterNetwork"), at(d, "status", "node")): d for d in listed if _is(d, VlanStatus.KIND)}
    rows = tuple(_row(network, cluster, said) for network in cluster.all(ClusterNetwork))
    hosts = [found for d in listed if _is(d, HostNetworkConfig.KIND) for found in _host_network(d)]
    findings = (*(found for row in rows for found in _findings(row, cluster, said)), *hosts)
    return ClusterView(nodes=len(cluster.nodes()), networks=rows, findings=findings)


def _is(document: Document, kind: str) -> bool:
    return bool(document["kind"] == kind)


Said = Mapping[tuple[Any, Any], Document]
"""(cluster network, node) -> its VlanStatus."""


def _row(network: ClusterNetwork, cluster: Cluster, said: Said) -> NetworkRow:
    nodes = tuple(sorted(_nodes(network.name, cluster)))
    ready = sum(_ready(said.get((network.name, node), {})) == "True" for node in nodes)
    return NetworkRow(
        name=network.name,
        nodes=nodes,
        ready=ready,
        mtu=cluster.mtu(network.name),
        vids=cluster.nad_vids(network.name),
        networks=len(cluster.nads(network.name)),
    )


def _nodes(network: str, cluster: Cluster) -> set[str]:
    """Those that are to carry it."""
    configs = [config for config in cluster.vlan_configs(network) if config.effective]
    return {node.name for node in cluster.nodes() for config in configs if selects_node(config, node)}


def _ready(document: Document) -> str:
    return next((str(c.get("status")) for c in _conditions(document) if c.get("type") == READY), "")


def _conditions(document: Document) -> list[Document]:
    found = at(document, "status", "conditions")
    return found if isinstance(found, list) else []


def _findings(row: NetworkRow, cluster: Cluster, said: Said) -> Iterator[Problem]:
    about = Ref(ClusterNetwork.KIND, row.name)
    for node in row.nodes:
        document = said.get((row.name, node))
        if document is None:
            hint = f"does its agent run, and may it write? see: kubectl describe node {node}"
            yield Problem(code=SILENT, about=about, message=f"{node}: no agent has said anything of it", hint=hint)
            continue
        config = Ref(VlanConfig.KIND, str(at(document, "status", "vlanConfig")))
        yield from _bad(config, node, _conditions(document))


def _host_network(document: Document) -> Iterator[Problem]:
    about = Ref(HostNetworkConfig.KIND, document["metadata"]["name"])
    for node, state in sorted((at(document, "status", "nodeStatus") or {}).items()):
        yield from _bad(about, node, _conditions({"status": state}))


def _bad(about: Ref, node: str, conditions: Iterable[Document]) -> Iterator[Problem]:
    """`ready` is good where it is true, and whatever else there is where it is not."""
    for condition in conditions:
        type_, status = condition.get("type"), condition.get("status")
        if status == ("False" if type_ == READY else "True"):
            code = str(condition.get("reason") or type_)
            yield Problem(code=code, about=about, message=f"{node}: {condition.get('message') or code}")
