"""What Harvester's webhook and manager keep on the objects of users: labels, annotations, a network's MTU.

The webhook writes it (`patches`), the manager keeps it so, and `windrow get -o yaml` shows it where neither of them
runs: one function for each kind, so that all three say the same.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.layer3 import Layer3, RouteMode
from windrow.model.lazy import dataclass
from windrow.model.objects import (
    ClusterNetwork,
    HostNetworkConfig,
    NetworkAttachmentDefinition,
    NetworkType,
    Node,
    VlanConfig,
)
from windrow.model.values import MTU_DEFAULT, MTU_MAX, MTU_MIN
from windrow.model.wire.nad import with_mtu


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """Keys and their values; None: the key is not to be there."""

    labels: Mapping[str, str | None] = field(default_factory=dict)
    annotations: Mapping[str, str | None] = field(default_factory=dict)
    config: str | None = None
    """`spec.config` of a network; None: it stays as it is."""

    def on(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with it."""
        kept = copy.deepcopy(dict(document))
        meta = kept.setdefault("metadata", {})
        for key, wanted in (("labels", self.labels), ("annotations", self.annotations)):
            merged = {**(meta.get(key) or {}), **wanted}
            left = {name: value for name, value in merged.items() if value is not None}
            if left or key in meta:
                meta[key] = left
        if self.config is not None:
            kept["spec"] = {**(kept.get("spec") or {}), "config": self.config}
        return kept


def patches(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From a document to the same with its upkeep, as a JSON patch (RFC 6902); empty where nothing is to be done."""
    found: list[dict[str, Any]] = []
    for key in ("labels", "annotations"):
        was, now = before["metadata"].get(key), after["metadata"].get(key)
        if was is None and now:
            found.append({"op": "add", "path": f"/metadata/{key}", "value": now})
            continue
        for name in sorted({*(was or {}), *(now or {})}):
            path = f"/metadata/{key}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in (now or {}):
                found.append({"op": "remove", "path": path})
            elif (was or {}).get(name) != now[name]:
                found.append({"op": "add", "path": path, "value": now[name]})
    config = (after.get("spec") or {}).get("config")
    if config != (before.get("spec") or {}).get("config"):
        found.append({"op": "add", "path": "/spec/config", "value": config})
    return found


# MTU ---------------------------------------------------------------------------------------------


def annotated_mtu(network: ClusterNetwork) -> int | None:
    """The MTU of the annotation `uplink-mtu`; None where it is absent. Raises ValueError."""
    text = network.meta.annotations.get(names.ANNOTATION_UPLINK_MTU)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise ValueError(f"{text[:20]!r} is not a number")
    mtu = int(text)
    if mtu and not MTU_MIN <= mtu <= MTU_MAX:
        raise ValueError(f"{mtu} is outside {MTU_MIN}..{MTU_MAX}")
    return mtu or MTU_DEFAULT


def network_mtu(cn: str, cluster: Cluster) -> int | None:
    """That of a cluster network: its annotation's, else the uplinks'. None: of `mgmt`, where neither says it, nobody
    here knows the MTU; and of one whose annotation is no MTU."""
    network = cluster.cluster_network(cn)
    try:
        annotated = annotated_mtu(network) if network else None
    except ValueError:
        return None
    if annotated is None and cn == names.MGMT and not any(v.uplink.mtu for v in cluster.vlan_configs(cn)):
        return None
    return annotated or cluster.mtu(cn)


# One kind each -----------------------------------------------------------------------------------


def of_vlan_config(config: VlanConfig, nodes: Iterable[Node]) -> Upkeep:
    """The controllers find it by its label, and Harvester's agents whether it is theirs by the annotation."""
    chosen = [node.name for node in nodes if selects_node(config, node)]
    return Upkeep(labels={names.LABEL_CLUSTERNETWORK: config.cluster_network}, annotations=_matched(chosen))


def of_host_network(config: HostNetworkConfig, nodes: Iterable[Node]) -> Upkeep:
    chosen = [node.name for node in nodes if matches_selector(config.node_selector, node.labels)]
    return Upkeep(annotations=_matched(chosen if config.node_selector else ()))


def _matched(nodes: Iterable[str]) -> dict[str, str | None]:
    """As Go's encoding/json writes it: no blanks."""
    chosen = sorted(nodes)
    return {names.ANNOTATION_MATCHED_NODES: json.dumps(chosen, separators=(",", ":")) if chosen else None}


def matched_nodes(text: str | None) -> tuple[str, ...]:
    """What `matched-nodes` says; nothing where it is absent or no list of names."""
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    return tuple(name for name in found if isinstance(name, str)) if isinstance(found, list) else ()


def of_network(nad: NetworkAttachmentDefinition, cluster: Cluster, ready: bool | None) -> Upkeep:
    """`ready`: whether its cluster network is; None: nobody knows, and the label stays as it is."""
    if nad.type is NetworkType.OVERLAY:
        where = _tunnels(cluster)
        return Upkeep(labels={**_labels(nad, where), names.LABEL_READY: "true"})
    if nad.type is None or nad.cluster_network is None:
        return Upkeep()
    known = {} if ready is None else {names.LABEL_READY: str(ready).lower()}
    return Upkeep(labels={**_labels(nad, nad.cluster_network), **known}, config=_config(nad, cluster))


def _labels(nad: NetworkAttachmentDefinition, cn: str) -> dict[str, str | None]:
    return {
        names.LABEL_TYPE: nad.type.value if nad.type else None,
        names.LABEL_CLUSTERNETWORK: cn,
        names.LABEL_VLAN_ID: str(nad.vid) if nad.type is NetworkType.VLAN else None,
    }


def _tunnels(cluster: Cluster) -> str:
    """The cluster network that carries kube-ovn's tunnels: that of the first node which says an interface."""
    for node in cluster.nodes():
        device = node.meta.annotations.get(names.ANNOTATION_TUNNEL)
        if device and not node.meta.deleting:
            return names.cluster_network_of_bridge(device.partition(".")[0]) or names.MGMT
    return names.MGMT


def _config(nad: NetworkAttachmentDefinition, cluster: Cluster) -> str | None:
    """With the cluster network's MTU, where it says another one (0 and 1500 are the same)."""
    mtu = network_mtu(nad.cluster_network or "", cluster)
    if mtu is None or mtu == (nad.mtu or MTU_DEFAULT):
        return None
    return json.dumps(with_mtu(nad, mtu), separators=(",", ":"), ensure_ascii=False)


def of_route(old: NetworkAttachmentDefinition, new: NetworkAttachmentDefinition) -> Upkeep:
    """Of the annotation `route` when a network changes: what was found out in another VLAN does not hold."""
    text = new.meta.annotations.get(names.ANNOTATION_ROUTE)
    if text is None or new.type in (None, NetworkType.OVERLAY):
        return Upkeep()
    try:
        was, now = _mode(old), Layer3.parse(text)
    except ValueError:
        return Upkeep()  # a rule refuses it
    if old.vid == new.vid and was is now.mode:
        return Upkeep()
    kept = None if old.vid != new.vid and not new.vid else replace(now, outdated=now.mode is RouteMode.AUTO).text()
    return Upkeep(annotations={names.ANNOTATION_ROUTE: kept})


def _mode(nad: NetworkAttachmentDefinition) -> RouteMode:
    """Of what could not be read, none."""
    try:
        return Layer3.parse(nad.meta.annotations.get(names.ANNOTATION_ROUTE, "{}")).mode
    except ValueError:
        return RouteMode.UNSET
