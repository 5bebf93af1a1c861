"""Objects that change again and again: each change is taken in at once, as long as they are few."""

from __future__ import annotations

from windrow.model.lazy import dataclass
from windrow.model.values import Ref

AT_ONCE, EACH_S = 6, 10.0
"""So many changes of one object are taken in as they come, and after them one in so many seconds. Whoever edits a
network by hand does not notice; one that flips twice a second would flip every node's network with it."""


@dataclass(frozen=True, slots=True)
class _Purse:
    """`left`: changes that may come at once, as of `at`."""

    left: float
    at: float


class Restless:
    """By a clock that never jumps."""

    def __init__(self) -> None:
        self._purses: dict[Ref, _Purse] = {}
        self._most = _KEPT

    def wait_s(self, ref: Ref, now: float) -> float:
        """In how many seconds a change of the object may be taken in; 0: now."""
        return max(0.0, (1.0 - self._left(ref, now)) * EACH_S)

    def is_calm(self, ref: Ref, now: float) -> bool:
        """Whether it is as if it had never changed."""
        return self._left(ref, now) >= AT_ONCE

    def taken(self, ref: Ref, now: float) -> None:
        """A change was. Whoever has been calm for long enough is forgotten."""
        self._purses[ref] = _Purse(self._left(ref, now) - 1.0, now)
        if len(self._purses) > self._most:
            self._purses = {one: purse for one, purse in self._purses.items() if self._left(one, now) < AT_ONCE}
            self._most = max(_KEPT, 2 * len(self._purses))

    def _left(self, ref: Ref, now: float) -> float:
        purse = self._purses.get(ref)
        return AT_ONCE if purse is None else min(AT_ONCE, purse.left + (now - purse.at) / EACH_S)


_KEPT = 1000
"""So many are gone through for those that are calm; where more are not, only when they have doubled."""
