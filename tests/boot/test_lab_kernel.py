"""A lab kernel from the host's side: it boots once here, as an ordinary process, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from windrow.lab import supervisor
from windrow.lab.channel import Kind
from windrow.lab.client import Terminal, ask, run_program
from windrow.lab.errors import BootError, LabError, LabGone
from windrow.lab.kernel import boot, uml
from windrow.lab.kernel.machine import Guest, Machine
from windrow.lab.scenario_file import read

ENTRY = "windrow.apps.labguest:main"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with uml.boot(Guest(entry=ENTRY)) as booted:
        yield booted


def run(machine: Machine, *argv: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    """(exit code, output, complaints)"""
    pipes = [os.pipe() for _ in range(3)]
    (in_r, in_w), (out_r, out_w), (err_r, err_w) = pipes
    found: dict[int, bytes] = {}

    def drain(fd: int) -> None:
        with os.fdopen(fd, "rb") as file:
            found[fd] = file.read()

    def feed() -> None:
        with os.fdopen(in_w, "wb") as file:
            file.write(stdin or b"")

    threads = [threading.Thread(target=drain, args=[fd]) for fd in (out_r, err_r)] + [threading.Thread(target=feed)]
    for thread in threads:
        thread.start()
    ends = Terminal(stdin=in_r if stdin is not None else None, stdout=out_w, stderr=err_w)
    try:
        code = run_program(machine.open, argv, terminal=ends)
    finally:
        os.close(out_w)
        os.close(err_w)
        for thread in threads:
            thread.join()
        os.close(in_r)
    return code, found[out_r], found[err_r]


def test_it_can_what_a_lab_needs(machine: Machine) -> None:
    assert machine.about["missing"] == []
    assert machine.about["kernel"] != os.uname().release


def test_output_complaints_and_exit_code(machine: Machine) -> None:
    assert run(machine, "sh", "-c", "echo out; echo err >&2; exit 5") == (5, b"out\n", b"err\n")
    assert run(machine, "sh", "-c", "kill -TERM $$")[0] == 128 + signal.SIGTERM
    assert run(machine, "no-such-program") == (127, b"", b"no-such-program: No such file or directory\n")
    assert run(machine, "/etc/passwd")[0] == 126


def test_much_input_arrives_whole(machine: Machine) -> None:
    """More than the guest's terminal buffer holds, by far: without flow control the line stops for ever."""
    data = os.urandom(300_000)
    code, out, _ = run(machine, "sha256sum", stdin=data)
    assert (code, out.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())


def test_much_output_arrives_whole(machine: Machine) -> None:
    code, out, _ = run(machine, "seq", "200000")
    assert code == 0
    assert out == b"".join(b"%d\n" % n for n in range(1, 200_001))


def test_requests_do_not_wait_for_each_other(machine: Machine) -> None:
    slow = machine.open({"do": "exec", "argv": ["sleep", "30"]})
    assert run(machine, "echo", "quick")[1] == b"quick\n"
    slow.send(Kind.SIGNAL, str(int(signal.SIGINT)).encode())
    frame = slow.receive(10)
    assert frame is not None
    assert frame.json() == {"exit": 128 + signal.SIGINT}


def test_what_nobody_waits_for_is_ended(machine: Machine) -> None:
    stream = machine.open({"do": "exec", "argv": ["sh", "-c", "echo here; sleep 777"]})
    assert stream.receive(10) is not None
    stream.close()
    end = time.monotonic() + 10
    while b"sleep 777" in run(machine, "ps", "-eo", "args")[1]:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_terminal(machine: Machine) -> None:
    script = "tty >/dev/null && stty size && echo $((6*7)) && exec cat"
    stream = machine.open({"do": "exec", "argv": ["sh", "-c", script], "tty": [33, 99]})
    stream.send(Kind.INPUT, b"typed\n\x04")
    text = b""
    while (frame := stream.receive(10)) is not None and frame.kind is not Kind.RESULT:
        text += frame.data
    assert frame is not None
    assert frame.json() == {"exit": 0}
    lines = text.replace(b"\r", b"").split()
    assert {b"33", b"99", b"42", b"typed"} <= set(lines)


def test_the_host_s_files_are_read_only(machine: Machine, tmp_path: Path) -> None:
    here = Path(__file__).parent
    for place in (here, Path("/usr"), Path("/etc"), Path.home(), Path("/var/tmp")):
        code, _, err = run(machine, "touch", str(place / "windrow-was-here"))
        assert code != 0, place
        assert b"ead-only" in err or b"denied" in err
    code, _, _ = run(machine, "sh", "-c", f"mount -o remount,rw / ; touch {here}/windrow-was-here")
    assert not (here / "windrow-was-here").exists()
    # Scratch is the lab's own.
    assert run(machine, "sh", "-c", f"mkdir -p {tmp_path} && touch {tmp_path}/x /run/x /tmp/x /dev/shm/x")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_request_is_an_answer(machine: Machine) -> None:
    with pytest.raises(LabError, match="cannot 'dance'"):
        ask(machine.open, {"do": "dance"})
    with pytest.raises(LabError, match="no scenario yet"):
        ask(machine.open, {"do": "check"})


def test_a_guest_that_does_not_start_says_why() -> None:
    with pytest.raises(BootError, match=r"No module named .windrow\.nowhere"):
        uml.boot(Guest(entry="windrow.nowhere:main"))


def test_the_kernel_dies_under_a_request() -> None:
    machine = uml.boot(Guest(entry=ENTRY))
    with machine:
        stream = machine.open({"do": "exec", "argv": ["sleep", "60"]})
        everyone = alive({machine._pid, *descendants(machine._pid)})
        killed = time.monotonic()
        os.kill(kernel_of(machine._pid), signal.SIGKILL)
        with pytest.raises(LabGone, match="the lab kernel has ended: something killed the kernel"):
            stream.receive(10)
        assert time.monotonic() - killed < 1
        with pytest.raises(LabGone):
            machine.open({"do": "about"})
    assert left_of(everyone) == set()


def test_a_panic_under_a_request_is_heard_of_at_once() -> None:
    with uml.boot(Guest(entry=ENTRY)) as machine:
        stream = machine.open({"do": "exec", "argv": ["sh", "-c", "echo c > /proc/sysrq-trigger"]})
        asked = time.monotonic()
        with pytest.raises(LabGone, match="the lab kernel has ended: the kernel panicked: sysrq triggered crash"):
            list(iter(lambda: stream.receive(10), None))
        assert time.monotonic() - asked < 2


# In QEMU ------------------------------------------------------------------------------------------


def test_a_lab_in_qemu_where_user_mode_linux_does_not_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one boot: much goes both ways, the host's files are there and read-only, and when it is killed it is gone."""
    broken = tmp_path / "linux.uml"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(uml, "_PLACES", str(tmp_path))
    machine = boot.boot(boot.AUTO, Guest(entry=ENTRY))
    with machine:
        assert machine.about["lab"] == "qemu"
        assert list(machine.about["instead"]) == ["uml"]
        assert machine.about["missing"] == []
        assert machine.about["accelerator"] in ("kvm", "tcg")
        data = os.urandom(300_000)
        code, out, _ = run(machine, "sha256sum", stdin=data)
        assert (code, out.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())
        assert run(machine, "seq", "200000")[1] == b"".join(b"%d\n" % n for n in range(1, 200_001))
        here = Path(__file__)
        assert run(machine, "cat", str(here))[1] == here.read_bytes()
        for place in (here.parent, Path("/usr"), Path("/etc")):
            assert run(machine, "touch", str(place / "windrow-was-here"))[0] != 0
        run(machine, "sh", "-c", f"mount -o remount,rw / ; touch {here.parent}/windrow-was-here")
        assert not (here.parent / "windrow-was-here").exists()
        stream = machine.open({"do": "exec", "argv": ["sleep", "60"]})
        everyone = alive({machine._pid, *descendants(machine._pid)})
        os.kill(machine._pid, signal.SIGKILL)
        with pytest.raises(LabGone):
            stream.receive(10)
    assert left_of(everyone) == set()


# A lab that stays ---------------------------------------------------------------------------------


def descendants(pid: int) -> set[int]:
    """The processes that it started, and that those did."""
    try:
        children = {int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in children_of(task)}
    except FileNotFoundError:
        return set()
    return children.union(*map(descendants, children))


def children_of(task: Path) -> list[str]:
    return (task / "children").read_text().split()


Identity = tuple[int, str]
"""A pid and when it started (proc(5), field 22): numbers are given again after some minutes of a lab."""


def alive(pids: Iterable[int]) -> set[Identity]:
    """Those of them that are: a zombie is dead, and whoever inherits it reaps it."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                found.add((pid, fields[19]))
    return found


def left_of(everyone: set[Identity]) -> set[Identity]:
    return everyone & alive(pid for pid, _ in everyone)


def kernel_of(first: int) -> int:
    """User-Mode Linux itself, which may have a first process of ours before it."""
    return next(
        pid
        for pid in (first, *sorted(descendants(first)))
        if os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("linux")
    )


@pytest.fixture
def name() -> Iterator[str]:
    chosen = f"test-{os.getpid()}"
    yield chosen
    if chosen in supervisor.running():
        supervisor.stop(chosen)


def owner_of(name: str) -> int:
    """The supervisor's process, found by its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"windrow.lab.supervisor" in words and f'"{name}"'.encode() in words:
            return int(path.parent.name)
    raise AssertionError(f"no supervisor of {name}")


def test_a_lab_stays_until_it_is_told(name: str) -> None:
    started = supervisor.start(name, ENTRY, "uml")
    assert started["missing"] == []
    assert name in supervisor.running()
    with pytest.raises(LabError, match="is up already"):
        supervisor.start(name, ENTRY, "uml")

    def connect(request: object) -> supervisor.Connection:
        assert isinstance(request, dict)
        return supervisor.Connection(name, request)

    report = ask(connect, {"do": "up", "scenario": read("mode-active-backup").to_json(), "apply": False})
    assert report["ok"]
    assert run_program(connect, ["sh", "-c", 'test "$WINDROW_NODE $(hostname)" = "node-1 node-1"'], node="node-1") == 0
    with pytest.raises(LabError, match="there is no 'node-7'"):
        run_program(connect, ["true"], node="node-7")
    supervisor.stop(name)
    assert name not in supervisor.running()
    with pytest.raises(LabError, match="there is no lab"):
        supervisor.Connection(name, {"do": "about"})


@pytest.mark.parametrize("victim", ["supervisor", "launcher", "first process", "kernel"])
def test_a_lab_that_was_killed_leaves_nothing(name: str, victim: str) -> None:
    supervisor.start(name, ENTRY, "uml")
    owner = owner_of(name)
    everyone = alive({owner, *descendants(owner)})
    (launcher,) = map(int, children_of(Path(f"/proc/{owner}/task/{owner}")))
    (first,) = map(int, children_of(Path(f"/proc/{launcher}/task/{launcher}")))
    victims = {"supervisor": owner, "launcher": launcher, "first process": first, "kernel": kernel_of(first)}
    assert len(everyone) >= 5
    os.kill(victims[victim], signal.SIGKILL)
    end = time.monotonic() + 10
    while left_of(everyone) or name in supervisor.running():
        assert time.monotonic() < end, [Path(f"/proc/{pid}/cmdline").read_text() for pid, _ in left_of(everyone)]
        time.sleep(0.05)


def test_an_interrupted_run_leaves_nothing() -> None:
    command = [sys.executable, "-c", "from windrow.apps.cli.main import main; main()", "lab", "run", "seed"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell starts what it puts in the background with this signal ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    with process.stderr as log:
        for line in log:
            if b"is up after" in line:
                break
        (launcher,) = map(int, re.findall(r"\d+", Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()))
        everyone = alive({launcher, *descendants(launcher)})
        assert len(everyone) >= 4
        process.send_signal(signal.SIGINT)
        log.read()
    assert process.wait(20) == 128 + signal.SIGINT
    assert left_of(everyone) == set()
