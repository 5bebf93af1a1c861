"""A log that does not grow: of what is written into a pipe the last one to two times `SIZE`, in two files.

It is kept by a program of its own, this file: it ends with the last writer, and outlives whoever started it. Of Windrow
it imports nothing. head(1) would do, but for its buffer: what a guest says is to be seen when it says it.
"""

from __future__ import annotations

import os
import sys

SIZE = 1 << 20
"""Bytes, of each of the two."""
_CHUNK = 64 * 1024


def older(path: str) -> str:
    """What the file was before it was full."""
    return f"{path}.1"


def read(path: str) -> bytes:
    """All that is kept. Raises OSError where there is no such log."""
    try:
        with open(path, "rb") as new:
            return _before(path, os.fstat(new.fileno())) + new.read()
    except FileNotFoundError:
        with open(older(path), "rb") as old:  # it was renamed just now, and the next one is not begun yet
            return old.read()


def _before(path: str, new: os.stat_result) -> bytes:
    """Of the full one, if there is one. It is `new` itself where that was renamed just now."""
    try:
        with open(older(path), "rb") as old:
            return b"" if os.path.samestat(os.fstat(old.fileno()), new) else old.read()
    except FileNotFoundError:
        return b""


class Ring:
    """The two files, as the program sees them. What the disk refuses is lost, and the next is tried again."""

    def __init__(self, path: str, size: int) -> None:
        self._path, self._size = path, size
        self._fd, self._used = -1, 0

    def add(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._write(view) :]
            except OSError:
                return

    def _write(self, view: memoryview) -> int:
        if self._fd < 0 or self._used >= self._size:
            self._turn()
        done = os.write(self._fd, view[: self._size - self._used])
        self._used += done
        return done

    def _turn(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1  # whatever happens now, it is begun anew
            os.replace(self._path, older(self._path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd, self._used = os.open(self._path, flags, 0o600), 0


def main(path: str, size: int) -> None:
    ring = Ring(path, size)
    while data := os.read(0, _CHUNK):
        ring.add(data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
