"""What every object has: labels and annotations that Kubernetes takes."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.amend import faults
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem
from windrow.rules.review import Review, problem

ANNOTATIONS_MAX = 256 * 1024
"""Bytes (`ValidateAnnotationsSize` of apimachinery)."""


def labels_are_as_kubernetes_takes_them(obj: AnyObject, review: Review) -> Iterator[Problem]:
    """Only of what is new: what is stored so already stands in nobody's way."""
    old = review.old(obj)
    if (old is None or old.meta.annotations != obj.meta.annotations) and (size := _size(obj)) > ANNOTATIONS_MAX:
        message = f"keys and values have {size} bytes together"
        yield problem(obj, "annotations-too-long", "metadata.annotations", message, f"{ANNOTATIONS_MAX} at most")
    for field in ("labels", "annotations"):
        before = getattr(old.meta, field) if old is not None else {}
        fresh = {key: value for key, value in getattr(obj.meta, field).items() if before.get(key) != value}
        for message, hint in faults(field, fresh):
            yield problem(obj, "label-malformed", f"metadata.{field}", message, hint)


def _size(obj: AnyObject) -> int:
    return sum(len(text.encode()) for pair in obj.meta.annotations.items() for text in pair)
