"""A file that somebody names: on a command line, or by its place in a directory. To read a device or a named pipe would
last for ever, or take all memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class NotAFileError(OSError):
    """`strerror` says what it is instead."""


def read_named(path: Path) -> bytes:
    """What is in a file, or comes through a pipe that the shell has opened. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not stop us
    with open(fd, "rb") as file:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode) and not _is_pipe(fd, there) and not _is_null(there):
            raise NotAFileError(errno.EINVAL, f"this is {_what(there.st_mode)}, not a file", str(path))
        os.set_blocking(fd, True)
        return file.read()


def _is_pipe(fd: int, there: os.stat_result) -> bool:
    """`windrow apply -f <(…)`: the shell hands over a pipe, by the name /dev/fd/63."""
    return stat.S_ISFIFO(there.st_mode) and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")


def _is_null(there: os.stat_result) -> bool:
    return stat.S_ISCHR(there.st_mode) and there.st_rdev == os.stat(os.devnull).st_rdev


def _what(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a disk", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "something else")
