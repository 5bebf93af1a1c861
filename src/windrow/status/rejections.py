"""Why manifests are not followed, as conditions: of each object that keeps its last good version, and of the node for
what is no object's."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.model.cluster import Cluster
from windrow.model.events import Condition
from windrow.model.located import located
from windrow.model.problems import Problem, errors
from windrow.model.values import Ref

REJECTED, UNREADABLE = "Rejected", "ManifestsUnreadable"


def rejections(problems: Iterable[Problem], stored: Cluster, kept: Cluster | None, node: str) -> tuple[Condition, ...]:
    """`stored`: what the manifests say; `kept`: what is in force instead, None where nothing is known."""
    known = kept.objects if kept is not None else {}
    by_object: dict[Ref, list[Problem]] = {}
    for problem in located(errors(problems), {**known, **stored.objects}):
        by_object.setdefault(problem.about or Ref("Node", node), []).append(problem)
    return tuple(_condition(about, those, kept=about in known) for about, those in by_object.items())


def _condition(about: Ref, problems: list[Problem], *, kept: bool) -> Condition:
    first, rest = problems[0], len({p.message for p in problems}) - 1
    place = f"{first.file}:{first.line}: " if first.file and first.line else f"{first.file}: " if first.file else ""
    where = f"{first.path}: " if first.path else ""
    more = f" (and {rest} more)" if rest else ""
    if about.kind == "Node" and first.about is None:
        return Condition(
            about=about,
            type=UNREADABLE,
            status=True,
            reason=_word(first.code),
            message=f"{place}{first.message}{more}",
            hint=first.hint,
        )
    fate = "its last good version stays in force" if kept else "it is left out"
    return Condition(
        about=about,
        type=REJECTED,
        status=True,
        reason=_word(first.code),
        message=f"{place}{where}{first.message}{more}; {fate}",
        hint=first.hint,
    )


def _word(code: str) -> str:
    """`nic-missing` -> `NicMissing`."""
    return "".join(part.capitalize() for part in code.split("-"))
