"""Asking a lab for something, and showing what comes back: the live log, a program's output, a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from windrow.lab.channel import CHUNK, Kind
from windrow.lab.errors import LabError, LabGone
from windrow.lab.kernel.machine import Stream
from windrow.model.lazy import dataclass

Open = Callable[[Mapping[str, Any]], Stream]
"""Opens a request: `Machine.open`, or `supervisor.connect(name)`."""
OnEvent = Callable[[Mapping[str, Any]], None]


def ask(open_stream: Open, request: Mapping[str, Any], on_event: OnEvent = lambda _: None) -> dict[str, Any]:
    """The answer to a request. Raises LabError with what the lab could not do."""
    stream = open_stream(request)
    try:
        while True:
            frame = stream.receive()
            assert frame is not None
            if frame.kind is Kind.EVENT:
                on_event(frame.json())
            elif frame.kind is Kind.RESULT:
                return answer(frame.json())
    finally:
        stream.close()


def answer(document: dict[str, Any]) -> dict[str, Any]:
    """Raises LabError."""
    if "error" in document:
        raise LabError(document["error"] + (f"\n{document['traceback']}" if "traceback" in document else ""))
    return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """What a program's ends are tied to here. `stdin`: None, it reads nothing. `tty`: it gets a terminal of its own.
    `shell`: whatever takes a person's commands will do."""

    stdin: int | None = None
    stdout: int = 1
    stderr: int = 2
    tty: bool = False
    shell: bool = False


def run_program(
    open_stream: Open,
    argv: Sequence[str],
    *,
    node: str = "",
    env: Mapping[str, str] | None = None,
    terminal: Terminal | None = None,
) -> int:
    """Run a program in a node (or the lab's own namespace) and relay it; its exit code. Raises LabError.

    An interrupt here is an interrupt there; a second one hangs up.
    """
    ends = terminal or Terminal()
    request: dict[str, Any] = {"do": "exec", "argv": list(argv), "node": node, "env": dict(env or {}), "cwd": _here()}
    if ends.shell:
        request["shell"] = True
    if ends.tty:
        request["tty"] = _size(ends.stdout)
    stream = open_stream(request)
    try:
        with _raw(ends), _resizing(stream, ends):
            if ends.stdin is None:
                stream.send(Kind.INPUT)
            else:
                threading.Thread(target=_feed, args=[stream, ends.stdin], daemon=True).start()
            return int(answer(_relay(stream, ends))["exit"])
    finally:
        stream.close()


def _relay(stream: Stream, ends: Terminal) -> dict[str, Any]:
    interrupts = 0
    while True:
        try:
            frame = stream.receive()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                raise
            stream.send(Kind.SIGNAL, str(int(signal.SIGINT)).encode())
            continue
        assert frame is not None
        match frame.kind:
            case Kind.OUTPUT:
                _write(ends.stdout, frame.data)
            case Kind.ERRORS:
                _write(ends.stderr, frame.data)
            case Kind.RESULT:
                result: dict[str, Any] = frame.json()
                return result
            case _:
                pass


def _feed(stream: Stream, fd: int) -> None:
    with contextlib.suppress(LabGone, OSError):
        while data := os.read(fd, CHUNK):
            stream.send(Kind.INPUT, data)
        stream.send(Kind.INPUT)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _here() -> str:
    with contextlib.suppress(OSError):
        return os.getcwd()
    return "/"


def _size(fd: int) -> list[int]:
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        rows = columns = 0
    return [rows or 24, columns or 80]


@contextlib.contextmanager
def _raw(ends: Terminal) -> Iterator[None]:
    """Every key goes to the program, Ctrl-C too."""
    if not ends.tty or ends.stdin is None or not os.isatty(ends.stdin):
        yield
        return
    before = termios.tcgetattr(ends.stdin)
    try:
        tty.setraw(ends.stdin)
        yield
    finally:
        termios.tcsetattr(ends.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(stream: Stream, ends: Terminal) -> Iterator[None]:
    if not ends.tty or threading.current_thread() is not threading.main_thread():
        yield
        return

    def resized(*_: object) -> None:
        with contextlib.suppress(LabGone):
            stream.send(Kind.RESIZE, " ".join(map(str, _size(ends.stdout))).encode())

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


_COLOURS = {"good": "32", "bad": "31", "time": "2", "kernel": "2", "note": "33"}
_MARKS = {"good": "✓", "bad": "✗"}


class LiveLog:
    """What happens, as it happens, on standard error: elapsed seconds, and colour only on a terminal."""

    def __init__(self, *, colour: bool, quiet: bool = False) -> None:
        self._colour, self._quiet = colour, quiet
        self._start = time.monotonic()

    def say(self, text: str, level: str = "step") -> None:
        if self._quiet:
            return
        elapsed = f"{time.monotonic() - self._start:7.2f}"
        mark = _MARKS.get(level, " ")
        first, *rest = text.splitlines() or [""]
        lines = [f"{self._tint(elapsed, '2')} {self._tint(f'{mark} {first}', _COLOURS.get(level, ''))}"]
        lines += [f"{'':10}{line}" for line in rest]
        print("\n".join(lines), file=sys.stderr, flush=True)

    def event(self, event: Mapping[str, Any]) -> None:
        self.say(event["text"], event.get("level", "step"))
        detail = event.get("check", {}).get("detail", "")
        if detail:
            for line in detail.splitlines():
                self.say(f"  {line}", "time" if event["check"]["ok"] else "bad-detail")

    def _tint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text
