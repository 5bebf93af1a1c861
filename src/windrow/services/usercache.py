"""Directories of this user's for what took long to make: what was compiled, what was built, what kernels said."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def directory(what: str) -> Path:
    """`$XDG_CACHE_HOME/windrow/<what>`, or ~/.cache/…; without a home that can be written, /tmp/windrow-<what>-<uid>.

    It belongs to this user, and nobody else may write there: what lies in it is loaded into programs. Raises OSError.
    """
    places = _places(what)
    for place in places:
        with suppress(OSError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(place):
            return place
    raise PermissionError(f"neither {places[0]} nor {places[1]} is a directory that only this user can write")


def chosen(variable: str, checkout: Path, what: str) -> Path | None:
    """Where something is that the environment may name, and that a checkout has in a place of its own; else
    `directory(what)`, if that is there. Nothing is made, and nothing raised."""
    if named := os.environ.get(variable):
        return Path(named)
    if checkout.is_dir():
        return checkout
    return next(filter(_is_private, _places(what)), None)


def _places(what: str) -> tuple[Path, Path]:
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return home / "windrow" / what, Path(f"/tmp/windrow-{what}-{os.getuid()}")


def _is_private(place: Path) -> bool:
    try:
        found = place.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return ours and os.access(place, os.W_OK | os.X_OK)
