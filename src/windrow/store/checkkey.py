"""The key that this cluster's probes are signed with: a file that the administrator carries to every node."""

from __future__ import annotations

import re
from pathlib import Path

from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths

BYTES = 32


def read_key(paths: Paths) -> bytes | None:
    """None: there is none. Raises StoreError where it cannot be read, or is no key: probes that are signed with another
    one would be a foreign cluster's to all other nodes."""
    path = paths.check_key
    try:
        with explained(path, "read the key of the probes"):
            data = records.read_private(path)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> bytes:
    text = data.decode("ascii", "replace").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * BYTES}}}", text):
        hint = "copy it from another node, or make one with `windrow check --new-key`, for all of them"
        raise StoreError(path, f"this is no key: it has to be {2 * BYTES} hexadecimal digits", hint)
    return bytes.fromhex(text)


def write_key(paths: Paths, key: bytes) -> None:
    """Where there is none: another one would cut this node off from the others. Raises StoreError."""
    path = paths.check_key
    with explained(path, "write the key of the probes"):
        is_there = path.exists()
    if is_there:
        hint = f"to have a new one, remove it on every node, then copy the new one there: rm {path}"
        raise StoreError(path, "there is a key already", hint)
    with explained(path, "write the key of the probes"):
        records.make_place(path.parent)
        records.write(path, key.hex().encode() + b"\n", mode=records.PRIVATE)
