"""What `windrow init` found: the NICs with their addresses and routes, for the day on which they are given back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from windrow.model.host import Details, HostState
from windrow.model.values import Cidr
from windrow.model.wire import hoststate
from windrow.store import boot, records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths


def read_origin(paths: Paths) -> HostState | None:
    """None: there is none. Raises StoreError: it cannot be read."""
    with explained(paths.origin, "read what was here before `windrow init`"):
        try:
            data = records.read_private(paths.origin)
        except FileNotFoundError:
            return None
        now = boot.identity(paths)
    try:
        return _read(data, now)
    except (ValueError, RecursionError) as error:
        hint = "set the network up by hand, or as your distribution does it"
        raise StoreError(paths.origin, f"this is not what was here before `windrow init`: {error}", hint) from error


@lru_cache(maxsize=2)
def _read(data: bytes, now: str) -> HostState:
    """Every look at the kernel asks for it, and it changes as often as `windrow init` is run. Raises ValueError."""
    document = json.loads(data)
    start = document.pop("boot", "") if isinstance(document, dict) else ""
    found = hoststate.read(document)
    return found if start == now else _of_another_start(found)


def _of_another_start(state: HostState) -> HostState:
    """Its times are of a clock that began anew (CLOCK_BOOTTIME): what was for a time is over."""
    links = {name: replace(link, details=_over(link.details)) for name, link in state.links.items()}
    routes = frozenset(r if r.until is None else replace(r, until=0.0) for r in state.routes)
    return replace(state, links=links, routes=routes)


def _over(details: Mapping[Cidr, Details]) -> dict[Cidr, Details]:
    return {
        address: one if one.valid_until is None else replace(one, valid_until=0.0, preferred_until=0.0)
        for address, one in details.items()
    }


def write_origin(paths: Paths, origin: HostState) -> None:
    """Raises StoreError."""
    with explained(paths.origin, "keep what is here now"):
        data = json.dumps({"boot": boot.identity(paths), **hoststate.write(origin)}, indent=1).encode()
        records.make_directory(paths.origin.parent)
        records.write(paths.origin, data, mode=records.PRIVATE)


def forget_origin(paths: Paths) -> None:
    """Raises StoreError."""
    with explained(paths.origin, "forget what was here before"):
        paths.origin.unlink(missing_ok=True)
