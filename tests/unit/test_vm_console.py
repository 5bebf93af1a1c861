"""The console: a terminal or pipes on one side, QEMU's socket (played) on the other."""

from __future__ import annotations

import contextlib
import os
import socket
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.answering import Answering

from windrow.apps.vm import console
from windrow.apps.vm.console import Terminal
from windrow.apps.vm.site import Site
from windrow.model.problems import ProblemsError
from windrow.services import process
from windrow.services.errors import QmpError
from windrow.store.machines import CONSOLE, MachineRecord, Phase
from windrow.store.paths import Paths


class Guest(Answering):
    """Answers every line with itself in capitals; `bye` ends it."""

    def __init__(self, path: Path) -> None:
        self.heard = b""
        self.connected = threading.Event()
        super().__init__(path)

    def _talk(self, one: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):  # it left without reading all
            self.connected.set()
            one.sendall(b"login: ")
            while data := one.recv(100):
                self.heard += data
                if b"bye" in data:
                    break
                one.sendall(data.upper())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    said: list[str] = []
    site = Site(paths=Paths(tmp_path), node="n", say=said.append)
    me = process.found(os.getpid())
    assert me is not None
    record = MachineRecord(
        namespace="default",
        name="web",
        node="n",
        container_id="vm-1",
        netns="x",
        since=0.0,
        phase=Phase.RUNNING,
        pid=me.pid,
        started=me.started,
    )
    site.records.put(record)
    return site


@pytest.fixture
def guest(site: Site) -> Iterator[Guest]:
    guest = Guest(site.records.directory("default", "web") / CONSOLE)
    yield guest
    guest.close()


def test_through_pipes(site: Site, guest: Guest) -> None:
    (source, feed), (drain, sink) = os.pipe(), os.pipe()
    os.write(feed, b"hello\n")
    os.close(feed)
    start = time.monotonic()
    assert console.connect(site, "default", "web", Terminal(stdin=source, stdout=sink, quiet_s=0.3)) is True
    assert 0.3 <= time.monotonic() - start < 5
    os.close(sink)
    assert os.read(drain, 100) == b"login: HELLO\n"
    for fd in (source, drain):
        os.close(fd)


def test_what_is_the_escape_of_a_terminal_passes_through_a_pipe(site: Site, guest: Guest) -> None:
    (source, feed), (drain, sink) = os.pipe(), os.pipe()
    os.write(feed, b"a\x1db")
    os.close(feed)
    console.connect(site, "default", "web", Terminal(stdin=source, stdout=sink, quiet_s=0.1))
    assert heard(guest, 3) == b"a\x1db"
    for fd in (source, drain, sink):
        os.close(fd)


def test_a_terminal_is_raw_meanwhile_and_as_before_afterwards(site: Site, guest: Guest) -> None:
    master, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    results: list[bool] = []

    def connect() -> None:
        results.append(console.connect(site, "default", "web", Terminal(stdin=terminal, stdout=terminal)))

    thread = threading.Thread(target=connect)
    thread.start()
    assert read_until(master, b"login: ").endswith(b"login: ")
    during = termios.tcgetattr(terminal)
    os.write(master, b"\x03x\r")  # Ctrl-C is the guest's, and no line ends here
    assert b"\x03X\r" in read_until(master, b"\r")
    os.write(master, b"y\x1d")
    thread.join(10)
    assert results == [True]
    assert heard(guest, 4) == b"\x03x\ry"
    assert not during[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert termios.tcgetattr(terminal) == before
    os.close(master)
    os.close(terminal)


def heard(guest: Guest, count: int) -> bytes:
    """What the guest heard, once it is so much."""
    end = time.monotonic() + 10
    while len(guest.heard) < count and time.monotonic() < end:
        time.sleep(0.01)
    return guest.heard


def read_until(fd: int, end: bytes) -> bytes:
    data = b""
    while end not in data:
        data += os.read(fd, 100)
    return data


def test_the_guest_ends(site: Site, guest: Guest) -> None:
    master, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    os.write(master, b"bye\r")
    assert console.connect(site, "default", "web", Terminal(stdin=terminal, stdout=terminal)) is False
    assert termios.tcgetattr(terminal) == before
    os.close(master)
    os.close(terminal)


def test_one_at_a_time(site: Site, guest: Guest) -> None:
    (source, feed), (drain, sink) = os.pipe(), os.pipe()
    terminal = Terminal(stdin=source, stdout=sink)
    thread = threading.Thread(target=console.connect, args=[site, "default", "web", terminal])
    thread.start()
    assert guest.connected.wait(10)
    with pytest.raises(ProblemsError) as caught:
        console.connect(site, "default", "web", terminal)
    assert "its console is open elsewhere" in str(caught.value)
    assert "--log" in str(caught.value)
    os.write(feed, b"bye")
    thread.join(10)
    for fd in (source, feed, drain, sink):
        os.close(fd)


def test_nobody_listens(site: Site) -> None:
    with pytest.raises(QmpError, match="nobody answers"):
        console.connect(site, "default", "web", Terminal(stdin=0))


def test_the_log(site: Site) -> None:
    with pytest.raises(ProblemsError):
        console.read_log(site, "default", "web")
    site.records.new_console_log("default", "web").write_bytes(b"up\xff\n")
    assert console.read_log(site, "default", "web") == b"up\xff\n"
