"""Which cluster to work with: manifests that are good as they are, and of the others the last good version.

An agent has nobody to refuse to. So what admission would have refused keeps, object by object, the version that the
node was last brought to; a new object is left out, and one that may not be deleted stays. A network that runs is never
taken down by a file that somebody broke.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.lazy import dataclass
from windrow.model.manifests import Found
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, errors
from windrow.model.values import Ref
from windrow.rules.admission import check
from windrow.rules.review import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """`cluster` None: nothing is known, neither manifests nor a last good state; so nothing is to be done."""

    cluster: Cluster | None
    changed: frozenset[Ref] = frozenset()
    """What differs from the last good state, or goes."""
    rejected: frozenset[Ref] = frozenset()
    """Objects that stay as they were although their manifests say something else."""
    problems: tuple[Problem, ...] = ()


def settle(
    found: Found, good: Cluster | None, facts: NodeFacts, refused: Mapping[Ref, Problem] | None = None
) -> Settled:
    """`good`: the last good state, None where there is none yet. `refused`: objects that turned out to be impossible
    when it was planned to carry them out."""
    refused = refused or {}
    if found.lost is not None:
        empty = good is not None and good.objects.keys() == Cluster.of(()).objects.keys()
        return Settled(cluster=good, problems=() if empty else (found.lost,))
    if good is None and found.young:
        return Settled(cluster=None)
    before = good or Cluster.of(())
    said = errors(found.loaded.problems)
    bad = _about(said) | found.loaded.unread | refused.keys()
    target = _target(found, before, bad)
    problems = [*said, *refused.values()]
    rejected = set(bad)
    while True:
        changes = _changes(before, target)
        against = errors(check(before, changes, facts=facts, unread=found.loaded.unread))
        changed = frozenset(c.ref for c in changes)
        if not against:
            if not changed and target.objects.keys() == before.objects.keys() and _the_same(target, before):
                target = before  # with the indexes that it has made by now
            return Settled(cluster=target, changed=changed, rejected=frozenset(rejected), problems=tuple(problems))
        problems += against
        wrong = (_about(against) & changed) or changed
        rejected |= wrong
        target = _reverted(target, before, wrong)


def _about(problems: Iterable[Problem]) -> set[Ref]:
    return {p.about for p in problems if p.about is not None}


def _target(found: Found, before: Cluster, wrong: Set[Ref]) -> Cluster:
    """What is missing may be in a file that cannot be read: the one that it was in, or one that it was moved to."""
    wanted: dict[Ref, AnyObject] = {o.ref: o for o in found.loaded.objects if o.ref not in wrong}
    for ref, obj in before.objects.items():
        doubted = found.young or (found.doubted and obj.source.file and obj.source.file not in found.whole)
        if ref not in wanted and (doubted or ref in wrong):
            wanted[ref] = obj
    return Cluster.of(wanted.values())


def _changes(before: Cluster, target: Cluster) -> tuple[Change, ...]:
    return tuple(_differing(before, target))


def _differing(before: Cluster, target: Cluster) -> Iterator[Change]:
    for ref, new in target.objects.items():
        old = before.objects.get(ref)
        if old is not new and old != new:
            yield Change(old, new)
    for ref, old in before.objects.items():
        if ref not in target.objects:
            yield Change(old, None)


def _the_same(target: Cluster, before: Cluster) -> bool:
    return all(obj is before.objects[ref] for ref, obj in target.objects.items())


def _reverted(target: Cluster, before: Cluster, gone: Set[Ref]) -> Cluster:
    kept = [o for ref, o in target.objects.items() if ref not in gone]
    return Cluster.of([*kept, *(before.objects[ref] for ref in gone if ref in before.objects)])
