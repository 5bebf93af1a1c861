"""VlanTaken: an interface of others takes a VLAN from the machines, though every link of ours is as it should be."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.events import Condition
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.plan.taken import CODE
from windrow.status.report import NodeReport

VLAN_TAKEN = "VlanTaken"


def conditions(report: NodeReport) -> Iterator[Condition]:
    """One for each object that loses a VLAN: a VlanConfig, or ClusterNetwork `mgmt` where the uplink is not ours."""
    found: dict[Ref, list[Problem]] = {}
    for problem in report.problems:
        if problem.code == CODE and problem.about is not None:
            found.setdefault(problem.about, []).append(problem)
    for about, problems in found.items():
        text = "; ".join(dict.fromkeys(p.message for p in problems))
        hint = problems[0].hint
        yield Condition(about=about, type=VLAN_TAKEN, status=True, reason=VLAN_TAKEN, message=text, hint=hint)


def documents(about: Ref, report: NodeReport) -> list[dict[str, str]]:
    """As conditions of an object's status."""
    return [
        {"type": c.type, "status": "True", "reason": c.reason, "message": c.message}
        for c in conditions(report)
        if c.about == about
    ]
