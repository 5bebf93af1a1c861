"""When what is due next: one value for all that comes back by itself. No clock here, only seconds of one that never
jumps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.lazy import dataclass

HELD_S, HELD_MAX_S = 15.0, 240.0
"""What was due and could not be done, because another one has the lock for example, is due again after so long; the
pause doubles. What it waits for is news, and wakes everybody at once."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every deadline lies in the future when it is made: nobody is woken twice for the same one."""

    due: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)
    """What is due again although it was passed -> its pause."""

    def after(self, now: float, wanted: Mapping[str, float | None]) -> Schedule:
        """After a round: `wanted` says when what is to come back, None: not at all."""
        due: dict[str, float] = {}
        held: dict[str, float] = {}
        for what, at in wanted.items():
            if at is not None and at > now:
                due[what] = at
            elif at is not None:
                held[what] = min(2 * self.held[what], HELD_MAX_S) if what in self.held else HELD_S
                due[what] = now + held[what]
        return Schedule(due, held)

    @property
    def next(self) -> float | None:
        return min(self.due.values(), default=None)

    def passed(self, now: float) -> frozenset[str]:
        return frozenset(what for what, at in self.due.items() if at <= now)
