"""Which start of the host this is, and how long ago it was: what no clock that people set can confuse."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from windrow.store import records
from windrow.store.paths import Paths

_KERNEL = Path("/proc/sys/kernel/random/boot_id")
_MARK = "boot"


def seconds() -> float:
    """Since the host was started, sleep included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def identity(paths: Paths) -> str:
    """The same until the host is started anew. Raises OSError.

    The kernel's own identity, and a mark among the files that a start takes away: that is what several nodes in one
    kernel have instead of a start of their own.
    """
    kernel = _KERNEL.read_text().strip()
    path = paths.runtime / _MARK
    with suppress(FileNotFoundError):
        mark = path.read_text().strip()
        if mark.startswith(f"{kernel} "):
            return mark
    records.make_directory(path.parent, flush=False)
    mark = f"{kernel} {os.urandom(8).hex()}"
    temp = records.stage(path, mark.encode(), mode=records.SHARED, flush=False, rivals=True)
    try:
        with suppress(FileNotFoundError):
            if not path.read_text().startswith(f"{kernel} "):
                path.unlink()
        os.link(temp, path)
    except FileExistsError:
        return path.read_text().strip()  # another process was faster: its mark counts
    finally:
        records.discard(temp)
    return mark
