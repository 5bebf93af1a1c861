"""Which processor a lab kernel keeps to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from windrow.lab.kernel import launch, processor

MANY = {1002, 1003, 1005}
"""Of which no lab has one."""


def test_labs_have_different_ones_while_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: MANY)
    found = [processor.choose() for _ in range(3)]
    assert all(found) and {one.number for one in found if one} == MANY
    fourth = processor.choose()
    assert fourth and fourth.number in MANY and fourth.claim == -1
    freed = found[1]
    assert freed
    freed.release()
    again = processor.choose()
    assert again and again.number == freed.number and again.claim >= 0
    for one in (found[0], found[2], again, fourth):
        assert one
        one.release()


def test_where_there_is_one_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert processor.choose() is None


@pytest.mark.parametrize("which", ["min", "max"])
def test_what_is_launched_keeps_to_it(which: str) -> None:
    number = min(os.sched_getaffinity(0)) if which == "min" else max(os.sched_getaffinity(0))
    script = "import os, sys; sys.stderr.write(str(os.sched_getaffinity(0)))"
    command = [sys.executable, "-I", "-S", launch.__file__, "0", f"processor={number}", sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as launcher:
        assert launcher.stderr is not None
        assert launcher.stderr.read() == str({number})
