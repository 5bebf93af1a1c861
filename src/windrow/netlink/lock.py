"""The one lock of a host: from observing to the last acknowledgement, and never while waiting for carrier."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from windrow.netlink import errors

_PAUSE_S = 0.01


@contextmanager
def locked(path: Path, *, timeout_s: float | None = None) -> Iterator[None]:
    """Hold flock(2) on `path` (made if missing) for the block. It goes with the process, however that ends.

    Waits for ever, or at most `timeout_s` seconds. Raises KernelError (EAGAIN: another one holds it).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, f"open the lock {path}") from error
    try:
        _take(fd, path, timeout_s)
        yield
    finally:
        os.close(fd)


def _take(fd: int, path: Path, timeout_s: float | None) -> None:
    if timeout_s is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    end = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= end:
                hint = "another Windrow is at work here"
                raise errors.KernelError(errno.EAGAIN, f"take the lock {path}", hint=hint) from error
        time.sleep(_PAUSE_S)
