"""Files that are the old one or the new one, whatever happens in between.

A new content is written beside the file and flushed (`stage`), then renamed over it (`commit`): rename(2) is
atomic, and without the fsync(2) before it a crash of the machine may leave an empty file under the new name.
The directory's own fsync(2) (`settle`) makes the rename last. All functions raise OSError.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_NEW_MODE = 0o644


def stage(path: Path, data: bytes) -> Path:
    """Write what `path` shall hold to a hidden file beside it, with its mode and owner; returns that file.

    The name is fixed: what a killed process left behind is overwritten by the next one. Only one process
    at a time may do this (`Store` holds a lock).
    """
    temp = path.with_name(f".{path.name}.new")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _NEW_MODE)
    try:
        try:
            _take_after(fd, path)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)  # NFS tells here that the quota is used up
    except BaseException:
        discard(temp)
        raise
    return temp


def _take_after(fd: int, path: Path) -> None:
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return
    new = os.fstat(fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, old.st_mode & 0o7777)


def commit(temp: Path, path: Path) -> None:
    """Put a staged file in its place."""
    os.replace(temp, path)


def discard(temp: Path) -> None:
    """Forget a staged file."""
    with contextlib.suppress(OSError):
        os.unlink(temp)


def settle(directory: Path) -> None:
    """Make the renames and removals in a directory last."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """With all its parents, each made to last."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    settle(path.parent)
