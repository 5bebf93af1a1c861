"""Lab kernels that cannot come up, for real: each says why, in one line and at once, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from windrow.lab.client import Terminal, run_program
from windrow.lab.errors import BootError, LabError
from windrow.lab.kernel import launch, uml, xstate
from windrow.lab.kernel.machine import BOOT_TIMEOUT_S, Guest
from windrow.services.compiler import compile_c

CONFINED = Path(__file__).with_name("confined.py")
AMX = Path(__file__).parent.parent / "unit" / "xstate" / "amx.c"
DOCTOR = "from windrow.apps.cli.main import main; main()"
NOBODY = 65534
ENTRY = "windrow.apps.labguest:main"
EPERM, ENOSYS, EFAULT = 1, 38, 14

TINY = {"/dev/shm": "size=1m", "/tmp": "size=1m"}
NO_NAMESPACES = {"unshare": EPERM}
"""As in a container: so its own /dev/shm is what there is."""

Verdict = Mapping[str, Any]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that nobody in particular may write, and nothing left elsewhere."""
    launch.libc.prctl(launch.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = strangers()
    place = Path(tempfile.mkdtemp(prefix="windrow-home-", dir="/var/tmp"))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)
    end = time.monotonic() + 5  # what was killed may still have to go
    while strangers() != before:
        assert time.monotonic() < end, strangers() - before
        time.sleep(0.05)
    launch.libc.prctl(launch.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def strangers() -> set[str]:
    """What a lab kernel could leave: living processes that came to us from dead parents, files of memory, ~/.uml."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    mine = f"/proc/self/task/{ctypes.CDLL(None).gettid()}/children"
    files = [*Path("/dev/shm").glob("vm_file*"), *Path("/tmp").glob("vm_file*"), *Path("/tmp").glob(".windrow-*")]
    files += [*Path("/dev/shm").glob(".windrow-*"), *Path.home().glob(".uml")]
    return {*Path(mine).read_text().split(), *map(str, files)}


def python(home: Path, confinement: Mapping[str, Any], script: str, *words: str, **env: str) -> tuple[int, str]:
    """Exit code and output. Only root can become another user; others are one already."""
    wanted = {key: value for key, value in confinement.items() if key != "user" or os.getuid() == 0}
    command = [sys.executable, str(CONFINED), json.dumps(wanted), sys.executable, "-c", script, *words]
    done = subprocess.run(
        command,
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def doctor(home: Path, confinement: Mapping[str, Any], kernel: str = "uml", **env: str) -> Verdict:
    code, output = python(home, confinement, DOCTOR, "lab", "doctor", "--kernel", kernel, "-o", "json", **env)
    (verdict,) = json.loads(output)
    assert code == (0 if verdict["works"] else 1)
    found: Verdict = verdict
    return found


CASES: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "ptrace refused": ({"refuse": {"ptrace": EPERM}}, "ptrace is forbidden", "SYS_PTRACE"),
    "ptrace unknown": ({"refuse": {"ptrace": ENOSYS}}, "ptrace is forbidden", "seccomp"),
    "ptrace deadly": ({"refuse": {"ptrace": 0}}, "ptrace is forbidden", "seccomp"),
    "ptrace refused to a user": ({"refuse": {"ptrace": EPERM}, "user": NOBODY}, "ptrace is forbidden", "yama"),
    "ptrace refused in a user namespace": (
        {"refuse": {"ptrace": EPERM}, "user": NOBODY, "namespace": True},
        "ptrace is forbidden",
        "yama",
    ),
    "tiny": ({"places": TINY, "refuse": NO_NAMESPACES}, "/dev/shm has 1 MB free and 128 are needed", "size=1g"),
    "tiny, for a user": (
        {"places": TINY, "refuse": NO_NAMESPACES, "user": NOBODY},
        "/tmp has 1 MB free and 128 are needed",
        "size=1g",
    ),
    "noexec": (
        {"places": dict.fromkeys(TINY, "noexec"), "refuse": NO_NAMESPACES},
        "/dev/shm: mounted noexec, /tmp: mounted noexec",
        "exec",
    ),
    "read-only": (
        {"places": dict.fromkeys(TINY, "ro"), "refuse": NO_NAMESPACES},
        "/dev/shm: Read-only file system",
        "/dev/shm",
    ),
    "not writable": (
        {"places": dict.fromkeys(TINY, "mode=700"), "refuse": NO_NAMESPACES, "user": NOBODY},
        "/dev/shm: Permission denied" if os.getuid() == 0 else "/dev/shm: ",
        "/dev/shm",
    ),
    "address space": ({"limits": {"AS": 600 << 20}}, "limited to less than the kernel's", "ulimit -v"),
    "size of files": ({"limits": {"FSIZE": 1 << 20}}, "limited to less than the kernel's", "ulimit -f"),
    "no modules": (
        {"places": {"/usr/lib/uml/modules": "size=1m"}},
        "the kernel's modules are missing: /usr/lib/uml/modules/",
        "--reinstall user-mode-linux",
    ),
    "modules that may not be read": (
        {"places": {"/usr/lib/uml/modules": "mode=700"}, "user": NOBODY},
        "the kernel's modules are missing: /usr/lib/uml/modules/",
        "--reinstall user-mode-linux",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_says_why_and_what_to_do(home: Path, case: str) -> None:
    confinement, why, todo = CASES[case]
    verdict = doctor(home, confinement)
    assert not verdict["works"]
    assert why in verdict["reason"]
    assert todo in verdict["hint"]
    assert "\n" not in verdict["reason"] + verdict["hint"]
    if "modules" in case:  # missed when the kernel is up, and how long that takes is the machine's matter
        assert verdict["seconds"] < BOOT_TIMEOUT_S / 2
    else:
        assert verdict["seconds"] < 2
    if verdict["log"]:
        assert Path(verdict["log"]).is_relative_to(home)
        assert Path(verdict["log"]).read_text()


WORKING: dict[str, Mapping[str, Any]] = {
    "a user": {"user": NOBODY},
    "a user namespace": {"user": NOBODY, "namespace": True},
    "a container": {"places": {"/dev/shm": "noexec,size=64m"}, "refuse": NO_NAMESPACES, "user": NOBODY},
}


@pytest.mark.parametrize("case", WORKING)
def test_it_comes_up_all_the_same(home: Path, case: str) -> None:
    """A container's /dev/shm is small and noexec: then the kernel's memory is in /tmp."""
    verdict = doctor(home, WORKING[case])
    assert verdict["works"], verdict
    assert list(home.iterdir()) == []  # a kernel that came up leaves no file either


def test_native_says_why(home: Path) -> None:
    verdict = doctor(home, {"refuse": NO_NAMESPACES}, "native")
    assert "this user may not make namespaces here (Operation not permitted)" in verdict["reason"]
    assert verdict["seconds"] < 2


# The kernel itself --------------------------------------------------------------------------------


def fake(home: Path, content: bytes) -> str:
    """A PATH on which `linux.uml` is something else."""
    place = home / "bin"
    place.mkdir()
    (place / "linux.uml").write_bytes(content)
    (place / "linux.uml").chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


ARM64 = struct.pack("<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, 183, 1, 0, 0, 0, 0, 64, 56, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (ARM64, "is a program for another processor than this machine's"),
        (b"#!/bin/sh\nkill -9 $$\n", "something killed the kernel"),
        (b"#!/bin/sh\nexit 3\n", "without a word that is known (exit code 3)"),
        (b"#!/nowhere/sh\n", "linux.uml cannot be started: No such file or directory"),
        (b"#!/bin/sh\necho Kernel panic - not syncing: Oh no >&2\nkill -ABRT $$\n", "the kernel panicked: Oh no"),
    ],
    ids=["arm64", "killed", "silent", "no interpreter", "panic"],
)
def test_a_kernel_that_is_none(home: Path, content: bytes, why: str) -> None:
    verdict = doctor(home, {}, PATH=fake(home, content))
    assert why in verdict["reason"]
    assert verdict["seconds"] < 2


def test_files_that_the_kernel_may_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs it has read them already; so here it is told of others."""
    script = """
import sys
from pathlib import Path
from windrow.lab.errors import LabError
from windrow.lab.kernel import machine, uml
what, path = sys.argv[1:]
line = machine.interpreter_line
if what == "interpreter":
    uml.interpreter_line = lambda control: [path, *line(control)[1:]]
else:
    machine.GUEST_INIT = Path(path)
try:
    uml.boot(machine.Guest(entry="windrow.apps.labguest:main")).close()
except LabError as error:
    print(error)
"""
    nowhere = "/usr/nowhere/is/it/init.py"
    private = home / "private" / "is" / "it" / "init.py"
    private.parent.mkdir(parents=True)
    shutil.copy(sys.executable, private)
    (home / "private").chmod(0)
    for what in ("interpreter", "script"):
        for path, why in ((nowhere, "the kernel does not find"), (private, "the kernel may not read")):
            _, said = python(home, {"user": NOBODY}, script, what, str(path))
            first, hint, log = said.splitlines()
            assert first == f"User-Mode Linux did not come up: {why} {path}"
            assert hint.startswith("    hint: ")
            assert log.startswith(f"    what it said: {home}/cache/windrow/lab/uml-")
    (home / "private").chmod(0o700)


def test_memory_that_runs_out_under_a_lab_is_told(home: Path) -> None:
    script = """
from windrow.lab.client import Terminal, run_program
from windrow.lab.errors import LabGone
from windrow.lab.kernel import machine, uml
with uml.boot(machine.Guest(entry="windrow.apps.labguest:main")) as booted:
    try:
        run_program(booted.open, ["dd", "if=/dev/zero", "of=/run/much", "bs=1M", "count=300"], terminal=Terminal())
    except LabGone as error:
        print(error)
"""
    places = {"/dev/shm": "size=200m", "/tmp": "size=200m"}
    _, said = python(home, {"places": places, "refuse": NO_NAMESPACES}, script)
    assert said.startswith("the lab kernel has ended: /dev/shm and /tmp are too small or full"), said


# A processor with AMX -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def amx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("amx") / "amx.so"
    compile_c(AMX, built, xstate.WAYS)
    return built


@pytest.fixture
def preloaded(amx: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """User-Mode Linux on a kernel that wants 11008 bytes, as of a processor with AMX."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real, start = xstate.preload, uml.Program

    def program(**given: Any) -> uml.Program:
        before = given["env"].get("LD_PRELOAD", "")
        return start(**{**given, "env": {"LD_PRELOAD": f"{before} {amx}".strip()}})

    assert real is xstate.preload
    monkeypatch.setattr(uml, "Program", program)


@pytest.mark.usefixtures("preloaded")
def test_amx_without_help() -> None:
    started = time.monotonic()
    with pytest.raises(BootError, match="more registers than User-Mode Linux can set") as refused:
        uml.boot(Guest(entry=ENTRY), help_registers=False)
    assert time.monotonic() - started < 4
    assert refused.value.log is not None
    assert "ptrace set fp regs failed, errno = 14" in refused.value.log.read_text()


@pytest.mark.usefixtures("preloaded")
def test_amx_with_help(amx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is asked on that kernel, too: nobody says that help is needed."""
    xstate.area_size.cache_clear()
    monkeypatch.setenv("LD_PRELOAD", str(amx))
    try:
        assert xstate.area_size() == 11008
    finally:
        monkeypatch.delenv("LD_PRELOAD")
    with uml.boot(Guest(entry=ENTRY)) as machine:
        assert run_program(machine.open, ["sh", "-c", "test $(seq 1000 | sha256sum | wc -c) = 68"]) == 0
    xstate.area_size.cache_clear()


def test_help_that_is_not_needed_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Floating point and vector registers of processes that take turns, on this processor."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sums = "for n in 1 2 3 4; do awk 'BEGIN { for (n = 1; n < 200000; n++) s += 1 / n; print s }' & done; wait"
    with uml.boot(Guest(entry=ENTRY), help_registers=True) as machine:
        read_end, write_end = os.pipe()
        assert run_program(machine.open, ["sh", "-c", sums], terminal=Terminal(stdout=write_end)) == 0
        os.close(write_end)
        with os.fdopen(read_end) as said:
            assert said.read().split() == ["12.7833"] * 4
    assert [p.suffix for p in (tmp_path / "windrow" / "lab").iterdir()] == [""]


def test_no_compiler_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(xstate, "area_size", lambda: 11008)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="cannot set all registers of this processor") as refused:
        uml.boot(Guest(entry=ENTRY))
    assert refused.value.hint == "apt-get install gcc libc6-dev"
