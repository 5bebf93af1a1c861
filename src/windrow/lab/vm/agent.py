"""Commands for a guest, over its second serial line: one a line, and one line back.

    ? ID BASE64(script)             to the guest
    = ID EXIT BASE64(output)        from it; standard output and errors in one

Whatever else comes over the line is skipped: it is a serial line, and a guest that just started may find half a
command in its buffer. Nothing waits on either side: a guest that was asked before it listened is asked again.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import select
import socket
import time
from pathlib import Path
from types import TracebackType

from windrow.lab.errors import LabError
from windrow.model.lazy import dataclass

HELLO_S, PATIENCE_S = 1.0, 16.0
"""A guest that listens answers in milliseconds, on a busy machine in seconds; one that boots, not at all."""
_ANSWER = re.compile(rb"= (\d+) (\d+) ?([A-Za-z0-9+/=]*)")
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    exit: int
    output: str


class Agent:
    """A line to one guest. The guest does one thing at a time; so does this."""

    def __init__(self, path: Path, name: str) -> None:
        """Raises LabError where nothing listens on the socket."""
        self._name = name
        self._number = 0
        self._patience_s = HELLO_S
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise LabError(f"{name}: the machine is not there: {path}: {error.strerror}") from error

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def wait(self, timeout_s: float) -> bool:
        """Until the guest answers. Raises LabError when its line is closed: the machine has ended.

        An answer to an earlier question is none, so each question is given longer than the one before."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._ask("true", min(self._patience_s, max(0.0, end - time.monotonic()))) is not None:
                return True
            self._patience_s = min(2 * self._patience_s, PATIENCE_S)
        return False

    def run(self, script: str, *, timeout_s: float = 30.0) -> Answer:
        """Raises LabError when no answer came in time, or the machine has ended."""
        found = self._ask(script, timeout_s)
        if found is None:
            raise LabError(f"{self._name} does not answer: {script.strip().splitlines()[0]!r} for {timeout_s:.0f} s")
        return found

    def _ask(self, script: str, timeout_s: float) -> Answer | None:
        self._number += 1
        self._send(encode(self._number, script))
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            for line in self._lines(left):
                answer = decode(line)
                if answer is not None and answer[0] == self._number:
                    return answer[1]
        return None

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LabError(f"{self._name} has ended") from error

    def _lines(self, timeout_s: float) -> list[bytes]:
        """Those that came, after at most so long."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return []
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self._socket.recv(_CHUNK)
        if not data:
            raise LabError(f"{self._name} has ended")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def encode(number: int, script: str) -> bytes:
    """The line's end comes first, too: it ends whatever half line is there."""
    return b"\n? %d %s\n" % (number, base64.b64encode(script.encode()))


def decode(line: bytes) -> tuple[int, Answer] | None:
    """The number and the answer; None for any other line."""
    found = _ANSWER.fullmatch(line.strip())
    if found is None:
        return None
    try:
        output = base64.b64decode(found[3], validate=True)
    except binascii.Error:
        return None
    return int(found[1]), Answer(int(found[2]), output.decode(errors="replace"))
