"""A directory of this user's for what the lab keeps between two runs: what was compiled, and what kernels said that did
not come up."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

_KEPT = 8
"""So many files of what kernels said; the oldest goes."""


def directory() -> Path:
    """`$XDG_CACHE_HOME/windrow/lab`, or ~/.cache/…; without a home that can be written, /tmp/windrow-<uid>.

    It belongs to this user, and nobody else may write there: what lies in it is loaded into programs. Raises OSError.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    homes = [Path(base) if os.path.isabs(base) else Path.home() / ".cache", Path(f"/tmp/windrow-{os.getuid()}")]
    for place in (homes[0] / "windrow" / "lab", homes[1]):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = place.lstat()
        except OSError:
            continue
        private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        if private and os.access(place, os.W_OK | os.X_OK):
            return place
    raise PermissionError(f"neither {homes[0]} nor {homes[1]} is a directory that only this user can write")


def keep_words(kernel: str, lines: Sequence[str]) -> Path | None:
    """Write what a kernel said to a file; None where that is not possible, which is no reason to fail."""
    with contextlib.suppress(OSError):
        place = directory()
        older = sorted(place.glob("*.log"), key=lambda p: p.stat().st_mtime)
        for path in older[: max(0, len(older) - _KEPT + 1)]:
            path.unlink(missing_ok=True)
        path = place / f"{kernel}-{os.getpid()}.log"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path
    return None
