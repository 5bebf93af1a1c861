"""Conditions over time."""

from __future__ import annotations

from dataclasses import replace

from windrow.model.events import Condition, EventType
from windrow.model.values import Ref
from windrow.status.conditions import is_bad, update

OOB = Ref("VlanConfig", "oob")
READY = Condition(about=OOB, type="ready", status=True)
FAILED = Condition(about=OOB, type="ready", status=False, reason="Failed", message="oob-bo: busy")
CONTESTED = Condition(about=OOB, type="Contested", status=True, reason="Contested", message="somebody else")


def test_since_is_when_the_status_last_changed() -> None:
    one, _ = update((), [READY], 100.0)
    two, _ = update(one, [READY], 200.0)
    three, _ = update(two, [FAILED], 300.0)
    four, _ = update(three, [replace(FAILED, reason="Refused", message="other words")], 400.0)
    assert [c.since for (c,) in (one, two, three, four)] == [100.0, 100.0, 300.0, 300.0]
    assert four[0].reason == "Refused" and four[0].message == "other words"


def test_a_time_that_the_condition_brings_counts_when_it_is_new() -> None:
    one, _ = update((), [replace(CONTESTED, since=42.0)], 100.0)
    two, _ = update(one, [replace(CONTESTED, since=99.0)], 101.0)
    assert one[0].since == two[0].since == 42.0


def test_events_are_told_once_for_each_change() -> None:
    fine, told = update((), [READY], 1.0)
    assert told == ()
    bad, told = update(fine, [FAILED], 2.0)
    assert [(e.type, e.reason, e.message, e.first, e.last) for e in told] == [
        (EventType.WARNING, "Failed", "oob-bo: busy", 2.0, 2.0)
    ]
    same, told = update(bad, [replace(FAILED, message="other words")], 3.0)
    assert told == ()
    _, told = update(same, [replace(FAILED, reason="Refused")], 4.0)
    assert [e.reason for e in told] == ["Refused"]
    _, told = update(same, [READY], 5.0)
    assert [(e.type, e.reason) for e in told] == [(EventType.NORMAL, "Ready")]


def test_what_is_not_among_the_new_ones_is_over() -> None:
    old, told = update((), [CONTESTED, READY], 1.0)
    assert [e.reason for e in told] == ["Contested"]
    new, told = update(old, [READY], 2.0)
    assert [c.type for c in new] == ["ready"]
    assert [(e.type, e.reason) for e in told] == [(EventType.NORMAL, "NoContested")]
    _, told = update(new, [], 3.0)
    assert told == (), "a condition that was well goes without a word"


def test_what_is_not_known_is_neither_well_nor_bad() -> None:
    unknown = replace(READY, status=None)
    old, told = update((), [unknown], 1.0)
    assert told == () and not is_bad(old[0])
    bad, _ = update(old, [FAILED], 2.0)
    _, told = update(bad, [unknown], 3.0)
    assert told == ()


def test_degraded_is_told_elsewhere() -> None:
    degraded = Condition(about=OOB, type="Degraded", status=True, reason="OneLeg")
    old, told = update((), [degraded], 1.0)
    assert told == () and is_bad(old[0])
    assert update(old, [], 2.0) == ((), ())
