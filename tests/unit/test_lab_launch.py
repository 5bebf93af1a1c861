"""A program that is launched for a lab leaves nothing behind, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from windrow.lab.kernel import launch

UML = launch.CLONE_NEWPID | launch.CLONE_NEWNS | launch.CLONE_NEWIPC
REFUSED = 1
"""Not a flag that unshare(2) knows: it stands for a host that allows no namespaces."""

# Like User-Mode Linux: children that do not end when their parent is killed.
PROGRAM = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        time.sleep(600)
time.sleep(600)
"""


@pytest.fixture(params=[UML, REFUSED], ids=["namespaces", "session"])
def started(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[bytes], int, set[int]]]:
    """(the launcher, the program's pid, all processes of the program)."""
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", str(Path(launch.__file__)), str(request.param), "0", python, "-S", "-c", PROGRAM]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["namespaces"] == (request.param == UML)
    family = wait_for_family(said["pid"])
    yield process, said["pid"], family
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()
    for pid in alive(family):
        os.kill(pid, signal.SIGKILL)


def wait_for_family(pid: int) -> set[int]:
    """The program and its three children."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == 3:
            return {pid, *map(int, children)}
        time.sleep(0.02)
    raise AssertionError("the program did not start")


def alive(family: set[int]) -> set[int]:
    """Zombies are dead: nothing runs of them, and whoever inherits them reaps them."""
    found = set()
    for pid in family:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat.rpartition(")")[2].split()[0] != "Z":
            found.add(pid)
    return found


def assert_gone(family: set[int]) -> None:
    end = time.monotonic() + 10
    while left := alive(family):
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.02)


Started = tuple[subprocess.Popen[bytes], int, set[int]]


def test_the_owner_goes(started: Started) -> None:
    process, _, family = started
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 137
    assert_gone(family)


def test_the_program_is_killed(started: Started) -> None:
    process, pid, family = started
    os.kill(pid, signal.SIGKILL)
    process.wait(10)
    assert_gone(family)


def test_the_launcher_is_told_to_end(started: Started) -> None:
    process, _, family = started
    process.terminate()
    process.wait(10)
    assert_gone(family)


def test_the_launcher_is_killed(started: Started, request: pytest.FixtureRequest) -> None:
    process, pid, family = started
    process.kill()
    process.wait(10)
    end = time.monotonic() + 10
    while pid in alive(family):  # PR_SET_PDEATHSIG
        assert time.monotonic() < end
        time.sleep(0.02)
    if "session" in request.node.name:
        os.killpg(pid, signal.SIGKILL)  # the owner's part: `machine._kill_session`
    assert_gone(family)
