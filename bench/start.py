"""How long people wait: starting the program, and starting the lab kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Group, Way, compare
from bench.pure import nad_text

WINDROW = str(Path(sys.executable).parent / "windrow")
MANIFESTS = 20


def starting() -> Group:
    """With a store of twenty manifests; the network namespace is this one, which is only read."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "etc" / "windrow" / "manifests"
        folder.mkdir(parents=True)
        (folder / "nads.yaml").write_text("\n---\n".join(nad_text(n) for n in range(MANIFESTS)))
        environment = {**os.environ, "WINDROW_ROOT": root}

        def run(*command: str) -> None:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

        rows = compare(
            11,
            [
                Way(what=f"`windrow plan`, {MANIFESTS} manifests", run=lambda: run(WINDROW, "plan")),
                Way(what="`windrow --help`", run=lambda: run(WINDROW, "--help"), anchor="click costs 43 ms"),
                Way(
                    what="the interpreter alone, `python -I -S -c pass`",
                    run=lambda: run(sys.executable, "-I", "-S", "-c", "pass"),
                    anchor="10 ms",
                ),
                Way(
                    what="`import pyroute2` in it",
                    run=lambda: run(sys.executable, "-c", "import pyroute2"),
                    anchor="170–280 ms",
                ),
                Way(what="`ip -j -d link`", run=lambda: run("ip", "-j", "-d", "link"), anchor="1.8 ms"),
            ],
        )
    return Group(title="Start of `windrow plan`", where="this machine", rows=rows)
