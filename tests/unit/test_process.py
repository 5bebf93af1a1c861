"""A process is there until its last thread has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from windrow.services import process

LEADERLESS = """
import ctypes, platform, sys, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
"""Its first thread ends (`exit`, not `exit_group`), as in a process that is being killed; another one stays."""


@pytest.fixture
def leaderless() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", LEADERLESS], stdout=subprocess.PIPE) as found:
        assert found.stdout is not None and found.stdout.readline() == b"ready\n"
        end = time.monotonic() + 20
        while state(found.pid) != "Z" and time.monotonic() < end:
            time.sleep(0.01)
        assert state(found.pid) == "Z"
        yield found
        found.kill()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_zombie_with_more_threads_is_there(leaderless: subprocess.Popen[bytes]) -> None:
    found = process.found(leaderless.pid)
    assert found is not None and process.alive(found)
    assert not process.wait_for_end(found, 0.1)
    assert process.end(found, patience_s=0.0)
    assert not process.alive(found) and process.found(leaderless.pid) is None


def test_it_has_let_go_of_its_port_when_it_is_ended(tmp_path: Path) -> None:
    """The next one that listens there is not refused."""
    listening = (
        "import socket, threading, time\n"
        "for _ in range(50): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "held = socket.create_server(('127.0.0.1', 0))\n"
        "print(held.getsockname()[1], flush=True)\n"
        "time.sleep(60)\n"
    )
    for _ in range(5):
        log = tmp_path / "log"
        one = process.start([sys.executable, "-c", listening], directory=tmp_path, log=log)
        end = time.monotonic() + 20
        while not log.read_bytes().endswith(b"\n") and time.monotonic() < end:
            time.sleep(0.01)
        inode = f":{int(log.read_text()):04X} "
        assert process.end(one.process, patience_s=0.0)
        assert not [line for line in Path("/proc/net/tcp").read_text().splitlines() if inode in line and " 0A " in line]


def test_a_zombie_alone_is_gone() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert state(pid) == "Z" and process.found(pid) is None
    finally:
        os.waitpid(pid, 0)
