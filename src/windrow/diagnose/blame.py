"""The smallest set of places whose failure explains what failed, and contradicts nothing that passed.

A place explains the ways that lead through it: a NIC's port (both directions, or one), a channel, the link between two
switches, all links of a switch, a switch, or the whole network. It is acquitted as soon as one frame came through.
Where more fails between two ends than a place can be the reason of, that is no reason to blame it, though it may
explain a part. The greedy choice of the place that explains most is within a factor of ln(n) of the best (Chvátal
1979); with one or two faults it is the best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum

from windrow.diagnose.matrix import End, Way
from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass


class Scope(IntEnum):
    """In the order in which equals are preferred: what is more usual first."""

    PORT = 0
    CHANNEL = 1
    OUT = 2
    """What the host sends does not come in at the switch."""
    IN = 3
    """What the switch sends does not come out at the host."""
    LINK = 4
    UPLINK = 5
    """All links of one switch."""
    SWITCH = 6
    EVERYWHERE = 7


@dataclass(frozen=True, slots=True, order=True)
class Culprit:
    """`legs`: one for a port, several for a channel, and for a switch without a name; `switches`: one, or the two of a
    link."""

    scope: Scope
    legs: tuple[Leg, ...] = ()
    switches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`instead`: places of which any one would explain the same; nothing tells which of them it is."""

    culprit: Culprit
    instead: tuple[Culprit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blamed:
    """`left`: ways that no place explains: each of them has let something through."""

    verdicts: tuple[Verdict, ...] = ()
    left: frozenset[Way] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is known of where NICs are plugged in. `switches`: leg -> the name of its switch. `ends`: leg -> its end.

    `suspects` are ports that other evidence speaks against, `cleared` those for which it speaks."""

    switches: Mapping[Leg, str]
    ends: Mapping[Leg, End]
    suspects: frozenset[Leg] = frozenset()
    cleared: frozenset[Leg] = frozenset()
    convicted: frozenset[tuple[str, ...]] = frozenset()
    """Switches, and pairs for the links between them, that are known to be at fault from another cluster network."""

    def suspected(self, place: Culprit) -> bool:
        """All ports of a switch, of several nodes, are not at fault one by one: the switch is."""
        if place.scope is Scope.SWITCH:
            legs = [leg for leg, switch in self.switches.items() if switch == place.switches[0]]
            return len({leg.node for leg in legs}) > 1 and self.suspects.issuperset(legs)
        return place.scope in (Scope.PORT, Scope.CHANNEL) and self.suspects.issuperset(place.legs)

    def doubt(self, place: Culprit) -> int:
        """Of places that explain as much the one with the least is taken."""
        if self.suspected(place) or place.switches in self.convicted:
            return -1
        return int(place.scope is Scope.PORT and place.legs[0] in self.cleared)

    def through(self, way: Way) -> Iterator[Culprit]:
        """The places that a frame goes through, or may: at a channel nobody knows by which member."""
        sender, end = way
        yield from self._host(sender, (sender,), Scope.OUT)
        for leg in end:
            yield from self._host(leg, end, Scope.IN)
        here, there = self.switches.get(sender, ""), self._switch(end)
        if here and there and here != there:
            yield Culprit(Scope.LINK, (), tuple(sorted((here, there))))
            yield Culprit(Scope.UPLINK, (), (here,))
            yield Culprit(Scope.UPLINK, (), (there,))
        for switch in {here, there} - {""}:
            yield Culprit(Scope.SWITCH, (), (switch,))
        yield Culprit(Scope.EVERYWHERE)

    def acquitted(self, arrived: Iterable[tuple[Leg, Leg]]) -> set[Culprit]:
        """The places that something came through. Of many pairs the same few places: they are made once each."""
        pairs = set(arrived)
        senders, receivers = {a for a, _ in pairs}, {b for _, b in pairs}
        found = {place for leg in senders for place in self._host(leg, (leg,), Scope.OUT)}
        found |= {place for leg in receivers for place in self._host(leg, (leg,), Scope.IN)}
        one = {(self.switches.get(a, ""), self.switches.get(b, "")): (a, (b,)) for a, b in pairs}
        return found | {place for way in one.values() for place in self.through(way)}

    def _host(self, leg: Leg, end: End, direction: Scope) -> Iterator[Culprit]:
        yield Culprit(Scope.PORT, (leg,))
        yield Culprit(direction, (leg,))
        channel = end if len(end) > 1 else self.ends.get(leg, ())
        if len(channel) > 1:
            yield Culprit(Scope.CHANNEL, channel)

    def _switch(self, end: End) -> str:
        """Empty where the end is on two: then nobody knows over which the frame would come."""
        names = {self.switches.get(leg, "") for leg in end}
        return names.pop() if len(names) == 1 else ""


def blame(failed: Iterable[Way], arrived: Iterable[tuple[Leg, Leg]], ground: Ground) -> Blamed:
    """`arrived`: sender and receiver of whatever came through."""
    acquitted = ground.acquitted(arrived)
    explains: dict[Culprit, set[Way]] = defaultdict(set)
    speaks: dict[Culprit, set[Way]] = defaultdict(set)
    ways = frozenset(failed)
    for way in ways:
        for place in ground.through(way):
            if place not in acquitted and _may_be(place, acquitted):
                explains[place].add(way)
                if not _fails_beyond(place, way, ways, ground):
                    speaks[place].add(way)
    verdicts, left = [], set(ways)
    while verdict := _next(left, explains, speaks, ground):
        verdicts.append(verdict)
        left -= explains[verdict.culprit]
    return Blamed(verdicts=tuple(verdicts), left=frozenset(left))


def _may_be(place: Culprit, acquitted: set[Culprit]) -> bool:
    """Of a port that fails in one direction something is known to pass in the other one."""
    other = {Scope.OUT: Scope.IN, Scope.IN: Scope.OUT}.get(place.scope)
    return other is None or Culprit(other, place.legs) in acquitted


def _fails_beyond(place: Culprit, way: Way, failed: frozenset[Way], ground: Ground) -> bool:
    """Whether more fails between these two ends than this place can be the reason of: the other direction, or what
    another member of the channel sends, which does not go through this one."""
    if place.scope not in (Scope.PORT, Scope.OUT, Scope.IN):
        return False
    sender, end = way
    leg, here = place.legs[0], ground.ends.get(sender, (sender,))
    if leg == sender:
        return place.scope is Scope.OUT and any((other, here) in failed for other in end)
    others = any((other, here) in failed for other in end if other != leg)
    return others or (place.scope is Scope.IN and (leg, here) in failed)


def _next(
    left: set[Way], explains: Mapping[Culprit, set[Way]], speaks: Mapping[Culprit, set[Way]], ground: Ground
) -> Verdict | None:
    scores = {place: len(ways & left) for place, ways in speaks.items()}
    against = {place: score for place, score in scores.items() if score and ground.suspected(place)}
    best = max((against or scores).values(), default=0)
    if not best:
        return None
    equals = sorted(
        (place for place, score in scores.items() if score == best),
        key=lambda place: (ground.doubt(place), place),
    )
    first = equals[0]
    ways = explains[first] & left
    instead = () if ground.doubt(first) < 0 else tuple(p for p in equals[1:] if explains[p] & left == ways)
    return Verdict(culprit=first, instead=instead)
