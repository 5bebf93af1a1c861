"""What is kept of a document: what Windrow reads, and what it writes and compares. The rest costs memory for nothing.

`managedFields` alone are half of a document, and a Node's status changes every few minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from windrow.kube.resources import POLICIES, SELECTED
from windrow.model import names, overlay
from windrow.model.layer3 import TEXT_MAX
from windrow.model.lazy import dataclass
from windrow.model.objects import PER_NODE, NetworkAttachmentDefinition, Node, VlanStatus
from windrow.model.policies import (
    ANNOTATION_LOG_DROPPED,
    ANNOTATION_NETWORK_STATUS,
    ANNOTATION_POLICY_FOR,
    Namespace,
    Pod,
)
from windrow.model.pools import IPPool
from windrow.model.values import Ref
from windrow.model.wire.nad import CONFIG_MAX
from windrow.model.wire.pod import FINISHED, LABELS_MAX, length_of

Document = Mapping[str, Any]
Place = tuple[str, ...]
"""The keys that lead to a value: ("status", "linkStatus", "node1")."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_META = ("name", "namespace", "labels", "annotations", "deletionTimestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the server has of an object where somebody says what became of it. `ours`: the places whose value we
    applied, as the server has noted it."""

    uid: str
    document: Document
    ours: frozenset[Place] = frozenset()


def ref_of(document: Document) -> Ref:
    meta = document["metadata"]
    return Ref(str(document["kind"]), str(meta["name"]), str(meta.get("namespace", "")))


def wanted(document: Document) -> dict[str, Any]:
    """As its author wrote it: without what the server and controllers add, which changes by itself."""
    kind = document["kind"]
    meta = {key: document["metadata"][key] for key in _META if document["metadata"].get(key)}
    if "annotations" in meta:
        kept = {key: value for key, value in meta["annotations"].items() if _is_read(key, kind)}
        meta["annotations"] = kept
        if not kept:
            del meta["annotations"]
    found = {"apiVersion": document["apiVersion"], "kind": kind, "metadata": meta}
    if kind == Pod.KIND:
        meta.pop("deletionTimestamp", None)  # until it is gone it has its addresses
        return {**found, **_pod(document.get("spec") or {}, document.get("status") or {})}
    spec = document.get("spec")
    if kind == IPPool.KIND:
        spec = {**(spec or {}), "hosts": _given(document.get("status") or {})}
    if spec and kind in _SPECS:
        spec = {key: spec[key] for key in _SPECS[kind] if key in spec}
    return {**found, "spec": spec} if spec else found


def _pod(spec: Document, status: Document) -> Document:
    """What a policy asks of a pod. How far its containers are is told often, and decides nothing."""
    listed = [[port for port in one.get("ports") or () if port.get("name")] for one in spec.get("containers") or ()]
    containers = [{"ports": ports} for ports in listed if ports]
    phase = {"phase": status["phase"]} if status.get("phase") in FINISHED else {}
    kept = {
        "spec": ({"hostNetwork": True} if spec.get("hostNetwork") else {})
        | ({"containers": containers} if containers else {}),
        "status": {key: status[key] for key in ("podIP", "podIPs") if status.get(key)} | phase,
    }
    return {key: value for key, value in kept.items() if value}


def _given(status: Document) -> list[dict[str, str]]:
    """Whom a pool's server is to know: those that have an address, by the one record that there is, and nobody else.
    The words RESERVED and EXCLUDED are in it, too."""
    allocated = (status.get("ipv4") or {}).get("allocated") or {}
    return [{"macAddress": mac, "ipAddress": address} for address, mac in allocated.items() if ":" in str(mac)]


def bounded(wanted: dict[str, Any]) -> dict[str, Any]:
    """What a node keeps of it. Whoever has a namespace writes networks and policies there, with labels, annotations and
    a configuration of any length, and they fill no node's memory: kept is what means something, and of a text or of
    labels that are too long enough to see that."""
    if wanted["kind"] in POLICIES:
        return {**wanted, "metadata": {key: value for key, value in wanted["metadata"].items() if key != "labels"}}
    if wanted["kind"] in SELECTED:
        return {**wanted, "metadata": _few_labels(wanted["metadata"])}
    if wanted["kind"] != NetworkAttachmentDefinition.KIND:
        return wanted
    meta, spec = dict(wanted["metadata"]), wanted.get("spec")
    if "namespace" in meta:
        meta["namespace"] = _once(meta["namespace"])
    for part, read, cut in (("labels", _LABELS_OF_NETWORKS, _once), ("annotations", _OF_NETWORKS, _cut)):
        kept = {_once(key): cut(value) for key, value in meta.pop(part, {}).items() if key in read}
        meta |= {part: kept} if kept else {}
    found = {**wanted, "metadata": meta}
    if isinstance(spec, Mapping) and isinstance(spec.get("config"), str):
        found["spec"] = {"config": spec["config"][: CONFIG_MAX + 1]}
    return found


def _few_labels(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """So many that their reader sees that they are too many."""
    labels = meta.get("labels", {})
    if not labels or length_of(labels) <= LABELS_MAX:
        return meta
    kept: dict[str, Any] = {}
    left = LABELS_MAX
    for key in sorted(labels):
        kept[key] = labels[key]
        left -= length_of({key: labels[key]})
        if left < 0:
            break
    return {**meta, "labels": kept}


def _once(text: Any) -> Any:
    """Thousands of networks say the same few words: a decoder makes a text of its own of each."""
    return sys.intern(text) if type(text) is str else text


def _cut(value: Any) -> Any:
    return value[: TEXT_MAX + 1] if isinstance(value, str) else value


_OF_NODES = overlay.ANNOTATIONS | {names.ANNOTATION_TUNNEL, names.ANNOTATION_ROUTES_HEARD}
"""The annotations of a Node that are read or written. Heartbeats of others are annotations, too."""
_OF_NETWORKS = {names.ANNOTATION_ROUTE, names.ANNOTATION_SNOOPING, *names.ANNOTATIONS_SYSTEM_NETWORK}
_LABELS_OF_NETWORKS = {
    *(names.LABEL_CLUSTERNETWORK, names.LABEL_TYPE, names.LABEL_VLAN_ID, names.LABEL_READY, names.LABEL_EXCLUSIVE_VLAN),
    *(names.LABEL_POOL_NAMESPACE, names.LABEL_POOL_NAME),
}
"""The annotations and labels of a network that mean something to a node."""
_OF_POLICIES = {ANNOTATION_POLICY_FOR, ANNOTATION_LOG_DROPPED}
_ANNOTATIONS: Mapping[str, Collection[str]] = {
    **dict.fromkeys(POLICIES, _OF_POLICIES),
    Node.KIND: _OF_NODES,
    Pod.KIND: {ANNOTATION_NETWORK_STATUS},
    Namespace.KIND: (),
}
"""Kind -> the annotations that are read; of all others every one is."""
_SPECS = {Node.KIND: ("podCIDR", "podCIDRs"), Namespace.KIND: ()}
"""Kind -> the fields of its spec that are read; of all others the whole spec is."""


def _is_read(annotation: str, kind: str) -> bool:
    return annotation in _ANNOTATIONS[kind] if kind in _ANNOTATIONS else annotation != LAST_APPLIED


def without_agents_words(node: Document) -> dict[str, Any]:
    """A Node without what its agent says of its cluster networks, to no other agent: which it has, and what was heard
    in them."""
    meta = node["metadata"]
    labels = {k: v for k, v in meta.get("labels", {}).items() if not k.startswith(f"{names.API_GROUP}/")}
    annotations = {k: v for k, v in meta.get("annotations", {}).items() if k != names.ANNOTATION_ROUTES_HEARD}
    return {**node, "metadata": {**meta, "labels": labels, "annotations": annotations}}


def said(document: Document, node: str) -> Said:
    """What there is where the agent of `node` says something of the object."""
    meta, kind = document["metadata"], document["kind"]
    status = _of_node(document.get("status") or {}, kind, node)
    there: dict[str, Any] = {"status": status} if status else {}
    if kind in (Node.KIND, VlanStatus.KIND):
        there["metadata"] = {key: meta[key] for key in ("labels", "ownerReferences") if meta.get(key)}
        if found := {key: text for key, text in (meta.get("annotations") or {}).items() if key in _OF_NODES}:
            there["metadata"]["annotations"] = found
    # Only the agent of a Node says anything of it, whoever reads it here.
    manager = names.field_manager(str(meta["name"]) if kind == Node.KIND else node)
    noted = [entry.get("fieldsV1") or {} for entry in meta.get("managedFields") or () if entry["manager"] == manager]
    return Said(
        uid=str(meta.get("uid", "")),
        document=there,
        ours=frozenset(place for fields in noted for place in _places(fields, ())),
    )


def _of_node(status: Document, kind: str, node: str) -> Document:
    if kind == VlanStatus.KIND:
        return status
    place = PER_NODE.get(kind, "")
    entries = status.get(place) or {}
    return {place: {node: entries[node]}} if node in entries else {}


def places(document: Document, above: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The leaves of a document, with their values. A list is a leaf."""
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from places(value, (*above, key))
        else:
            yield (*above, key), value


def at(document: Document, place: Place) -> Any:
    """None where there is nothing."""
    found: Any = document
    for key in place:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _places(fields: Document, above: Place) -> Iterator[Place]:
    """The leaves of a `fieldsV1`; what is inside a list is the list's, and `.` is the map itself."""
    below = [(key[2:], value) for key, value in fields.items() if key.startswith("f:")]
    if not below and fields.keys() != {"."}:
        yield above
    for key, value in below:
        yield from _places(value or {}, (*above, key))
