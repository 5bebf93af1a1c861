"""The same work in each kernel of the lab, started as a person starts it, as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Group, NotMeasured, Row
from windrow.lab.kernel.boot import NAMES

WINDROW = str(Path(sys.executable).parent / "windrow")
KERNELS = ("uml", "qemu")
MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
TESTS = tuple(f"tests/kernel/test_{name}.py" for name in ("kernel_facts", "netlink_execute", "protection"))
"""Many small tests. Random cases compute for ten minutes in QEMU, and it is too slow for machines."""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/")
"""Root measures as somebody who is nobody."""


def links() -> list[Group]:
    return [group("The lab's kernels: `seed-links`", [("lab", "run", "--no-picture", "seed-links")], runs=3)]


def modes() -> list[Group]:
    commands = [("lab", "run", "--no-picture", f"mode-{mode}") for mode in MODES]
    return [group("The lab's kernels: the seven bond modes, one lab after the other", commands, runs=1)]


def tests() -> list[Group]:
    names = ", ".join(Path(test).stem.removeprefix("test_") for test in TESTS)
    return [group(f"The lab's kernels: `tests/kernel`, {names}", [("lab", "test", "--", "-q", *TESTS)], runs=1)]


def group(title: str, commands: Sequence[Sequence[str]], *, runs: int) -> Group:
    """The kernels in turn; every command's seconds are from its start to its end, the kernel's boot included."""
    seconds: dict[str, list[float]] = {kernel: [] for kernel in KERNELS}
    load = os.getloadavg()[0]
    for _ in range(runs):
        for kernel in KERNELS:
            start = time.perf_counter()
            for command in commands:
                run(with_kernel(command, kernel))
            seconds[kernel].append(time.perf_counter() - start)
    rows = tuple(Row(what=NAMES[kernel], seconds=tuple(spent)) for kernel, spent in seconds.items())
    note = f"As an ordinary user, boot and end included; {os.cpu_count()} processors, load {load:.1f} when it began."
    return Group(title=title, where="On this machine", rows=rows, note=note)


def with_kernel(command: Sequence[str], kernel: str) -> list[str]:
    return [*command[:2], "--kernel", kernel, *command[2:]]


def run(words: Sequence[str]) -> None:
    """Raises NotMeasured: what failed was not measured."""
    user = NOBODY if os.geteuid() == 0 else ()
    done = subprocess.run([*user, WINDROW, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
