"""Run a program in a node, with its input, output, terminal and signals tied to a request."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from windrow.lab.channel import Frame, Kind
from windrow.lab.guest.server import Request
from windrow.lab.kernel.launch import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, MS_REC, mount
from windrow.model.lazy import dataclass

BIN = Path("/run/windrow/bin")
"""Where the lab keeps the command `windrow`, and those of Kubernetes."""
CLONE_FS = 0x200
_MS_SLAVE, _MNT_DETACH = 1 << 19, 2
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a program runs. `netns`: a path; empty for the lab's own namespace. `mounts`: an fd of a mount namespace;
    negative for the lab's own."""

    name: str
    netns: str = ""
    mounts: int = -1
    env: Mapping[str, str] = field(default_factory=dict)


def enter(place: Place) -> None:
    """Move the calling thread, and what it starts, into a place: network, host name, and a /sys that shows it.

    As ip-netns(8) does it. Raises OSError. The thread should end with its work.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if place.netns:
        fd = os.open(place.netns, os.O_RDONLY | os.O_CLOEXEC)
        _checked(libc.setns(fd, CLONE_NEWNET), f"enter {place.name}")
        os.close(fd)
    if place.mounts >= 0:
        _checked(libc.unshare(CLONE_FS), "leave the other threads' directory")  # setns(2) wants that
        _checked(libc.setns(place.mounts, CLONE_NEWNS), f"enter the mounts of {place.name}")
    _checked(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare")
    mount("", "/", flags=_MS_SLAVE | MS_REC)
    _show_sys(libc, place)
    name = place.name.encode()
    libc.sethostname(name, len(name))


def _show_sys(libc: ctypes.CDLL, place: Place) -> None:
    """With the network namespace's own devices; a node that has control groups of its own goes on to show them."""
    if place.mounts >= 0:
        return
    libc.umount2(b"/sys", _MNT_DETACH)
    with contextlib.suppress(OSError):  # a user's namespaces on the host's kernel may not
        mount(place.name, "/sys", "sysfs")


def run_in(place: Place, argv: Sequence[str]) -> tuple[int, str, str]:
    """A program in a place: exit code (127: there is none such), what it printed, what it complained."""
    results: list[tuple[int, str, str]] = []

    def work() -> None:
        try:
            enter(place)
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                errors="replace",
                env={**os.environ, **place.env},
            )
            results.append((done.returncode, done.stdout, done.stderr))
        except OSError as error:
            results.append((127, "", str(error)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


def _checked(result: int, doing: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{doing}: {os.strerror(code)}")


def run(request: Request, place: Place) -> Mapping[str, Any]:
    """`argv`, and optionally `env`, `cwd`, `tty` (rows, columns). The result has its `exit` code, as a shell counts."""
    document = request.document
    argv: Sequence[str] = document["argv"]
    env = {**os.environ, **place.env, **document.get("env", {})}
    cwd = document.get("cwd", "/")
    enter(place)
    size = document.get("tty")
    with contextlib.ExitStack() as stack:
        terminal = _Terminal(stack, size) if size else None
        try:
            process = _start(argv, env, cwd if os.path.isdir(cwd) else "/", terminal)
        except OSError as error:
            request.output(f"{argv[0]}: {error.strerror}\n".encode(), errors=True)
            return {"exit": _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE}
        if terminal:
            terminal.started()
        threading.Thread(target=_control, args=[request, process, terminal], daemon=True).start()
        readers = [threading.Thread(target=_copy, args=[request, *way]) for way in _outputs(process, terminal)]
        for reader in readers:
            reader.start()
        status = process.wait()
        for reader in readers:
            # A program in the background may hold the pipe for ever; what was written by now has arrived.
            reader.join(None if terminal is None and status >= 0 else 1.0)
    request.frames.put(Frame(0, Kind.HANGUP))
    return {"exit": status if status >= 0 else 128 - status}


class _Terminal:
    def __init__(self, stack: contextlib.ExitStack, size: Sequence[int]) -> None:
        self.master, self.slave = os.openpty()
        self._stack = stack
        stack.callback(os.close, self.master)
        self.resize(size[0], size[1])

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def started(self) -> None:
        os.close(self.slave)


def _start(
    argv: Sequence[str], env: Mapping[str, str], cwd: str, terminal: _Terminal | None
) -> subprocess.Popen[bytes]:
    if terminal is None:
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=cwd, start_new_session=True)
    # setsid(1) makes the terminal the controlling one; here it would be Python between fork and exec, with threads.
    end, whole = terminal.slave, ["setsid", "--ctty", "--wait", *argv]
    return subprocess.Popen(whole, stdin=end, stdout=end, stderr=end, env=env, cwd=cwd)


def _outputs(process: subprocess.Popen[bytes], terminal: _Terminal | None) -> list[tuple[int, bool]]:
    if terminal:
        return [(terminal.master, False)]
    assert process.stdout is not None
    assert process.stderr is not None
    return [(process.stdout.fileno(), False), (process.stderr.fileno(), True)]


def _copy(request: Request, fd: int, errors: bool) -> None:
    with contextlib.suppress(OSError):  # EIO: the last one on this terminal has gone
        while data := os.read(fd, 64 * 1024):
            request.output(data, errors=errors)


def _control(request: Request, process: subprocess.Popen[bytes], terminal: _Terminal | None) -> None:
    """Input, signals and the terminal's size, until the program has ended."""
    target = terminal.master if terminal else process.stdin.fileno() if process.stdin else -1
    while True:
        frame = request.frames.get()
        if process.poll() is not None:
            return
        match frame.kind:
            case Kind.INPUT if frame.data:
                with contextlib.suppress(OSError):  # it reads no more
                    _write(target, frame.data)
            case Kind.INPUT if terminal is None and process.stdin:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            case Kind.SIGNAL:
                _signal(process, int(frame.data))
            case Kind.RESIZE if terminal:
                rows, columns = map(int, frame.data.split())
                terminal.resize(rows, columns)
            case Kind.HANGUP:
                _signal(process, signal.SIGHUP)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                _signal(process, signal.SIGKILL)
                return
            case _:
                pass


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the program and all it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
