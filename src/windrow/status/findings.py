"""Findings over time: conditions on the objects, events of what came and went, lines of `status`, numbers to count.

An object has one condition `OutsideFaulty`: true while something outside is wrong with it. A note is none, and what is
not certain is not known (`None`): nobody is woken for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from windrow.model.events import Condition, Event, EventType
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.values import Ref

OUTSIDE = "OutsideFaulty"
"""The condition's type. Like all of Windrow's own it is true when something is wrong."""
WELL = "NothingFound"
GONE = "FaultGone"
SHOWN = 3
"""So many findings are told in a condition's message; the others are counted."""

Key = tuple[str, str, Ref | None]


def outside_conditions(findings: Iterable[Finding], objects: Iterable[Ref]) -> tuple[Condition, ...]:
    """One for each of `objects`, and for whatever else a finding is about; the worst finding gives the reason.

    `since` is left to `conditions.update`, which knows how it was before."""
    by_object: dict[Ref, list[Finding]] = {about: [] for about in objects}
    for finding in findings:
        if finding.about is not None and finding.grade is not Grade.NOTE:
            by_object.setdefault(finding.about, []).append(finding)
    return tuple(_condition(about, found) for about, found in by_object.items())


def _condition(about: Ref, found: list[Finding]) -> Condition:
    if not found:
        return Condition(about=about, type=OUTSIDE, status=False, reason=WELL)
    certain = [finding for finding in found if finding.certainty is not Certainty.UNKNOWN]
    first, *others = certain or found
    told = [first, *others]
    more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return Condition(
        about=about,
        type=OUTSIDE,
        status=True if certain else None,
        reason=first.reason.text,
        message="; ".join(finding.message for finding in told[:SHOWN]) + more,
        hint=first.fix.words,
    )


def finding_events(before: Iterable[Finding], after: Iterable[Finding], now: float, about: Ref) -> tuple[Event, ...]:
    """What came, and what went. `about`: the object of those that have none of their own (the node). A finding is the
    same as long as reason, place and object are: the VLANs that it is about may change."""
    old, new = _by_key(before), _by_key(after)
    came = [_came(finding, now, about) for key, finding in new.items() if key not in old]
    went = [_went(finding, now, about) for key, finding in old.items() if key not in new]
    return (*came, *went)


def _by_key(findings: Iterable[Finding]) -> dict[Key, Finding]:
    return {(f.reason.text, f.place, f.about): f for f in findings if f.grade is not Grade.NOTE}


def _came(finding: Finding, now: float, about: Ref) -> Event:
    return Event(
        type=EventType.WARNING,
        reason=finding.reason.text,
        about=finding.about or about,
        message=f"{finding.message}: {finding.fix.words}",
        first=now,
        last=now,
    )


def _went(finding: Finding, now: float, about: Ref) -> Event:
    return Event(
        type=EventType.NORMAL,
        reason=GONE,
        about=finding.about or about,
        message=f"this is over: {finding.message}",
        first=now,
        last=now,
    )


def finding_counts(findings: Iterable[Finding]) -> Mapping[tuple[str, str, str], int]:
    """(Reason, grade, certainty) -> how many: for a gauge with these labels, which are few whatever is found."""
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for finding in findings:
        counts[finding.reason.text, finding.grade.value, finding.certainty.value] += 1
    return dict(sorted(counts.items()))


def status_lines(findings: Iterable[Finding]) -> tuple[str, ...]:
    """One line for each that matters, as `windrow status` has them."""
    return tuple(str(finding) for finding in findings if finding.grade is not Grade.NOTE)
