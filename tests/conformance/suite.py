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
_NAME = re.compile(r"^    (\S+:\d+): (.*)$")
"""A line of `e2e.test --list-tests`: where it is written, and what it is called."""
_LABELS = re.compile(r" \[[^\[\]]*\]$")
_DETAIL = 300


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


@dataclass(frozen=True)
class Decided:
    universe: re.Pattern[str]
    groups: Sequence[Group]

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
    return Decided(re.compile(document["universe"]), groups)


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


def _spec(name: str) -> str:
    """Ginkgo writes what kind of node it is before a spec's name, and all of its labels behind."""
    return _LABELS.sub("", name.removeprefix("[It] "))


def _cause(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            said = found.get("message") or found.text or kind
            return " ".join(said.split())[:_DETAIL]
    return ""
