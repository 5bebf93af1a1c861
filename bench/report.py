"""The table that people read."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from bench.measure import Group, Row

HEAD = """\
# Benchmarks

Written by `make bench`; do not edit.

{machine}

Within a group the ways took turns in one run, after one round that does not count: medians, with the fastest and
the slowest in brackets. *Ratio* is to the first row of the group. *Design* is what was noted while designing, on
another day and perhaps another machine: an order of magnitude to keep, not a contest. The lab kernel is User-Mode
Linux: one CPU, slow system calls and slower processes; compare within it, not with the outside.
"""


MANY = 100
"""From so many runs on a 99th percentile means something."""


def page(machine: str, groups: Iterable[Group]) -> str:
    return "\n".join([HEAD.format(machine=machine), *map(section, groups)])


def replaced(page: str, groups: Iterable[Group]) -> str:
    """The page with these groups in the places of those with the same title and ground; new ones at the end."""
    head, *found = (part.rstrip("\n") for part in page.split("\n## "))
    sections = {_key(text): f"## {text}\n" for text in found}
    for group in groups:
        text = section(group)
        sections[_key(text.removeprefix("## "))] = text
    return "\n".join([f"{head}\n", *sections.values()])


def _key(text: str) -> tuple[str, str]:
    """Title and where, of a section without its mark."""
    title, _, where, *_ = text.split("\n")
    return title, where.partition(",")[0]


def section(group: Group) -> str:
    first = group.rows[0].median
    lines = [f"## {group.title}", "", f"{group.where}, {runs(group)}.", ""]
    many = all(len(row.seconds) >= MANY for row in group.rows)
    headings = ["", "median (fastest – slowest)", *(["99th percentile"] if many else []), "ratio", "design"]
    lines += [f"| {' | '.join(headings)} |".replace("|  |", "| |"), f"|---|{'---:|' * (len(headings) - 2)}---|"]
    for row in group.rows:
        cells = [times(row), *([duration(row.percentile_99)] if many else []), ratio(row.median / first)]
        lines.append(f"| {row.what} | {' | '.join(cells)} | {row.anchor} |")
    if group.note:
        lines += ["", group.note]
    return "\n".join(lines) + "\n"


def runs(group: Group) -> str:
    count = len(group.rows[0].seconds)
    return "one run" if count == 1 else f"{count} runs"


def times(row: Row) -> str:
    return f"{duration(row.median)} ({duration(min(row.seconds))} – {duration(max(row.seconds))})"


def ratio(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Three figures: 0.421 ms, 48.0 ms, 3.12 s."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * factor
        if value >= 1 or unit == "µs":
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
    raise AssertionError("unreachable")


def machine() -> str:
    """In general words: no names."""
    model = next(
        (line.partition(":")[2].strip() for line in read("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) >> 20 for line in read("/proc/meminfo") if line.startswith("MemTotal")), 0)
    kernel = ".".join(platform.release().split(".")[:2])
    python = platform.python_version()
    load = os.getloadavg()[0]
    return (
        f"The machine: {os.cpu_count()} cores ({model}), {memory} GiB, Linux {kernel}, Python {python}; "
        f"load {load:.1f} when it began."
    )


def read(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
