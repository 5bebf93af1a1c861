"""The list of cluster networks that CNI calls read: which bridges are never theirs to make."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


def write_cluster_networks(paths: Paths, names: Iterable[str]) -> None:
    """Put the names in place of those that were there: a reader sees the old list or the new one. Only one process
    at a time may do this (it holds `paths.turn`). Raises StoreError."""
    path = paths.cluster_networks
    text = "".join(f"{name}\n" for name in sorted(names))
    with explained(path, "write the list of cluster networks"):
        if path.exists() and path.read_text() == text:
            return
        records.make_directory(path.parent, flush=False)
        records.write(path, text.encode(), mode=records.SHARED, flush="nothing")
