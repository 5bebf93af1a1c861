"""`windrow explain`, laid out as `kubectl explain` does it, from the schema of a kind."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from windrow.model.problems import WindrowError
from windrow.render.text import PLAIN, Style

Schema = Mapping[str, Any]

WIDTH = 80
_TYPES = {"string": "string", "integer": "integer", "boolean": "boolean", "object": "Object"}


class NoField(WindrowError):
    """A path that leads nowhere."""


def explained(
    api_version: str, kind: str, schema: Schema, path: tuple[str, ...], *, recursive: bool = False, style: Style = PLAIN
) -> str:
    """The kind, or one field of it. Raises NoField."""
    group, _, version = api_version.rpartition("/")
    found, required = _at(kind, schema, path)
    head = [f"GROUP:      {group}"] if group else []
    lines = [*head, f"KIND:       {kind}", f"VERSION:    {version}", ""]
    if path:
        needed = " -required-" if required else ""
        lines += [f"FIELD: {path[-1]} <{_type(found)}>{needed}", ""]
    lines += [style.bold("DESCRIPTION:"), *_wrapped(_words(found), "    ")]
    lines += [f"    {fact}" for fact in _facts(found)]
    if members := _properties(found):
        lines += ["", style.bold("FIELDS:")]
        lines += _tree(found, "  ") if recursive else [line for key in members for line in _field(key, found)]
    return "\n".join(lines) + "\n"


def _at(kind: str, schema: Schema, path: tuple[str, ...]) -> tuple[Schema, bool]:
    """The schema at a path, and whether it must be given."""
    found, required = schema, False
    for depth, key in enumerate(path):
        members = _properties(found)
        if key not in members:
            where = ".".join((kind, *path[:depth]))
            hint = f"its fields are {', '.join(members)}" if members else "it has no fields"
            raise NoField(f"there is no field {key!r} in {where}\n    hint: {hint}")
        required = key in _inner(found).get("required", ())
        found = members[key]
    return found, required


def _inner(schema: Schema) -> Schema:
    """Of a list or a map, that of its members."""
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), Mapping):
            return _inner(schema[part])
    return schema


def _properties(schema: Schema) -> Mapping[str, Schema]:
    found = _inner(schema).get("properties", {})
    return found if isinstance(found, Mapping) else {}


def _type(schema: Schema) -> str:
    if isinstance(schema.get("items"), Mapping):
        return f"[]{_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map[string]{_type(schema['additionalProperties'])}"
    return _TYPES.get(str(schema.get("type", "")), "string or Object")


def _words(schema: Schema) -> str:
    return str(schema.get("description") or _inner(schema).get("description") or "")


def _facts(schema: Schema) -> Iterator[str]:
    """What the schema limits."""
    one = _inner(schema)
    if "default" in schema:
        yield f"default: {str(schema['default']).lower()}"
    if "enum" in one:
        yield f"one of: {', '.join(one['enum'])}"
    low, high = one.get("minimum"), one.get("maximum")
    if low is not None and high is not None:
        yield f"from {low} to {high}"
    elif low is not None:
        yield f"at least {low}"
    if (most := schema.get("maxItems") or schema.get("maxProperties")) is not None:
        yield f"at most {most}"
    for rule in one.get("x-kubernetes-validations", ()):
        yield str(rule["message"])


def _field(key: str, schema: Schema) -> list[str]:
    member = _properties(schema)[key]
    needed = " -required-" if key in _inner(schema).get("required", ()) else ""
    facts = "; ".join(_facts(member))
    words = " ".join(filter(None, (_words(member), f"({facts})" if facts else "")))
    return [f"  {key}\t<{_type(member)}>{needed}", *_wrapped(words, "    "), ""]


def _tree(schema: Schema, indent: str) -> Iterator[str]:
    for key, member in _properties(schema).items():
        needed = " -required-" if key in _inner(schema).get("required", ()) else ""
        yield f"{indent}{key}\t<{_type(member)}>{needed}"
        yield from _tree(member, f"{indent}  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
