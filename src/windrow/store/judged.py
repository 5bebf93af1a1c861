"""The list of judged ports that CNI calls read (`Paths.judged`)."""

from __future__ import annotations

from windrow.model.ruletable import RuleTable
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


def write_judged(paths: Paths, table: RuleTable) -> None:
    """`table`: the one in force. Only one process at a time may do this (it holds `paths.turn`). Raises StoreError."""
    if table.empty and not paths.judged.exists():
        return
    with explained(paths.judged, "write the list of ports that network policies have judged"):
        records.write_names(paths.judged, table.judged)
