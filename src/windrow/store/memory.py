"""`Memory` on disk: one small JSON document, written when it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from windrow.model.facts import Memory
from windrow.model.values import Cidr, IfName, parse_mac
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


def read_memory(paths: Paths) -> Memory:
    """What is there and can be read. A file that cannot is no reason to stop: it is made anew after the next change."""
    try:
        document = json.loads(paths.memory.read_text(encoding="utf-8"))
        return Memory(
            nics={str(name): parse_mac(mac) for name, mac in document["nics"].items()},
            given={IfName(link): frozenset(map(Cidr, addrs)) for link, addrs in document["given"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory()


def write_memory(paths: Paths, memory: Memory) -> None:
    """Only where it differs. Raises StoreError."""
    if memory == read_memory(paths):
        return
    with explained(paths.memory, "remember which card is which"):
        records.make_directory(paths.memory.parent)
        # For everybody's eyes: `windrow status` needs no root, and it says which card is which.
        records.write(paths.memory, json.dumps(_document(memory)).encode(), mode=records.SHARED, rivals=True)


def _document(memory: Memory) -> Mapping[str, Any]:
    return {"nics": dict(memory.nics), "given": {link: sorted(addrs) for link, addrs in memory.given.items()}}
