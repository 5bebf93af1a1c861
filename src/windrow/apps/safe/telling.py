"""What became of a change, among the events of the host."""

from __future__ import annotations

from contextlib import suppress

from windrow.model.events import Event, EventType
from windrow.model.problems import WindrowError
from windrow.model.values import Ref
from windrow.store.events import Events
from windrow.store.paths import Paths


def tell(paths: Paths, node: str, reason: str, message: str, *, now: float, well: bool = False) -> None:
    """`now`: Unix time. A disk that refuses it stops nothing."""
    event = Event(
        type=EventType.NORMAL if well else EventType.WARNING,
        reason=reason,
        about=Ref("Node", node),
        message=message,
        first=now,
        last=now,
    )
    with suppress(WindrowError):
        Events(paths).add([event])
