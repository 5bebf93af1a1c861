"""What the agent says of itself, for `status`, `get` and `describe`: a file, written only when there is news."""

from __future__ import annotations

import os
from dataclasses import replace

from windrow import __version__
from windrow.model.agentstatus import AgentStatus
from windrow.services.process import start_time
from windrow.store.agentstatus import remove_agent_status, write_agent_status
from windrow.store.paths import Paths

ROUND_NEWS_S = 10.0
"""A round that found nothing new is told at most so often: on a busy host they are many."""


def fresh_status(node: str, now: float) -> AgentStatus:
    """Of an agent that begins, in this process."""
    pid = os.getpid()
    return AgentStatus(node=node, pid=pid, ticks=start_time(pid) or 0, version=__version__, started=now)


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
