"""What `windrow init` found: the NICs with their addresses and routes, for the day on which they are given back."""

from __future__ import annotations

import json

from windrow.model.host import HostState
from windrow.model.wire import hoststate
from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths


def read_origin(paths: Paths) -> HostState | None:
    """None: there is none. Raises StoreError: it cannot be read."""
    with explained(paths.origin, "read what was here before `windrow init`"):
        try:
            data = records.read_private(paths.origin)
        except FileNotFoundError:
            return None
    try:
        return hoststate.read(json.loads(data))
    except (ValueError, RecursionError) as error:
        hint = "set the network up by hand, or as your distribution does it"
        raise StoreError(paths.origin, f"this is not what was here before `windrow init`: {error}", hint) from error


def write_origin(paths: Paths, origin: HostState) -> None:
    """Raises StoreError."""
    data = json.dumps(hoststate.write(origin), indent=1).encode()
    with explained(paths.origin, "keep what is here now"):
        records.make_directory(paths.origin.parent)
        records.write(paths.origin, data, mode=records.PRIVATE)


def forget_origin(paths: Paths) -> None:
    """Raises StoreError."""
    with explained(paths.origin, "forget what was here before"):
        paths.origin.unlink(missing_ok=True)
