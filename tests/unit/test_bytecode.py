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


# -- courses ---------------------------------------------------------------------------------------

COURSE = """
from windrow.apps.cni import early
early.spare()
import sys, windrow.apps.cni.dispatch as last, windrow.port.request as one, json.decoder as two
finder = sys.meta_path[0]
loaded = {name for name in ("windrow.port.request", "windrow.port.result") if name in sys.modules}
print(len(loaded), last.__spec__.loader is finder, one.__spec__.loader is one.__loader__ is finder, one.__package__)
print(sys.modules["windrow.port"].request is one, one.__doc__, two.JSONDecoder().decode("[1]"))
"""


def run(package: Path, file: Path, program: str) -> str:
    text = bytecode.begin((str(package.parent),), str(file)).replace("main()\n", program)
    done = subprocess.run([sys.executable, "-IBS", "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_course_loads_what_comes_before_a_module_in_the_right_order(package: Path, file: Path) -> None:
    """As if each had been imported by itself: names, packages, and what loads it."""
    assert run(package, file, COURSE) == "2 True True windrow.port\nTrue None [1]\n"


def test_every_course_is_found_out(package: Path) -> None:
    found = bytecode._courses(package, {"windrow.port.request", "windrow.apps.cni.dispatch", "windrow.apps.cni.meta"})
    assert list(found) == [f"windrow.apps.cni.{name}" for name in bytecode._COURSES]
    assert found["windrow.apps.cni.dispatch"] == ["windrow.port.request", "windrow.apps.cni.dispatch"]
    assert found["windrow.apps.cni.bridge"] == [], "what is not in the file is in no course"


def test_what_has_changed_is_left_out_of_a_course(package: Path, file: Path) -> None:
    """And is as its source is, wherever in the course it stands."""
    changed = ("port.request", "apps.cni.dispatch", "model.lazy")
    for name in changed:
        with (package / f"{name.replace('.', '/')}.py").open("a") as source:
            source.write("NEW = 1\n")
    look = "import sys, windrow.apps.cni.dispatch\n"
    look += f"modules = [sys.modules['windrow.' + name] for name in {(*changed, 'port.errors')!r}]\n"
    look += "print(*(type(m.__spec__.loader).__name__ for m in modules), *(m.NEW for m in modules[:3]))\n"
    assert run(package, file, look).split() == [*["SourceFileLoader"] * 3, "_Finder", "1", "1", "1"]


def test_a_module_of_a_course_that_fails_is_not_there(package: Path, tmp_path: Path) -> None:
    """It fails in the call, not while the file is made."""
    with (package / "port/result.py").open("a") as source:
        source.write("import sys\nif type(sys.meta_path[0]).__name__ == '_Finder':\n    raise ValueError('broken')\n")
    file = tmp_path / "other"
    file.write_bytes(bytecode.collected(package))
    look = "import sys\ntry:\n    import windrow.apps.cni.dispatch\nexcept ValueError as error:\n"
    look += "    print(error, 'windrow.port.result' in sys.modules, 'windrow.apps.cni.dispatch' in sys.modules)\n"
    assert run(package, file, look) == "broken False False\n"
