"""Conditions over time: since when each is so, and what is worth an event. No clock here: `now` comes in."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.model.events import Condition, Event, EventType
from windrow.model.values import Ref

READY = "ready"
"""Harvester's condition, the one that is good when it is true; Windrow's own name what is wrong."""
TOLD_ELSEWHERE = frozenset({"Degraded", "OutsideFaulty"})
"""`status.bonds` and `status.findings` tell of these themselves, as they see more than a condition that changes."""
OVER = "this is over"

Key = tuple[Ref, str]


def update(
    old: tuple[Condition, ...], new: Iterable[Condition], now: float
) -> tuple[tuple[Condition, ...], tuple[Event, ...]]:
    """The conditions of now, and what changed since the old ones.

    `since` is kept where the status is as before, and where the new condition brings a time of its own. One that is not
    among the new ones is over. Nothing is said of a condition that is well from its beginning.
    """
    before = {_key(c): c for c in old}
    after = {_key(c): _dated(c, before.get(_key(c)), now) for c in new}
    events: list[Event] = []
    for key, condition in after.items():
        if condition.type not in TOLD_ELSEWHERE:
            events += _told(before.get(key), condition, now)
    for key, condition in before.items():
        if key not in after and is_bad(condition) and condition.type not in TOLD_ELSEWHERE:
            events.append(_event(EventType.NORMAL, f"No{condition.type}", condition, OVER, now))
    return tuple(after[key] for key in sorted(after)), tuple(events)


def is_bad(condition: Condition) -> bool:
    """Whether somebody should look at it; what is not known is not bad."""
    return condition.status is (condition.type != READY)


def _key(condition: Condition) -> Key:
    return condition.about, condition.type


def _dated(new: Condition, old: Condition | None, now: float) -> Condition:
    since = old.since if old is not None and old.status == new.status else new.since or now
    if since == new.since:
        return new
    return Condition(
        about=new.about,
        type=new.type,
        status=new.status,
        reason=new.reason,
        message=new.message,
        hint=new.hint,
        since=since,
    )


def _told(old: Condition | None, new: Condition, now: float) -> Iterable[Event]:
    if is_bad(new):
        if old is None or not is_bad(old) or old.reason != new.reason:
            yield _event(EventType.WARNING, new.reason or new.type, new, new.message, now)
    elif old is not None and is_bad(old) and new.status is not None:
        reason, words = ("Ready", "it is ready") if new.type == READY else (f"No{new.type}", OVER)
        yield _event(EventType.NORMAL, reason, new, words, now)


def _event(type_: EventType, reason: str, condition: Condition, message: str, now: float) -> Event:
    return Event(type=type_, reason=reason, about=condition.about, message=message, first=now, last=now)
