"""Registers of a traced process, set with an area that is shorter than the processor's: refused without help, taken
with it, and right afterwards. On any processor: `xstate/amx.c` plays one with AMX where there is none."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from windrow.lab.errors import LabError
from windrow.lab.kernel import cache, xstate
from windrow.lab.kernel.traced import KEPT
from windrow.services import compiler
from windrow.services.compiler import CompileError, cached, compile_c

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="XSAVE is of x86")
HERE = Path(__file__).with_name("xstate")
FULL_AMX = 11008
AVX_ENDS, WITHIN_AVX, HEADER_ENDS = 832, 704, 576
"""Bytes of an area up to which the state is whole: the upper halves of ymm0 to ymm15 lie in 576 to 832."""

FIRST, LAST = bytes(range(32)), bytes(range(0x80, 0xA0))
"""What `registers.c` has in ymm0 and ymm15."""
SET, ZEROS = b"\xaa" * 16, bytes(16)


@dataclass(frozen=True)
class Built:
    program: Path
    helper: Path
    amx: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("xstate")
    found = Built(place / "registers", place / "xstate.so", place / "amx.so")
    compile_c(HERE / "registers.c", found.program, [()])
    compile_c(xstate.SOURCE, found.helper, xstate.WAYS)
    compile_c(HERE / "amx.c", found.amx, xstate.WAYS)
    return found


@dataclass(frozen=True)
class Traced:
    size: int
    errno: int
    printed: str

    @property
    def registers(self) -> bytes:
        return bytes.fromhex(self.printed)


def traced(built: Built, length: int, *preload: Path) -> Traced:
    command = [sys.executable, str(HERE / "tracer.py"), str(built.program), str(length)]
    env = {**os.environ, "LD_PRELOAD": " ".join(map(str, preload))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return Traced(**json.loads(done.stdout))


def has_avx() -> bool:
    return " avx " in Path("/proc/cpuinfo").read_text()


def test_a_whole_area_is_taken_either_way(built: Built) -> None:
    for preload in ((), (built.helper,), (built.amx,), (built.helper, built.amx)):
        found = traced(built, 0, *preload)
        assert found.errno == 0
        assert found.registers == SET + FIRST[16:] + LAST if has_avx() else SET


@pytest.mark.parametrize("length", [HEADER_ENDS, WITHIN_AVX])
def test_a_short_area_is_refused_without_help(built: Built, length: int) -> None:
    found = traced(built, length)
    assert found.errno == errno.EFAULT
    assert found.registers[:16] == FIRST[:16]


@pytest.mark.skipif(not has_avx(), reason="this processor has no AVX, whose state is looked at")
@pytest.mark.parametrize("length", [HEADER_ENDS, WITHIN_AVX, AVX_ENDS])
def test_a_short_area_is_taken_with_help(built: Built, length: int) -> None:
    """What lies in it entirely is set, whatever does not is as in a new process; half a component is none."""
    found = traced(built, length, built.helper)
    assert found.errno == 0
    upper = (FIRST[16:], LAST[16:]) if length == AVX_ENDS else (ZEROS, ZEROS)
    assert found.registers == SET + upper[0] + LAST[:16] + upper[1]


@pytest.mark.skipif(not has_avx(), reason="this processor has no AVX, whose state is looked at")
def test_what_user_mode_linux_keeps_on_a_processor_with_amx(built: Built) -> None:
    """2696 of 11008 bytes. All that this machine really has is in it, so nothing may be lost."""
    without = traced(built, KEPT, built.amx)
    assert (without.size, without.errno) == (FULL_AMX, errno.EFAULT)
    helped = traced(built, KEPT, built.helper, built.amx)
    assert (helped.size, helped.errno) == (FULL_AMX, 0)
    assert helped.registers == SET + FIRST[16:] + LAST


def test_an_area_without_a_whole_header_is_not_touched(built: Built) -> None:
    assert traced(built, HEADER_ENDS - 8, built.helper).errno == errno.EFAULT


# Whether it is needed -----------------------------------------------------------------------------


def asked(*preload: Path) -> int:
    command = [sys.executable, "-I", "-S", str(xstate._TRACED)]
    env = {**os.environ, "LD_PRELOAD": " ".join(map(str, preload))}
    return int(json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)["size"])


def test_the_size_decides(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(built.amx) == FULL_AMX
    assert asked() == xstate.area_size() == traced(built, 0).size
    for size, needed in ((KEPT, False), (KEPT + 8, True), (FULL_AMX, True), (0, False)):
        monkeypatch.setattr(xstate, "area_size", lambda size=size: size)
        assert xstate.needed() is needed


# Compiled once ------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "windrow" / "lab"


def test_it_is_compiled_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = xstate.preload()["LD_PRELOAD"]
    assert [str(p) for p in home.iterdir()] == [first]
    monkeypatch.setattr(compiler, "COMPILERS", ("no-such-compiler",))
    assert xstate.preload()["LD_PRELOAD"] == first


def test_another_source_is_another_file(tmp_path: Path) -> None:
    source = tmp_path / "it.c"
    source.write_text("int one;\n")
    one = cached(source, xstate.WAYS, tmp_path / "made")
    source.write_text("int two;\n")
    two = cached(source, xstate.WAYS, tmp_path / "made")
    assert one != two
    assert sorted((tmp_path / "made").iterdir()) == sorted([one, two])


def test_what_does_not_compile_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "it.c"
    source.write_text("this is no C;\n")
    with pytest.raises(CompileError, match="error"):
        cached(source, xstate.WAYS, tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


def test_without_a_compiler_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "COMPILERS", ("no-such-compiler",))
    with pytest.raises(LabError, match="cannot set all registers of this processor") as refused:
        xstate.preload()
    assert refused.value.hint == "apt-get install gcc libc6-dev"


def test_a_directory_that_others_can_write_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there is loaded into a program."""
    home.mkdir(parents=True)
    home.chmod(0o777)
    fallback = Path(f"/tmp/windrow-lab-{os.getuid()}")
    there = fallback.exists()
    assert cache.directory() == fallback
    if not there:
        fallback.rmdir()
    home.chmod(0o700)
    assert cache.directory() == home


def test_only_the_last_words_of_a_few_kernels_are_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in range(1, 21):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        path = cache.keep_words("uml", [f"I am {pid}"])
        assert path is not None and path.read_text() == f"I am {pid}\n"
        os.utime(path, (pid, pid))
    assert sorted(p.name for p in home.iterdir()) == sorted(f"uml-{pid}.log" for pid in range(13, 21))
