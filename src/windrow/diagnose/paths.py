"""What passes, and badly: long frames, broadcasts, a share of the frames, frames that come twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from windrow.diagnose.blame import Culprit, Scope, Way, blame
from windrow.diagnose.bonds import SPREADING
from windrow.diagnose.matrix import Matrix
from windrow.diagnose.situation import Situation
from windrow.model.evidence import Heard, Leg
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.values import VidSet

LOST_SHARE, LOST_LEAST = 0.02, 5
"""From which share of the probes, and how many, a path counts as lossy: one that was lost is chance."""


def path_findings(situation: Situation, matrix: Matrix, spoilt: frozenset[Leg]) -> Iterator[Finding]:
    heard = [
        h
        for h in matrix.heard
        if h.sender.node != h.receiver.node and h.vid == h.arrived and not {h.sender, h.receiver} & spoilt
    ]
    yield from _mtu(situation, heard)
    yield from _broadcasts(situation, heard)
    yield from _losses(situation, heard)
    yield from _twice(situation, matrix, heard)


def _mtu(situation: Situation, heard: list[Heard]) -> Iterator[Finding]:
    tried = [h for h in heard if h.largest_sent]
    longest = max((h.largest_sent for h in tried), default=0)
    yield from _blamed(
        situation,
        [(h.sender, h.receiver) for h in tried if h.largest < h.largest_sent],
        [(h.sender, h.receiver) for h in tried if h.largest >= h.largest_sent],
        "MtuTooSmall",
        Grade.ERROR,
        lambda place: f"frames of {longest} bytes do not pass {place}, shorter ones do",
        lambda place: f"raise the MTU of {place} to what the system takes for jumbo frames (at least {longest})",
        f"probes of {longest} bytes were lost, short ones came through",
    )


def _broadcasts(situation: Situation, heard: list[Heard]) -> Iterator[Finding]:
    tried = [h for h in heard if h.unicast or h.broadcast]
    yield from _blamed(
        situation,
        [(h.sender, h.receiver) for h in tried if h.unicast and not h.broadcast],
        [(h.sender, h.receiver) for h in tried if h.broadcast],
        "BroadcastFiltered",
        Grade.ERROR,
        lambda place: f"broadcasts do not pass {place}: no ARP, and no DHCP",
        lambda place: f"look at {place} for storm control or a filter of broadcasts",
        "of the probes that were sent to everybody none came, of those to one MAC some did",
    )


def _losses(situation: Situation, heard: list[Heard]) -> Iterator[Finding]:
    sent: dict[Way, int] = defaultdict(int)
    came: dict[Way, int] = defaultdict(int)
    for h in heard:
        if h.count:
            sent[h.sender, h.receiver] += h.sent
            came[h.sender, h.receiver] += min(h.count, h.sent)
    bad = [w for w in sent if sent[w] - came[w] >= LOST_LEAST and sent[w] - came[w] >= LOST_SHARE * sent[w]]
    shares = [f"{sent[w] - came[w]} of {sent[w]} probes from {w[0]} to {w[1]} were lost" for w in bad[:3]]
    yield from _blamed(
        situation,
        bad,
        [w for w in sent if w not in bad],
        "FramesLost",
        Grade.WARNING,
        lambda place: f"{place} loses some of the frames",
        lambda place: f"look at the error counters of {place}, and at cable and transceiver",
        "; ".join(shares),
    )


def _twice(situation: Situation, matrix: Matrix, heard: list[Heard]) -> Iterator[Finding]:
    heard = [h for h in heard if matrix.wanted[h.sender].mode not in SPREADING]
    yield from _blamed(
        situation,
        [(h.sender, h.receiver) for h in heard if h.duplicates],
        [(h.sender, h.receiver) for h in heard if not h.duplicates],
        "FramesDoubled",
        Grade.ERROR,
        lambda place: f"frames that pass {place} come twice: a loop, or a channel that only one side knows of",
        lambda place: f"look at {place} for a loop without spanning tree",
        "probes came more often than they were sent",
    )


def _blamed(
    situation: Situation,
    failed: list[Way],
    passed: list[Way],
    reason: str,
    grade: Grade,
    message: Callable[[str], str],
    fix: Callable[[str], str],
    evidence: str,
) -> Iterator[Finding]:
    failed, good = list(dict.fromkeys(failed)), set(passed) - set(failed)
    for verdict in blame(failed, good, situation.switch):
        alternatives = [verdict.culprit, *(p for p in verdict.instead if p.scope is verdict.culprit.scope)]
        places = " or ".join(_place(situation, place) for place in alternatives)
        legs = tuple(dict.fromkeys(leg for place in alternatives for leg in place.legs))
        yield Finding(
            reason=reason,
            grade=grade,
            certainty=Certainty.LIKELY if len(alternatives) == 1 else Certainty.UNKNOWN,
            message=message(places),
            fix=fix(places),
            place=places,
            about=situation.about(legs[0] if legs else failed[0][0]),
            legs=legs,
            vids=VidSet(),
            evidence=(evidence,),
            lacks="" if len(alternatives) == 1 else "a third node",
            ports=legs,
        )


def _place(situation: Situation, culprit: Culprit) -> str:
    match culprit.scope:
        case Scope.PORT | Scope.OUT | Scope.IN:
            return situation.place(culprit.legs[0])
        case Scope.LINK:
            return f"the link between {' and '.join(culprit.switches)}"
        case Scope.SWITCH:
            return culprit.switches[0]
        case _:
            return "the switches"
