"""A wish: what is to become of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules.review import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """All empty: nothing new, the store counts as it is. `problems` and `unread`: what is wrong with the manifests
    themselves, and the objects that are in them none the less. `seen`: the stored objects that it was made from, None
    where there was none; empty where it was made from files alone."""

    put: tuple[AnyObject, ...] = ()
    remove: tuple[AnyObject, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: frozenset[Ref] = frozenset()
    seen: Mapping[Ref, AnyObject | None] = field(default_factory=dict)

    @property
    def touched(self) -> frozenset[Ref]:
        return frozenset(o.ref for o in (*self.put, *self.remove))

    def after(self, before: Cluster) -> Cluster:
        return before.without(o.ref for o in self.remove).replace(self.put) if self.touched else before

    def changes(self, before: Cluster) -> tuple[Change, ...]:
        changed = [Change(old=before.objects.get(o.ref), new=o) for o in self.put if _differs(before, o)]
        return (*changed, *(Change(old=o, new=None) for o in self.remove))

    def outdated(self, before: Cluster) -> Iterator[Problem]:
        """What somebody else changed since this was made from it: carried out, it would take that back in silence."""
        for ref, seen in self.seen.items():
            now = before.objects.get(ref)
            if (now is None) != (seen is None) or (seen is not None and _differs(before, seen)):
                hint = "nothing of theirs was overwritten: look at it, and give the command again"
                yield Problem(code=OUTDATED, message="somebody else has changed it just now", hint=hint, about=ref)


AS_STORED = Wish()

OUTDATED = "changed-meanwhile"


def _differs(before: Cluster, new: AnyObject) -> bool:
    """Also in fields that Windrow does not know, and where the old one is built in and has no document."""
    old = before.objects.get(new.ref)
    return old is None or old != new or dict(old.doc) != dict(new.doc)
