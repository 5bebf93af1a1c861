"""What became of a change, among the events of the host."""

from __future__ import annotations

import time
from contextlib import suppress

from windrow.apps.safe.ground import Ground
from windrow.model.events import Event, EventType
from windrow.model.problems import WindrowError
from windrow.model.values import Ref
from windrow.store.events import Events


def tell(ground: Ground, reason: str, message: str, *, well: bool = False) -> None:
    """A disk that refuses it stops nothing."""
    now = time.time()
    event = Event(
        type=EventType.NORMAL if well else EventType.WARNING,
        reason=reason,
        about=Ref("Node", ground.node),
        message=message,
        first=now,
        last=now,
    )
    with suppress(WindrowError):
        Events(ground.paths).add([event])
