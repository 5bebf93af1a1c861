"""What is wanted, from wherever it comes, and the state that this host was last brought to."""

from __future__ import annotations

from pathlib import Path

from windrow.apps.round.source import Directory, Source
from windrow.model.cluster import Cluster
from windrow.model.manifests import Found
from windrow.store.errors import StoreError
from windrow.store.lastgood import Signature, read_last_good, signature
from windrow.store.paths import Paths


class Stored:
    """`source`: None for the directory of manifests, which is read with patience where `patient` (`Directory`)."""

    def __init__(self, paths: Paths, source: Source | None = None, *, patient: bool = False) -> None:
        self._paths = paths
        self._directory = Directory(paths, patient=patient)
        self.source: Source = source if source is not None else self._directory
        self._good: Cluster | None = None
        self._signature: Signature | None = None
        self._read = False
        self.was = ""
        """Which node the last good state is of."""
        self.trouble: StoreError | None = None
        """Why the last good state cannot be read."""
        self.replaced = False
        """Another one wrote the last good state since the time before."""

    @property
    def local(self) -> bool:
        """Whether it lies on this host, so that an undo can put it back."""
        return self.source is self._directory

    def found(self, now: float) -> Found:
        """What is wanted; `now` in Unix time."""
        return self.source.found(now)

    def heard(self, complete: frozenset[Path]) -> None:
        """These files are whole, although they are young."""
        self._directory.heard(complete)

    def forget(self) -> None:
        """It may have changed."""
        self.source.forget()

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
