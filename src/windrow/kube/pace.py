"""When an object is written: at once, and where it is written again and again, less and less often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from windrow.kube.api import CONFLICT, NOT_FOUND
from windrow.kube.errors import KubeError
from windrow.model.values import Ref

AT_ONCE = 8
"""So many requests; more would wait at the server."""
PAUSE_S, PAUSE_MAX_S = 0.2, 60.0
"""Between two writings of one object: the pause doubles while it is written again and again, as where two fight."""
CALM_S = 1.0
"""So long after four pauses, and it was not again and again."""
REFUSED_S = 60.0
FIGHT_S = 1.5
"""A pause that has grown longer than that: somebody else writes the object, too."""

Work = Callable[[], Awaitable[None]]


async def few_at_once(works: Iterable[Work]) -> None:
    """All of them, `AT_ONCE` at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(work: Work) -> None:
        async with turns:
            await work()

    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(one(work))


@dataclass(slots=True)
class _Pace:
    last: float = float("-inf")
    pause_s: float = 0.0
    due: float = 0.0


@dataclass(slots=True)
class Paces:
    """`troubled`: is called with an object and why it is not written; an empty text: it is. `fought`: with one that
    somebody else writes, too, once for each time that the pause has become longer."""

    troubled: Callable[[Ref, str], None]
    fought: Callable[[Ref], None] = lambda _: None
    _paces: dict[Ref, _Pace] = field(default_factory=dict)

    def patience(self) -> float | None:
        """For how long nothing is due, in seconds; None: nothing waits."""
        now = time.monotonic()
        due = [pace.due for pace in self._paces.values() if pace.due]
        return max(0.0, min(due) - now) if due else None

    def come_back(self, ref: Ref, after_s: float) -> None:
        self._paces.setdefault(ref, _Pace()).due = time.monotonic() + after_s

    def begin(self) -> None:
        """Before everything that differs is gone through: what was due is looked at now, the past forgotten."""
        now = time.monotonic()
        for ref, pace in list(self._paces.items()):
            if now - pace.last > PAUSE_MAX_S and not pace.due:
                del self._paces[ref]
            elif pace.due <= now:
                pace.due = 0.0

    async def in_its_time(self, ref: Ref, work: Work) -> None:
        pace, now = self._paces.setdefault(ref, _Pace()), time.monotonic()
        if now < pace.last + pace.pause_s:
            pace.due = pace.last + pace.pause_s
            return
        again = now - pace.last < 4 * pace.pause_s + CALM_S
        pace.pause_s = min(2 * pace.pause_s, PAUSE_MAX_S) if again else PAUSE_S
        pace.last = now
        if pace.pause_s > FIGHT_S:
            self.fought(ref)
        try:
            await work()
            self.troubled(ref, "")
        except KubeError as error:
            if error.code == NOT_FOUND:  # it went: an event says so
                return
            if error.code == CONFLICT:  # another one of that name, or so many write it that it was never our turn
                pace.due = now + pace.pause_s
                return
            self.troubled(ref, error.message)
            pace.pause_s = max(pace.pause_s, REFUSED_S) if error.code in (400, 403, 422) else pace.pause_s
            pace.due = now + pace.pause_s
