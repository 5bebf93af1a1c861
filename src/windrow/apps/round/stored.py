"""What the disk says is wanted: the manifests, and the state that this host was last brought to."""

from __future__ import annotations

from pathlib import Path

from windrow.model.cluster import Cluster
from windrow.model.manifests import Found
from windrow.store.errors import StoreError
from windrow.store.lastgood import Signature, read_last_good, signature
from windrow.store.manifests import ManifestFiles
from windrow.store.paths import Paths


class Stored:
    """Reads again only what changed. `patient`: a file that may still be written is left out for a moment."""

    def __init__(self, paths: Paths, *, patient: bool = False) -> None:
        self._paths, self._patient = paths, patient
        self._files = ManifestFiles(paths)
        self._complete: frozenset[Path] = frozenset()
        self._found: Found | None = None
        self._good: Cluster | None = None
        self._signature: Signature | None = None
        self._read = False
        self.was = ""
        """Which node the last good state is of."""
        self.trouble: StoreError | None = None
        """Why the last good state cannot be read."""
        self.replaced = False
        """Another one wrote the last good state since the time before."""

    def found(self, now: float) -> Found:
        """The manifests; `now` in Unix time."""
        if self._found is None or self._found.young:
            self._found = self._files.found(now, patient=self._patient, complete=self._complete)
            if not self._found.young:
                self._complete = frozenset()
        return self._found

    def heard(self, complete: frozenset[Path]) -> None:
        """These files are whole, although they are young."""
        self._complete |= complete

    def forget(self) -> None:
        """They may have changed."""
        self._found = None

    def good(self) -> Cluster | None:
        """What cannot be read is as if it were not there: then the manifests alone count."""
        now = signature(self._paths)
        if not self._read or now != self._signature:
            self.replaced = self._read
            self._read, self._signature = True, now
            try:
                found = read_last_good(self._paths)
                self.trouble = None
            except StoreError as error:
                self.trouble, found = error, None
            self._good = Cluster.of(found.objects) if found is not None else None
            self.was = found.node if found is not None else ""
        return self._good

    def wrote(self, good: Cluster, node: str) -> None:
        """This is the last good state now, by our own hand."""
        self._good, self.was, self._signature, self._read = good, node, signature(self._paths), True
