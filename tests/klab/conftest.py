"""Labs with a real Kubernetes, by the commands that people use, from outside of their kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WINDROW = [sys.executable, "-m", "windrow.apps.cli.main"]
PATIENCE = float(os.environ.get("WINDROW_PATIENCE", "1"))
"""How many times as long everything is waited for: all that a lab does shares one processor with whatever else runs."""
UP_S, PATIENCE_S, READY_S = 600.0 * PATIENCE, 120.0 * PATIENCE, 300.0 * PATIENCE


def wait(what: Callable[[], object], said: Callable[[], object] = str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, said()
        time.sleep(0.3)


class Lab:
    """One that is up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(
        self, verb: str, *words: str, stdin: str = "", timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        command = [*WINDROW, "lab", verb, "--name", self.name, *words]
        timeout = timeout_s * PATIENCE
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def said(self, verb: str, *words: str, stdin: str = "", timeout_s: float = 120.0) -> str:
        """What it printed. It must succeed."""
        done = self.run(verb, *words, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"{verb} {words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.said("kubectl", *words, stdin=stdin)

    def ready(self, *pods: str) -> None:
        """They come to be."""
        names = [f"pod/{name}" for name in pods]
        self.said("kubectl", "wait", "--for=condition=Ready", f"--timeout={READY_S:.0f}s", *names, timeout_s=400.0)

    def objects(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *words, "-o", "json"))["items"]
        return found

    def checks(self, *, timeout_s: float = 400.0) -> list[dict[str, Any]]:
        """The scenario's, with what became of each."""
        found: list[dict[str, Any]] = json.loads(self.said("check", "--json", timeout_s=timeout_s))["checks"]
        return found


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes-links"


@pytest.fixture(scope="module")
def kernel() -> str:
    return "auto"


@pytest.fixture(scope="module")
def lab(scenario: str, kernel: str, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Up once for all tests of a module. The first run of all builds Kubernetes, and says so."""
    found = Lab(f"{Path(request.node.name).stem}-{os.getpid()}"[-31:].lstrip("-_."))
    command = [*WINDROW, "lab", "up", "--kernel", kernel, "--name", found.name, scenario]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=UP_S, check=False)
    try:
        print(done.stderr)
        assert done.returncode == 0, done.stderr
        yield found
    finally:
        found.run("down")
