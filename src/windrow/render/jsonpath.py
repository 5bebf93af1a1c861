"""kubectl's JSONPath templates: `{.metadata.name}`, `{range .items[*]}{.metadata.name}{"\\n"}{end}`, and the paths of
`--sort-by` and `custom-columns`.

Fields, `..`, `[n]`, `[a:b]`, `[*]`, `['key']` and filters that compare one path with a value; what kubectl itself
cannot do is not here either (https://kubernetes.io/docs/reference/kubectl/jsonpath/). A field that is not there gives
nothing, as with kubectl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from windrow.model.lazy import dataclass

Step = tuple[str, Any]
"""(`field`, name), (`every`, None), (`deep`, name), (`slice`, slice), (`where`, (path, comparison, value))."""
Path = tuple[Step, ...]

_PIECE = re.compile(r"\{((?:[^{}\"']|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')*)\}")
_STEP = re.compile(
    r"""\.\.(?P<deep>(?:[^.\[\]\s\\]|\\.)+)
      | \.?\*(?P<star>)
      | \.(?P<field>(?:[^.\[\]\s\\]|\\.)+)
      | \[\?\((?P<where>[^)]*)\)\]
      | \[(?P<index>[^\]]*)\]""",
    re.X,
)
_WHERE = re.compile(r"\s*(?P<path>@[^=!<>\s]*)\s*(?:(?P<how>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*")


class BadPath(ValueError):
    """With what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Range:
    path: Path
    body: tuple[Piece, ...]


Piece = str | Path | Range


def template(text: str) -> tuple[Piece, ...]:
    """Raises BadPath."""
    found = list(_tokens(text if "{" in text else f"{{{text}}}"))
    pieces, rest = _body(found, inside=False)
    assert not rest
    return pieces


def rendered(pieces: Sequence[Piece], document: Any) -> str:
    return "".join(_rendered(pieces, document))


def path(text: str) -> Path:
    """`.metadata.name`, `metadata.name`, `{.metadata.name}`. Raises BadPath."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    elif "{" in (inner[:1], inner[-1:]) or (inner.endswith("}") and "{" not in inner):
        raise BadPath(f"{text!r} has one brace without the other")
    if not inner:
        raise BadPath(f"{text!r} is empty")
    return _path(inner if inner[0] in "$@.[" else f".{inner}")


def values(steps: Path, document: Any) -> list[Any]:
    """All that the path leads to."""
    found = [document]
    for kind, what in steps:
        found = [value for one in found for value in _step(kind, what, one)]
    return found


def shown(value: Any) -> str:
    """As kubectl prints it: lists and maps as JSON."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return value
        case Mapping() | list() | tuple():
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        case _:
            return str(value)


# Reading -------------------------------------------------------------------------------------------


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    at = 0
    while at < len(text):
        opening = text.find("{", at)
        if opening < 0:
            yield "text", text[at:]
            return
        if opening > at:
            yield "text", text[at:opening]
        piece = _PIECE.match(text, opening)
        if piece is None:
            raise BadPath(f"{text[opening:]!r} has no closing brace")
        at = piece.end()
        yield _token(piece[1].strip())


def _token(inner: str) -> tuple[str, Any]:
    if inner[:1] in ("'", '"') and inner[-1:] == inner[:1] and len(inner) > 1:
        return "text", re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), inner[1:-1])
    if inner == "end":
        return "end", None
    if inner.startswith("range "):
        return "range", path(inner.removeprefix("range "))
    return "path", path(inner)


def _body(tokens: list[tuple[str, Any]], *, inside: bool) -> tuple[tuple[Piece, ...], list[tuple[str, Any]]]:
    pieces: list[Piece] = []
    while tokens:
        (kind, what), tokens = tokens[0], tokens[1:]
        if kind == "end":
            if not inside:
                raise BadPath("there is {end} without {range}")
            return tuple(pieces), tokens
        if kind == "range":
            body, tokens = _body(tokens, inside=True)
            pieces.append(Range(what, body))
        else:
            pieces.append(what)
    if inside:
        raise BadPath("{range} has no {end}")
    return tuple(pieces), tokens


def _path(text: str) -> Path:
    at = 1 if text[:1] in "$@" else 0
    steps: list[Step] = []
    if text[at:] == ".":
        return ()
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise BadPath(f"{text[at:]!r} is no step of a path: write .field, ['field'], [0], [*] or [?(@.a==1)]")
        steps += _steps(found)
        at = found.end()
    return tuple(steps)


def _steps(found: re.Match[str]) -> list[Step]:
    if (deep := found["deep"]) is not None:
        return [("deep", _plain(deep))]
    if (name := found["field"]) is not None:
        return [("every", None)] if name == "*" else [("field", _plain(name))]
    if (where := found["where"]) is not None:
        return [("where", _where(where))]
    if (index := found["index"]) is not None:
        return [_index(index.strip())]
    return [("every", None)]


def _plain(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _index(text: str) -> Step:
    if text == "*":
        return "every", None
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        return "field", text[1:-1]
    if re.fullmatch(r"-?\d+", text):
        at = int(text)
        return "slice", slice(at, at + 1 if at != -1 else None)
    if re.fullmatch(r"-?\d*:-?\d*(:\d*)?", text):
        return "slice", slice(*(int(n) if n else None for n in text.split(":")))
    raise BadPath(f"[{text}] is no index: write [0], [-1], [0:2], [*] or ['field']")


def _where(text: str) -> tuple[Path, str, Any]:
    found = _WHERE.fullmatch(text)
    if found is None:
        raise BadPath(f"?({text}) is no filter: write ?(@.field=='value')")
    if found["value"] is None:
        return _path(found["path"]), "", None
    value = found["value"]
    if value[:1] in ("'", '"') and value[-1:] == value[:1]:
        return _path(found["path"]), found["how"], value[1:-1]
    try:
        return _path(found["path"]), found["how"], json.loads(value)
    except ValueError as error:
        raise BadPath(f"{value} in ?({text}) is no value: write 'text', a number, true or false") from error


# Following -----------------------------------------------------------------------------------------


def _step(kind: str, what: Any, value: Any) -> Iterator[Any]:
    members = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else []
    match kind:
        case "field" if isinstance(value, Mapping) and what in value:
            yield value[what]
        case "every":
            yield from members
        case "slice" if isinstance(value, list | tuple):
            yield from value[what]
        case "where":
            yield from (one for one in members if _holds(what, one))
        case "deep":
            if isinstance(value, Mapping) and what in value:
                yield value[what]
            for member in members:
                yield from _step("deep", what, member)
        case _:
            pass


def _holds(condition: tuple[Path, str, Any], value: Any) -> bool:
    steps, how, wanted = condition
    found = values(steps, value)
    if not how:
        return bool(found)
    return any(_compares(one, how, wanted) for one in found)


def _compares(one: Any, how: str, wanted: Any) -> bool:
    if how in ("==", "!="):
        return bool((one == wanted) == (how == "=="))
    if isinstance(one, str) is not isinstance(wanted, str) or not isinstance(one, str | int | float):
        return False
    return bool({"<": one < wanted, "<=": one <= wanted, ">": one > wanted, ">=": one >= wanted}[how])


def _rendered(pieces: Sequence[Piece], document: Any) -> Iterator[str]:
    for piece in pieces:
        match piece:
            case str():
                yield piece
            case Range():
                for one in values(piece.path, document):
                    yield from _rendered(piece.body, one)
            case _:
                yield " ".join(map(shown, values(piece, document)))
