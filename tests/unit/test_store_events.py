"""Events on the disk."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from windrow.model.events import Event, EventType
from windrow.model.values import Ref
from windrow.store.errors import StoreError
from windrow.store.events import KEPT, TOGETHER_S, Events
from windrow.store.paths import Paths

OOB = Ref("VlanConfig", "oob")
NAD = Ref("NetworkAttachmentDefinition", "v100", "default")


def event(message: str, at: float, about: Ref = OOB) -> Event:
    return Event(type=EventType.NORMAL, reason="Repaired", about=about, message=message, first=at, last=at)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def test_there_and_back(paths: Paths) -> None:
    one, two = event("oob-bo: miimon was 50 \udcff", 1.5), event("ports", 2.0, NAD)
    Events(paths).add([one, two])
    assert Events(paths).all() == (one, two)
    assert stat.S_IMODE(paths.events.stat().st_mode) == 0o644


def test_nothing_yet(paths: Paths) -> None:
    assert Events(paths).all() == ()
    Events(paths).add([])
    assert not paths.events.exists()


def test_the_same_again_is_counted_and_becomes_the_newest(paths: Paths) -> None:
    events = Events(paths)
    events.add([event("a", 1.0), event("b", 2.0), event("a", 3.0)])
    events.add([event("a", 4.0, NAD)])
    found = [(e.message, e.about, e.first, e.last, e.count) for e in Events(paths).all()]
    assert found == [("b", OOB, 2.0, 2.0, 1), ("a", OOB, 1.0, 3.0, 2), ("a", NAD, 4.0, 4.0, 1)]


def test_after_a_while_it_is_told_anew(paths: Paths) -> None:
    Events(paths).add([event("a", 1.0)])
    Events(paths).add([event("a", 1.0 + TOGETHER_S + 1)])
    (found,) = Events(paths).all()
    assert (found.first, found.count) == (1.0 + TOGETHER_S + 1, 1)


def test_a_clock_that_jumps_back(paths: Paths) -> None:
    events = Events(paths)
    events.add([event("a", 1e9)])
    events.add([event("a", 5.0)])
    (found,) = events.all()
    assert (found.first, found.last, found.count) == (5.0, 5.0, 1)


def test_it_is_bounded_and_keeps_the_newest(paths: Paths) -> None:
    events = Events(paths)
    for start in range(0, 5 * KEPT, 100):
        events.add([event(f"m{n}", float(n)) for n in range(start, start + 100)])
    found = Events(paths).all()
    assert [e.message for e in found] == [f"m{n}" for n in range(4 * KEPT, 5 * KEPT)]
    assert found == events.all()
    assert len(paths.events.read_bytes().splitlines()) <= 2 * KEPT


def test_the_same_over_and_over_does_not_fill_the_disk(paths: Paths) -> None:
    events = Events(paths)
    for _ in range(3 * KEPT):
        events.add([event("a", 1.0)])
    assert [e.count for e in Events(paths).all()] == [3 * KEPT]
    assert len(paths.events.read_bytes().splitlines()) <= 2 * KEPT


def test_two_processes_that_write(paths: Paths) -> None:
    one, two = Events(paths), Events(paths)
    for n in range(3 * KEPT):
        (one if n % 2 else two).add([event(f"m{n}", float(n))])
    assert (
        [e.message for e in one.all()] == [e.message for e in two.all()] == [f"m{n}" for n in range(2 * KEPT, 3 * KEPT)]
    )


def test_rubbish_and_half_lines_are_passed_over(paths: Paths) -> None:
    Events(paths).add([event("a", 1.0)])
    reader = Events(paths)
    assert len(reader.all()) == 1
    with paths.events.open("ab") as file:
        file.write(b'\xff\x00\n[]\n{"type": "Normal"}\n' + b"[" * 100_000 + b"\n" + b'{"type": "Nor')
    Events(paths).add([event("b", 2.0)])
    assert [e.message for e in Events(paths).all()] == [e.message for e in reader.all()] == ["a", "b"]


def test_a_full_disk_leaves_no_half_line(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events(paths)
    events.add([event("a", 1.0)])
    whole, write = paths.events.read_bytes(), os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data[:10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError) as caught:
        events.add([event("b" * 1000, 2.0)])
    assert caught.value.errno == errno.ENOSPC
    assert paths.events.read_bytes() == whole
    monkeypatch.undo()
    events.add([event("c", 3.0)])
    assert [e.message for e in events.all()] == ["a", "c"]


def test_a_follower_knows_whether_there_is_news(paths: Paths) -> None:
    reader, writer = Events(paths), Events(paths)
    reader.all()
    assert not reader.changed()
    writer.add([event("a", 1.0)])
    assert reader.changed()
    assert reader.all() == (event("a", 1.0),)
    assert not reader.changed()
    writer.add([event("a", 1.0)])
    assert reader.changed() and reader.all() == (replace(event("a", 1.0), count=2),)
