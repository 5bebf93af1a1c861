"""Findings over time: conditions on the objects, events of what came and went, lines of `status`, numbers to count.

An object has one condition `OutsideFaulty`: true while something outside is wrong with it. A note is none, and what is
not certain is not known (`None`): nobody is woken for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from windrow.model.agentstatus import OutsideFault
from windrow.model.events import Condition, Event, EventType
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.lazy import dataclass
from windrow.model.values import Ref

OUTSIDE = "OutsideFaulty"
"""The condition's type. Like all of Windrow's own it is true when something is wrong."""
WELL = "NothingFound"
GONE = "FaultGone"
NOT_PROBED = "NotProbed"
SHOWN = 3
"""So many findings are told in a condition's message; the others are counted."""

Key = tuple[str, str, Ref | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What one node's probes found. `objects`: those that were looked at, whether anything is wrong with them or not;
    `unknown`: why nothing is known now, and then nothing is said of the findings of before."""

    findings: tuple[Finding, ...] = ()
    objects: tuple[Ref, ...] = ()
    unknown: str = ""

    def after(self, before: Outside) -> Outside:
        """With what was known before, where nothing is known now."""
        if not self.unknown:
            return self
        return Outside(findings=before.findings, objects=before.objects, unknown=self.unknown)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        found = outside_conditions(self.findings, self.objects)
        if not self.unknown:
            return found
        return tuple(
            Condition(about=one.about, type=OUTSIDE, status=None, reason=NOT_PROBED, message=self.unknown)
            for one in found
        )


def concerning(findings: Iterable[Finding], node: str) -> tuple[Finding, ...]:
    """Those of the node's own NICs, and those of no NIC: the others are told by the nodes whose they are. What is about
    no object is about the node."""
    own = (f for f in findings if not f.legs or any(leg.node == node for leg in f.legs))
    return tuple(f if f.about is not None else replace(f, about=Ref("Node", node)) for f in own)


def standing(before: Iterable[Finding], now: Iterable[Finding]) -> tuple[Finding, ...]:
    """What may be told of `now` where the reports of the nodes are of different moments: all that is sure, and what the
    look `before` found, too. While a fault comes, one has seen it and another has not, as if it were another fault."""
    known = {_key(f) for f in before}
    return tuple(f for f in now if f.certainty is Certainty.SURE or _key(f) in known)


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
    return {_key(f): f for f in findings if _wakes(f)}


def _key(finding: Finding) -> Key:
    return finding.reason.text, finding.place, finding.about


def _wakes(finding: Finding) -> bool:
    return finding.grade is not Grade.NOTE and finding.certainty is not Certainty.UNKNOWN


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


def outside_faults(
    before: Iterable[OutsideFault], outside: Outside, now: float, about: Ref
) -> tuple[OutsideFault, ...]:
    """One for each that matters, as `windrow status` has them, the worst first. `about`: as for events. Where nothing
    is known now they are still shown, and said to be of before."""
    of_before = ", when it was last probed" if outside.unknown else ""
    since = {(f.reason, f.place, f.about): f.since for f in before}
    return tuple(
        OutsideFault(
            about=finding.about or about,
            reason=finding.reason.text,
            place=finding.place,
            message=f"{finding.message} ({finding.certainty}{of_before})",
            hint=finding.fix.words,
            grave=finding.grade is Grade.ERROR,
            since=since.get((finding.reason.text, finding.place, finding.about or about), now),
        )
        for finding in outside.findings
        if _wakes(finding)
    )
