"""The fields of a document that its kind does not have, as an API server's strict field validation finds them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from windrow.kube.crds import METADATA, PRESERVE, schemas
from windrow.model.wire.documents import META
from windrow.model.wire.reader import suggestion
from windrow.model.wire.text import join

_STATUS = "status"
"""Nobody's wish, and whoever exports an object exports it: what is in it does not matter."""


_schemas = cache(schemas)


def is_described(kind: str) -> bool:
    """Whether it is one whose every field is known here; of the others, Kubernetes' own and KubeVirt's, only the
    reader's own lists are."""
    return kind in _schemas()


def unknown_fields(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, which one may be meant), of a kind that `is_described`."""
    anything = {PRESERVE: True}
    top = {"apiVersion": anything, "kind": anything, METADATA: {"properties": dict.fromkeys(META, anything)}}
    properties = {**top, **_schemas()[str(document["kind"])], _STATUS: anything}
    yield from _unknown(document, {"properties": properties}, "")


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {PRESERVE: True}), join(path, number))
    elif isinstance(value, Mapping) and not schema.get(PRESERVE):
        known = schema.get("properties", {})
        anything = schema.get("additionalProperties")
        for key, inner in value.items():
            if key in known:
                yield from _unknown(inner, known[key], join(path, key))
            elif isinstance(anything, Mapping):
                yield from _unknown(inner, anything, join(path, key))
            elif known:
                missing = [one for one in known if one not in value]
                yield join(path, key), suggestion(key, missing) or suggestion(key, known)
