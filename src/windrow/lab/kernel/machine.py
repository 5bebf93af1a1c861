"""A running lab kernel, seen from the host: a process, and the channel to the guest in it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from windrow.lab.channel import WINDOW, Decoder, Frame, Kind, encode, encode_json
from windrow.lab.errors import BootError, LabError, LabGone
from windrow.lab.kernel.cache import keep_words
from windrow.lab.kernel.processor import Processor
from windrow.lab.kernel.reasons import Reason, ending, reason
from windrow.lab.vm import image
from windrow.model.lazy import dataclass

BOOT_TIMEOUT_S = 60.0
GUEST_INIT = Path(__file__).resolve().parent.parent / "guest" / "init.py"
_LAUNCH = Path(__file__).resolve().parent / "launch.py"
_CONSOLE_LINES, _LINE_LENGTH = 1000, 500
"""What is kept of what the kernel says."""
_LAST_WORDS_S = 1.0
"""For a kernel that closed its line: to end, and its console with it."""

Log = Callable[[str], None]


class Stream(Protocol):
    """One request: what is sent and received until its RESULT."""

    def send(self, kind: Kind, data: bytes = b"") -> None: ...

    def receive(self, timeout: float | None = None) -> Frame | None:
        """The next frame; None when nothing came in time. Raises LabGone."""
        ...

    def close(self) -> None:
        """Nobody listens any more; what still runs for this request is ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start as the lab kernel. `line`: the program's own end of the channel, an inherited fd."""

    argv: Sequence[str]
    line: socket.socket
    namespaces: int
    """CLONE_* flags."""
    required: bool
    """Whether it is of use without those namespaces."""
    init: bool = False
    """Whether it may be the first process of its namespace: it reaps what others leave, and no signal ends it."""
    processor: Processor | None = None
    """The one that it keeps to, with all that it starts; None: any."""
    memory_file: bool = False
    """Whether its memory is a file in $TMPDIR, which `launch.py` then chooses."""
    kernel: str = "lab"
    """Its short name, for files; and what people call it."""
    title: str = "the lab kernel"
    env: Mapping[str, str] = field(default_factory=dict)
    """Beside what every lab kernel gets."""
    patience_s: float = BOOT_TIMEOUT_S
    """For one that is alive and does not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What runs inside. `entry`: `module:function`, called with (control fd, config)."""

    entry: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Machine:
    """Boots in `__init__`; ends with `close`, with its owner, or by itself. Raises BootError."""

    def __init__(self, program: Program, line: socket.socket, guest: Guest, log: Log | None = None) -> None:
        self._line, self._log, self._patience_s = line, log, program.patience_s
        self._kernel, self._title = program.kernel, program.title
        self._closing = False
        self._reason = Reason("", "")
        self._console: deque[str] = deque(maxlen=_CONSOLE_LINES)
        self._streams: dict[int, _Channel] = {}
        self._next = 1
        self._lock, self._write_lock = threading.Lock(), threading.Lock()
        self._window = threading.Condition()
        self._room = WINDOW
        self._gone = ""
        self._pid = 0
        self._own: queue.Queue[Frame | None] = queue.Queue()
        self.about: dict[str, Any] = {}
        started = time.monotonic()
        self._launch(program)
        try:
            self._pid = self._launched()
            self._boot(guest)
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - started

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def console(self) -> str:
        """The last lines that the kernel wrote."""
        return "\n".join(self._console)

    @property
    def gone(self) -> str:
        """Why it ended; empty while it runs."""
        return self._gone

    def open(self, request: Mapping[str, Any]) -> Stream:
        """Ask the guest for something. Raises LabGone."""
        with self._lock:
            if self._gone:
                raise LabGone(self._gone)
            number = self._next
            self._next += 1
            channel = self._streams[number] = _Channel(self, number)
        self.write(encode_json(number, Kind.REQUEST, request))
        return channel

    def write(self, data: bytes) -> None:
        """Raises LabGone."""
        view = memoryview(data)
        try:
            with self._write_lock:
                while view:
                    room = self._take_room(len(view))
                    self._line.sendall(view[:room])
                    view = view[room:]
        except OSError as error:
            raise LabGone(self._gone or "the lab has ended") from error

    def _take_room(self, wanted: int) -> int:
        """So many bytes, at most `wanted`, may go now. Raises LabGone."""
        with self._window:
            self._window.wait_for(lambda: self._room or self._gone)
            if self._gone:
                raise LabGone(self._gone)
            room = min(wanted, self._room)
            self._room -= room
            return room

    def forget(self, number: int) -> None:
        with self._lock:
            self._streams.pop(number, None)

    def wait(self, timeout: float | None = None) -> bool:
        """Until it has ended by itself; False when `timeout` seconds were not enough."""
        self._reader.join(timeout)
        return not self._reader.is_alive()

    def close(self) -> None:
        """End it, at once; nothing of it is left."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._pid:
            _kill_session(self._pid)
        for thread in (self._reader, self._console_reader):
            if thread is not threading.current_thread():
                thread.join(10)
        self._line.close()

    # Starting -------------------------------------------------------------------------------------

    def _launch(self, program: Program) -> None:
        """Start the launcher, and threads that listen to what it starts. Raises BootError."""
        traits = {"required": program.required, "init": program.init, "memory": program.memory_file}
        words = [name for name, there in traits.items() if there]
        fds = [program.line.fileno()]
        if program.processor is not None:
            words.append(f"processor={program.processor.number}")
            fds += [program.processor.claim] if program.processor.claim >= 0 else []
        wanted = [str(program.namespaces), ",".join(words)]
        try:
            self._process = subprocess.Popen(
                [_interpreter(), "-I", "-S", str(_LAUNCH), *wanted, *program.argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=fds,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **program.env},
                cwd="/",
            )
        except OSError as error:
            self._line.close()
            raise self._boot_error(reason([str(error)])) from error
        finally:
            program.line.close()
            if program.processor is not None:
                program.processor.release()
        self._console_reader = threading.Thread(target=self._read_console, name="lab console")
        self._console_reader.start()
        self._reader = threading.Thread(target=self._read_line, name="lab line", daemon=True)
        self._reader.start()

    def _launched(self) -> int:
        """The program's process id. Raises BootError."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            started = json.loads(output.readline() or b'{"error": "the launcher did not start"}')
        if "error" in started:
            raise self._boot_error(reason([started["error"]]))
        if started["note"] and self._log:
            self._log(f"without all of the host's protection: {started['note']}")
        return int(started["pid"])

    def _boot(self, guest: Guest) -> None:
        told = environment()
        config = {"path": _module_path(), "keep": [*_kept(), *told.values()], "entry": guest.entry, "env": told}
        config |= guest.config
        self._expect(Kind.HELLO)
        try:
            self.write(encode_json(0, Kind.CONFIG, config))
        except LabGone as error:
            raise self._boot_error(self._reason) from error
        self.about = self._expect(Kind.READY).json()
        if "error" in self.about:
            words = str(self.about["error"]).strip().splitlines()
            self._console.extend(words)
            raise self._boot_error(reason([f"the guest: {words[-1]}"]))

    def _expect(self, kind: Kind) -> Frame:
        """The next frame of channel 0. Raises BootError."""
        try:
            frame = self._own.get(timeout=self._patience_s)
        except queue.Empty:
            why = f"it is alive and does nothing, {self._patience_s:.0f} s after its start"
            raise self._boot_error(Reason(why, "windrow lab doctor shows which kernel works here")) from None
        if frame is None:
            raise self._boot_error(self._reason)
        if frame.kind not in (kind, Kind.READY):
            raise self._boot_error(Reason(f"it answers with {frame.kind.name} instead of {kind.name}", "report it"))
        return frame

    def _boot_error(self, found: Reason) -> BootError:
        log = keep_words(self._kernel, self._console) if self._console else None
        return BootError(f"{self._title} did not come up: {found.why}", hint=found.todo, log=log)

    # Reading --------------------------------------------------------------------------------------

    def _read_console(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as console:
            while raw := console.readline(_LINE_LENGTH):
                line = raw.decode(errors="replace").rstrip()
                self._console.append(line)
                if self._log:
                    self._log(f"[kernel] {line}")

    def _read_line(self) -> None:
        decoder = Decoder()
        why = "the lab kernel has ended"
        try:
            while data := self._line.recv(256 * 1024):
                for frame in decoder.feed(data):
                    self._deliver(frame)
        except OSError:
            pass
        except ValueError as error:
            why = f"the lab's channel is out of step: {error}"
        if not self._closing:
            self._reason = self._ask_why()
            why = f"{why}: {self._reason.why}"
        with self._lock:
            self._gone = self._gone or why
            streams = list(self._streams.values())
        with self._window:
            self._window.notify_all()
        self._own.put(None)
        for stream in streams:
            stream.frames.put(None)

    def _ask_why(self) -> Reason:
        """Its line closed by itself: its console and its exit code say why."""
        ended = ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            ended = ending(self._process.wait(_LAST_WORDS_S))
        self._console_reader.join(_LAST_WORDS_S)
        return reason(list(self._console), ended)

    def _deliver(self, frame: Frame) -> None:
        if frame.kind is Kind.ACK:
            with self._window:
                self._room += int(frame.data)
                self._window.notify_all()
            return
        if frame.channel == 0:
            self._own.put(frame)
            return
        with self._lock:
            stream = self._streams.get(frame.channel)
        if stream is not None:
            stream.frames.put(frame)


class _Channel:
    """A Stream of this process's own machine."""

    def __init__(self, machine: Machine, number: int) -> None:
        self._machine, self._number = machine, number
        self.frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._done = False

    def send(self, kind: Kind, data: bytes = b"") -> None:
        self._machine.write(encode(self._number, kind, data))

    def receive(self, timeout: float | None = None) -> Frame | None:
        try:
            frame = self.frames.get(timeout=timeout)
        except queue.Empty:
            return None
        if frame is None:
            self.frames.put(None)
            raise LabGone(self._machine.gone or "the lab has ended")
        if frame.kind is Kind.RESULT:
            self._done = True
            self._machine.forget(self._number)
        return frame

    def close(self) -> None:
        if not self._done:
            self._done = True
            with contextlib.suppress(LabGone):
                self.send(Kind.HANGUP)
            self._machine.forget(self._number)


def _kill_session(pid: int) -> None:
    """What is left if the launcher itself was killed; nothing, otherwise."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _interpreter() -> str:
    """Without a virtual environment around it: the guest is told its module path."""
    return os.path.realpath(sys.executable)


def interpreter_line(control: str) -> list[str]:
    """The guest's first process, as a command line; `control` names the channel: `tty:/dev/ttyS0`, `port:/dev/vport0p1`
    or `fd:3`."""
    return [_interpreter(), "-I", "-S", str(GUEST_INIT), control]


def _module_path() -> list[str]:
    """Where this process finds its modules, but for the standard library, which the guest finds by itself."""
    own = {os.path.realpath(p) for p in (os.path.dirname(os.__file__), os.path.dirname(json.__file__) + "/..")}
    found = [os.path.realpath(p or ".") for p in sys.path]
    return [p for p in dict.fromkeys(found) if os.path.isdir(p) and p not in own and not p.endswith("lib-dynload")]


def environment() -> dict[str, str]:
    """What the guest is told of this process's environment: the place of the kernel for virtual machines, which it
    would look for in another user's home."""
    place = image.where()
    return {image.ENVIRONMENT: os.path.realpath(place)} if place and place != image.CHECKOUT else {}


def _kept() -> list[str]:
    """What the guest must go on seeing where it puts its own scratch (/tmp, /run): our code and where we stand."""
    places = [*_module_path(), os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix), os.getcwd()]
    package, cache = GUEST_INIT.parents[3], os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isdir(cache):  # what was built for a lab
        places.append(os.path.realpath(cache))
    return [str(p) for p in dict.fromkeys([*places, str(package)])]


def need(path: str | None, what: str, hint: str) -> str:
    """Raises LabError."""
    if not path:
        raise LabError(f"{what} is not installed", hint=hint)
    return path
