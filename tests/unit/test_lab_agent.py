"""Commands over a serial line: what a guest answers, and what is no answer."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.lab.errors import LabError
from windrow.lab.vm.agent import Agent, Answer, decode, encode

Guest = Callable[[socket.socket], None]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Callable[[Guest], Agent]]:
    """An agent, and a guest at the other end of its line."""
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent.sock"))
    listener.listen()

    def connect(guest: Guest) -> Agent:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                guest(connection)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return Agent(tmp_path / "agent.sock", "vm-a")

    yield connect
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    listener.close()


def asked(connection: socket.socket) -> Iterator[tuple[int, str]]:
    """(id, script) of each line that comes."""
    with connection.makefile("rb") as lines:
        for raw in lines:
            if raw.strip():
                mark, number, text = raw.split()
                assert mark == b"?"
                yield int(number), base64.b64decode(text).decode()


def reply(number: int, code: int, output: str) -> bytes:
    return b"= %d %d %s\r\n" % (number, code, base64.b64encode(output.encode()))


def test_a_command_and_its_answer(line: Callable[[Guest], Agent]) -> None:
    seen: list[str] = []

    def guest(connection: socket.socket) -> None:
        for number, script in asked(connection):
            seen.append(script)
            connection.sendall(reply(number, 3, f"did {script}\nünd\0 more\n"))

    with line(guest) as agent:
        assert agent.run("echo 'a b'\nfalse") == Answer(3, "did echo 'a b'\nfalse\nünd\0 more\n")
        assert agent.run("second") == Answer(3, "did second\nünd\0 more\n")
    assert seen == ["echo 'a b'\nfalse", "second"]


def test_whatever_else_is_on_the_line_is_skipped(line: Callable[[Guest], Agent]) -> None:
    def guest(connection: socket.socket) -> None:
        for number, _ in asked(connection):
            connection.sendall(b"[    1.0] kernel words\n? 1 echoed\n= 99 0 bm90IG1pbmU=\n= x\n")
            data = reply(number, 0, "in pieces")
            for byte in data:
                connection.sendall(bytes([byte]))

    with line(guest) as agent:
        assert agent.run("x") == Answer(0, "in pieces")


def test_a_guest_that_boots_is_asked_again(line: Callable[[Guest], Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.lab.vm.agent.HELLO_S", 0.05)
    asks: list[int] = []

    def guest(connection: socket.socket) -> None:
        for number, _ in asked(connection):
            asks.append(number)
            if len(asks) == 3:
                connection.sendall(reply(number, 0, ""))

    with line(guest) as agent:
        assert agent.wait(10.0)
        assert asks == [1, 2, 3]


def test_a_slow_guest_is_given_longer(line: Callable[[Guest], Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers each question, later than the first ones wait."""
    monkeypatch.setattr("windrow.lab.vm.agent.HELLO_S", 0.05)

    def guest(connection: socket.socket) -> None:
        for number, _ in asked(connection):
            time.sleep(0.2)
            connection.sendall(reply(number, 0, ""))

    with line(guest) as agent:
        assert agent.wait(10.0)


def test_a_guest_that_does_not_answer(line: Callable[[Guest], Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.lab.vm.agent.HELLO_S", 0.05)
    with line(lambda connection: [None for _ in asked(connection)].clear()) as agent:
        assert not agent.wait(0.2)
        with pytest.raises(LabError, match="vm-a does not answer: 'ping x' for 0 s"):
            agent.run("ping x\nping y", timeout_s=0.1)


def test_a_machine_that_ended(line: Callable[[Guest], Agent], tmp_path: Path) -> None:
    with line(lambda connection: None) as agent, pytest.raises(LabError, match="vm-a has ended"):
        agent.run("true")
    with pytest.raises(LabError, match="the machine is not there"):
        Agent(tmp_path / "nothing.sock", "vm-a")


@pytest.mark.parametrize(
    "text", [b"", b"=", b"= 1", b"= 1 x", b"= 1 0 !!!!", b"? 1 eA==", b"= 1 0 eA== more", b"= 1 0 eA"]
)
def test_what_is_no_answer(text: bytes) -> None:
    assert decode(text) is None


def test_an_answer_without_output() -> None:
    assert decode(b"= 12 0 \r\n") == (12, Answer(0, ""))
    assert encode(7, "true") == b"\n? 7 dHJ1ZQ==\n"
