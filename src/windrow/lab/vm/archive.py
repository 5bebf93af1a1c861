"""The archive that a kernel unpacks as its first root (cpio "newc"; Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from windrow.model.lazy import dataclass

_MAGIC = b"070701"
_FIELDS = 13
_HEADER = len(_MAGIC) + 8 * _FIELDS
_END = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """`mode` with its type: a directory has no data, a symbolic link's is where it leads to."""

    name: str
    mode: int
    data: bytes = b""


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, *, program: bool = False) -> Entry:
    return Entry(name, stat.S_IFREG | (0o755 if program else 0o644), data)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def pack(entries: Iterable[Entry]) -> bytes:
    """Directories must come before what is in them. Owners are root, times 0: the same entries give the same bytes."""
    found = bytearray()
    for number, entry in enumerate(entries, 1):
        found += _one(entry, number)
    return bytes(found + _one(Entry(_END, 0), 0))


def _one(entry: Entry, number: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def unpack(data: bytes) -> Iterator[Entry]:
    """What is in it, in order. Raises ValueError for what is no such archive."""
    at = 0
    while True:
        head = data[at : at + _HEADER]
        if len(head) != _HEADER or head[:6] != _MAGIC:
            raise ValueError(f"no header at byte {at}")
        fields = [int(head[start : start + 8], 16) for start in range(len(_MAGIC), _HEADER, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + _HEADER : at + _HEADER + name_size - 1].decode()
        start = _aligned(at + _HEADER + name_size)
        if name == _END:
            return
        if start + size > len(data):
            raise ValueError(f"{name} ends after the archive")
        yield Entry(name, mode, data[start : start + size])
        at = _aligned(start + size)


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")


def _aligned(at: int) -> int:
    return (at + 3) & ~3
