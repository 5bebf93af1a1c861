"""Debian's kernel for arm64 and its programs, played by QEMU: `make test-arm64`, which fetches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from windrow.lab.client import ask, run_program
from windrow.lab.kernel import prepared, qemu
from windrow.lab.kernel.machine import Guest, Machine
from windrow.lab.scenario_file import read

ROOT = Path(__file__).resolve().parents[2] / "build" / "arm64" / "root"
INIT = "/windrow/windrow/lab/guest/init.py"
"""In the guest's root."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if not (ROOT / "kernel" / prepared.RELEASE).exists():
        pytest.fail(f"there is nothing of arm64 in {ROOT}: `make test-arm64` fetches it")
    kernel = ROOT / "kernel"
    release = (kernel / prepared.RELEASE).read_text().strip()
    files = prepared.Prepared(kernel, kernel / prepared.KERNEL, kernel / prepared.INITRD, release)
    inside = ["/usr/bin/python3", "-I", "-S", INIT, f"port:{qemu.LINE}"]
    ground = qemu.Ground(board=qemu.BOARDS["aarch64"], files=files, inside=inside, root=str(ROOT))
    path = ["/windrow", "/usr/lib/python3/dist-packages"]
    config = {"path": path, "keep": [], "modules": "/kernel"}
    with qemu.start(ground, Guest(entry="windrow.apps.labguest:main", config=config)) as booted:
        yield booted


def test_the_kernel_can_what_a_lab_needs(machine: Machine) -> None:
    assert machine.about["missing"] == []
    assert machine.about["kernel"].endswith("-arm64")
    assert run_program(machine.open, ["sh", "-c", 'test "$(uname -m)" = aarch64']) == 0


def test_the_links_of_the_seed(machine: Machine) -> None:
    """All of its checks: bonds, bridges with VLANs, DHCP, isolation, and a cable that is pulled."""
    said: list[Mapping[str, Any]] = []
    up = ask(machine.open, {"do": "up", "scenario": read("seed-links").to_json()}, said.append)
    assert up["ok"], said
    checked = ask(machine.open, {"do": "check"}, said.append)
    assert checked["ok"], [check for check in checked["checks"] if not check["ok"]]
    assert len(checked["checks"]) == 13
