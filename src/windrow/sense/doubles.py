"""Frames from outside that come from a MAC of this host: somebody else has it, too."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.lazy import dataclass
from windrow.model.values import Mac

LEAST = 3
"""So many frames mean something; whose clock makes one or two on the way from one leg to another nobody can tell."""
LATELY_S = 60.0
PLACES_MAX = 256

Place = tuple[int, Mac]
"""A tag, 0 for none, and a MAC."""


@dataclass(frozen=True, slots=True)
class _Seen:
    frames: int
    last: float


class Doubles:
    """Of one NIC. What comes in counts when it turns out that the NIC was the only way of that MAC all the time: a bond
    that takes another leg lets its own frames come back on the one before. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._coming: dict[Place, _Seen] = {}
        self._seen: dict[Place, _Seen] = {}

    def hear(self, tag: int, mac: Mac, now: float) -> None:
        _count(self._coming, (tag, mac), _Seen(1, now))

    def looked(self, *, certain: bool) -> None:
        """`certain`: since the last look the NIC was the only way, without a break."""
        if certain:
            for place, seen in self._coming.items():
                _count(self._seen, place, seen)
        self._coming = {}

    def lately(self, tag: int, now: float) -> Iterator[Mac]:
        for (there, mac), seen in self._seen.items():
            if there == tag and seen.frames >= LEAST and now - seen.last < LATELY_S:
                yield mac


def _count(places: dict[Place, _Seen], place: Place, more: _Seen) -> None:
    """What came long ago is begun anew."""
    before = places.get(place)
    if before is not None and more.last - before.last < LATELY_S:
        places[place] = _Seen(before.frames + more.frames, more.last)
    elif before is not None or len(places) < PLACES_MAX:
        places[place] = more
