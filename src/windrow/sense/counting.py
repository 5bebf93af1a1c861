"""Counters of NICs over time: what has come in lately, and how long lately is."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from windrow.model.evidence import Counters
from windrow.model.lazy import dataclass
from windrow.netlink.stats import Counted

LATELY_S = 60.0
"""At most so long ago is the look that the present one is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One NIC at one moment (monotonic seconds). `came_back` and `for_us`: what an ear has heard of its own so far."""

    at: float
    counted: Counted | None
    carrier_changes: int | None
    came_back: int | None = None
    for_us: int | None = None


class History:
    """Of one NIC. Numbers that become smaller are another NIC's of the same name, or a counter that went round: it
    begins anew."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def take(self, now: Reading) -> tuple[Counters, int | None]:
        """What it is now, and how many LACPDUs came lately."""
        if self._readings and _goes_back(self._readings[-1], now):
            self._readings.clear()
        self._readings.append(now)
        while len(self._readings) > 2 and now.at - self._readings[1].at >= LATELY_S:
            self._readings.popleft()
        return _compared(self._readings[0], now)


def _goes_back(before: Reading, now: Reading) -> bool:
    if before.counted is None or now.counted is None:
        return before.counted is not now.counted
    changes = (now.carrier_changes or 0) - (before.carrier_changes or 0)
    return changes < 0 or any(
        getattr(now.counted, name) < getattr(before.counted, name) for name in ("received", "errors", "dropped")
    )


def _compared(first: Reading, now: Reading) -> tuple[Counters, int | None]:
    over = now.at - first.at
    since = Counters(carrier_changes=now.carrier_changes)
    if now.counted is not None:
        since = replace(since, received=now.counted.received, errors=now.counted.errors, dropped=now.counted.dropped)
    if over <= 0:
        return since, None
    lately = replace(
        since,
        carrier_changes_lately=_difference(first.carrier_changes, now.carrier_changes),
        own_frames_lately=_difference(first.came_back, now.came_back),
        for_us_lately=_difference(first.for_us, now.for_us),
        over_s=over,
    )
    if first.counted is None or now.counted is None:
        return lately, None
    lacpdus = _difference(first.counted.lacpdus, now.counted.lacpdus)
    return replace(
        lately,
        received_lately=now.counted.received - first.counted.received,
        errors_lately=now.counted.errors - first.counted.errors,
    ), lacpdus


def _difference(first: int | None, now: int | None) -> int | None:
    """None where one of them is not known, or begins anew."""
    return None if first is None or now is None or now < first else now - first
