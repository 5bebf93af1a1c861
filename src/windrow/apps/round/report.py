"""What a round found and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from windrow.apps.engine import Converged
from windrow.model.checkpoint import Stage
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, WindrowError
from windrow.model.steps import Plan
from windrow.rules import Admitted, Planned, Sight

if TYPE_CHECKING:
    from windrow.apps.safe.undo import Undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds."""

    look: float = 0.0
    plan: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`planned`: what was to be carried out; `whole`: that, and what was left out of it for now."""

    admitted: Admitted
    whole: Planned
    planned: Planned
    sight: Sight
    """The last look."""
    left: Planned
    """What is still to be done, left out or not."""
    converged: Converged | None = None
    """None: there was nothing to carry out, or it was not done."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the records of this node."""
    busy: bool = False
    """Another one has the turn: nothing was done."""
    refused: Problem | None = None
    """Why it was not begun, although the plan was good."""
    stage: Stage | None = None
    """None where no checkpoint was needed; CONFIRMED, UNDONE, WAITING for somebody to confirm it, or UNDOING, where
    not all of it could be undone yet."""
    checkpoint: str = ""
    said: str = ""
    """What it was decided on."""
    undone: Undone | None = None
    troubles: Mapping[str, WindrowError | OSError | None] = field(default_factory=dict)
    """What was to be written on disk -> why it could not be; None: it was."""
    timing: Timing = Timing()

    @property
    def kept(self) -> bool:
        return self.stage in (None, Stage.CONFIRMED)

    @property
    def ok(self) -> bool:
        """Whether all that was to be carried out is done, whatever was decided on it afterwards."""
        if self.busy or self.refused is not None:
            return False
        return self.converged.ok if self.converged is not None else self.planned.plan.empty

    @property
    def plan(self) -> Plan:
        return self.planned.plan
