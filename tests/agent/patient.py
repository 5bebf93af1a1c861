"""What makes a plan wait, and who asks meanwhile: a switch that answers LACP and never agrees, a clock on `/healthz`,
and the CPU time of a process as the kernel counts it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.agent.agents import Host
from tests.agent.hands import Running, Site, until

from windrow.apps.known import agent_status
from windrow.netlink.lock import locked

ETH_P_SLOW = 0x8809
HEALTH_S = 0.050
"""What is promised of `/healthz`."""


@contextlib.contextmanager
def agent(host: Host) -> Iterator[Running]:
    """The real one, as `windrow agent` starts it: its plans wait by its own loop."""
    site = Site(host.world, host.node, "")
    running = site.begin("agent")
    try:
        until(lambda: agent_status(host.paths))
        yield running
    finally:
        site.close()
        if running.code is None:
            running.kill(15)
            assert running.wait() == 0, running.said


# LACP -----------------------------------------------------------------------------------------------


def lacpdu(mac: bytes, port: int) -> bytes:
    """Active, aggregatable, short timeout, and never in sync (IEEE 802.1AX §6.4.2.3)."""
    actor = struct.pack("!BBH6sHHHB3x", 1, 20, 65535, mac, 1, 255, port, 0x07)
    partner = struct.pack("!BBH6sHHHB3x", 2, 20, 0, bytes(6), 0, 0, 0, 0)
    body = struct.pack("!BB", 1, 1) + actor + partner + struct.pack("!BBH12x", 3, 16, 0) + bytes(52)
    return b"\x01\x80\xc2\x00\x00\x02" + mac + struct.pack("!H", ETH_P_SLOW) + body


@contextlib.contextmanager
def disagreeing(host: Host, ports: Sequence[str]) -> Iterator[None]:
    """The switch says on these ports that it does LACP, and agrees on nothing."""
    switch, ending = f"{host.node}-sw", threading.Event()

    def opened(port: str) -> socket.socket:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        one.bind((port, 0))
        return one

    sockets = [host.world.inside(switch, lambda port=port: opened(port)) for port in ports]  # type: ignore[misc]

    def speak() -> None:
        while not ending.wait(0.3):
            for number, one in enumerate(sockets):
                with contextlib.suppress(OSError):
                    one.send(lacpdu(bytes.fromhex("5254000000aa"), number + 1))

    thread = threading.Thread(target=speak, name="lacp")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        for one in sockets:
            one.close()


# /healthz -------------------------------------------------------------------------------------------


@dataclass
class Asking:
    """Somebody who asks for `/healthz` all the time, in a process of his own, and in turns with that a process which
    does nothing else than answer: seconds of each answer. What both take is the machine's."""

    times: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{_said(self.times)}; a process that does nothing: {_said(self.control)}"

    @property
    def late(self) -> tuple[float, ...]:
        return tuple(t for t in sorted(self.times) if t > HEALTH_S)

    @property
    def late_anyway(self) -> int:
        """Of the answers of the process that does nothing."""
        return sum(t > HEALTH_S for t in self.control)


def _said(times: Sequence[float]) -> str:
    ordered = sorted(times)
    late = sum(t > HEALTH_S for t in ordered)
    return (
        f"{len(ordered)} answers: median {ordered[len(ordered) // 2] * 1000:.1f} ms, 99 % within "
        f"{ordered[len(ordered) * 99 // 100] * 1000:.1f} ms, longest {ordered[-1] * 1000:.1f} ms, {late} above "
        f"{HEALTH_S * 1000:.0f} ms"
    )


def healthz(path: Path) -> float:
    """Seconds until it is answered. Raises OSError, TimeoutError."""
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(str(path))
        one.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        data = b"".join(iter(lambda: one.recv(65536), b""))
    assert data.startswith(b"HTTP/1."), data
    return time.monotonic() - begun


@contextlib.contextmanager
def _answering(path: Path) -> Iterator[None]:
    """A process that only waits, and answers as an agent at rest does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        if (pid := os.fork()) == 0:
            gc.disable()
            while True:
                one, _ = listener.accept()
                one.recv(65536)
                one.sendall(b"HTTP/1.0 200 OK\r\n\r\nok\n")
                one.close()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        path.unlink()


@contextlib.contextmanager
def asking(path: Path, pause_s: float = 0.01) -> Iterator[Asking]:
    control = path.with_name("control.sock")
    with _answering(control), _asking(path, control, pause_s) as found:
        yield found


@contextlib.contextmanager
def _asking(path: Path, control: Path, pause_s: float) -> Iterator[Asking]:
    found = Asking()
    read, write = os.pipe()
    stop_read, stop_write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.close(stop_write)
            os.set_blocking(stop_read, False)
            with os.fdopen(write, "w") as out:
                while _goes_on(stop_read):
                    for one in (path, control):
                        out.write(f"{healthz(one)} ")
                        time.sleep(pause_s)
                    out.write("\n")
        finally:
            os._exit(0)
    os.close(write)
    os.close(stop_read)
    lines: list[str] = []

    def drain() -> None:
        with os.fdopen(read) as file:
            lines.extend(file)

    thread = threading.Thread(target=drain, name="answers")
    thread.start()
    try:
        yield found
    finally:
        os.close(stop_write)
        os.waitpid(pid, 0)
        thread.join()
        for line in lines:
            asked, anyway = map(float, line.split())
            found.times.append(asked)
            found.control.append(anyway)


def _goes_on(stop: int) -> bool:
    try:
        return bool(os.read(stop, 1))
    except BlockingIOError:
        return True


@contextlib.contextmanager
def lock_of_another(path: Path) -> Iterator[None]:
    """A process of its own has it: what is forked here meanwhile must not have it, too (flock(2))."""
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            with locked(path, timeout_s=20):
                os.write(told, b"x")
                time.sleep(600)
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# CPU ------------------------------------------------------------------------------------------------


def ticks(pid: int) -> int:
    """utime and stime of /proc/PID/stat, all threads: in ticks of 10 ms (CLK_TCK)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wakings(pid: int) -> int:
    """How often a thread of this process has begun to run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = (line for task in tasks for line in (task / "status").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def spent(pid: int, seconds: float) -> tuple[int, int]:
    """Ticks that pass for this process in so many seconds, and how often it wakes up."""
    before, calm = ticks(pid), wakings(pid)
    time.sleep(seconds)
    return ticks(pid) - before, wakings(pid) - calm
