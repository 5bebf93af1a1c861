"""What the forms have in common: sections of `KEY=value` lines, YAML with its lines, and what is told of a bad text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from windrow.adopt.values import Claim, Setting, Text
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, Severity
from windrow.model.values import IfName
from windrow.model.wire.text import Complaint, plain, trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """`[name]` and what stands below it."""

    name: str
    settings: tuple[Setting, ...]

    def all(self, key: str) -> list[str]:
        return [setting.value for setting in self.settings if setting.key.lower() == key.lower()]


def sections(text: str) -> list[Section]:
    """Of a file of systemd's or NetworkManager's form; a section may come again."""
    found: list[tuple[str, list[Setting]]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].strip(), []))
        elif line and line[0] not in "#;" and "=" in line and found:
            key, _, value = line.partition("=")
            found[-1][1].append(Setting(key=key.strip(), value=value.strip(), line=number))
    return [Section(name=name, settings=tuple(settings)) for name, settings in found]


def unsaid(found: Collection[Section], shown: Mapping[str, Collection[str]]) -> tuple[Setting, ...]:
    """The settings that are not `shown` by the kernel: section -> its keys, `*` for all of them."""
    return tuple(
        Setting(key=f"{section.name}.{setting.key}", value=setting.value, line=setting.line)
        for section in found
        for setting in section.settings
        if not matches(setting.key, shown.get(section.name, ()))
    )


def matches(key: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(key.lower(), pattern.lower()) for pattern in patterns)


def whole_file(program: str, text: Text, links: Iterable[tuple[IfName, str]], left: tuple[Setting, ...]) -> list[Claim]:
    """A claim of all of the file for each of the links, which stand with what the file is to them. `left`: what it sets
    that is not shown."""
    last = max(1, len(text.text.splitlines()))
    return [
        Claim(program=program, link=link, file=text.file, first=1, last=last, what=f"all of it ({what})", unsaid=left)
        for link, what in links
    ]


# YAML ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`lines`: of each path, from 1."""

    value: Any
    lines: Mapping[str, int]

    def span(self, path: str) -> tuple[int, int]:
        """The first and last line that say something of a path."""
        inside = [
            line for where, line in self.lines.items() if where == path or where.startswith((f"{path}.", f"{path}["))
        ]
        return (min(inside), max(inside)) if inside else (1, 1)


def yaml_documents(text: Text) -> tuple[list[Document], list[Problem]]:
    complaints: list[Complaint] = []
    found, wrong = trees(text.text)
    documents = [plain(tree.root, complaints) for tree in found]
    return (
        [Document(value=one.value, lines=one.lines) for one in documents],
        [_unreadable(text, c.message, c.line or 1) for c in (*wrong, *complaints)],
    )


def _unreadable(text: Text, message: str, line: int) -> Problem:
    return Problem(
        code="file-unreadable",
        message=f"what it says of the links cannot be told: {message}",
        file=text.file,
        line=line,
        severity=Severity.WARNING,
    )


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is no map, with its path in dots; a list of plain values is one of them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path, value


def shown_value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
