"""How long people wait: starting the program, and starting the lab kernel; and measuring inside that."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Group, NotMeasured, Row, Way, compare, decode
from bench.pure import nad_text
from windrow.lab.channel import Kind
from windrow.lab.kernel import uml
from windrow.lab.kernel.machine import Guest, Machine

WINDROW = str(Path(sys.executable).parent / "windrow")
MANIFESTS = 20
BENCH_GUEST = Guest(entry="bench.inside:serve")


def starting() -> Group:
    """With a store of twenty manifests; the network namespace is this one, which is only read."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "etc" / "windrow" / "manifests"
        folder.mkdir(parents=True)
        (folder / "nads.yaml").write_text(manifests())
        environment = {**os.environ, "WINDROW_ROOT": root}

        def run(*command: str) -> None:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotMeasured(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

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
    return Group(title="Start of `windrow plan`", where="On this machine", rows=rows)


def manifests() -> str:
    """A cluster network, and its VLANs."""
    network = "apiVersion: network.harvesterhci.io/v1beta1\nkind: ClusterNetwork\nmetadata: {name: net0}\n"
    return "\n---\n".join([network, *(nad_text(n) for n in range(MANIFESTS - 1))])


def in_lab(parts: Sequence[str] = ("ports", "measure", "machines", "agent", "imports")) -> list[Group]:
    """Boot the lab kernel, measure in it, and end it. `parts`: what its guest can be asked for."""
    with uml.boot(BENCH_GUEST) as machine:
        return [group for part in parts for group in asked(machine, part)]


def asked(machine: Machine, part: str) -> list[Group]:
    stream = machine.open({"do": part})
    while True:
        frame = stream.receive(timeout=600)
        if frame is None:
            raise NotMeasured("the lab kernel has not answered for ten minutes")
        if frame.kind is Kind.RESULT:
            break
    result = frame.json()
    if "error" in result:
        raise NotMeasured(f"{result['error']}\n{result.get('traceback', '')}")
    return [decode(text) for text in result["groups"]]


def booting() -> Group:
    boots, whole = [], []
    for _ in range(5):
        start = time.perf_counter()
        with uml.boot(BENCH_GUEST) as machine:
            boots.append(machine.boot_s)
        whole.append(time.perf_counter() - start)
    rows = (
        Row(what="until the guest takes its first request, modules loaded", seconds=tuple(boots), anchor="2 s"),
        Row(what="and ended again, nothing left", seconds=tuple(whole), anchor="1.8 s, with nothing loaded"),
    )
    return Group(title="Boot of the lab", where="On this machine", rows=rows)
