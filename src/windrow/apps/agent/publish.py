"""What the agent says of itself and of the objects, and to whom.

On this host it is a file, for `status`, `get` and `describe`, written only when there is news; a cluster's API is
another place that it may be told to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from windrow import __version__
from windrow.model.agentstatus import AgentStatus
from windrow.model.cluster import Cluster
from windrow.model.events import Event
from windrow.model.lazy import dataclass
from windrow.services.process import start_time
from windrow.status import NodeReport
from windrow.store.agentstatus import remove_agent_status, write_agent_status
from windrow.store.paths import Paths

ROUND_NEWS_S = 10.0
"""A round that found nothing new is told at most so often: on a busy host they are many."""


def fresh_status(node: str, now: float) -> AgentStatus:
    """Of an agent that begins, in this process."""
    pid = os.getpid()
    return AgentStatus(node=node, pid=pid, ticks=start_time(pid) or 0, version=__version__, started=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a round found of the objects of `cluster` on this node."""

    cluster: Cluster
    report: NodeReport


class Sink(Protocol):
    """Takes it and writes it in its own time: nobody waits for it, and it raises nothing."""

    def publish(self, told: Told) -> None:
        """All of it, as of now."""

    def happened(self, events: Sequence[Event]) -> None: ...

    @property
    def untold(self) -> str:
        """Why something is not written; empty: all is."""


class Publisher:
    """Writes `Paths.agent_status`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._last: AgentStatus | None = None

    def publish(self, status: AgentStatus) -> bool:
        """Whether it was written. Raises StoreError, and then tries again next time."""
        if not self._is_news(status):
            return False
        write_agent_status(self._paths, status)
        self._last = status
        return True

    def close(self) -> None:
        """An agent that ends leaves nothing that looks as if it were there."""
        remove_agent_status(self._paths)

    def _is_news(self, status: AgentStatus) -> bool:
        last = self._last
        if last is None or abs(status.last_round - last.last_round) >= ROUND_NEWS_S:
            return True
        return replace(status, last_round=0.0) != replace(last, last_round=0.0)
