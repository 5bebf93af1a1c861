"""Members of a static channel on which nothing comes in, though the switch goes on sending there.

A switch gives each flow to one member of a channel: what a sender sends to everybody to one, what it sends to one NIC
to that or to another (IEEE 802.1AX §6.2.4). Where a member is dead in this direction and no protocol says so, whole
flows are missing: broadcasts of one sender, unicasts of another, all of a third. Each by itself looks like a filter of
broadcasts, like loss, like a fault of the sender. The member on which nothing comes in at all explains every one. Where
it is the broadcasts of all senders, nothing tells it from a filter, and that is what is found, as not certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from windrow.diagnose.matrix import End, Matrix, Way
from windrow.diagnose.probes import Tally
from windrow.diagnose.situation import Situation, agreed
from windrow.model.evidence import Leg
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.lazy import dataclass
from windrow.render.text import plural
from windrow.switches.wanted import Channel

FRAMES_LEAST, BROADCASTS = 5, 3
"""So many frames have to be missing, in whole flows; in each VLAN so many of a sender go to everybody, one to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missing:
    """In how many VLANs, of all senders together, the broadcasts of a flow did not come to a channel, and in how many
    the unicasts did not. `senders`: whose they are."""

    broadcasts: int
    unicasts: int
    senders: frozenset[Leg]

    @property
    def is_more_than_chance(self) -> bool:
        return BROADCASTS * self.broadcasts + self.unicasts >= FRAMES_LEAST


def deaf_members(situation: Situation, matrix: Matrix) -> Iterator[Finding]:
    """Of channels without LACP; with it, its states tell."""
    for end in dict.fromkeys(matrix.end_of.values()):
        if len(end) > 1 and matrix.wanted[end[0]].channel is Channel.STATIC:
            deaf = without_arrivals(situation, end)
            missing = _missing(situation, matrix, end) if deaf else None
            if missing is not None and missing.is_more_than_chance:
                yield _finding(situation, matrix, deaf, missing)


def without_arrivals(situation: Situation, end: End) -> tuple[Leg, ...]:
    """The members on which nothing of other nodes comes in, where on others something does. One that is not heard
    either is no case of one direction."""
    receiving = {b for a, b in situation.passed if a.node != b.node}
    heard = {a for a, b in situation.passed if a.node != b.node}
    if receiving.isdisjoint(end):
        return ()
    return tuple(leg for leg in end if leg not in receiving and (leg in heard or not situation.probed(leg)))


def _missing(situation: Situation, matrix: Matrix, end: End) -> _Missing | None:
    """None: not one broadcast comes to this channel, which is a filter sooner than a choice of the switch."""
    ways = {way: situation.probes.along(*way) for way in matrix.asked if way[1] == end}
    if not any(tally.broadcasts for tally in ways.values()):
        return None
    broadcasts = unicasts = 0
    senders: set[Leg] = set()
    for way, tally in ways.items():
        none, no_unicast = _without_broadcasts(matrix, way, tally), _without_unicasts(tally)
        broadcasts += none
        unicasts += no_unicast
        senders |= {way[0]} if none or no_unicast else set()
    return _Missing(broadcasts=broadcasts, unicasts=unicasts, senders=frozenset(senders))


def _without_broadcasts(matrix: Matrix, way: Way, tally: Tally) -> int:
    """In all VLANs or in none: a member is dead to all."""
    if tally.broadcasts or (not tally.bits and not _is_lost_here_alone(matrix, way)):
        return 0
    return matrix.asked[way].bit_count()


def _is_lost_here_alone(matrix: Matrix, way: Way) -> bool:
    """Of a sender nothing comes to this channel: it is the channel's doing where all others hear the sender, and its
    own end hears this channel. One VLAN alone may be missing on a link between them."""
    sender, end = way
    elsewhere = [one for one in matrix.asked if one != way and one[0] == sender]
    back = [one for one in matrix.asked if _leads(matrix, one, end, sender)]
    third = {leg.node for leg in matrix.senders} - {sender.node, end[0].node}
    if matrix.asked[way].bit_count() < 2 or not back or (third and not elsewhere):
        return False
    return all(matrix.came[one] for one in (*elsewhere, *back))


def _leads(matrix: Matrix, way: Way, end: End, to: Leg) -> bool:
    """From a member of `end` to the end of `to`."""
    return way[0] in end and way[1] == matrix.end_of[to]


def _without_unicasts(tally: Tally) -> int:
    """A flow is missing whole where in most VLANs one frame is missing, and no unicast came in any: of a share that is
    lost at random as many of the broadcasts would be among them."""
    count = tally.no_unicast.bit_count()
    whole = not tally.unicasts and tally.lost <= count + tally.no_broadcast.bit_count()
    return count if whole and 2 * count > tally.bits.bit_count() else 0


def _finding(situation: Situation, matrix: Matrix, deaf: tuple[Leg, ...], missing: _Missing) -> Finding:
    one = len(deaf) == 1
    place = situation.place(*deaf) if one else " or ".join(map(situation.place, deaf))
    names = " or ".join(map(str, deaf))
    others = [leg for leg in matrix.end_of[deaf[0]] if leg not in deaf]
    both = ": others hear it, and it hears nobody" if one and situation.probed(deaf[0]) else ""
    found = situation.found(
        Reason.ONE_WAY,
        deaf,
        f"{place} sends nothing to {names} in any VLAN{both}",
        f"look at {place} for an access list, port security, storm control; and at the cable of {names}: one of its "
        "two directions may be broken",
        f"probes: what the switch sends to the channel comes in on {' and '.join(map(str, others))} alone, and of "
        f"{plural(len(missing.senders), 'sender')} {agreed(len(missing.senders), 'a part is', 'parts are')} missing",
    )
    few = len({leg.node for leg in matrix.senders}) < 3
    lacks = [
        *(["which of them the switch chooses for what is missing"] if not one else []),
        *([f"a third node: it may be {situation.place(*sorted(missing.senders))} as well"] if few else []),
    ]
    certainty = Certainty.UNKNOWN if lacks else Certainty.LIKELY
    return replace(found, place=place, certainty=certainty, lacks=", ".join(lacks))
