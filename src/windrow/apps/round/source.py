"""Where objects come from: the directory of manifests on this host; others, like a cluster's API, bring their own."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from windrow.model.manifests import Found
from windrow.store.manifests import ManifestFiles
from windrow.store.paths import Paths


class Source(Protocol):
    def found(self, now: float) -> Found:
        """All objects, or why nothing is known of them; `now` in Unix time. Never raises."""

    def forget(self) -> None:
        """They may have changed since."""

    @property
    def trouble(self) -> str:
        """Why they may be out of date; empty: they are not."""


class Directory:
    """Reads again only what changed. `patient`: a file that may still be written is left out for a moment."""

    trouble = ""

    def __init__(self, paths: Paths, *, patient: bool = False) -> None:
        self._patient = patient
        self._files = ManifestFiles(paths)
        self._complete: frozenset[Path] = frozenset()
        self._found: Found | None = None

    def found(self, now: float) -> Found:
        if self._found is None or self._found.young:
            self._found = self._files.found(now, patient=self._patient, complete=self._complete)
            if not self._found.young:
                self._complete = frozenset()
        return self._found

    def heard(self, complete: frozenset[Path]) -> None:
        """These files are whole, although they are young."""
        self._complete |= complete

    def forget(self) -> None:
        self._found = None
