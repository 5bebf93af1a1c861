"""A second look at what is stored: objects that exclude each other, and were admitted all the same.

Two replicas of a webhook do not see what the other one lets in at the same moment, and while none answers with
`failurePolicy: Ignore`, or none is installed, nobody looks at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject, VlanStatus
from windrow.model.objects import NetworkAttachmentDefinition as Nad
from windrow.model.problems import Problem, errors
from windrow.model.values import Ref
from windrow.rules.admission import check
from windrow.rules.review import Change
from windrow.rules.terms import HARVESTER_CONTROLLER, Terms

TERMS = Terms(served=True, asker=HARVESTER_CONTROLLER, strict=False)
"""Nobody asks, and nothing changes: only what is there counts."""


def clashes(cluster: Cluster, refs: Iterable[Ref]) -> tuple[Problem, ...]:
    """What speaks against these objects beside the others, as far as it names one (`Problem.others`). Of two it is said
    of the one that was looked at; where both were, of the later one by name."""
    there = (cluster.objects.get(ref) for ref in refs)
    looked: list[AnyObject] = [obj for obj in there if obj is not None and not obj.meta.deleting]
    found = check(cluster, [Change(None, obj) for obj in looked], terms=TERMS)
    return tuple(problem for problem in errors(found) if problem.others and not _passes(problem))


def _passes(problem: Problem) -> bool:
    """By itself: a VlanStatus goes when its node has taken the network down, and a manager gives a network its MTU."""
    of_status = all(ref.kind == VlanStatus.KIND for ref in problem.others)
    of_mtu = problem.code == "mtu-mismatch" and problem.about is not None and problem.about.kind == Nad.KIND
    return of_status or of_mtu
