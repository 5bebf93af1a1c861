"""`windrow check` as a command: the key, the agent's answers, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from windrow.apps.agent import unit
from windrow.apps.check.ask import AskError, ask
from windrow.apps.check.settings import parse_skipped
from windrow.apps.check.told import Told, document, read, text
from windrow.apps.cli import check as check_module
from windrow.apps.cli import hearing
from windrow.apps.cli.check import absent_lines
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.model.cluster import Cluster
from windrow.model.evidence import Absent, Evidence, Kind, NodeEvidence
from windrow.model.problems import WindrowError
from windrow.model.values import IfName, VidSet
from windrow.model.wire.evidence import node_document
from windrow.store.checkkey import read_key
from windrow.store.errors import StoreError
from windrow.store.paths import Paths
from windrow.testing.builders import cluster, cluster_network


def windrow(root: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--root", str(root), *words])


# The key ------------------------------------------------------------------------------------------


def test_a_new_key(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert read_key(paths) is None
    done = windrow(tmp_path, "check", "--new-key")
    assert done.exit_code == 0, done.output
    assert "copy it to every node" in done.output
    assert stat.S_IMODE(paths.check_key.stat().st_mode) == 0o600
    key = read_key(paths)
    assert key is not None
    assert len(key) == 32


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    windrow(tmp_path, "check", "--new-key")
    key = read_key(Paths(tmp_path))
    done = windrow(tmp_path, "check", "--new-key")
    assert done.exit_code == 1
    assert "there is a key already" in done.output
    assert read_key(Paths(tmp_path)) == key


@pytest.mark.parametrize("text", ["", "short", "z" * 64, "a" * 63, "ä" * 64])
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    path = Paths(tmp_path).check_key
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StoreError, match="this is no key"):
        read_key(Paths(tmp_path))


# Asking the agent ---------------------------------------------------------------------------------

TOLD = Told(
    node="a",
    at=5.0,
    evidence=Evidence(nodes={"a": NodeEvidence(node="a", at=5.0)}, silent=frozenset({"b"})),
    wanted={"oob": VidSet.parse("10,20-29")},
    sweeps=3,
    frames=99,
)


def test_what_is_told_both_ways() -> None:
    assert read(json.loads(json.dumps(document(TOLD)))) == TOLD


def test_what_an_agent_writes_is_the_same_document() -> None:
    """It puts in what others told as they told it."""
    other = NodeEvidence(node="b", at=6.0, sweep=2)
    whole = Evidence(nodes={**TOLD.evidence.nodes, "b": other}, silent=TOLD.evidence.silent)
    written = text(TOLD, {"b": json.dumps(node_document(other))})
    assert json.loads(written) == document(replace(TOLD, evidence=whole))
    assert json.loads(text(TOLD, {})) == document(TOLD)


@pytest.mark.parametrize("text", ["{}", '{"node": "a", "evidence": {}}', '{"wanted": []}'])
def test_what_no_agent_tells(text: str) -> None:
    with pytest.raises(ValueError, match=r"evidence|agent"):
        read(json.loads(text))


class Answering:
    """A socket that gives one answer, and keeps what it was asked."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._answer, self.asked = answer, b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        one, _ = self._listening.accept()
        self.asked = one.recv(4096)
        one.sendall(self._answer)
        one.close()

    def close(self) -> None:
        self._thread.join()
        self._listening.close()


@pytest.fixture
def answer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Answering]:
    one = Answering(tmp_path / "agent.sock", request.param)
    yield one
    one.close()


def said(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n{body}".encode()


@pytest.mark.parametrize("answer", [said(200, json.dumps(document(TOLD)))], indirect=True)
def test_an_agent_that_probes(tmp_path: Path, answer: Answering) -> None:
    assert ask(tmp_path / "agent.sock", now=True) == TOLD
    assert answer.asked.startswith(b"GET /check?now HTTP/1.1\r\n")


@pytest.mark.parametrize("answer", [said(404, "there is: /metrics\n")], indirect=True)
def test_an_agent_that_does_not(tmp_path: Path, answer: Answering) -> None:
    assert ask(tmp_path / "agent.sock") is None


def test_no_agent(tmp_path: Path) -> None:
    assert ask(tmp_path / "agent.sock") is None


@pytest.mark.parametrize(
    "answer", [said(503, '{"error": "nothing was probed yet"}'), said(200, "{}"), said(200, "no"), b""], indirect=True
)
def test_an_answer_that_is_no_use(tmp_path: Path, answer: Answering) -> None:
    with pytest.raises(AskError):
        ask(tmp_path / "agent.sock")


# Settings -----------------------------------------------------------------------------------------


def test_vlans_that_are_skipped() -> None:
    found = parse_skipped(["100-110,200", "oob:5", "oob:7", "0"])
    assert found == {"": VidSet.parse("0,100-110,200"), "oob": VidSet.parse("5,7")}


@pytest.mark.parametrize("word", ["", "x", ":5", "oob:", "oob:9999", "5-1"])
def test_vlans_that_are_none(word: str) -> None:
    with pytest.raises(ValueError, match=r"VLAN|set of|int"):
        parse_skipped([word])


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("check", "--skip-vlans", "oop:20"), "no cluster network is called oop: there are mgmt, oob"),
        (("switch", "diff", "--skip-vlans", "oop:20"), "no cluster network is called oop: there are mgmt, oob"),
        (("check", "--skip-vlans", "oob:20,30"), "the agent of this node sends probes into VLAN 20 of oob"),
        (("check", "--skip-vlans", "20"), "the agent of this node sends probes into VLAN 20 of oob"),
    ],
)
def test_vlans_that_would_be_probed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], wrong: str
) -> None:
    """By a name that is wrong nothing is left out, and an agent is not told. It is said before anything is sent."""
    asked: list[bool] = []

    def answering(path: Path, *, now: bool = False) -> Told:
        asked.append(now)
        return TOLD

    monkeypatch.setattr(hearing, "ask", answering)
    monkeypatch.setattr(hearing, "survey", lambda _: survey_of(cluster(cluster_network("oob"))))
    done = windrow(tmp_path, *words)
    assert done.exit_code in (2, 3) and wrong in done.output
    assert True not in asked


def survey_of(target: Cluster) -> Any:
    """As much of a report as says what the cluster is."""
    return SimpleNamespace(admitted=SimpleNamespace(target=target))


@pytest.mark.parametrize(
    "words",
    [("--vlan", "x"), ("--vlan", ""), ("--for", "0s"), ("--skip-vlans", "x"), ("-w", "-o", "json"), ("-o", "yaml")],
)
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = windrow(tmp_path, "check", *words)
    assert done.exit_code == 2, done.output


def test_a_unit_with_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "HIDDEN", {})  # tests write below /tmp
    done = windrow(tmp_path, "agent", "install", "--check", "5m", "--skip-vlans", "oob:5-7")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "etc/systemd/system/windrow-agent.service").read_text()
    assert "agent --check 300s --skip-vlans oob:5-7\n" in text


# What it says -------------------------------------------------------------------------------------


def test_what_could_not_be_had() -> None:
    eth0, eth1 = IfName("eth0"), IfName("eth1")
    absent = [
        Absent(kind=Kind.LLDP, nic=eth0, reason="no LLDP heard on eth0"),
        Absent(kind=Kind.PROBE, nic=eth1, reason="no carrier"),
        Absent(kind=Kind.LLDP, nic=eth1, reason="no LLDP heard on eth1"),
        Absent(kind=Kind.DHCP, reason="VLAN 10 was asked a moment ago"),
        Absent(kind=Kind.DHCP, reason="VLAN 20 was asked a moment ago"),
        Absent(kind=Kind.COUNTERS, nic=eth0, reason="the kernel does not count"),
    ]
    assert list(absent_lines(absent)) == [
        "eth1: no carrier",
        "no switch tells of itself by LLDP on eth0, eth1: windrow neighbors says why",
        "DHCP: VLAN 10 was asked a moment ago (and 1 more: -o json)",
    ]


# How it ends --------------------------------------------------------------------------------------


def look(*, then: BaseException | None = None) -> Callable[..., Iterator[tuple[Told, Cluster]]]:
    """In the place of `look_again`: a node that is alone, and then what happens."""

    def look_again(session: Session, skipped: object, held: ExitStack, *_: object, **__: object) -> Iterator[Any]:
        held.callback(ended.append, "taps are closed")
        yield TOLD, Cluster.of(())
        if then is not None:
            raise then

    return look_again


ended: list[str] = []


def checked(monkeypatch: pytest.MonkeyPatch, root: Path, *words: str, then: BaseException | None = None) -> Result:
    ended.clear()
    monkeypatch.setattr(check_module, "look_again", look(then=then))
    done = windrow(root, "check", *words)
    assert ended == ["taps are closed"]
    return done


def test_a_check_that_fails_has_found_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """1 would say that the network is at fault."""
    done = checked(monkeypatch, tmp_path, then=WindrowError("the agent has ended"))
    assert done.exit_code == 3
    assert "error: the agent has ended" in done.stderr


def test_ctrl_c_ends_a_watch_with_what_was_seen_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    watched = checked(monkeypatch, tmp_path, "-w", then=KeyboardInterrupt())
    assert (watched.exit_code, watched.stderr) == (3, "")
    assert checked(monkeypatch, tmp_path, then=KeyboardInterrupt()).exit_code == 130


def test_a_check_that_is_ended_takes_its_filters_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SIGTERM, and SIGHUP of a terminal that went: guests' ports would keep their filter."""

    def look_again(session: Session, skipped: object, held: ExitStack, *_: object, **__: object) -> Iterator[Any]:
        held.callback(ended.append, "taps are closed")
        os.kill(os.getpid(), signal.SIGTERM)
        yield TOLD, Cluster.of(())

    ended.clear()
    monkeypatch.setattr(check_module, "look_again", look_again)
    assert windrow(tmp_path, "check").exit_code == 128 + signal.SIGTERM
    assert ended == ["taps are closed"]


def test_who_asks_for_what_is_not_there_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = checked(monkeypatch, tmp_path, "--node", "n9")
    assert done.exit_code == 3
    assert "no node n9 is known here: there are a" in done.stdout
    assert "VLAN 999 is intended for no uplink" in checked(monkeypatch, tmp_path, "--vlan", "999").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize("words", [("check", "--new-key"), ("switch", "config"), ("get", "cn")])
def test_a_directory_that_one_may_not_look_into_is_no_bug(words: tuple[str, ...]) -> None:
    """As /etc/windrow of mode 0700 is for others."""
    with TemporaryDirectory() as name:  # pytest's own lets nobody else in
        root = Path(name)
        root.chmod(0o755)
        (root / "etc").mkdir()
        (root / "etc/windrow").mkdir(mode=0o700)
        os.seteuid(65534)
        try:
            done = windrow(root, *words)
        finally:
            os.seteuid(0)
    assert done.exit_code == 1
    assert "EACCES" in done.stderr
    assert "windrow itself failed" not in done.stderr
    assert "hint: run it as the owner of the directory" in done.stderr
