"""The list of cluster networks that CNI calls read: which bridges are never theirs to make."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


def write_cluster_networks(paths: Paths, names: Iterable[str]) -> None:
    """Put the names in place of those that were there: a reader sees the old list or the new one. Only one process
    at a time may do this (it holds `paths.turn`). Raises StoreError."""
    with explained(paths.cluster_networks, "write the list of cluster networks"):
        records.write_names(paths.cluster_networks, names)
