"""Events as kubectl shows them."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.model.events import Event, EventType
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def events_table(events: Sequence[Event], now: float, *, header: bool = True, style: Style = PLAIN) -> str:
    """In the order that they come in; `now` in Unix time."""
    rows = [[_seen(e, now), _type(e, style), e.reason, _object(e), e.message] for e in events]
    text = table(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"], rows, style)
    return text if header else text.partition("\n")[2]


def age(seconds: float) -> str:
    """`42s`, `3m12s`, `5h`, `2d3h`: the two largest units; what is in the future is now."""
    left = max(0, int(seconds))
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        if left >= size or parts or size == 1:
            parts.append((left // size, unit))
            left %= size
    return "".join(f"{count}{unit}" for count, unit in parts[:2] if count) or "0s"


def _seen(event: Event, now: float) -> str:
    seen = age(now - event.last)
    return f"{seen} (x{event.count} over {age(now - event.first)})" if event.count > 1 else seen


def _type(event: Event, style: Style) -> str:
    return style.yellow(event.type.value) if event.type is EventType.WARNING else event.type.value


def _object(event: Event) -> str:
    about = event.about
    return f"{about.kind.lower()}/{about.name}" if about.name else about.kind.lower()
