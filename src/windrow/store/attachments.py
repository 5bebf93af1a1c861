"""The records of the meta plugin: what it attached to each container, until all of it is undone.

They are on the disk (`Paths.attachments`), since a DEL may come after a reboot, and frees leases: one file for each
call of the meta plugin, `<container>@<interface>.json`, readable by its owner only, flushed before a plugin runs.
While a call works on a record it holds its lock, so DEL waits for the ADD whose runtime lost its patience, and GC
leaves alone what is just being made.

    RecordError     a record cannot be read, written or locked
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from windrow.model.attachments import Attached, Attachment
from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths

_SUFFIX = ".json"
_PAUSE_S = 0.02
_STALE_S = 60.0
"""Writing takes milliseconds."""
_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock`: type, whence, start, length, pid."""


class RecordError(StoreError):
    """The path, the reason, what to do."""


class AttachmentRecords:
    """The records below one root. Any number of processes and threads may use them at once."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def get(self, container_id: str, ifname: str) -> Attached | None:
        """Raises StoreError for a file that is no record."""
        return _read(self._path(container_id, ifname))

    def all(self) -> tuple[tuple[Attached, ...], tuple[StoreError, ...]]:
        """Every record, and why others could not be read."""
        return self._several("")

    def of(self, container_id: str) -> tuple[Attached, ...]:
        """Those of one container, sorted by interface. Raises StoreError."""
        found, failures = self._several(f"{container_id}@")
        if failures:
            raise failures[0]
        return found

    def put(self, record: Attached) -> None:
        """It is on the disk when this returns. Raises StoreError."""
        path = self._path(record.container_id, record.ifname)
        with explained(path, "write the record"):
            records.make_directory(path.parent, records.PRIVATE_DIRECTORY)
            new = not path.exists()
            data = json.dumps(asdict(record)).encode()
            # The caller holds the record's lock: nobody else writes it. A record that was there before may come back
            # as it was then: what it names is undone once more.
            records.write(path, data, mode=records.PRIVATE, flush="name" if new else "content")

    def remove(self, record: Attached) -> None:
        """Raises StoreError. Not flushed: one that comes back after a power cut is undone once more."""
        path = self._path(record.container_id, record.ifname)
        with explained(path, "remove the record"), suppress(FileNotFoundError):
            path.unlink()

    def _path(self, container_id: str, ifname: str) -> Path:
        return self.paths.attachments / f"{container_id}@{ifname}{_SUFFIX}"

    def _several(self, start: str) -> tuple[tuple[Attached, ...], tuple[StoreError, ...]]:
        found: list[Attached] = []
        failures: list[StoreError] = []
        for name in self._names():
            if name.startswith(".") or not (name.startswith(start) and name.endswith(_SUFFIX)):
                continue
            try:
                record = _read(self.paths.attachments / name)
            except StoreError as failure:
                failures.append(failure)
            else:
                found += [record] if record else []
        return tuple(found), tuple(failures)

    def _names(self) -> list[str]:
        with explained(self.paths.attachments, "list the records"), suppress(FileNotFoundError):
            return sorted(os.listdir(self.paths.attachments))
        return []

    def sweep(self) -> None:
        """Remove the half-written files of processes that were killed. Raises StoreError."""
        before = time.time() - _STALE_S
        for name in self._names():
            path = self.paths.attachments / name
            with explained(path, "remove what is half-written"), suppress(FileNotFoundError):
                if name.startswith(".") and path.lstat().st_mtime < before:
                    path.unlink()

    @contextmanager
    def locked(self, container_id: str, ifname: str, *, timeout_s: float) -> Iterator[bool]:
        """Hold the lock of one record for the block; False: another one still had it after that time.

        A byte of one file for each record (F_OFD_SETLK): no file is left behind, and it goes with the process.
        """
        path = self.paths.runtime / "attachments.lock"
        with explained(path, "open the lock"):
            records.make_directory(path.parent, flush=False)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, records.PRIVATE)
        try:
            yield _take(fd, f"{container_id}@{ifname}", time.monotonic() + timeout_s)
        finally:
            os.close(fd)


def _take(fd: int, key: str, end: float) -> bool:
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, zlib.crc32(key.encode()), 1, 0)
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE_S)


def status(paths: Paths, container_id: str) -> tuple[Mapping[str, Any], ...]:
    """`k8s.v1.cni.cncf.io/network-status` of a container, entry by entry; empty while it is not attached."""
    return tuple(entry for record in AttachmentRecords(paths).of(container_id) for entry in record.status)


def _read(path: Path) -> Attached | None:
    with explained(path, "read the record"):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        return _attached(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        hint = "remove it once the container is gone; what it attached is then for GC"
        raise RecordError(path, f"this is not a record of the meta plugin ({error})", hint) from error


def _attached(document: Any) -> Attached:
    values = _known(document, Attached)
    attachments = tuple(_attachment(entry) for entry in values.get("attachments", ()))
    return Attached(**{**values, "attachments": attachments, "status": tuple(values.get("status", ()))})


def _attachment(document: Any) -> Attachment:
    values = _known(document, Attachment)
    return Attachment(**{**values, "plugins": tuple(values["plugins"])})


def _known(document: Any, cls: type[Attached] | type[Attachment]) -> dict[str, Any]:
    """A record that a newer Windrow wrote may say more."""
    if not isinstance(document, dict):
        raise TypeError("no object")
    names: Sequence[str] = [f.name for f in fields(cls)]
    return {key: value for key, value in document.items() if key in names}
