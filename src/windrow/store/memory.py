"""`Memory` on disk: two small JSON documents, written when they change; one is gone after a start of the host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from windrow.model.facts import Memory
from windrow.model.values import Cidr, IfName, parse_mac
from windrow.store import boot, records
from windrow.store.errors import explained
from windrow.store.paths import Paths

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


def read_memory(paths: Paths) -> Memory:
    """What is there and can be read. A file that cannot is no reason to stop: it is made anew after the next change."""
    try:
        document = json.loads(paths.memory.read_text(encoding="utf-8"))
        records.understand(document)
        return Memory(
            nics={str(name): parse_mac(mac) for name, mac in document["nics"].items()},
            given=_addresses(document["given"]),
            had=_had(paths),
            policed=document.get("policed") is True,
            judges=document.get("judges", document.get("policed")) is True,
            of_cluster=document.get("ofCluster") is True,
        )
    except _UNREADABLE:
        return Memory()


def write_memory(paths: Paths, memory: Memory) -> None:
    """Only where it differs. Raises StoreError."""
    before = read_memory(paths)
    if memory.had != before.had:
        with explained(paths.had, "remember which addresses are there"):
            records.make_directory(paths.had.parent, flush=False)
            document = records.stamped({"boot": boot.identity(paths), "had": _written(memory.had)})
            records.write(paths.had, json.dumps(document).encode(), mode=records.SHARED, flush="nothing", rivals=True)
    if replace(memory, had=before.had) != before:
        with explained(paths.memory, "remember which card is which"):
            records.make_directory(paths.memory.parent)
            # For everybody's eyes: `windrow status` needs no root, and it says which card is which.
            said = {"policed": memory.policed, "judges": memory.judges, "ofCluster": memory.of_cluster}
            known = records.stamped({"nics": dict(memory.nics), "given": _written(memory.given), **said})
            records.write(paths.memory, json.dumps(known).encode(), mode=records.SHARED, rivals=True)


def _had(paths: Paths) -> Mapping[IfName, frozenset[Cidr]]:
    """Nothing of before the last start of the host: who has an address may have changed since."""
    try:
        document = json.loads(paths.had.read_text(encoding="utf-8"))
        records.understand(document)
        return _addresses(document["had"]) if document["boot"] == boot.identity(paths) else {}
    except _UNREADABLE:
        return {}


def _addresses(table: Mapping[str, Any]) -> dict[IfName, frozenset[Cidr]]:
    return {IfName(link): frozenset(map(Cidr, addresses)) for link, addresses in table.items()}


def _written(addresses: Mapping[IfName, frozenset[Cidr]]) -> dict[str, Any]:
    return {link: sorted(those) for link, those in addresses.items()}
