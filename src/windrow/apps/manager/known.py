"""The cluster as the API server tells it, and for how long something has been so in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, TypeVar

from windrow.kube import trim
from windrow.kube.gathered import Gathered
from windrow.kube.resources import FOLLOWED
from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject, HostNetworkConfig, Node, VlanConfig, VlanStatus
from windrow.model.pools import IPPool
from windrow.model.values import Ref
from windrow.status.manager.stored import Stored, stored

Document = Mapping[str, Any]
T = TypeVar("T", bound=Hashable)
_SELECTING = (VlanConfig.KIND, HostNetworkConfig.KIND)


class Known:
    """In the thread of an event loop. `kinds`: those that are followed. What is handed out is never changed
    afterwards."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._unlisted = set(kinds)
        self._stored: dict[Ref, Stored] = {}
        self._objects = Gathered()
        self._fresh: dict[Ref, None] = {}
        self._others_too = False

    @property
    def unlisted(self) -> frozenset[str]:
        """The kinds of which nothing is known yet."""
        return frozenset(self._unlisted)

    def put(self, document: Document) -> bool:
        """Whether that is news."""
        found = read(document)
        if found is None:
            return self.drop(trim.ref_of(document))
        ref, known = found.obj.ref, self._stored.get(found.obj.ref)
        self._stored[ref] = found
        if known is not None and known == found:
            return False
        self._change(ref, found.obj)
        if known is None or known.obj != found.obj:
            self._look_again(ref)
        return True

    def drop(self, ref: Ref) -> bool:
        if self._stored.pop(ref, None) is None:
            return False
        self._change(ref, None)
        return True

    def _change(self, ref: Ref, obj: AnyObject | None) -> None:
        """The cluster has no VlanStatuses: they are the most by far, and nobody looks them up in it."""
        if ref.kind != VlanStatus.KIND:
            self._objects.put(ref, obj)

    def listed(self, kind: str, there: Collection[Ref]) -> bool:
        """The whole list was put: what was not in it is gone."""
        first = kind in self._unlisted
        self._unlisted.discard(kind)
        gone = [self.drop(ref) for ref in list(self._stored) if ref.kind == kind and ref not in there]
        return first or any(gone)

    @property
    def cluster(self) -> Cluster:
        return self._objects.cluster

    def stored(self) -> Mapping[Ref, Stored]:
        return dict(self._stored)

    def of(self, ref: Ref) -> Stored | None:
        return self._stored.get(ref)

    # For the second look -----------------------------------------------------------------------------

    def _look_again(self, ref: Ref) -> None:
        """At what is new or another one; and where a node is, at all that selects nodes."""
        self.look_at([ref])
        self._others_too |= ref.kind == Node.KIND

    def look_at(self, refs: Iterable[Ref]) -> None:
        """Pools and machines are judged by nobody here."""
        self._fresh.update((ref, None) for ref in refs if ref.kind in FOLLOWED)

    def all_fresh(self) -> None:
        self.look_at(self._stored)

    def take_fresh(self, most: int) -> tuple[list[Ref], Cluster]:
        """Some of those that nobody has looked at yet, and the cluster that has them: in an older one they would be
        missed, and nobody looks at them again."""
        if self._others_too:
            self._others_too = False
            self.look_at(ref for ref in self._stored if ref.kind in _SELECTING)
        taken = list(self._fresh)[:most]
        for ref in taken:
            del self._fresh[ref]
        return taken, self.cluster


def read(document: Document) -> Stored | None:
    """None: it is of no kind that is read here. Of a VlanStatus and a pool the status is read, too, which `wanted`
    leaves out."""
    whole = document["kind"] in (VlanStatus.KIND, IPPool.KIND)
    kept = document if whole else trim.bounded(trim.wanted(document))
    return stored(document, kept)


class Since:
    """Which things have been so for a while, by our own clock."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._began: dict[Hashable, float] = {}
        self._long: frozenset[Hashable] = frozenset()

    def long(self, now_so: Iterable[T]) -> frozenset[T]:
        """Of all that is so now, what has been so for long."""
        now, listed = self._clock(), set(now_so)
        self._began = {one: self._began.get(one, now) for one in listed}
        found = frozenset(one for one in listed if now - self._began[one] >= self._patience_s)
        self._long = found
        return found

    @property
    def due_s(self) -> float | None:
        """In how many seconds `long` has something more to say; None: it is not waited for."""
        now = self._clock()
        left = [self._patience_s - (now - began) for one, began in self._began.items() if one not in self._long]
        return max(0.0, min(left)) if left else None
