"""The agent as a process, with its other threads, its spare watchdog and its face."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kube import run_agent, usage
from tests.kube.cluster import OOB, Api, document, nad, wait

from windrow.services.kubernetes.controlplane import ControlPlane

MB_MOST = 70
"""With 5,000 objects it is to be less than that (`make bench` measures it)."""


class Process:
    def __init__(self, root: Path, plane: ControlPlane) -> None:
        self.root, self.log = root, root / "agent.log"
        root.mkdir()
        self._begin(str(plane.kubeconfig()))

    def _begin(self, config: str) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, run_agent.__file__, str(self.root), config]
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def vids(self) -> set[str]:
        try:
            return set(json.loads((self.root / "links").read_text()).get("oob-bo", "").split(","))
        except OSError:
            return set()

    def said(self) -> str:
        return self.log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(30)

    @property
    def cpu_s(self) -> float:
        return usage.cpu_s(self.popen.pid)

    @property
    def mb(self) -> float:
        return usage.mb(self.popen.pid)


@pytest.fixture
def process(api: ControlPlane, tmp_path: Path) -> Iterator[Process]:
    Api(api).make(document("Node", "n1"), *OOB)
    found = Process(tmp_path / "n1", api)
    yield found
    if found.popen.poll() is None:
        found.end(signal.SIGKILL)


def test_it_follows_and_ends_when_it_is_told_to(process: Process, api: ControlPlane) -> None:
    cluster = Api(api)
    wait(lambda: process.vids() == {"100"}, process.said)
    wait(lambda: cluster.list("VlanStatus"), process.said)
    cluster.make(nad("v200", 200))
    wait(lambda: process.vids() == {"100", "200"}, process.said)
    assert process.end() == 0, process.said()
    assert "the agent ends; the network stays as it is" in process.said()
    assert "Traceback" not in process.said()
    assert cluster.list("VlanStatus"), "what it said stays"


def test_it_sleeps_when_nothing_happens(process: Process, api: ControlPlane) -> None:
    """Watches that are silent and statuses that are written cost nothing."""
    cluster = Api(api)
    wait(lambda: process.vids() == {"100"} and cluster.list("VlanStatus"), process.said)
    time.sleep(2.0)
    before = process.cpu_s
    time.sleep(5.0)
    assert process.cpu_s - before <= 0.05
    assert process.mb < MB_MOST


def test_it_starts_without_a_kubeconfig_and_finds_it_later(api: ControlPlane, tmp_path: Path) -> None:
    """At a start of the host whoever writes it may be later than the agent."""
    Api(api).make(document("Node", "n1"), *OOB)
    late = tmp_path / "late.kubeconfig"
    process = Process.__new__(Process)
    process.root, process.log = tmp_path / "n1", tmp_path / "agent.log"
    process.root.mkdir()
    process._begin(str(late))
    try:
        wait(lambda: "cannot use the kubeconfig" in process.said(), process.said)
        late.write_bytes(api.kubeconfig().read_bytes())
        wait(lambda: process.vids() == {"100"}, process.said)
    finally:
        process.end(signal.SIGKILL)
