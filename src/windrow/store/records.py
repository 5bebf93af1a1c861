"""The one writer of files that others read: each is the old one or the new one, whatever happens in between.

A new content is written beside the file (`stage`) and renamed over it (`commit`): rename(2) is atomic. `write` does
both. What it promises on top of that:

- the mode is the one that is asked for, whatever the umask; it is there before the first byte is;
- a write that the kernel cuts short (write(2)) is gone on with; one that fails leaves the old file and nothing else;
- no symbolic link is followed, and no file of somebody else is written to: the temporary is a new file, always;
- `flush` says what is left after a power cut.

Directories of Windrow's own (`make_directory`) belong to root or to this process, and nobody else may write in them:
whoever could would be believed. All functions raise OSError, `Foreign` among them.

The plugins load this module for every call: it imports no more than they have already.
"""

from __future__ import annotations

import errno
import os
import stat
from _thread import get_ident
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from pathlib import Path
    from typing import Any

    Name = str | PathLike[str]

PRIVATE, SHARED = 0o600, 0o644
"""Modes of files: for its owner's eyes, and for everybody's. Objects of the store may hold passwords (cloud-init)."""
PRIVATE_DIRECTORY, SHARED_DIRECTORY = 0o700, 0o755
SCHEMA = 1
Flush = Literal["nothing", "content", "name"]
"""After a power cut: anything (a file on tmpfs); the old one or the new one; the new one, once `write` has returned."""
_OTHERS, _OTHERS_WRITE = 0o077, 0o022
_TRIES = 20


class Foreign(PermissionError):
    """A directory in which somebody else may change what is ours."""


def write(path: Name, data: bytes, *, mode: int, flush: Flush = "name", rivals: bool = False) -> None:
    """Let `path` hold `data`, with this mode and owned by this process.

    `rivals`: others may write the same file at this moment, and the last one wins. Without it the caller holds a lock.
    """
    temp = stage(path, data, mode=mode, flush=flush != "nothing", rivals=rivals)
    try:
        commit(temp, path)
    except BaseException:
        discard(temp)
        raise
    if flush == "name":
        make_last(os.path.dirname(path))


def write_with_directory(path: Path, data: bytes, *, mode: int, rivals: bool = False) -> None:
    """`write` without a flush, into a directory that comes with its first file and goes with its last one
    (`remove_with_directory`): where that happens at this moment, both are made once more."""
    for left in reversed(range(_TRIES)):
        try:
            make_directory(path.parent, flush=False)
            return write(path, data, mode=mode, flush="nothing", rivals=rivals)
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise


def remove_with_directory(path: Path) -> None:
    """The file, where it is there, and its directory once nothing else is in it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # others' are there
        path.parent.rmdir()


def write_names(path: Path, names: Iterable[str]) -> None:
    """One on each line, on tmpfs; only where it differs."""
    text = "".join(f"{name}\n" for name in sorted(names))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    make_directory(path.parent, flush=False)
    write(path, text.encode(), mode=SHARED, flush="nothing")


def stage(
    path: Name, data: bytes, *, mode: int, flush: bool = True, rivals: bool = False, like: os.stat_result | None = None
) -> str:
    """Write what `path` shall hold to a hidden file beside it; returns that file. `like`: with mode and owner of this.

    Its name is fixed, so what a killed process left is overwritten by the next one; rivals have a name each.
    """
    directory, name = os.path.split(path)
    temp = os.path.join(directory, f".{name}.{os.getpid()}.{get_ident()}" if rivals else f".{name}.new")
    fd = _create(temp)
    try:
        try:
            if like is None:
                os.fchmod(fd, mode)
            else:
                _take_after(fd, like)
            write_all(fd, data)
            if flush:
                os.fsync(fd)
        finally:
            os.close(fd)  # NFS tells here that the quota is used up
    except BaseException:
        discard(temp)
        raise
    return temp


def _create(path: Name) -> int:
    """A new, empty file for its owner's eyes only, open for writing; what had the name (a leftover, somebody's link) is
    removed. Returns the fd."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, PRIVATE)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, PRIVATE)


def write_all(fd: int, data: bytes) -> None:
    """write(2) may take less than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _take_after(fd: int, old: os.stat_result) -> None:
    """The mode first: after chown(2) the file may be no longer ours to change (CAP_FOWNER)."""
    os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, old.st_uid, old.st_gid)


def commit(temp: Name, path: Name) -> None:
    """Put a staged file in its place."""
    os.replace(temp, path)


def discard(temp: Name) -> None:
    """Forget a staged file."""
    with suppress(OSError):
        os.unlink(temp)


def make_last(directory: Name) -> None:
    """Make the renames and removals in a directory last."""
    fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_private(path: Name) -> bytes:
    """What is in a file of ours that is for nobody else. An older version left it open for all: that ends here."""
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
            with suppress(OSError):  # on a file system that is read-only it can be read all the same
                os.fchmod(file.fileno(), PRIVATE)
        return file.read()


# Which Windrow may read it -------------------------------------------------------------------------


def stamped(document: dict[str, Any]) -> dict[str, Any]:
    """A JSON document for the disk, with the version of its form.

    A field that one may do without is added, and the version stays: readers pass over what they do not know, so a file
    outlives an upgrade and the way back. The version rises where an older Windrow would understand it wrongly.
    """
    return {"schema": SCHEMA, **document}


def understand(document: Any) -> None:
    """Raises ValueError where it is no object, or a newer Windrow wrote it in another form. Without a version it is of
    the first form."""
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    found = document.get("schema", SCHEMA)
    if type(found) is not int or found > SCHEMA:
        raise ValueError(f"a newer Windrow wrote it: schema {str(found)[:20]}, and this one reads {SCHEMA}")


# Directories --------------------------------------------------------------------------------------


def make_directory(path: Name, mode: int = SHARED_DIRECTORY, *, flush: bool = True) -> None:
    """One of Windrow's own, with all its parents (those for everybody to look in); `flush`: each made to last.

    One that is there already, and ours, loses what it lets others do beyond `mode`: older versions left that to the
    umask. Raises Foreign where it is somebody else's.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        make_place(os.path.dirname(path), flush=flush)
        _make(path, mode, flush)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path))
    me, allows = os.geteuid(), stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, me):
        why = f"it belongs to user {found.st_uid}, who could change what is in it"
        raise Foreign(errno.EPERM, why, os.fspath(path))
    if found.st_uid == me and allows & ~mode & _OTHERS:
        os.chmod(path, allows & (mode | ~_OTHERS))
    elif allows & ~mode & _OTHERS_WRITE:
        raise Foreign(errno.EPERM, f"others may write in it (mode {allows:o})", os.fspath(path))


def make_place(path: Name, *, flush: bool = True) -> None:
    """A directory for everybody to look in, with all its parents. One that is there is taken as it is: it may be the
    administrator's."""
    if os.path.isdir(path or "."):
        return
    make_place(os.path.dirname(path), flush=flush)
    _make(path, SHARED_DIRECTORY, flush)


def _make(path: Name, mode: int, flush: bool) -> None:
    """mkdir(2) takes the umask's bits away; chmod(2) gives them back. For a moment it is closer, never wider."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return  # another process was faster, and gives it its mode
    os.chmod(path, mode)
    if flush:
        make_last(os.path.dirname(path))
