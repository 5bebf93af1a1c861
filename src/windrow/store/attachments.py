"""The records of the meta plugin: what it attached to each container, until all of it is undone.

One file for each call of the meta plugin, `<container>@<interface>.json`, readable by its owner only, written before a
plugin runs. It is on tmpfs (`Paths.attachments`): a reboot takes it away, and the containers with it. What plugins of
others leave on the disk (leases) outlives that; for these a second file is flushed to the disk before any of them runs
(`Paths.lasting_attachments`). It says what to undo, and no more: results come and go on tmpfs, and a DEL after a reboot
undoes all that was begun. The bridge plugin keeps such a record itself (`store.ports`).

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
from dataclasses import fields
from pathlib import Path
from typing import Any

from windrow.model import jsontext
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
        return self._read(_name(container_id, ifname))

    def all(self) -> tuple[tuple[Attached, ...], tuple[StoreError, ...]]:
        """Every record, and why others could not be read."""
        return self._several("")

    def of(self, container_id: str) -> tuple[Attached, ...]:
        """Those of one container, sorted by interface. Raises StoreError."""
        found, failures = self._several(f"{container_id}@")
        if failures:
            raise failures[0]
        return found

    def begin(self, record: Attached, *, lasting: bool) -> None:
        """Before anything of it is made; `lasting`: it is on the disk when this returns. Raises StoreError."""
        if lasting:
            self._write(self.paths.lasting_attachments, record, flush="name")
        self.put(record)

    def put(self, record: Attached) -> None:
        """How far it has come. Raises StoreError."""
        self._write(self.paths.attachments, record, flush="nothing")

    def _write(self, directory: Path, record: Attached, flush: records.Flush) -> None:
        """The caller holds the record's lock: nobody else writes it."""
        path = directory / _name(record.container_id, record.ifname)
        with explained(path, "write the record"):
            records.make_directory(directory, records.PRIVATE_DIRECTORY, flush=flush == "name")
            records.write(path, json.dumps(_document(record)).encode(), mode=records.PRIVATE, flush=flush)

    def remove(self, record: Attached) -> None:
        """Raises StoreError. Not flushed: one that comes back after a power cut is undone once more."""
        for directory in self._directories:
            path = directory / _name(record.container_id, record.ifname)
            with explained(path, "remove the record"), suppress(FileNotFoundError):
                path.unlink()

    @property
    def _directories(self) -> tuple[Path, Path]:
        """What is known now is in the first one."""
        return self.paths.attachments, self.paths.lasting_attachments

    def _read(self, name: str) -> Attached | None:
        found = (_read(directory / name) for directory in self._directories)
        return next((record for record in found if record is not None), None)

    def _several(self, start: str) -> tuple[tuple[Attached, ...], tuple[StoreError, ...]]:
        found: list[Attached] = []
        failures: list[StoreError] = []
        for name in self._names():
            if name.startswith(".") or not (name.startswith(start) and name.endswith(_SUFFIX)):
                continue
            try:
                record = self._read(name)
            except StoreError as failure:
                failures.append(failure)
            else:
                found += [record] if record else []
        return tuple(found), tuple(failures)

    def _names(self) -> list[str]:
        found: set[str] = set()
        for directory in self._directories:
            with explained(directory, "list the records"), suppress(FileNotFoundError):
                found.update(os.listdir(directory))
        return sorted(found)

    def sweep(self) -> None:
        """Remove the half-written files of processes that were killed. Raises StoreError."""
        before = time.time() - _STALE_S
        half = [directory / name for name in self._names() if name.startswith(".") for directory in self._directories]
        for path in half:
            with explained(path, "remove what is half-written"), suppress(FileNotFoundError):
                if path.lstat().st_mtime < before:
                    path.unlink()

    @contextmanager
    def locked(self, container_id: str, ifname: str, *, timeout_s: float) -> Iterator[int | None]:
        """Hold the lock of one record for the block: an fd; None: another one still had it after that time.

        A byte of one file for each record (F_OFD_SETLK): no file is left behind, and it goes with the process, or with
        the last of the programs that have the fd, too (`child.run`).
        """
        path = self.paths.runtime / "attachments.lock"
        with explained(path, "open the lock"):
            records.make_directory(path.parent, flush=False)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, records.PRIVATE)
        try:
            taken = _take(fd, f"{container_id}@{ifname}", time.monotonic() + timeout_s)
            yield fd if taken else None
        finally:
            os.close(fd)


def _name(container_id: str, ifname: str) -> str:
    return f"{container_id}@{ifname}{_SUFFIX}"


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
        return _attached(jsontext.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        hint = "remove it once the container is gone; what it attached is then for GC"
        raise RecordError(path, f"this is not a record of the meta plugin ({error})", hint) from error


def _document(record: Attached) -> dict[str, Any]:
    """`asdict` without copying what is inside."""
    attachments = [_values(attachment) for attachment in record.attachments]
    return records.stamped(_values(record) | {"attachments": attachments})


def _values(value: Attached | Attachment) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


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
    records.understand(document)
    names: Sequence[str] = [f.name for f in fields(cls)]
    return {key: value for key, value in document.items() if key in names}
