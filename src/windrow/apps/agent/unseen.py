"""When the kernel is asked for what no look at the network shows.

A part of the agent's loop. A VLAN interface that comes, goes or moves to another network namespace is news of the link
that it stands on, wherever it is itself (NETDEV_CHANGEUPPER, `rtnetlink_event`), though nothing of that link is another
than before; so the kernel is asked soon after it has announced one. Of queriers nobody tells: they are asked for after
a while. What comes of it is told, and no reason for a round: nothing here puts it right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from windrow.apps.round import Report
from windrow.apps.round.unseen import Questions, questions
from windrow.model.problems import Problem

SOON_S = 0.5
"""After news, so that what comes with them is asked for, too."""
APART_S = 10.0
"""At least between two times, however much is announced: it takes a request for each VLAN of each link."""
SLOW_S = 300.0

Answers = Callable[[Report, Questions], tuple[Problem, ...]]


class Unseen:
    """`ask`: asks the kernel. `tell`: is told what was found, each time. All methods belong into one thread."""

    def __init__(self, ask: Answers, tell: Callable[[tuple[Problem, ...]], None], mono: Callable[[], float]) -> None:
        self._ask, self._tell, self._mono = ask, tell, mono
        self._report: Report | None = None
        self._questions = Questions()
        self._links: frozenset[int] = frozenset()
        self._asked = float("-inf")
        self._due: float | None = None

    def after(self, found: Report) -> None:
        """A round is over."""
        before, self._questions, self._report = self._questions, questions(found), found
        runtime = found.sight.observed.runtime
        self._links = frozenset(runtime[name].ifindex for name in self._questions.vlans if name in runtime)
        if self._questions != before:
            self._soon()

    def announced(self, links: frozenset[int]) -> None:
        """The kernel has spoken of these (ifindex)."""
        if links & self._links:
            self._soon()

    def _soon(self) -> None:
        at = max(self._mono() + SOON_S, self._asked + APART_S)
        self._due = at if self._due is None else min(at, self._due)

    # What the loop calls ----------------------------------------------------------------------------------------------

    def fds(self) -> Mapping[int, int]:
        return {}

    def ready(self, _fd: int) -> bool:
        now = self._mono()
        if self._due is not None and now >= self._due and self._report is not None:
            self._asked, self._due = now, now + SLOW_S if self._questions else None
            self._tell(self._ask(self._report, self._questions))
        return False

    def deadline(self) -> float | None:
        return self._due

    def close(self) -> None:
        pass
