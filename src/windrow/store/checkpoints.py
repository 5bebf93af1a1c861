"""The one checkpoint of a host, on disk: flushed before the first step of a change, so that a lost supply undoes it.

Who confirms and who undoes may come at the same moment. Each move from one stage to the next is one act under a lock
of its own, held for as long as one small file takes to be written.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from windrow.model.checkpoint import Checkpoint, Probe, ProbeKind, Stage
from windrow.model.connections import Connection
from windrow.model.problems import Problem, Severity
from windrow.model.processes import Process
from windrow.model.values import IfName, Ref, parse_ifname
from windrow.model.wire import hoststate
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths

VERSION = 1
Tell = Callable[[Problem], None]


class Checkpoints:
    """The checkpoint below one root. `tell` hears of a file that was none, and where it is now."""

    def __init__(self, paths: Paths, tell: Tell = lambda _: None) -> None:
        self.paths, self._path, self._tell = paths, paths.checkpoint, tell

    def get(self) -> Checkpoint | None:
        """The last one, pending or decided. A file that is none is moved aside: it must not stop anything for ever,
        and somebody may want to read it. Raises StoreError."""
        with explained(self._path, "read the checkpoint"):
            try:
                data = records.read_private(self._path)
            except FileNotFoundError:
                return None
        try:
            return read(json.loads(data))
        except (ValueError, RecursionError) as error:
            self._put_aside(str(error))
            return None

    def pending(self) -> Checkpoint | None:
        """One that is not decided yet. Raises StoreError."""
        found = self.get()
        return found if found is not None and found.stage.pending else None

    def put(self, checkpoint: Checkpoint) -> None:
        """In place of a decided one. Raises StoreError; FileExistsError where one is pending."""
        with self._alone():
            if (found := self.pending()) is not None:
                raise FileExistsError(found.id)
            self._write(checkpoint)

    def move(self, id_: str, to: Stage, *, since: tuple[Stage, ...], **changes: Any) -> Checkpoint | None:
        """The checkpoint `id_`, if it was in one of the stages `since`, is now in `to`; None: it was not, and is
        what it was. `changes`: other fields that change with it. Raises StoreError."""
        with self._alone():
            found = self.get()
            if found is None or found.id != id_ or found.stage not in since:
                return None
            moved = replace(found, stage=to, **changes)
            self._write(moved)
            return moved

    def _write(self, checkpoint: Checkpoint) -> None:
        data = json.dumps(write(checkpoint), indent=1).encode()
        with explained(self._path, "write the checkpoint"):
            records.make_directory(self._path.parent)
            records.write(self._path, data, mode=records.PRIVATE)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self.paths.runtime / "checkpoint.lock"
        with explained(lock, "take the lock of the checkpoint"):
            records.make_directory(lock.parent, flush=False)
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, records.PRIVATE)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(fd)

    def _put_aside(self, reason: str) -> None:
        aside = free_name(self._path)
        with explained(self._path, "move the broken checkpoint aside"):
            try:
                os.rename(self._path, aside)
            except FileNotFoundError:
                return  # another process has done it, and told
        self._tell(
            Problem(
                code="checkpoint-broken",
                message=f"the checkpoint cannot be read ({reason}); it is now {aside}",
                hint="a change that it was for can no longer be undone by itself: see windrow diff",
                file=str(self._path),
                severity=Severity.WARNING,
            )
        )


def free_name(path: Path) -> Path:
    """`checkpoint.json.broken`, or with a number where that is taken."""
    aside, number = path.with_name(f"{path.name}.broken"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.broken-{number}")
    return aside


# -- text ------------------------------------------------------------------------------------------


def write(checkpoint: Checkpoint) -> dict[str, Any]:
    c = checkpoint
    return {
        "version": VERSION,
        "id": c.id,
        "node": c.node,
        "stage": str(c.stage),
        "madeBy": c.made_by,
        "made": c.made,
        "boot": c.boot,
        "deadline": c.deadline,
        "allowed": c.allowed_s,
        "want": hoststate.write(c.want),
        "links": list(c.links),
        "documents": [
            {"kind": ref.kind, "name": ref.name, "namespace": ref.namespace, "document": document}
            for ref, document in c.documents.items()
        ],
        "probes": [{"kind": str(p.kind), "host": p.host, "port": p.port} for p in c.probes],
        "guarded": c.guarded,
        "changer": _write_process(c.changer),
        "watchdog": _write_process(c.watchdog),
        "connections": [[one.source, one.port, one.peer, one.peer_port] for one in c.connections],
        "said": c.said,
        "left": c.left,
        "tried": c.tried,
    }


def _write_process(process: Process | None) -> list[int] | None:
    return [process.pid, process.started] if process else None


def read(document: Any) -> Checkpoint:
    """The inverse of `write`. Raises ValueError."""
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError("this is no checkpoint of this version of Windrow")
    table = _Table(document)
    return Checkpoint(
        id=table.text("id"),
        node=table.text("node"),
        stage=Stage(table.text("stage")),
        made_by=table.text("madeBy"),
        made=table.number("made"),
        boot=table.text("boot"),
        deadline=table.number("deadline"),
        allowed_s=table.number("allowed"),
        want=hoststate.read(document.get("want")),
        links=tuple(_name(name) for name in table.list("links")),
        documents=dict(_document(one) for one in table.list("documents")),
        probes=tuple(_probe(one) for one in table.list("probes")),
        guarded=document.get("guarded") is True,
        changer=_read_process(document.get("changer")),
        watchdog=_read_process(document.get("watchdog")),
        connections=tuple(_connection(one) for one in table.list("connections")) if "connections" in document else (),
        said=table.text("said"),
        left=table.text("left") if "left" in document else "",
        tried=table.number("tried") if "tried" in document else 0.0,
    )


class _Table:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def text(self, name: str) -> str:
        found = self._document.get(name)
        if not isinstance(found, str):
            raise ValueError(f"{name} is no text")
        return found

    def number(self, name: str) -> float:
        found = self._document.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ValueError(f"{name} is no number")
        return float(found)

    def list(self, name: str) -> list[Any]:
        found = self._document.get(name)
        if not isinstance(found, list):
            raise ValueError(f"{name} is no list")
        return found


def _name(one: Any) -> IfName:
    if not isinstance(one, str):
        raise ValueError("a link's name is no text")
    return parse_ifname(one)


def _document(one: Any) -> tuple[Ref, Mapping[str, Any] | None]:
    if not isinstance(one, dict):
        raise ValueError("a document is no mapping")
    table, document = _Table(one), one.get("document")
    if document is not None and not isinstance(document, dict):
        raise ValueError("an object's document is no mapping")
    return Ref(table.text("kind"), table.text("name"), table.text("namespace")), document


def _probe(one: Any) -> Probe:
    if not isinstance(one, dict):
        raise ValueError("a probe is no mapping")
    table = _Table(one)
    return Probe(kind=ProbeKind(table.text("kind")), host=table.text("host"), port=int(table.number("port")))


def _connection(found: Any) -> Connection:
    if not isinstance(found, list) or [type(part) for part in found] != [str, int, str, int]:
        raise ValueError("a connection is two addresses with their ports")
    return Connection(*found)


def _read_process(found: Any) -> Process | None:
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 2 or not all(type(n) is int for n in found):
        raise ValueError("a process is two numbers")
    return Process(pid=found[0], started=found[1])
