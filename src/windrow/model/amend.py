"""A document amended: by a merge patch (RFC 7386), or some of its labels or annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def merged(document: Any, patch: Any) -> Any:
    """RFC 7386: what the patch has replaces what is there, null takes away, mappings are merged, lists are not."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def relabelled(document: Mapping[str, Any], field: str, changes: Mapping[str, str | None]) -> dict[str, Any]:
    """With other `labels` or `annotations` (`field`); None takes one away. A field that becomes empty goes."""
    meta = dict(document["metadata"])
    texts = merged(meta.pop(field, None) or {}, changes)
    return {**document, "metadata": {**meta, field: texts} if texts else meta}


def assignments(words: Iterable[str]) -> dict[str, str | None]:
    """`a=b` sets, `a-` takes away. Raises ValueError, which says of which word."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            key, value = word.removesuffix("-"), ""
        if not key or (not equals and key == word):
            raise ValueError(f"{word!r} is neither KEY=VALUE nor KEY-")
        if key in found:
            raise ValueError(f"{key} is said twice")
        found[key] = value if equals else None
    return found
