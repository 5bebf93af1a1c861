"""One object as the API server has it: what the manager reads of it, and what it may have to put right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.meta import Source
from windrow.model.objects import PER_NODE, AnyObject, ClusterNetwork, VlanStatus
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.values import Ref
from windrow.model.wire import load_value
from windrow.render.tables import at

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Two are equal where nothing of it differs that the manager reads: a heartbeat is no news."""

    obj: AnyObject
    uid: str = field(default="", compare=False)
    version: str = field(default="", compare=False)
    """`resourceVersion`: whoever changes what was read may name it."""
    finalizers: tuple[str, ...] = ()
    conditions: tuple[Mapping[str, str], ...] = ()
    """Of a ClusterNetwork or VlanStatus; a Node's are heartbeats."""
    entries: frozenset[str] = frozenset()
    """The nodes that have an entry in its status."""
    place: tuple[str, str, str] | None = None
    """Of a VlanStatus: cluster network, VlanConfig and node."""
    status: Document = field(default_factory=dict)
    """Of a pool, and of who is to have an address of one: all of it is the manager's."""
    writers: tuple[str, ...] = field(default=(), compare=False)
    """Who else has written it (`managedFields`)."""


def stored(document: Document, kept: Document) -> Stored | None:
    """`kept`: the document without what changes by itself. None: it is of no kind that is read here."""
    loaded = load_value(kept)
    found = next(iter((*loaded.objects, *loaded.doubtful)), None)
    if found is None:
        return None
    meta = document["metadata"]
    status = document.get("status")
    status = status if isinstance(status, Mapping) else {}
    entries = status.get(PER_NODE.get(found.KIND, ""))
    return Stored(
        obj=replace(found, doc={}, source=Source()),
        uid=str(meta.get("uid", "")),
        version=str(meta.get("resourceVersion", "")),
        finalizers=tuple(map(str, meta.get("finalizers") or ())),
        conditions=tuple(_conditions(status)) if isinstance(found, ClusterNetwork | VlanStatus) else (),
        entries=frozenset(map(str, entries)) if isinstance(entries, Mapping) else frozenset(),
        place=_place(document) if isinstance(found, VlanStatus) else None,
        status=status if isinstance(found, IPPool | VirtualMachineNetworkConfig) else {},
        writers=tuple(sorted({str(entry.get("manager", "")) for entry in meta.get("managedFields") or ()})),
    )


def _conditions(status: Document) -> Iterator[Mapping[str, str]]:
    found = status.get("conditions")
    for condition in found if isinstance(found, list) else ():
        if isinstance(condition, Mapping):
            yield {str(key): str(value) for key, value in condition.items()}


def _place(document: Document) -> tuple[str, str, str]:
    cn, config, node = (str(at(document, "status", key) or "") for key in ("clusterNetwork", "vlanConfig", "node"))
    return cn, config, node


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`cluster`: of the same objects. `gone`: nodes that objects speak of, and that are certainly no more. `overdue`:
    objects that wait for a finalizer for so long that whoever put it there does not take it away. `pools`: whether
    addresses of pools are given here. `now`: RFC 3339."""

    stored: Mapping[Ref, Stored]
    cluster: Cluster
    gone: frozenset[str] = frozenset()
    overdue: frozenset[Ref] = frozenset()
    pools: bool = False
    now: str = ""


# What is to be written ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """By server-side apply: all that the manager says of the object, though only some of it may differ."""

    ref: Ref
    document: Document
    make: bool = False
    """It is not there, and applying makes it; else it must be the one with the document's uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """By a merge patch: what applying cannot do, which is to take away what others wrote."""

    ref: Ref
    patch: Document
    uid: str
    version: str = ""
    """Only while it is as it was read; empty: whatever became of it, the patch is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    ref: Ref
    uid: str


Write = Apply | Edit | Delete
