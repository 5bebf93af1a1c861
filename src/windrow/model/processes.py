"""A process of this host, beyond the reuse of its id."""

from __future__ import annotations

from windrow.model.lazy import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """`started`: proc(5), field 22 of /proc/<pid>/stat, in ticks since boot."""

    pid: int
    started: int
