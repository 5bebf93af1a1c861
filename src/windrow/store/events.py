"""What happened on this node, on disk: bounded, the newest last. Nothing is decided by it.

One JSON document on each line. An event that happens again is written again, with its new count; who reads takes the
last line of each. So writing is appending, and every now and then the file is written anew without what is out of date.
A line that a crash or a full disk cut short is passed over.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from windrow.model.events import Event
from windrow.model.values import Ref
from windrow.model.wire.happenings import event_document, read_event
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths

KEPT = 1000
TOGETHER_S = 600.0
"""The same thing again within this time is counted, not told anew."""
_LINES_MAX = 2 * KEPT
_MESSAGE_MAX = 2000

Key = tuple[str, Ref, str]
Stamp = tuple[int, int]
"""Inode and size: another process appends, or writes the file anew."""


class Events:
    """The events below one root. Several processes may add at a time. All methods raise StoreError."""

    def __init__(self, paths: Paths) -> None:
        self._path = paths.events
        self._known: dict[Key, Event] = {}
        self._stamp: Stamp | None = None
        self._lines = self._read_to = 0

    def all(self) -> tuple[Event, ...]:
        """The last `KEPT`, by when they last happened."""
        with explained(self._path, "read the events"):
            self._refresh()
        return tuple(self._known.values())

    def add(self, events: Iterable[Event]) -> None:
        """What is said is on disk when this returns, but not flushed: after a power cut the last few may be missing."""
        new = [replace(event, message=event.message[:_MESSAGE_MAX]) for event in events]
        if not new:
            return
        with explained(self._path, "write the events"), self._exclusive() as fd:
            self._refresh()
            lines = [_line(self._count(event)) for event in new]
            self._forget()
            if self._lines + len(lines) > _LINES_MAX:
                self._write_anew()
            else:
                self._append(fd, "".join(lines), len(lines))

    def changed(self) -> bool:
        """Whether there is something that `all` did not see yet."""
        return self._on_disk() != self._stamp

    def _count(self, event: Event) -> Event:
        """It joins what was told of the same before, if that is not long ago. The newest stand last."""
        key = (event.reason, event.about, event.message)
        old = self._known.pop(key, None)
        # A clock that was set back must not make an event look as if it came before the one it repeats.
        if old is not None and abs(event.last - old.last) <= TOGETHER_S:
            event = replace(event, first=old.first, count=old.count + event.count)
        self._known[key] = event
        return event

    def _forget(self) -> None:
        for key in list(self._known)[: max(0, len(self._known) - KEPT)]:
            del self._known[key]

    # The file -------------------------------------------------------------------------------------

    def _on_disk(self) -> Stamp | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size

    def _refresh(self) -> None:
        """Reads what is new: all of it, where the file is another one or became shorter."""
        stamp = self._on_disk()
        if stamp == self._stamp:
            return
        if stamp is None or self._stamp is None or stamp[0] != self._stamp[0] or stamp[1] < self._stamp[1]:
            self._known, self._lines, self._read_to = {}, 0, 0
        if stamp is not None:
            with open(self._path, "rb") as file:
                file.seek(self._read_to)
                for line in file:
                    self._take(line)
        self._forget()
        self._stamp = stamp

    def _take(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            return  # it is being written, or was cut short; then the next one begins after it
        self._read_to += len(line)
        self._lines += 1
        if (event := _read(line)) is not None:
            key = (event.reason, event.about, event.message)
            self._known.pop(key, None)
            self._known[key] = event

    def _append(self, fd: int, text: str, lines: int) -> None:
        size = os.fstat(fd).st_size
        data = text.encode()
        if size != self._read_to:
            data = b"\n" + data  # the last line was cut short: it ends here, and is passed over
        try:
            records.write_all(fd, data)
        except BaseException:
            os.ftruncate(fd, size)  # no half line on a full disk
            self._stamp = None
            raise
        self._lines += lines
        self._read_to = size + len(data)
        self._stamp = self._on_disk()

    def _write_anew(self) -> None:
        text = "".join(map(_line, self._known.values()))
        self._stamp = None  # whatever happens now, the file is read again
        records.write(self._path, text.encode(), mode=records.SHARED, flush="content")

    @contextmanager
    def _exclusive(self) -> Iterator[int]:
        """The file, open for appending and locked; one that another process has just replaced is opened again."""
        while True:
            records.make_directory(self._path.parent)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, records.SHARED)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                found = os.fstat(fd)
                if found.st_size == 0 and found.st_uid == os.geteuid():
                    os.fchmod(
                        fd, records.SHARED
                    )  # it is new, and the umask had its way: `windrow events` needs no root
                if (stamp := self._on_disk()) is not None and stamp[0] == found.st_ino:
                    yield fd
                    return
            finally:
                os.close(fd)


def _line(event: Event) -> str:
    return json.dumps(records.stamped(event_document(event)), separators=(",", ":")) + "\n"


def _read(line: bytes) -> Event | None:
    try:
        document = json.loads(line)
        records.understand(document)
        return read_event(document)
    except (ValueError, RecursionError):
        return None
