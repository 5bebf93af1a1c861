"""What passes, and badly: long frames, broadcasts, a share of the frames, frames that come twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from windrow.diagnose.blame import Culprit, Ground, Scope, blame
from windrow.diagnose.deaf import without_arrivals
from windrow.diagnose.matrix import Matrix
from windrow.diagnose.probes import Pair, Tally
from windrow.diagnose.situation import Situation
from windrow.diagnose.vlans import BETWEEN, SWITCHES
from windrow.model.findings import Certainty, Finding, Fix, Reason
from windrow.model.lazy import dataclass

LOST_SHARE, LOST_LEAST = 0.02, 5
"""From which share of the probes through a place, and how many, it counts as lossy: one that was lost is chance."""
UNICASTS_LEAST = 2
"""So many have to come to one MAC before it means something that none to everybody did."""
DEAD = frozenset({Reason.ONE_WAY, Reason.NOTHING_PASSES, Reason.VLAN_MISSING})
"""Nothing passes such a port, in the VLANs of the finding. Ports that are merely apart from some others are none."""

Places = tuple[Culprit, ...]
"""One, or several of which it is one and nothing tells which."""


def path_findings(
    situation: Situation, matrix: Matrix, convicted: frozenset[tuple[str, ...]], ports: Sequence[Finding]
) -> Iterator[Finding]:
    """`convicted`: as for `vlan_causes`. `ports`: what is known of ports already. What a switch chooses such a member
    of a channel for is lost, and which frames these are follows from nothing else."""
    at_fault = frozenset(leg for f in ports for leg in f.legs)
    dead = (f for f in ports if f.reason in DEAD)
    cut = frozenset(leg for f in dead for leg in f.legs if not f.vids or not matrix.tested(leg) - f.vids)
    tallies = {
        pair: situation.probes.along(pair[0], matrix.end_of[pair[1]])
        for pair, tally in situation.probes.tallies.items()
        if tally.bits and pair[0].node != pair[1].node and pair[0] in matrix.end_of and pair[1] in matrix.end_of
        if pair[0] not in cut and cut.isdisjoint(matrix.end_of[pair[1]])
    }
    paths = _Paths(situation=situation, matrix=matrix, tallies=tallies, convicted=convicted)
    unheard = {pair for pair, t in tallies.items() if not t.broadcasts and t.unicasts >= UNICASTS_LEAST}
    yield from paths.broadcasts(unheard)
    others = replace(paths, tallies={pair: tally for pair, tally in tallies.items() if pair not in unheard})
    yield from others.long_frames()
    whole = {
        pair: tally
        for pair, tally in others.tallies.items()
        if len(matrix.end_of[pair[1]]) == 1 or at_fault.isdisjoint(matrix.end_of[pair[1]])
    }
    yield from replace(paths, tallies=whole).losses()
    yield from _loops(situation, matrix, tallies)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paths:
    situation: Situation
    matrix: Matrix
    tallies: Mapping[Pair, Tally]
    convicted: frozenset[tuple[str, ...]]

    def ground(self) -> Ground:
        switches = {leg: self.situation.switch(leg) for leg in self.matrix.end_of}
        return Ground(switches=switches, ends=self.matrix.end_of, convicted=self.convicted)

    def long_frames(self) -> Iterator[Finding]:
        # A way that loses short frames, too, loses long ones by chance.
        tried = {pair: t for pair, t in self.tallies.items() if t.large_failed and not t.lost}
        bad = {pair: t.large_failed for pair, t in tried.items() if not t.large_passed}
        longest = max(bad.values(), default=0)
        for places in self.blamed(bad, [pair for pair, t in self.tallies.items() if t.large_passed]):
            where = self.named(places)
            yield self.found(
                Reason.MTU_TOO_SMALL,
                places,
                f"frames of {longest} bytes do not pass {where}, shorter ones do",
                f"raise the MTU of {where} to what the system takes for jumbo frames (at least {longest})",
                f"probes of {longest} bytes were lost, short ones came through",
            )

    def broadcasts(self, bad: set[Pair]) -> Iterator[Finding]:
        for places in self.blamed(bad, (pair for pair, t in self.tallies.items() if t.broadcasts)):
            where = self.named(places)
            found = self.found(
                Reason.BROADCAST_FILTERED,
                places,
                f"broadcasts do not pass {where}: no ARP, and no DHCP",
                f"look at {where} for storm control or a filter of broadcasts",
                "probes: those to everybody did not come, those to one MAC did",
            )
            yield self._or_dead_member(found)

    def _or_dead_member(self, found: Finding) -> Finding:
        """The switch may have chosen a member that is dead for all that is sent to everybody."""
        ends = dict.fromkeys(self.matrix.end_of[leg] for leg in found.legs)
        dead = [leg for end in ends if len(end) > 1 for leg in without_arrivals(self.situation, end)]
        if not dead:
            return found
        names, places = " and ".join(map(str, dead)), " and ".join(map(self.situation.place, dead))
        lacks = f"whether {places} sends anything to {names}: nothing arrived there, and that alone may be the fault"
        return replace(found, certainty=Certainty.UNKNOWN, lacks=lacks)

    def blamed(self, bad: Collection[Pair], good: Iterable[Pair]) -> Iterator[Places]:
        if not bad:
            return
        found = blame([(a, (b,)) for a, b in sorted(bad)], good, self.ground())
        for verdict in found.verdicts:
            same = verdict.culprit.scope
            yield (verdict.culprit, *(place for place in verdict.instead if place.scope is same))
        if found.left and not found.verdicts:
            yield (Culprit(Scope.LINK),)

    def losses(self) -> Iterator[Finding]:
        """Each frame that is lost is put to each place on its way; the place with the most is taken, and its ways are
        done with."""
        counts = {pair: (tally.lost, tally.sent) for pair, tally in self.tallies.items()}
        ground = self.ground()
        while sum(lost for lost, _ in counts.values()) >= LOST_LEAST:
            sums: dict[Culprit, list[int]] = defaultdict(lambda: [0, 0])
            for (a, b), (lost, sent) in counts.items():
                for place in {_both(place) for place in ground.through((a, (b,)))}:
                    sums[place][0] += lost
                    sums[place][1] += sent
            bad = {p: lost for p, (lost, sent) in sums.items() if lost >= LOST_LEAST and lost >= LOST_SHARE * sent}
            bad = {place: lost for place, lost in bad.items() if not _clean_ways(place, sums[place], counts, ground)}
            if not bad:
                return
            best = _narrowest(bad, self.convicted)
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
            case Scope.LINK if not place.switches:
                return BETWEEN
            case Scope.LINK:
                return f"the link between {' and '.join(place.switches)}"
            case Scope.UPLINK:
                return f"the links of {place.switches[0]} to other switches"
            case Scope.SWITCH:
                return place.switches[0]
            case Scope.EVERYWHERE:
                return SWITCHES

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


def _clean_ways(place: Culprit, total: list[int], counts: Mapping[Pair, tuple[int, int]], ground: Ground) -> bool:
    """Whether a way through it lost nothing where this share of its frames would have been several: it is another."""
    share = total[0] / total[1]
    lossy = {frozenset(pair) for pair, (lost, _) in counts.items() if lost}
    clean = [p for p, (_, sent) in counts.items() if share * sent >= LOST_LEAST and frozenset(p) not in lossy]
    return any(_goes_through(pair, (place,), ground) for pair in clean)


def _both(place: Culprit) -> Culprit:
    """A loss is put to the port as a whole."""
    return Culprit(Scope.PORT, place.legs) if place.scope in (Scope.OUT, Scope.IN) else place


def _narrowest(lost: Mapping[Culprit, int], convicted: frozenset[tuple[str, ...]]) -> Culprit:
    """The narrowest place that has nearly all of what the widest has; or one that another network loses at."""
    most = max(lost.values())
    known = [place for place, n in lost.items() if place.switches in convicted and n >= most / 2]
    if known:
        return min(known)
    return min(
        (place for place, n in lost.items() if n >= 0.8 * most), key=lambda place: (place.scope, -lost[place], place)
    )


def _goes_through(pair: Pair, places: Iterable[Culprit], ground: Ground) -> bool:
    through = {_both(place) for place in ground.through((pair[0], (pair[1],)))}
    return any(place in through for place in places)


def _loops(situation: Situation, matrix: Matrix, tallies: Mapping[Pair, Tally]) -> Iterator[Finding]:
    own = sorted(a for a, b in situation.passed if a == b and a in matrix.end_of)
    doubled = sorted({receiver for (_, receiver), tally in tallies.items() if tally.twice})
    if own or doubled:
        names = sorted({situation.switch(leg) for leg in (*own, *doubled)} - {""})
        place = " and ".join(names) or SWITCHES
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
        yield replace(found, place=place, switches=tuple(names), certainty=certainty)
