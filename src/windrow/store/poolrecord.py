"""What the disk knows of pools: which address was given to whom (`model.pools.Record`), and which of them this node
serves now."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable

from windrow.model.pools import Record
from windrow.model.values import parse_mac
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


def read_record(paths: Paths) -> Record:
    """What is there and can be read. Where nothing can, addresses are given as the first time: the lowest first."""
    try:
        document = json.loads(paths.pool_record.read_text(encoding="utf-8"))
        records.understand(document)
        return {
            str(pool): {parse_mac(mac): str(ipaddress.IPv4Address(address)) for mac, address in given.items()}
            for pool, given in document["pools"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_record(paths: Paths, record: Record) -> None:
    """Only where it differs: by its return it is on the disk, so that a client may be told. Raises StoreError."""
    if record == read_record(paths):
        return
    document = records.stamped({"pools": {pool: dict(given) for pool, given in record.items()}})
    with explained(paths.pool_record, "record which addresses of pools are given"):
        records.make_directory(paths.pool_record.parent)
        # For everybody's eyes: `windrow get ippools` needs no root.
        records.write(paths.pool_record, json.dumps(document).encode(), mode=records.SHARED, rivals=True)


def read_active(paths: Paths) -> frozenset[str]:
    """The pools (`namespace/name`) whose server's address is this node's turn to have; none where nothing can be read,
    which is the safe side: whoever else serves goes on."""
    try:
        document = json.loads(paths.active_pools.read_text(encoding="utf-8"))
        records.understand(document)
        return frozenset(map(str, document["active"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def write_active(paths: Paths, pools: Iterable[str]) -> None:
    """Only where it differs. Raises StoreError."""
    wanted = frozenset(pools)
    if wanted == read_active(paths):
        return
    with explained(paths.active_pools, "write down which pools this node serves"):
        records.make_directory(paths.active_pools.parent, flush=False)
        document = json.dumps(records.stamped({"active": sorted(wanted)}))
        records.write(paths.active_pools, document.encode(), mode=records.SHARED, flush="nothing")
