"""The checkpoint on disk: one at a time, each move once, and a file that is none stops nobody."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.model.checkpoint import Checkpoint, Probe, ProbeKind, Stage
from windrow.model.connections import Connection
from windrow.model.host import HostState, Route
from windrow.model.problems import Problem, Severity
from windrow.model.processes import Process
from windrow.model.values import IfName, Ref
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints, read, write
from windrow.store.errors import StoreError
from windrow.store.paths import Paths
from windrow.testing import builders

PENDING = Checkpoint(
    id="1",
    node="n1",
    stage=Stage.CHANGING,
    made_by="windrow init",
    made=1.5,
    boot="b",
    deadline=100.25,
    allowed_s=60,
    want=HostState(
        links={IfName("eth0"): builders.link("eth0", up=True, mtu=1500, addrs=frozenset({"10.0.0.1/24"}))},
        routes=frozenset({Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.254")}),
    ),
    links=(IfName("eth0"), IfName("mgmt-br")),
    documents={
        Ref("VlanConfig", "a"): None,
        Ref("NetworkAttachmentDefinition", "b", "ns"): {"kind": "x", "n": [1, "é"]},
    },
    probes=(Probe(kind=ProbeKind.TCP, host="fd00::1", port=22), Probe(kind=ProbeKind.GATEWAY)),
    changer=Process(pid=7, started=8),
    connections=(Connection("10.0.0.10", 22, "10.0.0.7", 50001), Connection("fd00::10", 22, "fd00::7", 50002)),
)


def test_everything_comes_back(tmp_path: Path) -> None:
    file = Checkpoints(Paths(tmp_path))
    assert file.get() is None
    assert file.pending() is None
    file.put(PENDING)
    assert file.get() == file.pending() == PENDING
    assert read(json.loads(json.dumps(write(PENDING)))) == PENDING


def test_one_at_a_time(tmp_path: Path) -> None:
    file = Checkpoints(Paths(tmp_path))
    file.put(PENDING)
    with pytest.raises(FileExistsError):
        file.put(replace(PENDING, id="2"))
    assert file.move("1", Stage.CONFIRMED, since=(Stage.CHANGING,), said="well") is not None
    file.put(replace(PENDING, id="2"))
    assert file.move("1", Stage.UNDONE, since=(Stage.CHANGING,)) is None, "it is another one"
    assert (file.get() or PENDING).id == "2"


def test_of_those_who_decide_at_once_one_does(tmp_path: Path) -> None:
    for number in range(20):
        file = Checkpoints(Paths(tmp_path))
        file.put(replace(PENDING, id=str(number), stage=Stage.WAITING))
        gate, won = threading.Barrier(4), []

        def decide(to: Stage, id_: str = str(number), gate: threading.Barrier = gate, won: list[Any] = won) -> None:
            gate.wait()
            if Checkpoints(Paths(tmp_path)).move(id_, to, since=(Stage.WAITING,)):
                won.append(to)

        threads = [threading.Thread(target=decide, args=(to,)) for to in (Stage.CONFIRMED, Stage.UNDONE) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert (file.get() or PENDING).stage is won[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\x00\xff", "[" * 100_000])
def test_a_file_that_is_none_is_moved_aside_and_told(tmp_path: Path, text: str) -> None:
    paths, told = Paths(tmp_path), list[Problem]()
    paths.state.mkdir(parents=True)
    for number in range(2):
        paths.checkpoint.write_text(text, encoding="latin-1")
        assert Checkpoints(paths, told.append).pending() is None
        assert not paths.checkpoint.exists()
        aside = paths.state / f"checkpoint.json.broken{'-2' if number else ''}"
        assert aside.read_text(encoding="latin-1") == text, "somebody may want to read it"
        assert str(aside) in told[number].message
        assert told[number].severity is Severity.WARNING
    Checkpoints(paths).put(PENDING)


@given(st.data())
def test_no_part_of_it_is_trusted(data: st.DataObject) -> None:
    document = json.loads(json.dumps(write(PENDING)))
    field = data.draw(st.sampled_from(sorted(set(document) - {"version", "guarded"})))
    good = document[field]
    value = data.draw(st.one_of(st.none(), st.booleans(), st.lists(st.booleans(), min_size=1), st.just({"x": 1})))
    document[field] = value
    if good is None and value is None:
        return
    if field in ("changer", "watchdog") and value is None:
        return
    with pytest.raises(ValueError):
        read(document)


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.state.parent.mkdir(parents=True)
    paths.state.write_text("a file where the directory should be")
    with pytest.raises(StoreError) as caught:
        Checkpoints(paths).put(PENDING)
    assert str(paths.state) in str(caught.value)


def test_a_start_is_another_one_when_its_mark_is_gone(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    first = boot.identity(paths)
    assert boot.identity(paths) == first
    (paths.runtime / "boot").unlink()
    second = boot.identity(paths)
    assert second != first
    (paths.runtime / "boot").write_text("another kernel's identity 1234")
    assert boot.identity(paths) not in (first, second)
    assert [p.name for p in paths.runtime.iterdir()] == ["boot"]
