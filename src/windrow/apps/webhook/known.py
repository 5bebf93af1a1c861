"""What is known of the cluster: what the API server lists and tells, and what was admitted a moment ago.

The second closes the gap in which an object is stored and not yet told: two that exclude each other are not both
admitted. What was admitted may still fail elsewhere, so it counts for seconds only.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from windrow.kube import trim
from windrow.kube.gathered import Gathered
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.meta import Source
from windrow.model.objects import AnyObject, ClusterNetwork, NetworkAttachmentDefinition
from windrow.model.values import Ref
from windrow.model.wire import load_value
from windrow.rules import Change

Document = Mapping[str, Any]
P = ParamSpec("P")
R = TypeVar("R")
ON_ITS_WAY_S = 3.0
"""So long an object that was admitted may be on its way into the store, and reading it says nothing."""
FORGOTTEN_S = 15.0
"""After that, what was admitted and never told has failed."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """`told`: what the API server says there is instead; None: nothing. `version`: of the object before; whatever is
    told with a later one has this in it."""

    told: AnyObject | None
    version: int
    at: float


def _locked(method: Callable[Concatenate[Known, P], R]) -> Callable[Concatenate[Known, P], R]:
    @functools.wraps(method)
    def locked(known: Known, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with known.lock:
            return method(known, *args, **kwargs)

    return locked


class Known:
    """`kinds`: those that are followed; before all of them are listed nothing is known. `lock` is held within every
    method, and by whoever wants nothing to change meanwhile."""

    def __init__(self, kinds: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._unlisted = set(kinds)
        self._objects = Gathered()
        """As it will be once all that was admitted is stored."""
        self._admitted: dict[Ref, _Admitted] = {}

    @property
    def complete(self) -> bool:
        return not self._unlisted

    # What the API server tells --------------------------------------------------------------------

    @_locked
    def put(self, document: Document) -> bool:
        """Whether that is news."""
        obj = object_of(document)
        if obj is None:
            return False
        known = self._admitted.get(obj.ref)
        if known is not None and _version(document) <= known.version:
            self._admitted[obj.ref] = replace(known, told=obj)
        else:
            self._is(obj.ref, obj)
        return True

    @_locked
    def drop(self, ref: Ref) -> bool:
        known, there = self._admitted.get(ref), self._objects.get(ref)
        if known is not None and there is not None and not there.meta.deleting:
            self._admitted[ref] = replace(known, told=None)  # it is made anew
        else:
            self._is(ref, None)
        return there is not None

    @_locked
    def listed(self, kind: str, there: Collection[Ref]) -> bool:
        """The whole list was put: what was not in it is gone."""
        self._unlisted.discard(kind)
        for ref in [ref for ref in self._objects.cluster.objects if ref.kind == kind and ref not in there]:
            self.drop(ref)
        return True

    # What was admitted ----------------------------------------------------------------------------

    @_locked
    def admitted(self, change: Change, version: int) -> None:
        """`version`: of the object before, 0 where it is new."""
        obj = change.new
        if obj is None and change.old is not None:
            # It stays as long as it has a finalizer; who uses it uses it until then.
            obj = replace(change.old, meta=replace(change.old.meta, deleting=True))
        if obj is not None:
            known = self._admitted.get(obj.ref)
            told = known.told if known is not None else self._objects.get(obj.ref)
            self._admitted[obj.ref] = _Admitted(told, version, self._clock())
            self._objects.put(obj.ref, obj)

    @_locked
    def about(self, ref: Ref) -> object:
        """What is known of an object now, to be handed to `read` with what was read."""
        return self._objects.get(ref), self._admitted.get(ref)

    @_locked
    def read(self, ref: Ref, before: object, document: Document | None) -> None:
        """What the API server says of one object; None: there is none. `before`: `about` it when it was asked. What was
        told in the meantime may be newer than the answer, and counts."""
        if self.about(ref) != before:
            return
        known, there = self._admitted.get(ref), self._objects.get(ref)
        young = known is not None and self._clock() - known.at < ON_ITS_WAY_S
        if document is not None:
            self.put(document)
        elif not young or (there is not None and there.meta.deleting):
            self._is(ref, None)

    @_locked
    def cluster(self) -> Cluster:
        """As it will be once all that was admitted is stored."""
        late = self._clock() - FORGOTTEN_S
        for ref, known in [item for item in self._admitted.items() if item[1].at < late]:
            self._is(ref, known.told)
        cluster = self._objects.cluster
        _ = cluster.nads("")  # the index is made once, and taken over from then on
        return cluster

    def _is(self, ref: Ref, obj: AnyObject | None) -> None:
        """There is nothing newer."""
        self._admitted.pop(ref, None)
        self._objects.put(ref, obj)


def object_of(document: Document) -> AnyObject | None:
    """As far as it can be read. Rules read fields and not documents, which would be most of the memory."""
    is_network = document.get("kind") == NetworkAttachmentDefinition.KIND
    loaded = load_value(trim.bounded(trim.wanted(document)) if is_network else document)
    found = next(iter((*loaded.objects, *loaded.doubtful)), None)
    if found is None or isinstance(found, ClusterNetwork):
        return found  # the condition of a ClusterNetwork stays in its document
    return replace(found, doc={}, source=Source())


def version_of(document: Document | None) -> int:
    """Of an object (Kubernetes 1.35 and before: opaque; since then numbers that rise). 0: it has none."""
    return _version(document) if document is not None else 0


def _version(document: Document) -> int:
    text = (document.get("metadata") or {}).get("resourceVersion")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0
