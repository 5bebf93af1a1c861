"""What passes, and badly: long frames, broadcasts, a share of the frames, frames that come twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from windrow.diagnose.blame import Culprit, Ground, Scope, blame
from windrow.diagnose.matrix import End, Matrix
from windrow.diagnose.situation import Pair, Situation
from windrow.model.evidence import Heard, Leg
from windrow.model.findings import Certainty, Finding, Fix, Reason
from windrow.model.lazy import dataclass

LOST_SHARE, LOST_LEAST = 0.02, 5
"""From which share of the probes through a place, and how many, it counts as lossy: one that was lost is chance."""
UNICASTS_LEAST = 2
"""So many have to come to one MAC before it means something that none to everybody did."""

Places = tuple[Culprit, ...]
"""One, or several of which it is one and nothing tells which."""


def path_findings(situation: Situation, matrix: Matrix, convicted: frozenset[tuple[str, ...]]) -> Iterator[Finding]:
    """`convicted`: as for `vlan_causes`."""
    heard = {
        pair: found for pair, found in situation.heard.items() if pair[0] in matrix.end_of and pair[1] in matrix.end_of
    }
    heard = _by_end(heard, matrix.end_of)
    paths = _Paths(situation=situation, matrix=matrix, heard=heard, convicted=convicted)
    unheard = paths.without_broadcasts()
    yield from paths.broadcasts(unheard)
    others = replace(paths, heard={pair: found for pair, found in heard.items() if pair not in unheard})
    yield from others.long_frames()
    yield from others.losses()
    yield from _loops(situation, matrix, heard)


def _by_end(heard: Mapping[Pair, list[Heard]], end_of: Mapping[Leg, End]) -> dict[Pair, list[Heard]]:
    """What came to several NICs of one channel, as if it had come to the one to which most did: the switch chooses by
    both addresses of a frame (IEEE 802.1AX §6.2.4), so that a sender's broadcasts and unicasts may come on two, and
    neither of them has all that was sent."""
    found: dict[Pair, list[Heard]] = defaultdict(list)
    spread: dict[tuple[Leg, End, int, int], list[tuple[Leg, Heard]]] = defaultdict(list)
    for (a, b), rows in heard.items():
        if len(end_of[b]) == 1:
            found[a, b] += rows
            continue
        for row in rows:
            spread[a, end_of[b], row.vid, row.sweep].append((b, row))
    for (a, *_), came in spread.items():
        leg, most = max(came, key=lambda one: (one[1].broadcast, one[1].count))
        found[a, leg].append(most if len(came) == 1 else _together(most, [row for _, row in came]))
    return found


def _together(one: Heard, rows: list[Heard]) -> Heard:
    return replace(
        one,
        sent=max(row.sent for row in rows),
        count=sum(row.count for row in rows),
        broadcast=sum(row.broadcast for row in rows),
        unicast=sum(row.unicast for row in rows),
        duplicates=sum(row.duplicates for row in rows),
        largest=max(row.largest for row in rows),
        largest_sent=max(row.largest_sent for row in rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paths:
    situation: Situation
    matrix: Matrix
    heard: Mapping[Pair, list[Heard]]
    convicted: frozenset[tuple[str, ...]]

    def ground(self) -> Ground:
        switches = {leg: self.situation.switch(leg) for leg in self.matrix.end_of}
        return Ground(switches=switches, ends=self.matrix.end_of, convicted=self.convicted)

    def long_frames(self) -> Iterator[Finding]:
        tried = {pair: [h for h in found if h.largest_sent > 0] for pair, found in self.heard.items()}
        bad = {pair for pair, found in tried.items() if found and all(h.largest < h.largest_sent for h in found)}
        longest = max((h.largest_sent for pair in bad for h in tried[pair]), default=0)
        for places in self.blamed(bad, {pair for pair, found in tried.items() if found} - bad):
            where = self.named(places)
            yield self.found(
                Reason.MTU_TOO_SMALL,
                places,
                f"frames of {longest} bytes do not pass {where}, shorter ones do",
                f"raise the MTU of {where} to what the system takes for jumbo frames (at least {longest})",
                f"probes of {longest} bytes were lost, short ones came through",
            )

    def without_broadcasts(self) -> set[Pair]:
        return {
            pair
            for pair, found in self.heard.items()
            if not sum(h.broadcast for h in found) and sum(h.unicast for h in found) >= UNICASTS_LEAST
        }

    def broadcasts(self, bad: set[Pair]) -> Iterator[Finding]:
        good = {pair for pair, found in self.heard.items() if sum(h.broadcast for h in found)}
        for places in self.blamed(bad, good):
            where = self.named(places)
            yield self.found(
                Reason.BROADCAST_FILTERED,
                places,
                f"broadcasts do not pass {where}: no ARP, and no DHCP",
                f"look at {where} for storm control or a filter of broadcasts",
                "probes: those to everybody did not come, those to one MAC did",
            )

    def blamed(self, bad: Iterable[Pair], good: Iterable[Pair]) -> Iterator[Places]:
        verdicts = blame([(a, (b,)) for a, b in sorted(bad)], good, self.ground()).verdicts
        for verdict in verdicts:
            same = verdict.culprit.scope
            yield (verdict.culprit, *(place for place in verdict.instead if place.scope is same))

    def losses(self) -> Iterator[Finding]:
        """Each frame that is lost is put to each place on its way; the place with the most is taken, and its ways are
        done with."""
        counts = {pair: _lost(found) for pair, found in self.heard.items()}
        ground = self.ground()
        while True:
            sums: dict[Culprit, list[int]] = defaultdict(lambda: [0, 0])
            for (a, b), (lost, sent) in counts.items():
                for place in {_both(place) for place in ground.through((a, (b,)))}:
                    sums[place][0] += lost
                    sums[place][1] += sent
            bad = {p: lost for p, (lost, sent) in sums.items() if lost >= LOST_LEAST and lost >= LOST_SHARE * sent}
            if not bad:
                return
            best = _narrowest(bad)
            equals = sorted(p for p, lost in bad.items() if p.scope is best.scope and lost == bad[best])
            lost, sent = sums[best]
            where = self.named(tuple(equals))
            yield self.found(
                Reason.FRAMES_LOST,
                tuple(equals),
                f"{where} loses a share of the frames",
                f"look at the error counters of {where}, and at cable and transceiver",
                f"probes: {lost} of {sent} were lost on the ways through it",
            )
            counts = {(a, b): n for (a, b), n in counts.items() if not _goes_through((a, b), equals, ground)}

    def named(self, places: Places) -> str:
        return " or ".join(map(self._named, places))

    def _named(self, place: Culprit) -> str:
        match place.scope:
            case Scope.PORT | Scope.OUT | Scope.IN | Scope.CHANNEL:
                return self.situation.place(*place.legs)
            case Scope.LINK:
                return f"the link between {' and '.join(place.switches)}"
            case Scope.UPLINK:
                return f"the links of {place.switches[0]} to other switches"
            case Scope.SWITCH:
                return place.switches[0]
            case Scope.EVERYWHERE:
                return "the switches"

    def found(self, reason: Reason, places: Places, message: str, fix: str, evidence: str) -> Finding:
        legs = tuple(dict.fromkeys(leg for place in places for leg in place.legs))
        on = {name for place in places for name in place.switches}
        about = legs or tuple(leg for leg in self.matrix.end_of if not on or self.situation.switch(leg) in on)
        found = self.situation.found(reason, about, message, fix, evidence)
        unsure = len(places) > 1
        return replace(
            found,
            place=self.named(places),
            switches=places[0].switches,
            fix=found.fix if legs else Fix(words=fix),
            certainty=Certainty.UNKNOWN if unsure else Certainty.LIKELY,
            lacks="a third node" if unsure else "",
        )


def _lost(found: Iterable[Heard]) -> tuple[int, int]:
    pairs = [(h.sent, min(h.count, h.sent)) for h in found if h.sent > 0]
    sent = sum(sent for sent, _ in pairs)
    return sent - sum(came for _, came in pairs), sent


def _both(place: Culprit) -> Culprit:
    """A loss is put to the port as a whole."""
    return Culprit(Scope.PORT, place.legs) if place.scope in (Scope.OUT, Scope.IN) else place


def _narrowest(lost: Mapping[Culprit, int]) -> Culprit:
    """The narrowest place that has nearly all of what the widest has."""
    most = max(lost.values())
    return min(
        (place for place, n in lost.items() if n >= 0.8 * most), key=lambda place: (place.scope, -lost[place], place)
    )


def _goes_through(pair: Pair, places: Iterable[Culprit], ground: Ground) -> bool:
    through = {_both(place) for place in ground.through((pair[0], (pair[1],)))}
    return any(place in through for place in places)


def _loops(situation: Situation, matrix: Matrix, heard: Mapping[Pair, list[Heard]]) -> Iterator[Finding]:
    twice: dict[Leg, int] = defaultdict(int)
    for (_, receiver), probes in heard.items():
        twice[receiver] += sum(1 for h in probes if h.duplicates > 0)
    own = sorted(a for a, b in situation.passed if a == b and a in matrix.end_of)
    doubled = sorted(leg for leg, n in twice.items() if n)
    if own or doubled:
        names = sorted({situation.switch(leg) for leg in (*own, *doubled)} - {""})
        place = " and ".join(names) or "the switches"
        evidence = [
            *([f"probes: what was sent once came several times on {len(doubled)} NICs"] if doubled else []),
            *([f"probes: what {own[0]} sent came back to it"] if own else []),
        ]
        found = situation.found(
            Reason.LOOP,
            tuple(dict.fromkeys((*own, *doubled))),
            f"frames go round in a loop on {place}",
            f"find the second way between two ports of {place}, and let spanning tree block it",
            *evidence,
        )
        certainty = Certainty.SURE if own and doubled else Certainty.LIKELY
        yield replace(found, place=place, switches=tuple(names), certainty=certainty, fix=Fix(words=found.fix.words))
