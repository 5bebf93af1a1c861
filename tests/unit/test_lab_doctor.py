"""`windrow lab doctor`: what is told of kernels that come up, and of those that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli import lab as verb
from windrow.apps.cli.main import cli
from windrow.lab import doctor
from windrow.lab.errors import BootError, LabError

FORBIDDEN = BootError(
    "User-Mode Linux did not come up: ptrace is forbidden here", hint="allow it", log=Path("/srv/a/uml-1.log")
)
MISSING = LabError("this kernel has no bonding", hint="use another one")


class Booted:
    """A machine that is up, and counts how often it was ended."""

    ended = 0

    def __init__(self) -> None:
        self.about: Mapping[str, Any] = {"kernel": "6.1.0", "missing": []}

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, *_: object) -> None:
        Booted.ended += 1


def doctor_with(
    monkeypatch: pytest.MonkeyPatch, kernels: Mapping[str, LabError | None], *words: str
) -> tuple[Result, Sequence[str]]:
    """What it says where the kernels are these, and which of them were tried."""
    tried: list[str] = []

    def boot(kind: str, *_: object, **__: object) -> Booted:
        tried.append(kind)
        error = kernels[kind]
        if error:
            raise error
        return Booted()

    monkeypatch.setattr(verb, "KERNELS", tuple(kernels))
    monkeypatch.setattr(verb, "boot_kernel", boot)
    return CliRunner().invoke(cli, ["lab", "doctor", *words]), tried


def test_a_table_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Booted.ended = 0
    done, tried = doctor_with(monkeypatch, {"uml": FORBIDDEN, "other": None, "native": MISSING})
    assert (done.exit_code, tried, Booted.ended) == (0, ["uml", "other", "native"], 1)
    assert [" ".join(line.split()) for line in done.output.splitlines()[1:4]] == [
        "uml no - 0.0 User-Mode Linux did not come up: ptrace is forbidden here",
        "other yes 6.1.0 0.0 -",
        "native no - 0.0 this kernel has no bonding",
    ]
    assert done.output.splitlines()[4:] == [
        "uml: allow it",
        "uml: what it said: /srv/a/uml-1.log",
        "native: use another one",
    ]


def test_none_works(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = doctor_with(monkeypatch, {"uml": FORBIDDEN, "native": MISSING})
    assert done.exit_code == 1


def test_the_first_that_works_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    done, tried = doctor_with(monkeypatch, {"uml": FORBIDDEN, "other": None, "native": MISSING}, "--first")
    assert (done.exit_code, tried) == (0, ["uml", "other"])


def test_only_some(monkeypatch: pytest.MonkeyPatch) -> None:
    done, tried = doctor_with(monkeypatch, {"uml": FORBIDDEN, "native": None}, "--kernel", "uml")
    assert (done.exit_code, tried) == (1, ["uml"])
    assert CliRunner().invoke(cli, ["lab", "doctor", "--kernel", "bsd"]).exit_code == 2


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = doctor_with(monkeypatch, {"uml": FORBIDDEN, "native": None}, "-o", "json")
    uml, native = json.loads(done.output)
    assert {**uml, "seconds": 0} == {
        "kernel": "uml",
        "works": False,
        "seconds": 0,
        "release": "",
        "reason": "User-Mode Linux did not come up: ptrace is forbidden here",
        "hint": "allow it",
        "log": "/srv/a/uml-1.log",
    }
    assert (native["works"], native["release"], native["reason"], native["hint"], native["log"]) == (
        True, "6.1.0", "", "", "",
    )  # fmt: skip


def test_a_fault_of_ours_is_not_the_kernel_s() -> None:
    def broken() -> Any:
        raise KeyError("here")

    with pytest.raises(KeyError):
        doctor.examine([("uml", broken)])


@pytest.mark.parametrize("part", [["kernel"], []], ids=["kernel", "all"])
def test_checks_stop_where_no_lab_kernel_comes_up(part: list[str], tmp_path: Path) -> None:
    """`make test` says it first, in the doctor's words, and tests nothing."""
    root = Path(__file__).parent.parent.parent
    fake = tmp_path / "linux.uml"
    fake.write_text("#!/bin/sh\necho Kernel panic - not syncing: Oh no >&2\nkill -ABRT $$\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "check"), *part],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "the kernel panicked: Oh no" in done.stdout
    assert "nothing was tested" in done.stderr
    assert "===" not in done.stdout
