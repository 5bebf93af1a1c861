"""The suite's specs: which are decided upon and how, and what became of those that ran."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

LIST = Path(__file__).with_name("specs.yaml")
PASSED = Path(__file__).with_name("passed.txt")
_NAME = re.compile(r"^    (\S+:\d+): (.*)$")
"""A line of `e2e.test --list-tests`: where it is written, and what it is called."""
_LABELS = re.compile(r" \[[^\[\]]*\]$")
_DETAIL = 300
_PASSED_LINE = re.compile(r"(\S+) +(\d+) s  (.*)")
_TIME = re.compile(r"timed? ?out|deadline exceeded|did not end within", re.IGNORECASE)


@dataclass(frozen=True)
class Group:
    """`why`: it is in, or out. `kernel`: the lab's kernel that it needs; empty: whichever."""

    name: str
    patterns: Sequence[re.Pattern[str]]
    within: bool
    why: str
    kernel: str = ""


@dataclass(frozen=True)
class Outcome:
    """Of one spec that ran. `cause`: why it failed; empty: it passed."""

    spec: str
    seconds: float
    cause: str = ""

    @property
    def lacked_time(self) -> bool:
        """It failed by one of its fixed times, which a machine that does something else does not keep."""
        return bool(_TIME.search(self.cause))


@dataclass(frozen=True)
class Passed:
    """A line of the record: a spec that passed, in which kernel of the lab, and in how many seconds."""

    spec: str
    kernel: str
    seconds: int

    def __str__(self) -> str:
        return f"{self.kernel:4} {self.seconds:4} s  {self.spec}"


@dataclass(frozen=True)
class Decided:
    universe: re.Pattern[str]
    groups: Sequence[Group]
    sample: Sequence[re.Pattern[str]] = ()
    """Of which specs the tests of every day have one each."""

    def by_group(self, specs: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """The specs of the universe by the group that decides about them. Raises ValueError where nobody has."""
        found: dict[str, list[str]] = {group.name: [] for group in self.groups}
        nobody = []
        for spec in filter(self.universe.search, specs):
            group = next((g for g in self.groups if any(p.search(spec) for p in g.patterns)), None)
            (nobody if group is None else found[group.name]).append(spec)
        if nobody:
            raise ValueError(f"{LIST.name} says nothing of:\n" + "\n".join(nobody))
        return found


def decided(text: str) -> Decided:
    """Raises KeyError, re.error."""
    document: dict[str, Any] = yaml.safe_load(text)
    groups = [
        Group(
            name=one["name"],
            patterns=[re.compile(pattern) for pattern in one["specs"]],
            within="in" in one,
            why=one["in"] if "in" in one else one["out"],
            kernel=one.get("kernel", ""),
        )
        for one in document["groups"]
    ]
    return Decided(re.compile(document["universe"]), groups, [re.compile(one) for one in document["sample"]])


def listed(text: str) -> Sequence[str]:
    """The names that `e2e.test --list-tests` printed, each once."""
    names = (match[2] for line in text.splitlines() if (match := _NAME.match(line)))
    return tuple(dict.fromkeys(names))


def focus(specs: Iterable[str]) -> str:
    """A regular expression of ginkgo (Go's RE2) for these specs and no others."""
    return "|".join(f"{re.escape(spec)}$" for spec in specs)


def outcomes(junit: str) -> Sequence[Outcome]:
    """Of the specs that ran, from ginkgo's report."""
    return tuple(
        Outcome(_spec(case.get("name", "")), float(case.get("time", 0)), _cause(case))
        for case in ElementTree.fromstring(junit).iter("testcase")
        if case.find("skipped") is None and case.get("name", "").startswith("[It] ")
    )


def passed(text: str) -> Mapping[str, Passed]:
    """The record, by spec."""
    found = (match for line in text.splitlines() if (match := _PASSED_LINE.fullmatch(line)))
    return {match[3]: Passed(match[3], match[1], int(match[2])) for match in found}


def record(version: str, there: Iterable[Passed]) -> str:
    """As `passed` reads it. `version`: of the suite."""
    head = (
        f"# Specs of Kubernetes {version} that passed, in which kernel of the lab, and in how many seconds.\n"
        "# Written by `scripts/conformance --record`.\n"
    )
    return head + "".join(f"{one}\n" for one in sorted(there, key=lambda one: one.spec))


def _spec(name: str) -> str:
    """Ginkgo writes what kind of node it is before a spec's name, and all of its labels behind."""
    return _LABELS.sub("", name.removeprefix("[It] "))


def _cause(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            said = found.get("message") or found.text or kind
            return " ".join(said.split())[:_DETAIL]
    return ""
