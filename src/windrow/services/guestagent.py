"""The guest agent (qemu-ga): a program in a guest that answers questions over a port of its own (QEMU,
docs/interop/qemu-ga.rst).

Nothing that comes from a guest is trusted: it may say nothing, or never stop, or be what somebody put in its place. So
a question has an end, and an answer a length.
"""

from __future__ import annotations

import json
import secrets
import select
import socket
import time
from pathlib import Path
from typing import Any

from windrow.model.values import printable
from windrow.services.errors import QmpError, ServiceError
from windrow.services.qemu import connect

ANSWER_MAX = 1 << 20
"""Bytes of all that comes until the answer is there: a thousand interfaces have a third of it."""
_START = b"\xff"
"""A byte that is in no JSON: before it nothing counts, on either side (`guest-sync-delimited`)."""
_CHUNK = 64 * 1024
_SAID_MAX = 200
"""Characters of a refusal that are told."""


def ask(path: Path, command: str, *, timeout_s: float) -> Any:
    """What the agent behind this socket returns. Raises ServiceError: nobody answers within the time, or what comes is
    no answer."""
    line = _Line(path, time.monotonic() + timeout_s)
    try:
        # What another one asked before, and did not wait for, may still be on its way.
        number = secrets.randbits(31)
        line.send(_START + _request("guest-sync-delimited", id=number))
        while line.read(_START) != number:
            pass
        line.send(_request(command))
        return line.read()
    finally:
        line.close()


def _request(command: str, **arguments: Any) -> bytes:
    given = {"arguments": arguments} if arguments else {}
    return json.dumps({"execute": command, **given}).encode() + b"\n"


class _Line:
    """A connection that ends in time."""

    def __init__(self, path: Path, end: float) -> None:
        """Raises ServiceError."""
        self._end, self._data, self._read = end, b"", 0
        try:
            self._socket = connect(path, timeout_s=max(0.0, end - time.monotonic()))
        except QmpError as error:
            raise _failed(str(error)) from error
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """A guest that reads nothing fills the buffer, which is larger than a question."""
        try:
            if self._socket.send(data, socket.MSG_NOSIGNAL) != len(data):
                raise _failed("it takes no question")
        except OSError as error:
            raise _failed(f"it takes no question: {error.strerror}") from error

    def read(self, after: bytes = b"") -> Any:
        """The `return` of the next answer; what comes before the byte `after` is passed over."""
        if after:
            self._until(after)
        try:
            answer = json.loads(self._until(b"\n"))
        except (ValueError, RecursionError):
            raise _failed("it says what is no JSON") from None
        if isinstance(answer, dict) and "return" in answer:
            return answer["return"]
        error = answer.get("error") if isinstance(answer, dict) else None
        said = error.get("desc") if isinstance(error, dict) else None
        if not isinstance(said, str):
            raise _failed("it says what is no answer")
        raise _failed(f"it refuses: {printable(said[:_SAID_MAX])}")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._data:
            self._more()
        found, _, self._data = self._data.partition(mark)
        return found

    def _more(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0 or not select.select([self._socket], [], [], left)[0]:
            raise _failed("it does not answer")
        try:
            more = self._socket.recv(_CHUNK)
        except OSError as error:
            raise _failed(f"its line is gone: {error.strerror}") from error
        self._read += len(more)
        if not more or self._read > ANSWER_MAX:
            raise _failed(f"it says more than {ANSWER_MAX} bytes" if more else "its line was closed")
        self._data += more


def _failed(reason: str) -> ServiceError:
    return ServiceError("guest agent", reason)
