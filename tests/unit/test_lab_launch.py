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
    launcher = [python, "-I", "-S", str(Path(launch.__file__)), str(request.param), "init"]
    command = [*launcher, python, "-S", "-c", PROGRAM]
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


# Like User-Mode Linux at a panic (`uml_abort`): it ends itself by a signal, again and again until that works.
ABORTS = """
import os, signal
while True:
    os.kill(os.getpid(), signal.SIGABRT)
"""


@pytest.mark.parametrize("flags", [UML, REFUSED], ids=["namespaces", "session"])
@pytest.mark.parametrize(
    ("program", "code"), [(ABORTS, 256 - signal.SIGABRT), ("raise SystemExit(3)", 3)], ids=["aborts", "exits"]
)
def test_a_program_that_ends_is_heard_of_at_once(flags: int, program: str, code: int, tmp_path: Path) -> None:
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", str(Path(launch.__file__)), str(flags), "", python, "-S", "-c", program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        said = json.loads(process.stdout.readline())
        try:
            assert process.wait(5) == code
        finally:
            process.kill()
            process.wait()
    assert said["namespaces"] == (flags == UML)
    assert list(tmp_path.iterdir()) == []  # no core


def test_a_place_for_a_kernel_s_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large, missing = (str(tmp_path / name) for name in ("small", "large", "missing"))
    for place in (small, large):
        os.mkdir(place)
    rooms = {small: 200 << 20, large: 10 << 30}
    measured = launch._room_for_memory
    monkeypatch.setattr(launch, "_room_for_memory", lambda place: measured(place) and rooms[place])
    monkeypatch.setattr(launch, "_MEMORY_PLACES", (missing, small, large))
    assert launch.choose_memory_place() == large
    rooms[large] = 100 << 20
    assert launch.choose_memory_place() == small  # better than none
    rooms[small] = 64 << 20
    with pytest.raises(OSError, match=r"missing: No such file.*small has 64 MB free and 128 are needed"):
        launch.choose_memory_place()
    assert os.listdir(small) == os.listdir(large) == []


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
