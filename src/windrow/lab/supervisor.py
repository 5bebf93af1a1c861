"""A lab that stays: the process that owns it, and how others reach it.

It listens on an abstract socket, `@windrow-lab-<uid>-<name>`: a name that no file stands for and that goes with the
process. Each connection carries one request; both ends look at who the other one is (SO_PEERCRED).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from windrow.lab.channel import Decoder, Frame, Kind, encode, encode_json
from windrow.lab.client import answer
from windrow.lab.errors import LabError, LabGone
from windrow.lab.kernel import boot
from windrow.lab.kernel.boot import Needs
from windrow.lab.kernel.machine import Guest, Log, Machine, Stream

DEFAULT_NAME = "lab"
_DOWN = "down"
_CREDENTIALS = struct.Struct("3i")


def address(name: str) -> str:
    return f"\0windrow-lab-{os.getuid()}-{name}"


def running() -> tuple[str, ...]:
    """The names of this user's labs."""
    prefix = f"@windrow-lab-{os.getuid()}-"
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    found = {line.split()[-1].removeprefix(prefix) for line in lines if f" {prefix}" in line}
    return tuple(sorted(found))


# The others' side ---------------------------------------------------------------------------------


def start(name: str, entry: str, kind: str, needs: Needs = Needs(), *, log: Log | None = None) -> dict[str, Any]:
    """Start a lab that outlives this process; what it said when it was up. Raises LabError."""
    if name in running():
        raise LabError(f"the lab {name!r} is up already", hint="windrow lab down, or --name for another one")
    wanted = {"name": name, "entry": entry, "kernel": kind, "needs": asdict(needs)}
    document = json.dumps({**wanted, "verbose": log is not None})
    process = subprocess.Popen(
        [sys.executable, "-m", "windrow.lab.supervisor", document],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.wait()  # it has gone on in a process of its own
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as output, process.stderr as complaints:
        for raw in output:
            said = json.loads(raw)
            if "log" in said and log:
                log(said["log"])
            elif "log" not in said:
                return answer(said)
        raise LabError(f"the lab did not start: {complaints.read().decode(errors='replace').strip()}")


class Connection:
    """A Stream to a lab that another process owns. Raises LabError where there is none."""

    def __init__(self, name: str, request: Mapping[str, Any]) -> None:
        self._decoder = Decoder()
        self._frames: Iterator[Frame] = iter(())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(address(name))
        except OSError as error:
            self._socket.close()
            others = running()
            hint = f"there is {', '.join(others)}: use --name" if others else "windrow lab up SCENARIO starts one"
            raise LabError(f"there is no lab {name!r}", hint=hint) from error
        if _peer(self._socket) not in (os.getuid(), 0):
            self._socket.close()
            raise LabError(f"the lab {name!r} belongs to another user")
        self._socket.sendall(encode_json(0, Kind.REQUEST, request))

    def send(self, kind: Kind, data: bytes = b"") -> None:
        try:
            self._socket.sendall(encode(0, kind, data))
        except OSError as error:
            raise LabGone("the lab has ended") from error

    def receive(self, timeout: float | None = None) -> Frame | None:
        while (frame := next(self._frames, None)) is None:
            self._socket.settimeout(timeout)
            try:
                data = self._socket.recv(256 * 1024)
            except TimeoutError:
                return None
            except OSError:
                data = b""
            if not data:
                raise LabGone("the lab has ended")
            self._frames = self._decoder.feed(data)
        return frame

    def close(self) -> None:
        self._socket.close()


def stop(name: str, timeout: float = 15.0) -> None:
    """End a lab, and wait until it is gone. Raises LabError."""
    connection = Connection(name, {"do": _DOWN})
    end = time.monotonic() + timeout
    with contextlib.suppress(LabGone):
        while connection.receive(timeout) is not None:
            pass
    connection.close()
    while name in running():
        if time.monotonic() > end:
            raise LabError(f"the lab {name!r} does not end")
        time.sleep(0.02)


# The owner's side ---------------------------------------------------------------------------------


class _Supervisor:
    def __init__(self, machine: Machine, listener: socket.socket) -> None:
        self._machine, self._listener = machine, listener
        self.ended = threading.Event()

    def serve(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()
        self.ended.wait()

    def _watch(self) -> None:
        self._machine.wait()
        self.ended.set()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if _peer(connection) in (os.getuid(), 0):
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        decoder = Decoder()
        with connection, contextlib.suppress(OSError, ValueError, LabGone):
            stream: Stream | None = None
            try:
                while data := connection.recv(64 * 1024):
                    for frame in decoder.feed(data):
                        if stream is not None:
                            stream.send(frame.kind, frame.data)
                        elif frame.json().get("do") == _DOWN:
                            self.ended.set()
                        else:
                            stream = self._machine.open(frame.json())
                            threading.Thread(target=_answers, args=[stream, connection], daemon=True).start()
            finally:
                if stream is not None:
                    stream.close()


def _answers(stream: Stream, connection: socket.socket) -> None:
    with contextlib.suppress(OSError, LabGone):
        while (frame := stream.receive()) is not None:
            connection.sendall(encode(0, frame.kind, frame.data))
            if frame.kind is Kind.RESULT:
                break
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _peer(connection: socket.socket) -> int:
    """The user at the other end."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid


def _say(document: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        print(json.dumps(document), flush=True)


def main() -> int:
    """`python -m windrow.lab.supervisor JSON`; what it says goes to whoever started it, until the lab is up."""
    wanted = json.loads(sys.argv[1])
    if os.fork():
        return 0
    os.setsid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(address(wanted["name"]))
    except OSError as error:
        _say({"error": f"the lab {wanted['name']!r} is up already ({error.strerror})"})
        return 1
    log: Log | None = (lambda line: _say({"log": line})) if wanted["verbose"] else None
    try:
        machine = boot.boot(wanted["kernel"], Guest(entry=wanted["entry"]), Needs(**wanted["needs"]), log=log)
    except LabError as error:
        _say({"error": str(error)})
        return 1
    with machine:
        supervisor = _Supervisor(machine, listener)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.ended.set())
        listener.listen(64)
        os.chdir("/")
        _say({"ok": True, "boot_s": round(machine.boot_s, 3), **machine.about})
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (1, 2):
            os.dup2(null, fd)
        supervisor.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
