"""A cluster of which the objects are told one by one."""

from __future__ import annotations

from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
from windrow.model.values import Ref


class Gathered:
    """Every new `Cluster` is a copy of the one before, and a list is thousands of changes: so they are collected, and
    one cluster is made of them when it is asked for. What was handed out never changes."""

    def __init__(self) -> None:
        self._cluster = Cluster.of(())
        self._builtin = self._cluster.objects
        self._changed: dict[Ref, AnyObject | None] = {}
        """What the cluster does not have yet; None: it is gone."""

    def put(self, ref: Ref, obj: AnyObject | None) -> None:
        """None: it is gone; a built-in one is then as it is without a manifest."""
        self._changed[ref] = self._builtin.get(ref) if obj is None else obj

    def get(self, ref: Ref) -> AnyObject | None:
        return self._changed[ref] if ref in self._changed else self._cluster.objects.get(ref)

    @property
    def cluster(self) -> Cluster:
        if self._changed:
            gone = [ref for ref, obj in self._changed.items() if obj is None]
            left = self._cluster.without(gone) if gone else self._cluster
            self._cluster = left.replace(obj for obj in self._changed.values() if obj is not None)
            self._changed = {}
        return self._cluster
