"""The guest's serial line on this terminal, or through a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import termios
import time
import tty
from collections.abc import Iterator

from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, ProblemsError
from windrow.services import qemu, ring
from windrow.store.machines import CONSOLE, MachineRecord, Phase

ESCAPE = b"\x1d"
"""Ctrl-], as virsh(1) and telnet(1) have it."""
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """`quiet_s`: after the end of an input that is no terminal, the output may pause for so long."""

    stdin: int = 0
    stdout: int = 1
    quiet_s: float = 1.0

    @property
    def interactive(self) -> bool:
        return os.isatty(self.stdin)


def connect(site: Site, namespace: str, name: str, terminal: Terminal) -> bool:
    """Until Ctrl-], or the end of the guest or of the input; whether the guest is still there.

    Raises ProblemsError (it does not run, or its console is in use), QmpError.
    """
    record = site.record(namespace, name)
    if not runs(record):
        raise ProblemsError([_gone(record)])
    directory = site.records.directory(namespace, name)
    with _alone(record, directory / "console.lock"), contextlib.closing(qemu.connect(directory / CONSOLE)) as line:
        if terminal.interactive:
            site.say(f"connected to {record.key}; Ctrl-] leaves it")
        with _raw(terminal):
            return _copy(line, terminal)


def read_log(site: Site, namespace: str, name: str) -> bytes:
    """The last of what came over the serial line since the machine was started. Raises ProblemsError."""
    record = site.record(namespace, name)
    try:
        return ring.read(os.fspath(site.records.console_log(namespace, name)))
    except FileNotFoundError:
        raise ProblemsError([_gone(record)]) from None


def _gone(record: MachineRecord) -> Problem:
    if record.phase is Phase.ATTACHED:
        message = "its NICs are attached for a hypervisor of your own, and so is its console"
        return Problem(code="already-attached", message=message, about=record.ref)
    hint = f"`windrow vm start {record.name}` starts it anew"
    return Problem(code="not-running", message="its QEMU does not run", hint=hint, about=record.ref)


@contextlib.contextmanager
def _alone(record: MachineRecord, path: os.PathLike[str]) -> Iterator[None]:
    """QEMU lets a second one connect, and hears and tells it nothing."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "leave it there with Ctrl-], or read with --log"
            problem = Problem(code="console-used", message="its console is open elsewhere", hint=hint, about=record.ref)
            raise ProblemsError([problem]) from None
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _raw(terminal: Terminal) -> Iterator[None]:
    """Every key goes to the guest, Ctrl-C too; afterwards the terminal is as it was, whatever happens."""
    if not terminal.interactive:
        yield
        return
    before = termios.tcgetattr(terminal.stdin)
    try:
        tty.setraw(terminal.stdin, termios.TCSADRAIN)  # what was typed meanwhile is not lost
        yield
    finally:
        termios.tcsetattr(terminal.stdin, termios.TCSADRAIN, before)


def _copy(line: socket.socket, terminal: Terminal) -> bool:
    """Both ways. True: we left; False: the guest did."""
    sources: list[int | socket.socket] = [line, terminal.stdin]
    last = time.monotonic()
    while True:
        over = terminal.stdin not in sources
        left = last + terminal.quiet_s - time.monotonic() if over else None
        if left is not None and left <= 0:
            return True
        ready = select.select(sources, [], [], left)[0]
        if line in ready:
            data = _received(line)
            if not data:
                return False
            _write(terminal.stdout, data)
            last = time.monotonic()
        if terminal.stdin in ready:
            typed = os.read(terminal.stdin, _CHUNK)
            before, escape, _ = typed.partition(ESCAPE) if terminal.interactive else (typed, b"", b"")
            with contextlib.suppress(OSError):  # it ended; the line says so, too
                line.sendall(before)
            if escape:
                return True
            if not typed:
                sources.remove(terminal.stdin)
                last = time.monotonic()


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(_CHUNK)
    except ConnectionError:
        return b""


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
