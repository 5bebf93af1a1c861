"""What came in of the probes of one run: counted by sweep, pair of NICs and VLAN. No clock: times are told."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from windrow.frames.probe import Kind, Probe, aim_of
from windrow.model.evidence import Heard, Leg
from windrow.model.lazy import dataclass
from windrow.model.values import IfName

WINDOW = 4096
"""So many sequence numbers back a frame may come and be new: legs and VLANs overtake each other."""
LATELY = 64
"""So far back a second copy is the network's doing (a loop, a missing channel); later than that it is a recording."""
_MASK = (1 << WINDOW) - 1
_MOST = 255
"""Of each count; more of one kind are never sent in one sweep."""


class Freshness(Enum):
    NEW = "new"
    COPY = "copy"
    OLD = "old"


class Window:
    """Which sequence numbers came in on one NIC."""

    __slots__ = ("_bits", "_highest")

    def __init__(self) -> None:
        self._highest = -1
        self._bits = 0

    def note(self, sequence: int) -> Freshness:
        ahead = sequence - self._highest
        if ahead > 0:
            self._bits = (self._bits << ahead | 1) & _MASK if ahead < WINDOW else 1
            self._highest = sequence
            return Freshness.NEW
        back = -ahead
        if back >= WINDOW:
            return Freshness.OLD
        if self._bits >> back & 1:
            return Freshness.COPY if back < LATELY else Freshness.OLD
        self._bits |= 1 << back
        return Freshness.NEW


class Pair:
    """From one NIC to another: VID -> counts in one number (broadcast, unicast, copies: a byte each). With thousands of
    VLANs this is what the memory goes into."""

    __slots__ = ("counts", "large", "odd")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.odd: dict[tuple[int, int], int] = {}
        """(VID as sent, tag on arrival), where they differ."""
        self.large: dict[int, tuple[int, int]] = {}
        """VID -> longest payload that was announced, and that came."""

    @property
    def too_long(self) -> frozenset[int]:
        """The VLANs in which the longest frame that was announced has not come."""
        return frozenset(vid for vid, (sent, came) in self.large.items() if came < sent)

    def add(self, vid: int, arrived: int, shift: int) -> None:
        if vid == arrived:
            self.counts[vid] = _plus(self.counts.get(vid, 0), shift)
        else:
            self.odd[vid, arrived] = _plus(self.odd.get((vid, arrived), 0), shift)

    def all(self) -> Iterator[tuple[int, int, int, int, int]]:
        """VID, tag on arrival, broadcasts, unicasts, copies."""
        for vid, packed in self.counts.items():
            yield vid, vid, *_unpacked(packed)
        for (vid, arrived), packed in self.odd.items():
            yield vid, arrived, *_unpacked(packed)


def _plus(packed: int, shift: int) -> int:
    return packed + (1 << shift) if packed >> shift & _MOST < _MOST else packed


def _unpacked(packed: int) -> tuple[int, int, int]:
    return packed & _MOST, packed >> 8 & _MOST, packed >> 16 & _MOST


_SHIFT = {Kind.BROADCAST: 0, Kind.UNICAST: 8}
_COPIES = 16


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a frame came in: node and NIC of ours, and its tag then."""

    node: str
    nic: IfName
    tag: int


class SweepTally:
    """What came in of one sweep of one node. `whole`: it was listened to from its begin on."""

    def __init__(self, sweep: int, begun: float, *, whole: bool) -> None:
        self.sweep, self.begun, self.whole = sweep, begun, whole
        self.last = begun
        """When something of it came in, seconds of the clock that never jumps; `at`: in Unix time."""
        self.at = 0.0
        self.nearly_done = False
        """One came that is sent after all broadcasts."""
        self.pairs: dict[tuple[IfName, IfName], Pair] = {}
        self._broadcasts: dict[IfName, int] = {}
        self._aimed: dict[tuple[IfName, IfName], int] = {}
        """NIC that sends, and ours -> the VIDs in which a unicast one is for it, as a bitmap."""

    def add(self, probe: Probe, at: Arrival, *, copy: bool = False) -> None:
        nic, arrived = at.nic, at.tag
        pair = self.pairs.get((probe.sender.nic, nic))
        if pair is None:
            pair = self.pairs[probe.sender.nic, nic] = Pair()
        if copy:
            if probe.kind in _SHIFT:
                pair.add(probe.vid, arrived, _COPIES)
            return
        self.nearly_done |= probe.kind is not Kind.BROADCAST
        if probe.kind is Kind.BROADCAST:
            self._broadcasts[probe.sender.nic] = probe.broadcasts
            if probe.aim and probe.aim == aim_of(Leg(at.node, nic)):
                way = probe.sender.nic, nic
                self._aimed[way] = self._aimed.get(way, 0) | 1 << probe.vid
        if probe.kind in _SHIFT:
            pair.add(probe.vid, arrived, _SHIFT[probe.kind])
        elif probe.kind is Kind.NOTICE:
            sent, came = pair.large.get(probe.vid, (0, 0))
            pair.large[probe.vid] = (max(sent, probe.largest), came)
        elif probe.kind is Kind.LARGE:
            sent, came = pair.large.get(probe.vid, (0, 0))
            pair.large[probe.vid] = (max(sent, probe.size), max(came, probe.size))

    def heard(self, node: str, me: str) -> Iterator[Heard]:
        for (theirs, ours), pair in self.pairs.items():
            sender, receiver = Leg(node, theirs), Leg(me, ours)
            planned, aimed = self._broadcasts.get(theirs, 0), self._aimed.get((theirs, ours), 0)
            for vid, arrived, broadcast, unicast, copies in pair.all():
                largest_sent, largest = pair.large.get(vid, (0, 0)) if vid == arrived else (0, 0)
                count = broadcast + unicast
                yield Heard(
                    sender=sender,
                    receiver=receiver,
                    vid=vid,
                    arrived=arrived,
                    sent=max(planned + (unicast or aimed >> vid & 1), count),
                    count=count,
                    broadcast=broadcast,
                    unicast=unicast,
                    duplicates=copies,
                    largest=largest,
                    largest_sent=largest_sent,
                    sweep=self.sweep,
                    at=self.at,
                )

    def vids_from(self, nic: IfName) -> int:
        """In which VLANs this NIC of the sender was heard as it was sent, as a bitmap."""
        bits = 0
        for (theirs, _), pair in self.pairs.items():
            if theirs == nic:
                for vid in pair.counts:
                    bits |= 1 << vid
        return bits

    @property
    def vids(self) -> int:
        """In which VLANs anything was heard as it was sent, as a bitmap."""
        bits = 0
        for nic in {theirs for theirs, _ in self.pairs}:
            bits |= self.vids_from(nic)
        return bits

    @property
    def shape(self) -> int:
        """A number that differs where something else was heard; how often it was does not matter."""
        heard = ((key, frozenset(pair.counts), frozenset(pair.odd), pair.too_long) for key, pair in self.pairs.items())
        return hash(frozenset(heard))
