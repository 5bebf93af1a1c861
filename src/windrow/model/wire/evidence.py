"""Evidence as plain values (JSON) and back: `windrow check -o json` prints it, and other verbs take it from a file."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from windrow.model.evidence import Evidence


def evidence_value(evidence: Evidence) -> dict[str, Any]:
    """Only what is not as it is by default."""
    value = _plain(evidence)
    assert isinstance(value, dict)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {
            f.name: _plain(there) for f in fields(value) if (there := getattr(value, f.name)) not in (None, "", (), {})
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(_plain(one) for one in value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def read_evidence(value: Any) -> Evidence:
    """The inverse of `evidence_value`. Raises ValueError that names the place."""
    found = _read(Evidence, value, "evidence")
    assert isinstance(found, Evidence)
    return found


def _read(kind: Any, value: Any, path: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        return None if value is None else _read(rest[0], value, path)
    if is_dataclass(kind):
        return _read_class(kind, value, path)
    if origin is tuple:
        return tuple(_read(args[0], one, f"{path}[{i}]") for i, one in enumerate(_listed(value, path)))
    if origin is frozenset:
        return frozenset(_read(args[0], one, path) for one in _listed(value, path))
    if origin is not None and issubclass(origin, Mapping):
        return {_key(args[0], k): _read(args[1], v, f"{path}.{k}") for k, v in _mapped(value, path).items()}
    kind = getattr(kind, "__supertype__", kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{path}: {value!r} is no {kind.__name__}")
    return value


def _read_class(kind: Any, value: Any, path: str) -> Any:
    given, hints = _mapped(value, path), get_type_hints(kind)
    strange = sorted(set(given) - set(hints))
    if strange:
        raise ValueError(f"{path}: there is no {strange[0]!r}")
    try:
        return kind(**{name: _read(hints[name], one, f"{path}.{name}") for name, one in given.items()})
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def _key(kind: Any, text: str) -> Any:
    return int(text) if getattr(kind, "__supertype__", kind) is int else text


def _mapped(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: {value!r} is no map")
    return value


def _listed(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{path}: {value!r} is no list")
    return value
