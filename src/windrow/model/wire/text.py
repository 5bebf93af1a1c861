"""Text -> plain values and the line of each, from YAML (JSON is YAML). Anything at all may come in.

This reads the parser's events and not PyYAML's constructors, for three reasons. Kubernetes reads YAML as
go-yaml v2 does: `52:54:00:12:34:56` is a text there and a number in base 60 in PyYAML, and a timestamp is a
text. Every value needs its line. And nesting, aliases and tags must not be able to do harm.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any

import yaml

from windrow.model.lazy import dataclass

MAX_TEXT = 32 * 1024 * 1024
MAX_DEPTH = 64
MAX_COPIES = 100_000
"""How many values aliases may add to a text: nine levels of nine aliases each would be 387 million."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_BOOL = {
    word: value
    for value, words in ((True, ("y", "yes", "on", "true")), (False, ("n", "no", "off", "false")))
    for plain in words
    for word in (plain, plain.capitalize(), plain.upper())
    if len(plain) > 1  # a lone y or n is a text, as in PyYAML
}
_NULL = ("", "~", "null", "Null", "NULL")
_INT = re.compile(r"([-+]?)(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")} | {"!"}


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a text, before anybody knows what it means. `line` counts from 1."""

    code: str
    message: str
    hint: str = ""
    path: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Scalar:
    value: str | int | float | bool | None
    line: int
    block: bool = False
    """A literal block (`|`): its text starts on the next line."""


@dataclass(frozen=True, slots=True)
class Sequence:
    items: list[TreeNode]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: list[tuple[str, int, TreeNode]]
    """Key, its line, its value; as written, duplicates and `<<` too."""
    line: int


@dataclass(frozen=True, slots=True)
class Alias:
    target: TreeNode
    line: int


TreeNode = Scalar | Sequence | Mapping | Alias


@dataclass(frozen=True, slots=True)
class Tree:
    """One document of a text. Lines count from 0, `last` is the last line with something of it.

    `first` is the line of its `---`, or the line where its content starts if it has none.
    """

    root: TreeNode
    first: int
    explicit: bool
    last: int


@dataclass(frozen=True, slots=True)
class Plain:
    """`value` is made of dict, list, str, int, float, bool and None; `lines` (from 1) by path."""

    value: Any
    lines: dict[str, int] = field(default_factory=dict)
    blocks: frozenset[str] = frozenset()
    """The paths whose text is a literal block."""


def join(path: str, key: str | int) -> str:
    """`spec` + `mtu` -> `spec.mtu`, `nics` + 1 -> `nics[1]`; a key that is no word stands in brackets too."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{shown(key)}]"


def shown(value: object, width: int = 60) -> str:
    """A value from a manifest as it may stand in a message: one short line without control characters."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text if text.isprintable() and text else repr(text)


def quoted(text: str, width: int = 60) -> str:
    """A text from a manifest in quotes, for a message: short, control characters escaped."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def clean(text: str) -> str:
    """Half of a surrogate pair cannot be written as UTF-8; Go replaces it, and so do we."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def trees(text: str) -> tuple[list[Tree], list[Complaint]]:
    """All documents up to the first place that is not YAML, and what is wrong there."""
    found: list[Tree] = []
    if len(text) > MAX_TEXT:
        return found, [Complaint("yaml-limits", f"the text is longer than {MAX_TEXT >> 20} MiB")]
    complaints: list[Complaint] = []
    try:
        composer = _Composer(yaml.parse(_parted(_paired(clean(text))), Loader=_LOADER), complaints)
        found.extend(composer.documents())
    except _TooDeep as error:
        complaints.append(
            Complaint(
                "yaml-limits", f"more than {MAX_DEPTH} levels of lists and maps in each other", line=error.line + 1
            )
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        complaints.append(
            Complaint(
                "yaml-syntax",
                f"this is not YAML: {what or 'syntax error'}",
                "check indentation (no tabs), quotes, colons and brackets here and on the line before",
                line=mark.line + 1 if mark else None,
            )
        )
    except yaml.reader.ReaderError as error:
        complaints.append(_unreadable(text, error))
    return found, complaints


_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def _paired(text: str) -> str:
    """JSON spells a character beyond U+FFFF as two escapes, and that is the one thing in it that is not YAML."""
    if "\\u" not in text or text.lstrip()[:1] not in ("{", "["):
        return text
    return _PAIR.sub(lambda m: m[1] + bytes.fromhex(m[2] + m[3]).decode("utf-16-be"), text)


def _parted(text: str) -> str:
    """Several JSON documents one behind the other, as `kubectl get -o json` or `jq` write them, are several YAML
    documents: an explicit mark before each but the first, on its line. What is not all JSON stays as it is."""
    if text.lstrip()[:1] != "{":
        return text
    decode, found, at = json.JSONDecoder().raw_decode, list[str](), 0
    try:
        while rest := text[at:].lstrip():
            begin = len(text) - len(rest)
            _, end = decode(text, begin)
            gap = text[at:begin].rpartition("\n")[0]
            found.append(f"{gap}\n--- {text[begin:end]}" if found else text[:end])
            at = end
    except (ValueError, RecursionError):
        return text
    return "".join(found)


def _unreadable(text: str, error: yaml.reader.ReaderError) -> Complaint:
    """A character that YAML forbids (YAML 1.1 §4.1), such as NUL."""
    code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
    char = chr(code) if 0 <= code <= 0x10FFFF else "\0"
    at = text.find(char)
    return Complaint(
        "yaml-syntax",
        f"this is not YAML: the character U+{code:04X} may not stand in it",
        "is this a text file?",
        line=text.count("\n", 0, at) + 1 if at >= 0 else None,
    )


class _TooDeep(Exception):
    def __init__(self, line: int) -> None:
        self.line = line


class _Composer:
    """Events -> trees. Recursion ends at MAX_DEPTH."""

    def __init__(self, events: Iterator[Any], complaints: list[Complaint]) -> None:
        self._events = events
        self._complaints = complaints
        self._anchors: dict[str, TreeNode | None] = {}
        self._last = 0

    def documents(self) -> Iterator[Tree]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                # With directives before it, `---` ends the event; else it is the event.
                mark: Any = event.end_mark if event.explicit else event.start_mark
                first: int = mark.line
                self._last = first
                root = self._node(next(self._events), 0)
                yield Tree(root=root, first=first, explicit=bool(event.explicit), last=self._last)

    def _node(self, event: Any, depth: int) -> TreeNode:
        line = event.start_mark.line
        self._saw(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", line)
        if depth > MAX_DEPTH:
            raise _TooDeep(line)
        if event.tag is not None and event.tag not in _TAGS:
            self._complaints.append(
                Complaint(
                    "yaml-tag",
                    f"the YAML tag {shown(event.tag.replace('tag:yaml.org,2002:', '!!'))} has no meaning in a manifest",
                    "write the value without it",
                    line=line + 1,
                )
            )
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._value(event, depth, line)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _value(self, event: Any, depth: int, line: int) -> TreeNode:
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(_scalar(event), line, block=event.style == "|")
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            self._closed(event, inner)
            return Sequence(items, line)
        entries = []
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            key = self._key(inner, depth)
            entries.append((key, inner.start_mark.line, self._node(next(self._events), depth + 1)))
        self._closed(event, inner)
        return Mapping(entries, line)

    def _key(self, event: Any, depth: int) -> str:
        """A key as it is written, as Kubernetes' JSON has it: `on:` is the key `on`, not true."""
        line = event.start_mark.line
        if isinstance(event, yaml.ScalarEvent):
            self._saw(event)
            if event.anchor:
                self._anchors[event.anchor] = Scalar(clean(event.value), line)
            return clean(event.value)
        node = self._node(event, depth + 1)
        target = node.target if isinstance(node, Alias) else node
        if isinstance(target, Scalar):
            return str(target.value)
        message = "a list or a map cannot be the key of a map"
        self._complaints.append(Complaint("yaml-key", message, "is a quote missing?", line=node.line + 1))
        return "?"

    def _alias(self, anchor: str, line: int) -> TreeNode:
        target = self._anchors.get(anchor)
        if target is not None:
            return Alias(target, line)
        what = "contains itself" if anchor in self._anchors else "is not defined before this line"
        self._complaints.append(Complaint("yaml-alias", f"*{shown(anchor)} {what}", line=line + 1))
        return Scalar(None, line)

    def _saw(self, event: Any) -> None:
        start, end = event.start_mark.line, event.end_mark
        # The end of a block scalar is the start of the line after it.
        last = end.line - 1 if end.column == 0 and end.line > start else end.line
        if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            self._last = max(self._last, last)
        else:
            self._last = max(self._last, start)

    def _closed(self, start: Any, end: Any) -> None:
        """A bracket that closes counts; the end of a block collection is only the start of what follows."""
        if start.flow_style:
            self._last = max(self._last, end.start_mark.line)


def _scalar(event: Any) -> str | int | float | bool | None:
    text = clean(event.value)
    tag = (event.tag or "").rpartition(":")[2]
    if tag in ("str", "!") or (not event.tag and not event.implicit[0]):
        return text
    return resolved(text)


def resolved(text: str) -> str | int | float | bool | None:
    """A plain scalar's value, by go-yaml v2's rules. What overflows, and infinity, stays a text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if (found := _INT.fullmatch(text)) and len(text) <= 64:
        return _integer(found[1], found[2].replace("_", ""), text)
    if _FLOAT.fullmatch(text) and len(text) <= 400:
        number = float(text.replace("_", ""))
        return number if math.isfinite(number) else text
    return text


def _integer(sign: str, digits: str, text: str) -> int | str:
    """`010` is eight (YAML 1.1); only base prefixes and digits come here."""
    for prefix, base in (("0b", 2), ("0x", 16), ("0o", 8), ("0", 8)):
        if digits.startswith(prefix) and digits != "0":
            rest = digits.removeprefix(prefix)
            return int(f"{sign}{rest}", base) if rest else text
    return int(f"{sign}{digits}")


class _TooMany(Exception):
    pass


def plain(node: TreeNode, complaints: list[Complaint]) -> Plain:
    """A tree as plain values. Aliases become copies, `<<` is merged, a duplicate key is a complaint."""
    unfolder = _Unfolder(complaints)
    try:
        value = unfolder.value(node, "")
    except _TooMany:
        message = f"aliases make more than {MAX_COPIES} values of this document, or nest too deep"
        complaints.append(Complaint("yaml-limits", message, line=node.line + 1))
        value = None
    return Plain(value, unfolder.lines, frozenset(unfolder.blocks))


class _Unfolder:
    def __init__(self, complaints: list[Complaint]) -> None:
        self.lines: dict[str, int] = {}
        self.blocks: set[str] = set()
        self._complaints = complaints
        self._copies = 0
        self._aliases = 0
        self._depth = 0

    def value(self, node: TreeNode, path: str) -> Any:
        self._copies += self._aliases > 0
        # A chain of aliases can be deep without being many.
        if self._copies > MAX_COPIES or self._depth > 2 * MAX_DEPTH:
            raise _TooMany
        self.lines.setdefault(path, node.line + 1)
        self._depth += 1
        found = self._value(node, path)
        self._depth -= 1
        return found

    def _value(self, node: TreeNode, path: str) -> Any:
        match node:
            case Alias(target=target):
                self._aliases += 1
                found = self.value(target, path)
                self._aliases -= 1
                return found
            case Scalar(value=value, block=block):
                if block:
                    self.blocks.add(path)
                return value
            case Sequence(items=items):
                return [self.value(item, join(path, i)) for i, item in enumerate(items)]
            case Mapping():
                return self._map(node, path)

    def _map(self, node: Mapping, path: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key, line, inner in node.entries:
            if key == "<<":
                continue
            where = join(path, key)
            if key in seen:
                message = f"the key {shown(key)} stands here twice, first on line {seen[key] + 1}"
                self._complaints.append(Complaint("yaml-duplicate-key", message, "remove one of them", where, line + 1))
                continue
            seen[key] = line
            self.lines.setdefault(where, line + 1)
            result[key] = self.value(inner, where)
        for key, line, inner in node.entries:
            if key == "<<":
                self._merge(inner, path, line, result)
        return result

    def _merge(self, node: TreeNode, path: str, line: int, into: dict[str, Any]) -> None:
        """`<<: *base` (yaml.org/type/merge): what stands in the map itself wins, then the first of a list."""
        merged = self.value(node, path)
        for part in merged if isinstance(merged, list) else [merged]:
            if not isinstance(part, dict):
                message = "<< merges a map or a list of maps"
                self._complaints.append(Complaint("yaml-key", message, path=join(path, "<<"), line=line + 1))
                continue
            for key, value in part.items():
                into.setdefault(key, value)
