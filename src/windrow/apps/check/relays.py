"""Reports of nodes that are not heard here: another one passed them on, with their signatures."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.frames.probe import Run, Secret
from windrow.frames.relay import Report, read
from windrow.frames.report import unpack_rows
from windrow.model.evidence import Relay
from windrow.model.lazy import dataclass

NODES_MAX = 64
"""Of so many nodes what others pass on is kept."""
FORGET_S = 60.0
"""So long the report of a node counts that does not say when it tells the next one."""
SLACK_S, SLACK = 20.0, 1.1
"""It goes over two nodes, each of which tells it with its own next report at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    run: Run
    number: int
    packed: bytes
    by: str
    came: float
    """When it came in at `by`, on our clock that never jumps."""
    until: float


class Relays:
    """By node. Who is heard directly is no matter here: `Peers` asks for the others only."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._kept: dict[str, _Kept] = {}

    def take(self, by: str, reports: tuple[Report, ...], secret: Secret, now: float) -> bool:
        """Whether one of them says something new. `by` is believed that it has heard them so long ago, no more: what
        they say is signed by whose they are."""
        return sum(self._take(by, report, secret, now) for report in reports) > 0

    def _take(self, by: str, report: Report, secret: Secret, now: float) -> bool:
        found = read(report, secret)
        if found is None:
            return False
        probe, packed = found
        node, number = probe.sender.node, probe.chunk.report if probe.chunk else 0
        known = self._kept.get(node)
        order = (probe.run.started, number)
        if node in (self._me, by) or (known is not None and order < (known.run.started, known.number)):
            return False
        if known is None and (len(self._kept) >= NODES_MAX or unpack_rows(packed, node) is None):
            return False
        if known is not None and packed != known.packed and unpack_rows(packed, node) is None:
            return False
        until = now - report.age_s + max(FORGET_S, SLACK * probe.again + SLACK_S)
        if until <= now:
            return False
        self._kept[node] = _Kept(
            run=probe.run, number=number, packed=packed, by=by, came=now - report.age_s, until=until
        )
        return known is None or packed != known.packed

    def forget(self, now: float) -> None:
        """What is too old."""
        self._kept = {node: kept for node, kept in self._kept.items() if now < kept.until}

    def packed(self) -> Iterator[tuple[str, bytes]]:
        """Node -> its report, as it was packed."""
        yield from ((node, kept.packed) for node, kept in self._kept.items())

    def relays(self, now: float) -> dict[str, Relay]:
        return {node: Relay(by=k.by, age_s=round(max(0.0, now - k.came), 1)) for node, k in self._kept.items()}
