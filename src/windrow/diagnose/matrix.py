"""Who heard whom in which VLAN, as bitmaps: one machine operation asks about all VLANs of a pair of NICs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from windrow.diagnose.situation import UNTAGGED, Situation
from windrow.model.evidence import Heard, Leg
from windrow.model.values import VidSet

NONE = VidSet()


class Matrix:
    """Of one cluster network. `legs`: those that sent probes and whose node told what it heard."""

    def __init__(self, situation: Situation, network: str) -> None:
        self.situation = situation
        self.network = network
        self.bonds = situation.bonds(network)
        self.legs = tuple(leg for w in self.bonds for leg in w.legs if situation.probed(leg))
        self.wanted = {leg: w for w in self.bonds for leg in w.legs}
        inside = set(self.wanted)
        self.heard = tuple(h for h in situation.heard if h.sender in inside and h.receiver in inside)

    @cached_property
    def ways(self) -> dict[tuple[Leg, Leg], VidSet]:
        """(sender, receiver) -> the VLANs in which probes came as they were sent."""
        found: dict[tuple[Leg, Leg], int] = defaultdict(int)
        for h in self.heard:
            if h.count and h.vid == h.arrived and h.sender.node != h.receiver.node:
                found[h.sender, h.receiver] |= 1 << h.vid
        return {pair: VidSet(bits) for pair, bits in found.items()}

    @cached_property
    def out(self) -> dict[Leg, VidSet]:
        """In which VLANs somebody heard it."""
        found: dict[Leg, int] = defaultdict(int)
        for (sender, _), vids in self.ways.items():
            found[sender] |= vids.bits
        return {leg: VidSet(found[leg]) for leg in self.legs}

    @cached_property
    def back(self) -> dict[Leg, VidSet]:
        """In which VLANs it heard somebody."""
        found: dict[Leg, int] = defaultdict(int)
        for (_, receiver), vids in self.ways.items():
            found[receiver] |= vids.bits
        return {leg: VidSet(found[leg]) for leg in self.legs}

    def intended(self, leg: Leg) -> VidSet:
        """What was sent and is wanted: what was not sent cannot have been heard."""
        return self.situation.probed(leg) & self.situation.vids(self.wanted[leg])

    @cached_property
    def peers(self) -> dict[Leg, VidSet]:
        """In which VLANs there is a leg of another node that sent too. Alone, nobody can be heard."""
        by_node: dict[str, int] = defaultdict(int)
        for leg in self.legs:
            by_node[leg.node] |= self.intended(leg).bits
        found = {}
        for leg in self.legs:
            bits = 0
            for node, theirs in by_node.items():
                bits |= theirs if node != leg.node else 0
            found[leg] = VidSet(bits)
        return found

    @cached_property
    def testable(self) -> dict[Leg, VidSet]:
        return {leg: self.intended(leg) & self.peers[leg] for leg in self.legs}

    def groups(self, vid: int) -> list[set[Leg]]:
        """The legs that hear each other both ways, directly or over others, in one VLAN; the largest first. A leg that
        hears nobody, or whom nobody hears, is alone."""
        bit = 1 << vid
        legs = [leg for leg in self.legs if self.testable[leg].bits & bit]
        parent = {leg: leg for leg in legs}

        def top(leg: Leg) -> Leg:
            while parent[leg] is not leg:
                parent[leg] = parent[parent[leg]]
                leg = parent[leg]
            return leg

        for (a, b), vids in self.ways.items():
            if vids.bits & bit and a in parent and b in parent:
                back = self.ways.get((b, a), NONE)
                if back.bits & bit:
                    parent[top(a)] = top(b)
        found: dict[Leg, set[Leg]] = defaultdict(set)
        for leg in legs:
            found[top(leg)].add(leg)
        return sorted(found.values(), key=len, reverse=True)

    def turned(self, leg: Leg) -> tuple[Heard, ...]:
        """Probes that arrived in another VLAN than they were sent in, from or to this leg."""
        return tuple(h for h in self.heard if h.count and h.vid != h.arrived and leg in (h.sender, h.receiver))

    def bonds_of(self, legs: Iterable[Leg]) -> set[str]:
        return {self.wanted[leg].name for leg in legs}


def spoken(vids: VidSet) -> str:
    """`VLAN 100`, `VLANs 100,200-210`, `frames without a tag`, or both."""
    tagged = vids - VidSet.of([UNTAGGED])
    words = f"VLAN{'s' if len(tagged) > 1 else ''} {tagged}" if tagged else ""
    if UNTAGGED not in vids:
        return words
    return f"{words} and frames without a tag" if words else "frames without a tag"
