"""QEMU: started as a program that stays, and talked to by its monitor (QMP, docs/interop/qmp-spec.rst).

The monitor serves one client at a time; a second one gets no greeting until the first has gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from windrow.services import process
from windrow.services.account import Account
from windrow.services.errors import QmpError, ServiceError

KVM = Path("/dev/kvm")
KVM_API_VERSION = 12
"""The only one there has been since 2.6.22 (Documentation/virt/kvm/api.rst, 4.1)."""
COMMAND_S = 15.0
START_S = 60.0
"""Until the monitor answers: on a slow kernel QEMU's own start takes seconds."""
_KVM_GET_API_VERSION = 0xAE00
_CHUNK = 64 * 1024
_PAUSE_S = 0.02
_STILL = "QEMU is stopped or hangs: `ps` says which (T or D)"

Event = Mapping[str, Any]
"""`event`, `data`, `timestamp`."""


def kvm_refusal(account: Account = process.ROOT) -> str:
    """Why this machine cannot accelerate a guest of this user; empty where it can."""
    try:
        fd = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{KVM}: {error.strerror}"
    try:
        version = fcntl.ioctl(fd, _KVM_GET_API_VERSION)
    except OSError as error:
        return f"{KVM}: {error.strerror}"
    finally:
        os.close(fd)
    if version != KVM_API_VERSION:
        return f"{KVM} has version {version} and not {KVM_API_VERSION}"
    if not account.may_use(KVM):
        return f"{KVM} is for root alone, and QEMU runs as another user: chgrp kvm {KVM} && chmod 660 {KVM}"
    return ""


def listening(path: Path) -> socket.socket:
    """A Unix socket that only its owner may connect to, in place of one that is left there. QEMU is handed it, and
    needs no directory to write in. It gets its name once it listens: whoever finds it is answered. Raises OSError."""
    hidden = path.with_name(f".{path.name}")
    hidden.unlink(missing_ok=True)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(one.fileno(), 0o600)  # before bind(2), which makes the file with it (`unix_bind`)
        with _directory(path.parent) as fd:
            one.bind(f"/proc/self/fd/{fd}/{hidden.name}")
        hidden.chmod(0o600)
        one.listen(1)
        hidden.rename(path)
    except BaseException:
        one.close()
        raise
    return one


def ready(program: process.Program, monitor: Path, *, timeout_s: float = START_S) -> Qmp:
    """The monitor of a QEMU that was just started. Raises ServiceError with QEMU's own words if that ended."""
    end = time.monotonic() + timeout_s
    while True:
        if failure := program.died():
            raise failure
        try:
            # The socket is there before QEMU is: it answers when it comes to that, and closes it when it ends.
            return Qmp(monitor, timeout_s=max(end - time.monotonic(), _PAUSE_S))
        except QmpError as error:
            if failure := program.died():
                raise failure from error
            if time.monotonic() >= end:
                raise
        time.sleep(0.02)


class Qmp:
    """A connection to a monitor. Not for two threads at a time."""

    def __init__(self, path: Path, *, timeout_s: float = COMMAND_S) -> None:
        """Raises QmpError."""
        self._data = b""
        self._number = 0
        self._attached: list[int] = []
        self._events: deque[Event] = deque()
        self._socket = connect(path, timeout_s=timeout_s)
        try:
            greeting = self._read(time.monotonic() + timeout_s)
            if greeting is None or "QMP" not in greeting:
                hint = f"another program is connected to it, or {_STILL}" if greeting is None else ""
                raise QmpError("its monitor does not greet", hint=hint)
            self.command("qmp_capabilities", timeout_s=timeout_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def command(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = COMMAND_S) -> Any:
        """What QEMU returns. Raises QmpError with its own description."""
        self._number += 1
        request: dict[str, Any] = {"execute": name, "id": self._number}
        if arguments:
            request["arguments"] = dict(arguments)
        try:
            fds, self._attached = self._attached, []
            self._send(json.dumps(request).encode() + b"\n", fds)
        except OSError as error:
            raise QmpError(f"{name}: its monitor is gone: {error.strerror}") from error
        end = time.monotonic() + timeout_s
        while True:
            answer = self._read(end)
            if answer is None:
                raise QmpError(f"{name}: no answer within {timeout_s:.0f} s")
            if answer.get("id") != self._number:
                continue  # the answer to one that we no longer wait for
            if "error" in answer:
                refused = answer["error"]
                raise QmpError(f"{name}: {refused.get('desc', refused)}", kind=str(refused.get("class", "")))
            return answer.get("return")

    def hand(self, name: str, fd: int) -> None:
        """Give QEMU an open file, under a name for the command that uses it (`getfd`). Raises QmpError."""
        self._attached = [fd]
        self.command("getfd", {"fdname": name})

    def event(self, wanted: Callable[[Event], bool], *, timeout_s: float) -> Event | None:
        """The first event, of those that came since we connected, for which `wanted` holds; None: it did not come.

        The ones before it are forgotten. Raises QmpError if the monitor goes away.
        """
        end = time.monotonic() + timeout_s
        while True:
            while self._events:
                found = self._events.popleft()
                if wanted(found):
                    return found
            if (message := self._take(end)) is None:
                return None
            self._sort(message)

    def _send(self, data: bytes, fds: list[int]) -> None:
        sent = socket.send_fds(self._socket, [data], fds) if fds else 0
        self._socket.sendall(data[sent:])

    def _read(self, end: float) -> dict[str, Any] | None:
        """The next message that is no event."""
        while (message := self._take(end)) is not None:
            if not self._sort(message):
                return message
        return None

    def _sort(self, message: dict[str, Any]) -> bool:
        if "event" in message:
            self._events.append(message)
            return True
        return False

    def _take(self, end: float) -> dict[str, Any] | None:
        """The next message; None when it is `end`. One message is one line."""
        while b"\n" not in self._data:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            try:
                more = self._socket.recv(_CHUNK)
            except OSError as error:
                raise QmpError(f"its monitor is gone: {error.strerror}") from error
            if not more:
                raise QmpError("it closed its monitor")
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise QmpError(f"its monitor says what is no JSON: {line[:80]!r}") from error
        if not isinstance(found, dict):
            raise QmpError(f"its monitor says what is no object: {line[:80]!r}")
        return found


def connect(path: Path, *, timeout_s: float = COMMAND_S) -> socket.socket:
    """A connection to a Unix socket, however long its path is (`sun_path` has 108 bytes). Raises QmpError.

    QEMU listens with a backlog of one: where it stands still, the third one would wait until it goes on.
    """
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _directory(path.parent) as fd:
            _connect(one, f"/proc/self/fd/{fd}/{path.name}", timeout_s)
    except BlockingIOError as error:
        one.close()
        raise QmpError(f"{path} accepts no connection within {timeout_s:.0f} s", hint=f"perhaps {_STILL}") from error
    except OSError as error:
        one.close()
        raise QmpError(f"nobody answers at {path}: {error.strerror}") from error
    return one


def _connect(one: socket.socket, address: str, timeout_s: float) -> None:
    """EAGAIN, at once, is all that a Unix socket says of a full backlog to whoever does not want to block."""
    end = time.monotonic() + timeout_s
    one.setblocking(False)
    while True:
        try:
            one.connect(address)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE_S)
        else:
            one.setblocking(True)
            return


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


__all__ = ["COMMAND_S", "START_S", "Event", "Qmp", "QmpError", "ServiceError", "connect", "kvm_refusal", "ready"]
