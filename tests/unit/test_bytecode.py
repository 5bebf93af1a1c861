"""The one file of bytecode: a call uses what of it is as its source is, and does without the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import windrow
from windrow.apps.cni import bytecode

WHO = """
import windrow.port.request as one, windrow.port.errors as two, windrow.port as three
print(*(type(m.__spec__.loader).__name__ for m in (one, two, three)), one.__file__, *three.__path__)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy, that may be changed."""
    target = tmp_path / "lib" / "windrow"
    shutil.copytree(Path(windrow.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture
def file(package: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bytecode"
    path.write_bytes(bytecode.collected(package))
    return path


def who(package: Path, file: Path) -> list[str]:
    """Who loads three modules, and from where."""
    program = bytecode.begin((str(package.parent),), str(file)).replace("main()\n", WHO)
    done = subprocess.run([sys.executable, "-IBS", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_modules_come_out_of_the_file(package: Path, file: Path) -> None:
    found = who(package, file)
    assert found == ["_Finder"] * 3 + [str(package / "port/request.py"), str(package / "port")]


def test_so_does_what_every_call_loads_of_the_standard_library(package: Path, file: Path) -> None:
    look = "import json.decoder as one, collections.abc as two\nprint(type(one.__spec__.loader).__name__,"
    look += " type(two.__spec__.loader).__name__, one.JSONDecoder().decode('{}'))\n"
    program = bytecode.begin((str(package.parent),), str(file)).replace("main()\n", look)
    done = subprocess.run([sys.executable, "-IBS", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", ["_Finder", "_Finder", "{}"])


def test_a_source_that_has_changed_since_counts(package: Path, file: Path) -> None:
    source = package / "port/errors.py"
    source.write_text(source.read_text() + "# new\n")
    os.utime(package / "port/request.py", (1, 1))
    assert who(package, file)[:3] == ["SourceFileLoader", "SourceFileLoader", "_Finder"]


def broken(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


@pytest.mark.parametrize(
    "break_it",
    [
        Path.unlink,
        broken(lambda _: b""),
        broken(lambda data: data[:100]),
        broken(lambda data: data[:6000]),
        broken(lambda data: b"\0\0\r\n" + data[4:]),
        broken(lambda data: data[:4] + b"\0\0\0\1N"),
    ],
    ids=["gone", "empty", "cut in the index", "cut before the code", "another Python's", "no index"],
)
def test_a_call_does_without_the_file(package: Path, file: Path, break_it: Callable[[Path], None]) -> None:
    break_it(file)
    assert who(package, file)[:3] == ["SourceFileLoader"] * 3


def test_a_traceback_shows_the_source(package: Path, file: Path) -> None:
    program = bytecode.begin((str(package.parent),), str(file)).replace(
        "main()\n", "from windrow.port.request import read_args\nread_args('x')\n"
    )
    done = subprocess.run([sys.executable, "-IBS", "-c", program], capture_output=True, text=True, check=False)
    assert 'port/request.py", line' in done.stderr and "raise CniError(" in done.stderr
