"""A cluster's objects for commands that only look: listed once, as the API has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windrow.kube import trim
from windrow.kube.access import Access
from windrow.kube.resources import SHOWN
from windrow.kube.snapshot import listed
from windrow.model.manifests import Found
from windrow.model.wire import Loaded, load_value, without_doubles


def loaded(documents: tuple[dict[str, Any], ...]) -> Loaded:
    """As Windrow reads them."""
    return without_doubles(load_value(trim.wanted(document)) for document in documents)


class Listed:
    """A source of a round that only looks."""

    trouble = ""

    def __init__(self, access: Access, kinds: Sequence[str] = SHOWN) -> None:
        """Raises KubeError."""
        self._found = Found(loaded=loaded(listed(access, kinds)))

    def found(self, now: float) -> Found:
        return self._found

    def forget(self) -> None:
        """It was looked at once, and that is what the command is about."""
