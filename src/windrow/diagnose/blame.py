"""The smallest set of places whose failure explains what failed, and contradicts nothing that passed.

A place explains the pairs of NICs whose frames go through it: a NIC's port (both ways, or one), a switch, the link
between two switches, or the whole network. It is innocent as soon as one frame came through. The greedy choice of the
place that explains most is within a factor of ln(n) of the best (Chvátal 1979); with one or two faults it is the best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from enum import IntEnum

from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass

Way = tuple[Leg, Leg]
"""Sender and receiver."""


class Scope(IntEnum):
    """In the order in which equals are preferred: what is more usual first."""

    PORT = 0
    OUT = 1
    """What the host sends does not come in at the switch."""
    IN = 2
    """What the switch sends does not come out at the host."""
    LINK = 3
    SWITCH = 4
    EVERYWHERE = 5


@dataclass(frozen=True, slots=True, order=True)
class Culprit:
    """`legs`: one for a port; for a switch those on it. `switches`: one, or the two of a link."""

    scope: Scope
    legs: tuple[Leg, ...] = ()
    switches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`instead`: places of which any one would explain the same; nothing tells which of them it is."""

    culprit: Culprit
    instead: tuple[Culprit, ...] = ()
    ways: frozenset[Way] = frozenset()


def blame(
    failed: Collection[Way], passed: Collection[Way], switch_of: Callable[[Leg], str], *, directed: bool = True
) -> tuple[Verdict, ...]:
    """`directed`: whether one way alone may fail. A switch is known by its name, empty where it is not known."""
    if not failed:
        return ()
    places = _places(failed, switch_of, directed=directed)
    innocent = {place for way in passed for place in _on(way, switch_of)}
    explains: dict[Culprit, set[Way]] = defaultdict(set)
    for way in failed:
        for place in places(way):
            if _key(place) not in innocent:
                explains[place].add(way)
    return tuple(_chosen(set(failed), explains))


def _chosen(left: set[Way], explains: dict[Culprit, set[Way]]) -> Iterable[Verdict]:
    while left:
        scores = {place: len(ways & left) for place, ways in explains.items()}
        best = max(scores.values(), default=0)
        if not best:
            return  # each place has let something through: a fault that comes and goes
        equals = sorted(place for place, score in scores.items() if score == best)
        first = equals[0]
        ways = explains[first] & left
        instead = tuple(place for place in equals[1:] if explains[place] & left == ways)
        yield Verdict(culprit=first, instead=instead, ways=frozenset(ways))
        left = left - ways


def _places(
    failed: Collection[Way], switch_of: Callable[[Leg], str], *, directed: bool
) -> Callable[[Way], Iterable[Culprit]]:
    on: dict[str, set[Leg]] = defaultdict(set)
    for way in failed:
        for leg in way:
            on[switch_of(leg)].add(leg)

    def places(way: Way) -> Iterable[Culprit]:
        sender, receiver = way
        yield Culprit(Scope.PORT, (sender,))
        yield Culprit(Scope.PORT, (receiver,))
        if directed:
            yield Culprit(Scope.OUT, (sender,))
            yield Culprit(Scope.IN, (receiver,))
        a, b = switch_of(sender), switch_of(receiver)
        if a and b and a != b:
            yield Culprit(Scope.LINK, (), tuple(sorted((a, b))))
        for switch in {a, b} - {""}:
            yield Culprit(Scope.SWITCH, tuple(sorted(on[switch])), (switch,))
        yield Culprit(Scope.EVERYWHERE)

    return places


def _on(way: Way, switch_of: Callable[[Leg], str]) -> Iterable[tuple[object, ...]]:
    """The keys of the places that a frame came through. A switch that passed one frame from one port to another, or to
    another switch, does its work."""
    sender, receiver = way
    yield (Scope.PORT, sender)
    yield (Scope.PORT, receiver)
    yield (Scope.OUT, sender)
    yield (Scope.IN, receiver)
    a, b = switch_of(sender), switch_of(receiver)
    if a and b and a != b:
        yield (Scope.LINK, *sorted((a, b)))
    yield (Scope.SWITCH, a)
    yield (Scope.SWITCH, b)
    yield (Scope.EVERYWHERE,)


def _key(place: Culprit) -> tuple[object, ...]:
    match place.scope:
        case Scope.PORT | Scope.OUT | Scope.IN:
            return (place.scope, place.legs[0])
        case Scope.LINK:
            return (place.scope, *place.switches)
        case Scope.SWITCH:
            return (place.scope, place.switches[0])
        case _:
            return (place.scope,)
