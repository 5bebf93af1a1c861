"""Taking turns with the stopwatch, and what comes out of it."""

from __future__ import annotations

import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

MARK = "BENCH "
"""Before a group, in what a program prints."""


class NotMeasured(RuntimeError):
    """What was to be measured did not do what it should. The other parts of a run go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way of doing it: seconds of each run. `anchor` is what the design noted for it, in words."""

    what: str
    seconds: tuple[float, ...]
    anchor: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def percentile_99(self) -> float:
        """The time that 99 of 100 runs do not exceed (nearest rank)."""
        return sorted(self.seconds)[math.ceil(0.99 * len(self.seconds)) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Ways of doing the same thing, ours first: ratios are to the first row."""

    title: str
    where: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`prepare` runs before each turn and is not timed."""

    what: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    anchor: str = ""


def compare(runs: int, ways: Sequence[Way], warm_up: int = 1) -> tuple[Row, ...]:
    """Every way in turn, `runs` times, after `warm_up` rounds that do not count."""
    seconds: dict[str, list[float]] = {way.what: [] for way in ways}
    for turn in range(warm_up + runs):
        for way in ways:
            way.prepare()
            gc.collect()
            start = time.perf_counter()
            way.run()
            spent = time.perf_counter() - start
            if turn >= warm_up:
                seconds[way.what].append(spent)
    return tuple(Row(what=way.what, seconds=tuple(seconds[way.what]), anchor=way.anchor) for way in ways)


def encode(group: Group) -> str:
    return json.dumps(asdict(group))


def decode(text: str) -> Group:
    data = json.loads(text)
    rows = tuple(Row(what=r["what"], seconds=tuple(r["seconds"]), anchor=r["anchor"]) for r in data["rows"])
    return Group(title=data["title"], where=data["where"], rows=rows, note=data["note"])
