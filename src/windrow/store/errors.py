"""What the disk refuses.

StoreError     a manifest cannot be read or written: the path, the reason, what to do
"""

from __future__ import annotations

import errno as codes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from windrow.model.errors import WindrowError
from windrow.store.records import Foreign

_HINTS = {
    codes.EACCES: "run it as the owner of the directory (root, for /etc), or choose another place with --root",
    codes.EPERM: "run it as the owner of the directory (root, for /etc), or choose another place with --root",
    codes.ENOSPC: "the file system is full: make room, then try again; nothing was changed halfway",
    codes.EDQUOT: "the disk quota is used up: make room, then try again; nothing was changed halfway",
    codes.EROFS: "the file system is mounted read-only: mount it read-write, or choose another place with --root",
    codes.ENOTDIR: "a part of this path is a file and no directory",
    codes.EISDIR: "this is a directory",
    codes.ENAMETOOLONG: "the name is too long for this file system",
    codes.EIO: "the disk fails: see the kernel's log",
}


class StoreError(WindrowError):
    """`errno` is None where the reason is in the file and not in the disk."""

    def __init__(self, path: Path, reason: str, hint: str = "", errno: int | None = None) -> None:
        self.path, self.reason, self.hint, self.errno = path, reason, hint, errno
        super().__init__(f"{path}: {reason}\n    hint: {hint}" if hint else f"{path}: {reason}")


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """OSError -> StoreError, naming the path and what to do about it."""
    try:
        yield
    except Foreign as error:
        where = Path(os.fsdecode(error.filename))
        hint = "give it to root (chown root), for whoever can write there decides what becomes of this host's network"
        raise StoreError(where, f"cannot {doing} in this directory: {error.strerror}", hint, error.errno) from error
    except OSError as error:
        code = error.errno or codes.EIO
        where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        reason = f"cannot {doing}: {os.strerror(code)} [{codes.errorcode.get(code, code)}]"
        raise StoreError(where, reason, _HINTS.get(code, ""), code) from error
