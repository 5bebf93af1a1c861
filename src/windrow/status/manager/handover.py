"""A cluster that is taken over from Harvester's network controller: what its objects say against that beforehand, and
what is not Windrow's yet afterwards.

Harvester's agents go by the annotation `matched-nodes` of a VlanConfig and never by its selector, Windrow's go by the
selector. Where the two differ, a node would gain or lose a network although nobody asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.objects import (
    ClusterNetwork,
    HostNetworkConfig,
    NetworkAttachmentDefinition,
    VlanConfig,
)
from windrow.model.problems import Problem, Severity
from windrow.model.upkeep import matched_nodes
from windrow.model.values import Ref
from windrow.status.manager.stored import Stored

_OF_USERS = (ClusterNetwork, VlanConfig, HostNetworkConfig, NetworkAttachmentDefinition)


def against(cluster: Cluster, stored: Mapping[Ref, Stored]) -> Iterator[Problem]:
    """Errors: then it is not begun. Warnings: it is so already, and stays."""
    for kind in _OF_USERS:
        for obj in cluster.all(kind):
            if obj.meta.deleting:
                hint = "wait until it is gone: Harvester's controllers still have to take down what it made"
                yield Problem(code="going", message="is being deleted", hint=hint, about=obj.ref)
    for config in _uplinks(cluster):
        yield from _otherwise(config, _nodes(cluster, config))
    for ref, one in stored.items():
        if one.place is not None and not _is_ready(one):
            network, _, node = one.place
            text = f"cluster network {network} is not ready on {node}"
            hint = "where links of it are missing, there is nothing to adopt, and Windrow's agent makes them"
            yield Problem(code="not-ready", message=text, hint=hint, about=ref, severity=Severity.WARNING)


def unfinished(cluster: Cluster, stored: Mapping[Ref, Stored]) -> Iterator[Problem]:
    """Where Windrow's agent does not say that it has what Harvester's had."""
    said = {one.place[1:]: one for one in stored.values() if one.place is not None}
    for config in _uplinks(cluster):
        for node in _nodes(cluster, config):
            one = said.get((config.name, node))
            if one is None or names.field_manager(node) not in one.writers:
                text = f"Windrow's agent on {node} has said nothing of it yet"
                hint = f"kubectl -n {names.SYSTEM_NAMESPACE} logs daemonset/windrow-agent --all-containers says why"
                yield Problem(code="not-adopted", message=text, hint=hint, about=config.ref)
            elif not _is_ready(one):
                text = f"it is not ready on {node}"
                yield Problem(code="not-ready", message=text, hint="windrow status says why", about=config.ref)


def _otherwise(config: VlanConfig, chosen: Iterable[str]) -> Iterator[Problem]:
    text = config.meta.annotations.get(names.ANNOTATION_MATCHED_NODES)
    had, wanted = frozenset(matched_nodes(text)), frozenset(chosen)
    for nodes, what in (
        (wanted - had, "its selector chooses {}, where Harvester has not set it up"),
        (had - wanted, "Harvester has set it up on {}, which its selector does not choose"),
    ):
        if nodes:
            told = f"{what.format(', '.join(sorted(nodes)))} ({_KEY}: {text or 'no node'})"
            hint = "change its selector so that it chooses the nodes that it is set up on"
            yield Problem(code="nodes-differ", message=told, hint=hint, path="spec.nodeSelector", about=config.ref)


_KEY = "matched-nodes"


def _uplinks(cluster: Cluster) -> Iterator[VlanConfig]:
    """Without the mirrors of `mgmt`, which neither of the two makes anything of."""
    return (config for config in cluster.all(VlanConfig) if config.cluster_network != names.MGMT)


def _nodes(cluster: Cluster, config: VlanConfig) -> list[str]:
    return sorted(node.name for node in cluster.nodes() if selects_node(config, node))


def _is_ready(one: Stored) -> bool:
    return any(c.get("type") == "ready" and c.get("status") == "True" for c in one.conditions)
