"""What failed is tried again after a while, each time a longer one; unit by unit, and at once when there is news."""

from __future__ import annotations

from dataclasses import replace

from windrow.model.agentstatus import StepFailure
from windrow.model.lazy import dataclass
from windrow.model.steps import Failure, Plan, Step, Unit
from windrow.model.values import IfName
from windrow.render.plan import advice
from windrow.status.report import failure_words

FIRST_S, MOST_S = 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    links: frozenset[IfName]
    steps: tuple[Step, ...]
    """What was left to do after it failed: as long as it is the same, there is no news."""
    failures: tuple[Failure, ...]
    attempts: int
    since: float
    retry: float
    """On the clock that never jumps."""
    wall: float
    """The same in Unix time."""


class Patience:
    def __init__(self) -> None:
        self._trials: list[_Trial] = []

    def failed(self, unit: Unit, failures: tuple[Failure, ...], left: Plan, *, mono: float, now: float) -> None:
        """`left`: the plan as it is now, after the failures."""
        links = frozenset(unit.links)
        old = next((t for t in self._trials if t.links & links), None)
        attempts = old.attempts + 1 if old else 1
        pause = min(FIRST_S * 2 ** (attempts - 1), MOST_S)
        trial = _Trial(
            links=links,
            steps=_steps(left, links),
            failures=failures,
            attempts=attempts,
            since=old.since if old else now,
            retry=mono + pause,
            wall=now + pause,
        )
        self._trials = [*(t for t in self._trials if not t.links & links), trial]

    def waiting(self, plan: Plan, mono: float) -> frozenset[IfName]:
        """The links of units that are not to be tried now. What there is nothing left to do for is forgotten."""
        self._trials = [t for t in self._trials if _steps(plan, t.links)]
        waiting: set[IfName] = set()
        for trial in self._trials:
            if mono < trial.retry and _steps(plan, trial.links) == trial.steps:
                waiting |= {n for unit in plan.units if trial.links & set(unit.links) for n in unit.links}
        return frozenset(waiting)

    def forget(self) -> None:
        """Something else is wanted now: everything is tried at once, and the pauses begin anew."""
        self._trials = [replace(trial, retry=0.0, attempts=0) for trial in self._trials]

    def failures(self) -> tuple[Failure, ...]:
        return tuple(failure for trial in self._trials for failure in trial.failures)

    def told(self) -> tuple[StepFailure, ...]:
        return tuple(
            StepFailure(
                about=failure.step.why,
                link=failure.step.link,
                message=failure_words(failure),
                hint=advice(failure),
                errno=failure.errno,
                attempts=trial.attempts,
                since=trial.since,
                retry=trial.wall,
            )
            for trial in self._trials
            for failure in trial.failures
        )

    def deadline(self) -> float | None:
        return min((trial.retry for trial in self._trials), default=None)


def _steps(plan: Plan, links: frozenset[IfName]) -> tuple[Step, ...]:
    return tuple(step for unit in plan.units if links & set(unit.links) for step in unit.steps)
