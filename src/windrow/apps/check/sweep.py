"""One sweep, planned: which frames leave by which leg, in which order.

All broadcasts first, round by round, then a unicast one in each VLAN to one of those who were heard there, then large
ones, once to each leg of the others. One leg in each VLAN; all of them only to find where a fault is: each costs the
switches an entry of their tables in each VLAN.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from windrow.apps.check.intent import ProbedLeg, ProbedNetwork
from windrow.frames.probe import BROADCAST, WIRE_OVERHEAD, Chunk, Kind, Secret, aim_of, mac_of
from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, VidSet

BROADCASTS = 3
RATE_MAX = 100
"""Frames a second from one leg."""
SHARE_MAX = 0.001
"""Of a link."""
SPEED_UNKNOWN = 1000
"""Mbit/s of a card that does not say."""
_USUAL = 128
"""Payload bytes of a probe, with names of a usual length."""
VLANS_FOR_REPORTS = 4
"""In so many VLANs at least a report leaves: one of them may be broken on the way there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A frame to be sent."""

    kind: Kind
    vid: int
    to: Mac = BROADCAST
    aim: int = 0
    largest: int = 0
    size: int = 0
    """Payload bytes to fill it up to."""
    chunk: Chunk | None = None


Heard = Sequence[tuple[Leg, int]]
"""Legs of others, and the VLANs in which they are heard, as a bitmap."""


def gap_s(leg: ProbedLeg, payload: int) -> float:
    """From one frame of so many bytes to the next."""
    bits = 8 * (payload + WIRE_OVERHEAD)
    return max(1 / RATE_MAX, bits / (SHARE_MAX * 1e6 * (leg.speed or SPEED_UNKNOWN)))


def sending_legs(network: ProbedNetwork, sweep: int, *, every: bool) -> tuple[ProbedLeg, ...]:
    """The active leg; where all are at work, another one in each sweep."""
    able = tuple(leg for leg in network.legs if leg.sends)
    if every or not able:
        return able
    active = tuple(leg for leg in able if leg.active)
    return active[:1] or (able[sweep % len(able)],)


class Plan:
    """What is still to be sent in a sweep, by leg. `secret`: for the addresses of those that are heard."""

    def __init__(self, me: str, secret: Secret, sweep: int, heard: Heard, *, every: bool, large: bool) -> None:
        self._me, self._secret, self._sweep, self._heard = me, secret, sweep, heard
        self._every, self._large = every, large
        self.legs: dict[IfName, ProbedLeg] = {}
        self.vids: dict[IfName, VidSet] = {}
        """In which VLANs each leg sends."""

    def shots(self, networks: Iterable[ProbedNetwork]) -> dict[IfName, deque[Shot]]:
        queues: dict[IfName, deque[Shot]] = {}
        for network in networks:
            for leg in sending_legs(network, self._sweep, every=self._every) if network.vids else ():
                self.legs[leg.nic], self.vids[leg.nic] = leg, network.vids
                queues[leg.nic] = deque(self._of_leg(network, leg))
        return queues

    def _of_leg(self, network: ProbedNetwork, leg: ProbedLeg) -> Iterator[Shot]:
        targets = {vid: target for vid in network.vids if (target := self._target(vid)) is not None}
        aims = {vid: aim_of(target) for vid, target in targets.items()}
        for _ in range(BROADCASTS):
            for vid in network.vids:
                yield Shot(kind=Kind.BROADCAST, vid=vid, aim=aims.get(vid, 0))
        for vid, target in targets.items():
            yield Shot(kind=Kind.UNICAST, vid=vid, to=mac_of(self._secret, target))
        if self._large:
            yield from self._large_ones(network, leg)

    def _target(self, vid: int) -> Leg | None:
        """Whose turn it is in this VLAN: another node in each sweep, so that all are asked in time, and none by all."""
        nodes: dict[str, Leg] = {}
        for leg, vids in self._heard:
            if vids >> vid & 1 and leg.node != self._me:
                nodes.setdefault(leg.node, leg)
        names = sorted(nodes)
        return nodes[names[(self._sweep + _after(self._me, names)) % len(names)]] if names else None

    def _large_ones(self, network: ProbedNetwork, leg: ProbedLeg) -> Iterator[Shot]:
        """As long as the NIC's MTU lets them be. An MTU is a port's, not a VLAN's: one VLAN for each pair of legs."""
        for target, bits in self._heard:
            vids = sorted(vid for vid in network.vids if bits >> vid & 1)
            if not vids or target.node == self._me:
                continue
            vid, to = vids[self._sweep % len(vids)], mac_of(self._secret, target)
            yield Shot(kind=Kind.NOTICE, vid=vid, to=to, largest=leg.mtu)
            yield Shot(kind=Kind.LARGE, vid=vid, to=to, size=leg.mtu)


def _after(me: str, names: Sequence[str]) -> int:
    """The place of the first name behind ours, so that nodes which sweep in step ask different ones."""
    return next((at for at, name in enumerate(names) if name > me), 0)


def report_vids(network: ProbedNetwork, sweep: int, heard: Heard) -> tuple[int, ...]:
    """VLANs in which a report reaches everybody that is heard, and a few more, others in each sweep: who hears us need
    not be heard."""
    vids = tuple(network.vids)
    chosen: list[int] = []
    for _, bits in heard:
        common = [vid for vid in vids if bits >> vid & 1]
        if common and not any(bits >> vid & 1 for vid in chosen):
            chosen.append(common[sweep % len(common)])
    for at in range(len(vids)):
        if len(chosen) >= min(VLANS_FOR_REPORTS, len(vids)):
            break
        vid = vids[(sweep * VLANS_FOR_REPORTS + at) % len(vids)]
        if vid not in chosen:
            chosen.append(vid)
    return tuple(chosen)


def report_shots(chunks: Sequence[Chunk], vids: Iterable[int], kind: Kind = Kind.REPORT) -> Iterator[Shot]:
    for vid in vids:
        for chunk in chunks:
            yield Shot(kind=kind, vid=vid, chunk=chunk)


def longest_s(networks: Iterable[ProbedNetwork]) -> float:
    """About how long a sweep takes."""
    each = (
        len(network.vids) * (BROADCASTS + 1) * max((gap_s(leg, _USUAL) for leg in network.legs), default=0.0)
        for network in networks
    )
    return max(each, default=0.0) + 1.0
