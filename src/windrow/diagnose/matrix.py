"""Who heard whom in which VLAN, as bitmaps: one machine operation asks about all VLANs of a pair of NICs.

A way leads from a NIC to an end. An end is what a switch sends a frame to once: a NIC by itself, or all NICs of a
channel, of which the switch chooses one for each sender (IEEE 802.1AX §6.2.4). That the others did not hear it is no
sign of anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from windrow.diagnose.situation import Situation
from windrow.model.evidence import Kind, Leg
from windrow.model.findings import Finding
from windrow.model.lazy import dataclass
from windrow.model.values import VidSet
from windrow.switches.wanted import Channel

End = tuple[Leg, ...]
Way = tuple[Leg, End]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """VLANs in which the same ways fail. `arrived`: sender and receiver of what passed, also within one node."""

    vids: VidSet
    failed: tuple[Way, ...]
    passed: tuple[Way, ...]
    arrived: tuple[tuple[Leg, Leg], ...]


class Matrix:
    """Of one cluster network. `channels`: bonds that need none, and whose ports are in one all the same. `spoilt`: legs
    of which it is known why nothing passes. `moved`: leg -> VLANs in which its frames change the VLAN. `deaf`: members
    of a channel on which nothing comes in, so that all that is missing at the channel is known to be lost there."""

    def __init__(
        self,
        situation: Situation,
        network: str,
        *,
        channels: frozenset[str] = frozenset(),
        spoilt: frozenset[Leg] = frozenset(),
        moved: dict[Leg, VidSet] | None = None,
        deaf: frozenset[Leg] = frozenset(),
    ) -> None:
        self.situation = situation
        self.network = network
        self._channels, self._spoilt, self._moved, self._deaf = channels, spoilt, moved or {}, deaf
        self.bonds = situation.bonds(network)
        self.wanted = {leg: w for w in self.bonds for leg in w.legs}
        self.moved = {leg: vids.bits for leg, vids in self._moved.items()}
        self.listening = [leg for leg in self.wanted if leg not in spoilt and self._listens(leg)]
        self.senders = [leg for leg in self.listening if situation.probed(leg)]
        self.end_of = self._ends(channels)

    def _listens(self, leg: Leg) -> bool:
        """Its node sends and hears probes, and it has a carrier."""
        node, nic = self.situation.evidence.nodes.get(leg.node), self.situation.nic(leg)
        if node is None or nic is None or not nic.carrier or not any(node.probed.values()):
            return False
        return not any(a.kind is Kind.PROBE and a.nic in (None, leg.nic) for a in node.absent)

    def _ends(self, channels: frozenset[str]) -> dict[Leg, End]:
        found: dict[Leg, End] = {}
        for wanted in self.bonds:
            legs = tuple(leg for leg in wanted.legs if leg in self.listening)
            whole = wanted.channel is not Channel.NONE or wanted.name in channels
            found |= {leg: legs if whole else (leg,) for leg in legs}
        return found

    def without(self, turned: Iterable[Finding]) -> Matrix:
        """The same, without the VLANs in which the frames of a NIC are known to change their VLAN."""
        moved: dict[Leg, VidSet] = defaultdict(VidSet)
        for finding in turned:
            for leg in finding.legs:
                moved[leg] |= finding.vids
        return self._but(moved, self._deaf) if moved else self

    def without_deaf(self, deaf: Iterable[Leg]) -> Matrix:
        """The same, without what is missing where one of these is a member."""
        legs = frozenset(deaf)
        return self._but(self._moved, legs) if legs else self

    def _but(self, moved: dict[Leg, VidSet], deaf: frozenset[Leg]) -> Matrix:
        return Matrix(
            self.situation, self.network, channels=self._channels, spoilt=self._spoilt, moved=moved, deaf=deaf
        )

    @cached_property
    def intended(self) -> dict[Leg, int]:
        return {leg: self.situation.vids(wanted).bits for leg, wanted in self.wanted.items()}

    @cached_property
    def asked(self) -> dict[Way, int]:
        """In which VLANs a way was tried: what was not sent, or is not wanted there, cannot have been heard."""
        ends = list(dict.fromkeys(self.end_of.values()))
        told = self.situation.probes.sweeps()
        found = {}
        for sender in self.senders:
            sent = self.situation.probed(sender).bits & self.intended[sender] & ~self.moved.get(sender, 0)
            for end in ends:
                bits = sent & self.intended[end[0]]
                for leg in end:
                    bits &= ~self.moved.get(leg, 0)
                if not self._deaf.isdisjoint(end):
                    bits &= self._arrived(sender, end)
                if (
                    bits
                    and end[0].node != sender.node
                    and self._is_of(sender.node, end[0].node, told.get((sender.node, end[0].node)))
                ):
                    found[sender, end] = bits
        return found

    def _is_of(self, node: str, receiver: str, sweep: int | None) -> bool:
        """Whether what was told of a node's probes is of the sweep of which it says where it sent. None: nothing of it
        came in at all, which means something of a receiver that was there for a whole sweep."""
        sender = self.situation.evidence.nodes[node]
        if sweep is None:
            return self.situation.evidence.nodes[receiver].has_waited_for(sender)
        return sweep == sender.sweep

    @cached_property
    def came(self) -> dict[Way, int]:
        return {(sender, end): self._arrived(sender, end) for sender, end in self.asked}

    def _arrived(self, sender: Leg, end: End) -> int:
        bits = 0
        for leg in end:
            bits |= self.situation.passed.get((sender, leg), 0)
        return bits

    def tested(self, leg: Leg) -> VidSet:
        """The VLANs in which anything was tried from this leg, or to it."""
        return VidSet(self._tested.get(leg, 0))

    @cached_property
    def _tested(self) -> dict[Leg, int]:
        found: dict[Leg, int] = defaultdict(int)
        for (sender, end), bits in self.asked.items():
            found[sender] |= bits
            for leg in end:
                found[leg] |= bits
        return found

    def passes(self, leg: Leg) -> VidSet:
        """The VLANs in which it hears somebody, or somebody hears it."""
        return VidSet(self._passes.get(leg, 0))

    @cached_property
    def _passes(self) -> dict[Leg, int]:
        found: dict[Leg, int] = defaultdict(int)
        for (a, b), bits in self.situation.passed.items():
            if a != b:
                found[a] |= bits
                found[b] |= bits
        return found

    def untested(self) -> VidSet:
        """Intended and sent, and there is no other node that could have heard it."""
        sent = alone = 0
        for leg in self.senders:
            bits = self.situation.probed(leg).bits & self.intended[leg]
            sent |= bits
            alone |= bits & ~self._tested.get(leg, 0) & ~self.moved.get(leg, 0)
        return VidSet(alone & sent)

    def alike(self, apart: VidSet) -> Iterator[Alike]:
        """The VLANs in which a way fails, by which ways do. `apart` are never put together with others."""
        bad = 0
        for way, bits in self.asked.items():
            bad |= bits & ~self.came[way]
        for bits in self._classes(bad, apart.bits):
            bit = bits & -bits
            there = [way for way, asked in self.asked.items() if asked & bit]
            yield Alike(
                vids=VidSet(bits),
                failed=tuple(way for way in there if not self.came[way] & bit),
                passed=tuple(way for way in there if self.came[way] & bit),
                arrived=tuple(
                    pair for pair, come in self.situation.passed.items() if come & bit and self._inside(pair)
                ),
            )

    def _inside(self, pair: tuple[Leg, Leg]) -> bool:
        return pair[0] != pair[1] and pair[0] in self.end_of and pair[1] in self.end_of

    def _classes(self, bad: int, apart: int) -> list[int]:
        """VLANs are split by each way that tells them apart: few classes are left, whatever the number of VLANs."""
        masks = dict.fromkeys([apart])
        for way, asked in self.asked.items():
            masks[asked & bad] = None
            masks[self.came[way] & asked & bad] = None
        for pair, come in self.situation.passed.items():
            if self._inside(pair):
                masks[come & bad] = None
        classes = [bad] if bad else []
        for mask in masks:
            classes = [part for one in classes for part in (one & mask, one & ~mask) if part]
        return classes
