"""A document amended: by a merge patch (RFC 7386), or some of its labels or annotations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
"""As apimachinery's IsQualifiedName and IsDNS1123Subdomain have it."""
_LETTERS = "letters, digits and -_. between them, 63 at most"


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


def faults(field: str, changes: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """What Kubernetes refuses of the `labels` or `annotations` (`field`) that are set, and what to do. Any may be taken
    away."""
    for key, value in changes.items():
        domain, slash, name = key.rpartition("/")
        if value is None:
            continue
        if not _NAME.fullmatch(name) or (slash and not _DOMAIN.fullmatch(domain)):
            yield f"{key!r} is no key", f"write {_LETTERS}, and before it a domain and a slash where you like"
        if field == "labels" and value and not _NAME.fullmatch(value):
            yield f"{value!r} is no value of a label", f"write {_LETTERS}; an annotation holds any text"
