"""What happened, and what is so since when: events and conditions, as Kubernetes knows them.

An event is a thing of a moment ("repaired oob-bo: miimon was 50"); the same one again is counted, not repeated. A
condition is a state of an object ("Degraded: oob-bo runs on one leg, since 10:42"). Times are Unix time, in seconds.
"""

from __future__ import annotations

from enum import StrEnum

from windrow.model.lazy import dataclass
from windrow.model.values import Ref


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`reason` is one word in CamelCase, for scripts; `message` is for people."""

    type: EventType
    reason: str
    about: Ref
    message: str
    first: float
    last: float
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`status` None: not known. `since`: when it last became what it is (lastTransitionTime)."""

    about: Ref
    type: str
    """`ready` is Harvester's; Windrow's own: `Degraded`, `Contested`, …"""
    status: bool | None
    reason: str = ""
    message: str = ""
    hint: str = ""
    since: float = 0.0
