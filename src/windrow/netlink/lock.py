"""The one lock of a host: from observing to the last acknowledgement, and never while waiting for carrier.

A plan that is carried out holds it alone. Calls that each make one port share it: they do not disturb each other.

flock(2) knows no order: while calls come and go that share it, it would never be free. So whoever wants it goes through
a gate, and who wants it alone waits for it in the gate: those who come later wait outside.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from windrow.netlink import errors

_PAUSE_S = 0.01


@contextmanager
def locked(path: str | os.PathLike[str], *, shared: bool = False, timeout_s: float | None = None) -> Iterator[None]:
    """Hold flock(2) on `path` (made if missing) for the block. It goes with the process, however that ends.

    `shared`: together with others who share it. Waits for ever, or at most `timeout_s` seconds. Raises KernelError
    (EAGAIN: another one holds it).
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    with _taken(f"{os.fspath(path)}.gate", shared, end):
        fd = _take(os.fspath(path), shared, end)
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _taken(path: str, shared: bool, end: float | None) -> Iterator[None]:
    fd = _take(path, shared, end)
    try:
        yield
    finally:
        os.close(fd)


def _take(path: str, shared: bool, end: float | None) -> int:
    """An fd that has the lock."""
    try:
        fd = _open(path)
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, f"open the lock {path}") from error
    try:
        _wait(fd, path.removesuffix(".gate"), fcntl.LOCK_SH if shared else fcntl.LOCK_EX, end)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        directory = os.path.dirname(path)
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)  # whatever the umask: others' files are in it that everybody may read
        return os.open(path, flags, 0o600)


def _wait(fd: int, path: str, how: int, end: float | None) -> None:
    if end is None:
        fcntl.flock(fd, how)
        return
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= end:
                hint = "another Windrow is at work here"
                raise errors.KernelError(errno.EAGAIN, f"take the lock {path}", hint=hint) from error
        time.sleep(_PAUSE_S)
