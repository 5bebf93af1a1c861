"""The monitor of QEMU, played by a thread: greetings, answers, events, and everything that can go wrong."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.answering import Answering

from windrow.services.errors import QmpError
from windrow.services.qemu import Qmp

GREETING = {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}

Say = Callable[[Any], None]


class Fake(Answering):
    """Answers each command with what `answers` has for it; a function gets the connection and the command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.greeting: bytes = json.dumps(GREETING).encode() + b"\r\n"
        super().__init__(path)

    def _talk(self, one: socket.socket) -> None:
        with one.makefile("rb") as lines:
            one.sendall(self.greeting)
            for line in lines:
                self._answer(one, json.loads(line))

    def _answer(self, one: socket.socket, request: dict[str, Any]) -> None:
        self.heard.append(request)
        answer = self.answers.get(request["execute"], {"return": {}})
        if callable(answer):
            answer(one, request)
        else:
            say(one, {**answer, "id": request["id"]})


def say(one: socket.socket, *messages: Any) -> None:
    one.sendall(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    one = Fake(tmp_path / "qmp.sock")
    yield one
    one.close()


def test_one_that_takes_no_more_connections_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """A QEMU that stands still (SIGSTOP, a hung disk) accepts nobody, and connect(2) waits for as long as it does."""
    path = tmp_path / "qmp.sock"
    with socket.socket(socket.AF_UNIX) as standing:
        standing.bind(str(path))
        standing.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(path))
            began = time.monotonic()
            with pytest.raises(QmpError, match="accepts no connection within 0 s") as caught:
                Qmp(path, timeout_s=0.3)
            assert time.monotonic() - began < 3
            assert "stopped" in caught.value.hint


def test_it_greets_negotiates_and_answers(fake: Fake) -> None:
    fake.answers["query-status"] = {"return": {"running": True}}
    with Qmp(fake.path) as qmp:
        assert qmp.command("query-status") == {"running": True}
        qmp.command("set_link", {"name": "ua-a", "up": False})
    assert [one["execute"] for one in fake.heard] == ["qmp_capabilities", "query-status", "set_link"]
    assert fake.heard[2]["arguments"] == {"name": "ua-a", "up": False}
    assert "arguments" not in fake.heard[1]


def test_a_refusal_has_qemus_words_and_class(fake: Fake) -> None:
    fake.answers["device_del"] = {"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}
    with Qmp(fake.path) as qmp, pytest.raises(QmpError) as caught:
        qmp.command("device_del", {"id": "x"})
    assert caught.value.kind == "DeviceNotFound"
    assert "device_del: Device 'x' not found" in str(caught.value)


def test_events_between_question_and_answer_are_kept(fake: Fake) -> None:
    def answer(one: socket.socket, request: dict[str, Any]) -> None:
        say(one, {"event": "RESUME", "timestamp": {}}, {"event": "STOP"}, {"return": 1, "id": request["id"]})

    fake.answers["cont"] = answer
    with Qmp(fake.path) as qmp:
        assert qmp.command("cont") == 1
        found = qmp.event(lambda event: event["event"] == "STOP", timeout_s=1)
        assert found is not None
        start = time.monotonic()
        assert qmp.event(lambda event: event["event"] == "RESUME", timeout_s=0.05) is None, "it came before STOP"
        assert time.monotonic() - start < 1


def test_an_event_that_comes_later_in_two_pieces(fake: Fake) -> None:
    def answer(one: socket.socket, request: dict[str, Any]) -> None:
        say(one, {"return": {}, "id": request["id"]})
        text = json.dumps({"event": "DEVICE_DELETED", "data": {"device": "ua-a"}}).encode()
        one.sendall(text[:20])
        time.sleep(0.05)
        one.sendall(text[20:] + b"\n")

    fake.answers["device_del"] = answer
    with Qmp(fake.path) as qmp:
        qmp.command("device_del", {"id": "ua-a"})
        found = qmp.event(lambda e: e["event"] == "DEVICE_DELETED" and e["data"]["device"] == "ua-a", timeout_s=5)
        assert found is not None


def test_an_answer_that_was_given_up_is_not_taken_for_the_next_one(fake: Fake) -> None:
    late: list[int] = []

    def slow(_: socket.socket, request: dict[str, Any]) -> None:
        late.append(request["id"])

    def both(one: socket.socket, request: dict[str, Any]) -> None:
        say(one, {"return": "late", "id": late[0]}, {"return": "mine", "id": request["id"]})

    fake.answers |= {"stop": slow, "query-name": both}
    with Qmp(fake.path) as qmp:
        with pytest.raises(QmpError, match="no answer within 0 s"):
            qmp.command("stop", timeout_s=0.05)
        assert qmp.command("query-name") == "mine"


def test_qemu_goes_away_in_the_middle(fake: Fake) -> None:
    def hang_up(one: socket.socket, _: dict[str, Any]) -> None:
        one.shutdown(socket.SHUT_RDWR)

    fake.answers["quit"] = hang_up
    with Qmp(fake.path) as qmp, pytest.raises(QmpError, match="it closed its monitor"):
        qmp.command("quit")


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"hello\n", "no JSON"),
        (b"[1, 2]\n", "no object"),
        (b'{"return": {}}\n', "does not greet"),
        (b"", "does not greet\n    hint: another program is connected to it"),
    ],
)
def test_what_is_no_greeting(fake: Fake, greeting: bytes, said: str) -> None:
    fake.greeting = greeting
    with pytest.raises(QmpError) as caught:
        Qmp(fake.path, timeout_s=0.2)
    assert said in str(caught.value)


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="No such file"):
        Qmp(tmp_path / "qmp.sock")
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(tmp_path / "left.sock"))
    one.close()
    with pytest.raises(QmpError, match="Connection refused"):
        Qmp(tmp_path / "left.sock")


def test_a_path_longer_than_a_socket_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    one = Fake(Path("qmp.sock"))
    try:
        with Qmp(deep / "qmp.sock") as qmp:
            qmp.command("query-status")
    finally:
        one.close()
