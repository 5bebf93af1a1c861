"""What came of all probes, pair by pair: one pass over what may be a million values.

Most of them say that all came, whole and once. So a pass costs little more than reading them, and only what is odd is
kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from windrow.model.evidence import Evidence, Heard, Leg
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX

Pair = tuple[Leg, Leg]
"""Sender and receiver."""


class Tally:
    """From one NIC to another. `bits`: the VLANs in which probes came as they were sent, as a bitmap."""

    __slots__ = (
        "bits",
        "broadcasts",
        "came",
        "large_failed",
        "large_passed",
        "no_broadcast",
        "no_unicast",
        "owed",
        "sent",
        "sweep",
        "twice",
        "unicasts",
    )

    def __init__(self) -> None:
        self.bits = self.sent = self.came = 0
        self.no_broadcast = self.no_unicast = 0
        """Of the VLANs in which less came than was sent: those in which only unicasts did, and those in which only
        broadcasts did, as bitmaps."""
        self.owed = 0
        """How many were sent in the VLANs in which a broadcast came here."""
        self.sweep = 0
        """The sender's latest of which something came."""
        self.broadcasts = self.unicasts = self.twice = 0
        self.large_passed = False
        self.large_failed = 0
        """The longest that did not come, bytes."""

    @property
    def lost(self) -> int:
        return self.sent - self.came

    @classmethod
    def joined(cls, members: Sequence[Tally]) -> Tally:
        """Of all members of a channel: the switch chooses one for each kind of frame (by its two addresses), so a probe
        that one of them did not get has come in on another. What was sent in one VLAN counts once, where its broadcasts
        came."""
        whole = cls()
        heard = single = 0
        for one in members:
            whole.sent += one.owed
            whole.came += one.came
            whole.bits |= one.bits
            whole.no_unicast |= one.no_unicast
            heard |= one.bits & ~one.no_broadcast
            single |= one.no_broadcast
            whole.broadcasts += one.broadcasts
            whole.unicasts += one.unicasts
            whole.twice += one.twice
            whole.large_passed |= one.large_passed
            whole.large_failed = max(whole.large_failed, one.large_failed)
        whole.no_broadcast = whole.bits & ~heard
        whole.no_unicast &= ~single
        whole.owed = whole.sent
        whole.came = min(whole.came, whole.sent)
        return whole

    def take(self, values: Iterable[Heard], turned: list[Heard]) -> None:
        """All of these are of this pair; what arrived in another VLAN goes to `turned`. There may be a million of them,
        so the sums are kept in local names."""
        bits = sent = came = owed = broadcasts = unicasts = 0
        sweep, large_passed = self.sweep, self.large_passed
        for h in values:
            vid, tried, count, large = h.vid, h.sent, h.count, h.largest_sent
            if count <= 0 or not 0 <= vid <= VID_MAX:
                continue
            if vid != h.arrived:
                if 0 <= h.arrived <= VID_MAX:
                    turned.append(h)
                continue
            bits |= 1 << vid
            if h.sweep > sweep:
                sweep = h.sweep
            if h.broadcast:
                broadcasts += h.broadcast
                owed += tried if tried > 0 else 0
            unicasts += h.unicast
            if 0 < tried <= count:
                sent += tried
                came += tried
            elif tried > 0:
                sent += tried
                came += count
                self._note_missing(h)
            if h.duplicates > 0:
                self.twice += 1
            if large > 0:
                if h.largest >= large:
                    large_passed = True
                elif large > self.large_failed:
                    self.large_failed = large
        self.bits |= bits
        self.sent += sent
        self.came += came
        self.owed += owed
        self.broadcasts += broadcasts
        self.unicasts += unicasts
        self.sweep, self.large_passed = sweep, large_passed

    def _note_missing(self, h: Heard) -> None:
        if not h.broadcast:
            self.no_broadcast |= 1 << h.vid
        elif not h.unicast:
            self.no_unicast |= 1 << h.vid


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """`tallies`: of NICs that are wanted for something, those of one node among themselves too. `turned`: what arrived
    in another VLAN than it was sent in."""

    tallies: Mapping[Pair, Tally]
    turned: tuple[Heard, ...]

    def sweeps(self) -> dict[tuple[str, str], int]:
        """(Node that sent, node that received) -> the latest sweep of the one that the other has told of."""
        found: dict[tuple[str, str], int] = {}
        for (a, b), tally in self.tallies.items():
            if tally.bits:
                found[a.node, b.node] = max(found.get((a.node, b.node), 0), tally.sweep)
        return found

    @classmethod
    def of(cls, evidence: Evidence, legs: Iterable[Leg]) -> Probes:
        """`legs`: what comes from others, or to others, is left out."""
        known = {leg: leg for leg in legs}
        tallies: dict[Pair, Tally] = {}
        turned: list[Heard] = []
        for node in evidence.nodes.values():
            _pass(node.heard, known, tallies, turned)
        return cls(tallies=tallies, turned=tuple(turned))

    def along(self, sender: Leg, end: Sequence[Leg]) -> Tally:
        """What came from a NIC to all NICs of a channel, or to the one that is in none."""
        members = [tally for leg in end if (tally := self.tallies.get((sender, leg))) is not None]
        return members[0] if len(members) == 1 else Tally.joined(members)


def _pass(heard: Iterable[Heard], known: Mapping[Leg, Leg], tallies: dict[Pair, Tally], turned: list[Heard]) -> None:
    """Of few pairs there are many values, mostly in a row: a pair is looked up when it is another one, and by identity,
    which costs no hash of its names. (What is looked up lives as long as `heard` does.)"""
    seen: dict[tuple[int, int], Tally | None] = {}
    for (sender, receiver), values in groupby(heard, _PAIR):
        pair = (id(sender), id(receiver))
        if pair not in seen:
            seen[pair] = _tally(sender, receiver, known, tallies)
        if (tally := seen[pair]) is not None:
            tally.take(values, turned)


_PAIR = attrgetter("sender", "receiver")


def _tally(sender: Leg, receiver: Leg, known: Mapping[Leg, Leg], tallies: dict[Pair, Tally]) -> Tally | None:
    if sender not in known or receiver not in known:
        return None
    return tallies.setdefault((sender, receiver), Tally())
