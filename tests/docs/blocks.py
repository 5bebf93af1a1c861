"""The console blocks of README and docs: what a reader types, what they say it prints, and where it is to be tried.

A comment before each block says where:

    <!-- tried in: SCENARIO -->          a lab of its own; blocks of one page in the same one are one sitting. One that
                                         ships, or tests/docs/SCENARIO.yaml
    <!-- tried in: SCENARIO, after FILE -->  which tests/docs/FILE has prepared on node-0
    <!-- tried in: SCENARIO on NODE, NODE, after FILE -->  the same on each of these; the reader sits at the first one
    <!-- tried in: this directory -->    the checkout, without a lab; `, after FILE`: in the shell that it has prepared
    <!-- tried on: HOST, … -->           a Debian with a systemd of its own, prepared by tests/systemd/hosts/HOST
    <!-- tried on: a clean Debian -->    the root of tests/deb, in which no service runs; `with its network`: it fetches
    <!-- typed by: FILE -->              that test, which takes the commands from the page
    <!-- output of: COMMAND -->          no prompts in it: what that command prints, in part

`$` is a shell of this host, `#` one of the node that `windrow lab shell NODE` has entered (else node-0). A command
without output below it has to end with exit code 0. `…` alone stands for any lines, and in a line for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"(?:^<!-- (?P<where>[^>\n]*) -->\n+)?^```console\n(?P<text>.*?)^```$", re.S | re.M)
_PROMPT = re.compile(r"([$#]) (\S.*)")
_REMARK = re.compile(r"\s{2,}# .*$|\s+#$")
"""What is said beside a command."""


@dataclass(frozen=True)
class Command:
    prompt: str
    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    where: str
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    def said(self, begin: str) -> str:
        """What the comment says after `begin`; empty where it does not begin so."""
        return self.where.removeprefix(begin).strip() if self.where.startswith(begin) else ""

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(_commands(self.lines))


def all_blocks() -> Iterator[Block]:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start("text"))
            yield Block(str(path.relative_to(ROOT)), line, found["where"] or "", tuple(found["text"].splitlines()))


def _commands(lines: tuple[str, ...]) -> Iterator[Command]:
    """Lines before the first prompt are nobody's output. A line that ends in a backslash goes on; and so does a remark
    below a command."""
    rest = list(lines)
    while rest:
        found = _PROMPT.fullmatch(rest.pop(0))
        if found is None:
            continue
        text = found[2]
        while text.endswith("\\") and rest:
            text = f"{text}\n{rest.pop(0)}"
        output = []
        while rest and not _PROMPT.fullmatch(rest[0]):
            output.append(rest.pop(0))
        said = tuple(line for line in output if not line.strip().startswith("# "))
        yield Command(found[1], _REMARK.sub("", text), said)


# What is the same, said another time --------------------------------------------------------------

_MOVING = (
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "MAC"),
    (re.compile(r"\bveth[0-9a-f]{8}\b"), "vethN"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?"), "TIME"),
    (re.compile(r"\bsince \d\d:\d\d:\d\d\b"), "since TIME"),
    (re.compile(r"\b(pid|process) \d+"), r"\1 N"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:ms|s|min|h)\b"), "N s"),
    (re.compile(r"\b\d+(?:ms|s|m|h|d)\b"), "Ns"),
    (re.compile(r"\btime=[\d.]+"), "time=N"),
    (re.compile(r"(?<=\s)\d+\.\d(?=\s{2})"), "N"),
    (re.compile(r"\b\d+\.\d+\.\d+-\d+-amd64\b"), "LINUX"),
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def settled(line: str, *, numbers: bool = False) -> str:
    """Without what another run has otherwise: times (a column of seconds, too), MAC addresses, process ids, Debian's
    kernel of the day, and how far columns are apart.
    `numbers`: without any."""
    for pattern, word in _MOVING:
        line = pattern.sub(word, line)
    if numbers:
        line = _NUMBER.sub("N", line)
    return " ".join(line.split())


def agrees(expected: tuple[str, ...], printed: list[str], *, numbers: bool = False) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else _line(settled(line, numbers=numbers)) + r"\n" for line in expected
    )
    text = "".join(f"{settled(line, numbers=numbers)}\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def _line(text: str) -> str:
    return r".*".join(re.escape(part) for part in text.split("…"))
