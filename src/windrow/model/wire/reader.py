"""The values of one document, read with their types; what is wrong is noted and reading goes on.

A read that fails gives a placeholder, so that all problems of a document are found in one go; an object of
which anything was wrong never leaves this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from windrow.model.lazy import dataclass
from windrow.model.machines import Lack
from windrow.model.meta import Meta, Source
from windrow.model.problems import Problem, Severity
from windrow.model.values import Ref
from windrow.model.wire.text import join, quoted, shown

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

IS_KEPT = "; it is kept, and means nothing"
"""How the warning of an unknown field ends."""
_LONGEST_WORD = 100
"""An address or a name is never longer; the text would fill the message that complains about it."""


class Report:
    """The problems of one document, and what a machine needs and is not made here (`lacks`); not a value, it lives
    while the document is read."""

    def __init__(self, source: Source, prefix: str = "") -> None:
        self.source = source
        self.about: Ref | None = None
        self.problems: list[Problem] = []
        self.lacks: list[Lack] = []
        self._prefix = prefix

    def add(self, code: str, path: str, message: str, hint: str = "", *, line: int | None = None) -> None:
        self._note(Severity.ERROR, (code, path, message, hint), line)

    def warn(self, code: str, path: str, message: str, hint: str = "", *, line: int | None = None) -> None:
        self._note(Severity.WARNING, (code, path, message, hint), line)

    def _note(self, severity: Severity, said: tuple[str, str, str, str], line: int | None) -> None:
        code, path, message, hint = said
        self.problems.append(
            Problem(
                code=code,
                message=message,
                hint=hint,
                # Inside a List, an object that has no name yet is told by its place.
                path=".".join(filter(None, (self._prefix if self.about is None else "", path))),
                about=self.about,
                file=self.source.file,
                line=line or self.source.line(path) or self.source.line(""),
                severity=severity,
            )
        )

    @property
    def failed(self) -> bool:
        return any(p.severity is Severity.ERROR for p in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every kind starts with."""

    meta: Meta
    doc: Mapping[str, Any]
    source: Source


def kind_of(value: object) -> str:
    """The type of a value in the words of a manifest."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {'true' if value else 'false'}"
        case int() | float():
            return f"the number {shown(value)}"
        case str():
            return f"the text {quoted(value)}"
        case list():
            return "a list"
        case dict():
            return "a map"
        case _:
            return f"a {type(value).__name__}"


def suggestion(word: object, words: Iterable[str], cutoff: float = 0.75) -> str:
    """`did you mean …?`, or nothing."""
    if not isinstance(word, str) or not 0 < len(word) <= 64:
        return ""
    import difflib  # only for a message

    by_lower = {_bare(w): w for w in words}
    close = difflib.get_close_matches(_bare(word), by_lower, n=1, cutoff=cutoff)
    return f"did you mean {by_lower[close[0]]}?" if close else ""


def _bare(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


_EXAMPLES = {
    "a text": '"…"',
    "a whole number": "100",
    "true or false": "true",
    "a list": "[one, two]",
    "a map": "{…}",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A value, its place, and where to complain about it."""

    value: Any
    path: str
    report: Report

    def wrong(self, code: str, message: str, hint: str = "") -> None:
        self.report.add(code, self.path, message, hint)

    def lack(self, code: str, message: str, hint: str = "") -> None:
        """It is right, and a machine that needs it cannot be started here."""
        self.report.lacks.append(Lack(code=code, path=self.path, message=message, hint=hint))

    def expected(self, what: str, hint: str = "") -> None:
        leaf = "" if self.path.endswith("]") else self.path.rpartition(".")[2]
        example = f"for example: {leaf}: {_EXAMPLES[what]}" if leaf and what in _EXAMPLES else ""
        self.wrong("wrong-type", f"must be {what}, and is {kind_of(self.value)}", hint or example)

    def text(self) -> str | None:
        if isinstance(self.value, str):
            return self.value
        scalar = isinstance(self.value, bool | int | float)
        self.expected("a text", "put it in quotes" if scalar else "")
        return None

    def integer(self, low: int, high: int, *, code: str = "out-of-range", hint: str = "") -> int | None:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int):
            quoted = isinstance(value, str) and value.strip().lstrip("-").isdecimal()
            self.expected("a whole number", "write it without quotes" if quoted else "")
            return None
        if not low <= value <= high:
            self.wrong(code, f"{shown(value)} is outside {low}..{high}", hint)
            return None
        return value

    def flag(self) -> bool | None:
        if isinstance(self.value, bool):
            return self.value
        self.expected("true or false")
        return None

    def choice(self, choices: Iterable[E], code: str = "not-a-choice") -> E | None:
        if (text := self.text()) is None:
            return None
        words = {str(c): c for c in choices}
        if text in words:
            return words[text]
        self.wrong(code, f"{quoted(text)} is not one of {', '.join(words)}", suggestion(text, words))
        return None

    def parsed(self, parse: Callable[[str], T], code: str, hint: str = "") -> T | None:
        """A text that `parse` understands; its ValueError is the message."""
        if (text := self.text()) is None:
            return None
        if len(text) > _LONGEST_WORD:
            self.wrong(code, f"{quoted(text)} has {len(text)} characters", hint)
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.wrong(code, str(error), hint)
            return None

    def items(self, what: str = "a list") -> Iterator[Field]:
        if not isinstance(self.value, list):
            self.expected(what)
            return
        for i, item in enumerate(self.value):
            yield Field(item, join(self.path, i), self.report)

    def table(self, known: Sequence[str] = ()) -> Table | None:
        """As a map; `known` are its fields, None of them: any key is fine."""
        if isinstance(self.value, dict):
            return Table(self.value, self.path, self.report, known)
        self.expected("a map")
        return None


class Table:
    """A map whose fields are read by name. A key that looks like a slip of a known one is a warning.

    `value` None: the map is not there or is no map, which somebody has complained about already where it
    matters; then nothing inside it is missed.
    """

    def __init__(self, value: Mapping[str, Any] | None, path: str, report: Report, known: Sequence[str] = ()) -> None:
        self.value: Mapping[str, Any] = value or {}
        self.path, self.report = path, report
        self._there = value is not None
        for key in self.value if known else ():
            if key not in known and (hint := suggestion(key, [k for k in known if k not in self.value], 0.8)):
                what = f"there is no field {shown(key)}{IS_KEPT}"
                report.warn("unknown-field", join(path, key), what, hint)

    def __contains__(self, key: str) -> bool:
        """null is the same as absent, as in Kubernetes."""
        return self.value.get(key) is not None

    def __getitem__(self, key: str) -> Field:
        return Field(self.value.get(key), join(self.path, key), self.report)

    def fields(self) -> Iterator[tuple[str, Field]]:
        for key in self.value:
            if key in self:
                yield key, self[key]

    def get(self, key: str) -> Field | None:
        field = self[key]
        return field if field.value is not None else None

    def required(self, key: str, hint: str = "") -> Field | None:
        if key in self:
            return self[key]
        if self._there:
            self.report.add("required", join(self.path, key), "is missing", hint)
        return None

    def text(self, key: str, *, required: bool = False, hint: str = "") -> str:
        """Empty where it is absent or wrong; a required one must have a character at least."""
        found = self.required(key, hint) if required else self.get(key)
        text = found.text() if found else ""
        if found and text == "" and required:
            found.wrong("required", "is empty", hint)
        return text or ""

    def integer(self, key: str, low: int, high: int, *, code: str = "out-of-range", hint: str = "") -> int | None:
        found = self.get(key)
        return found.integer(low, high, code=code, hint=hint) if found else None

    def flag(self, key: str) -> bool:
        found = self.get(key)
        return bool(found and found.flag())

    def table(self, key: str, known: Sequence[str] = (), *, required: bool = False, hint: str = "") -> Table:
        """Empty where it is absent or wrong."""
        found = self.required(key, hint) if required else self.get(key)
        table = found.table(known) if found else None
        return table or Table(None, join(self.path, key), self.report)

    def texts(self, key: str) -> dict[str, str]:
        """A map of texts, like labels."""
        pairs = ((name, field.text()) for name, field in self.table(key).fields())
        return {name: text for name, text in pairs if text is not None}
