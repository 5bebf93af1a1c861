"""Directories of this user's for what took long to make: what was compiled, what was built, what kernels said."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def directory(what: str) -> Path:
    """`$XDG_CACHE_HOME/windrow/<what>`, or ~/.cache/…; without a home that can be written, /tmp/windrow-<what>-<uid>.

    It belongs to this user, and nobody else may write there: what lies in it is loaded into programs. Raises OSError.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    temporary = Path(f"/tmp/windrow-{what}-{os.getuid()}")
    for place in (home / "windrow" / what, temporary):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = place.lstat()
        except OSError:
            continue
        private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        if private and os.access(place, os.W_OK | os.X_OK):
            return place
    raise PermissionError(f"neither {home} nor {temporary} is a directory that only this user can write")
