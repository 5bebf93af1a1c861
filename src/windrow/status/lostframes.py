"""VlanTaken, SnoopingShared: something else keeps frames from the machines, though every link of ours is as it should
be."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.events import Condition
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.plan import snooped, taken
from windrow.status.report import NodeReport

TYPES = {taken.CODE: "VlanTaken", snooped.CODE: "SnoopingShared"}
"""By the code of the warning."""


def conditions(report: NodeReport) -> Iterator[Condition]:
    """One for each object that loses frames, and each way to lose them: of a VlanConfig, or of ClusterNetwork `mgmt`
    where the uplink is not ours."""
    found: dict[tuple[Ref, str], list[Problem]] = {}
    for problem in report.problems:
        if problem.code in TYPES and problem.about is not None:
            found.setdefault((problem.about, TYPES[problem.code]), []).append(problem)
    for (about, type_), problems in found.items():
        text = "; ".join(dict.fromkeys(p.message for p in problems))
        yield Condition(about=about, type=type_, status=True, reason=type_, message=text, hint=problems[0].hint)


def documents(about: Ref, report: NodeReport) -> list[dict[str, str]]:
    """As conditions of an object's status."""
    return [
        {"type": c.type, "status": "True", "reason": c.reason, "message": c.message}
        for c in conditions(report)
        if c.about == about
    ]
