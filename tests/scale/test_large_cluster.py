"""A thousand nodes, fifty cluster networks and five thousand networks on one real API server: what they ask of it at
rest, how long a network takes to all nodes, memory, and all agents begun anew at once.

`make test-scale`, on two processors of its own. `WINDROW_NODES=200 WINDROW_NADS=500` is a smaller cluster."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import run_agent
from tests.kube.cluster import PATHS
from tests.kube.usage import cpu_s, mb
from tests.scale import objects
from tests.scale.objects import NADS, NETWORKS, NODES, REAL

from windrow.apps.manager.lease import AGAIN, LEASE_S
from windrow.kube.resources import RESOURCES
from windrow.kube.writing import FIRST_TURN_S
from windrow.services.kubernetes.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
WORKERS = 2
WINDROW = Path(sys.executable).with_name("windrow")
PATIENCE_S = 1200.0
REST_S = 30.0
AGENT_MB_MOST, WRITES_MOST = 70.0, 1 / (LEASE_S * AGAIN) + 0.1
"""What an agent may take with all of it, and what is written in a second at rest: a Lease is renewed every two."""
VID = 3000
READS = ("GET", "LIST")
OURS = {resource.plural for resource in RESOURCES.values()} | {"leases", "events"}
"""Whose requests count; an API server has some of its own."""


def told(what: str, *figures: object) -> None:
    print(f"scale: {what}:", *figures, flush=True)


class Workers:
    """The agents of all nodes but the real one's."""

    def __init__(self, config: Path) -> None:
        names = [name for name in objects.names() if name != REAL]
        self._all = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.scale.nodes", str(config), *names[number::WORKERS]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for number in range(WORKERS)
        ]
        self.count = len(names)

    def __call__(self, command: str) -> dict[str, Any]:
        """What they say to it, all together."""
        for one in self._all:
            assert one.stdin is not None
            one.stdin.write(f"{command}\n")
            one.stdin.flush()
        found: dict[str, Any] = {}
        for one in self._all:
            assert one.stdout is not None
            for key, value in json.loads(one.stdout.readline()).items():
                found[key] = found[key] + value if key in found else value
        return found

    @property
    def mb(self) -> float:
        return sum(mb(one.pid) for one in self._all)

    def end(self) -> None:
        for one in self._all:
            with one:  # its pipes are closed, and it is waited for
                one.kill()


class Large:
    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self.plane, config = plane, plane.kubeconfig()
        self.links = directory / "links"
        self.log = (directory / "log").open("ab")
        self.agent = self._begin(run_agent.__file__, str(directory), str(config))
        self.workers = Workers(config)
        self.manager: subprocess.Popen[bytes] | None = None

    def manage(self) -> None:
        """Once networks are ready: one that finds them otherwise says so in every one of them."""
        config = str(self.plane.kubeconfig())
        self.manager = self._begin(str(WINDROW), "--kubeconfig", config, "manager", "--lease", "default/manager")

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *words], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def end(self) -> None:
        self.workers.end()
        for one in filter(None, (self.agent, self.manager)):
            one.kill()
            one.wait()
        self.log.close()

    def requests(self) -> Counter[str]:
        """How many of each verb the server has answered since it began, as it counts them."""
        found: Counter[str] = Counter()
        for line in self.plane.text("/metrics").splitlines():
            match = re.match(r'apiserver_request_total\{.*resource="([-\w]+)".*verb="(\w+)".*\} (\S+)$', line)
            if match and match[1] in OURS:
                found[match[2]] += int(float(match[3]))
        return found

    def vids(self) -> set[int]:
        """In the kernel of the real agent."""
        with contextlib.suppress(OSError, ValueError):
            words = json.loads(self.links.read_text()).get("c0-bo", "").split(",")
            return {n for word in words if word for n in _range(word)}
        return set()

    def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What the simulated agents say then; how far they are is told now and then."""
        began = due = time.monotonic()
        while not what(said := self.workers("say")):
            counts = {key: len(value) if isinstance(value, list) else value for key, value in said.items()}
            assert time.monotonic() - began < PATIENCE_S, counts
            if time.monotonic() > due:
                due = time.monotonic() + 20.0
                told("so far", counts, said["troubles"], said["untold"])
            time.sleep(0.5)
        return said

    @property
    def cpu_s(self) -> str:
        """What was used since they began; on a busy machine that says more than the time."""
        assert self.plane._server is not None and self.manager is not None
        parts = {
            "API server": self.plane._server.process.pid,
            "an agent": self.agent.pid,
            "the manager": self.manager.pid,
        }
        return ", ".join(f"{name} {cpu_s(pid):.1f}" for name, pid in parts.items())

    def all_there(self, said: dict[str, Any]) -> bool:
        return bool(said["complete"] == self.workers.count and not said["pending"])

    def entries(self) -> int:
        """How many nodes have one in the monitor of all NICs."""
        found = self.plane.request("GET", f"{PATHS['LinkMonitor']}/nic").get("status") or {}
        return len(found.get("linkStatus") or ())

    def at_rest(self) -> None:
        """Nothing was written for three seconds."""
        end, before = time.monotonic() + PATIENCE_S, Counter[str]()
        while (now := self.requests())["PATCH"] != before["PATCH"] or now["APPLY"] != before["APPLY"]:
            assert time.monotonic() < end
            before = now
            time.sleep(3.0)


def _range(word: str) -> range:
    first, _, last = word.partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    with ControlPlane(tmp_path_factory.mktemp("large"), print) as plane:
        objects.fill(plane)
        found = Large(plane, tmp_path_factory.mktemp("agent"))
        try:
            yield found
        finally:
            found.end()


def test_all_begin(large: Large) -> None:
    began = time.monotonic()
    large.workers("start")
    said = large.until(large.all_there)
    told(f"{NODES} nodes, {NETWORKS} cluster networks, {NADS} networks; all agents listed and planned after, s",
         round(time.monotonic() - began))  # fmt: skip
    large.at_rest()
    told("all VlanStatuses and labels written after, s", round(time.monotonic() - began), dict(large.requests()))
    large.manage()
    while len(large.plane.request("GET", PATHS["LinkMonitor"])["items"]) < NETWORKS:
        time.sleep(1.0)
    told("with a manager, LinkMonitors made after, s", round(time.monotonic() - began), dict(large.requests()))
    while large.entries() < NODES:  # each at a moment of its own
        assert time.monotonic() - began < PATIENCE_S + 2 * FIRST_TURN_S * NODES**2, large.entries()
        time.sleep(5.0)
    large.at_rest()
    told("all entries of LinkMonitors after, s", round(time.monotonic() - began), dict(large.requests()))
    told("processor seconds since the beginning", large.cpu_s)
    counts = {kind: len(large.plane.request("GET", PATHS[kind])["items"]) for kind in ("VlanStatus", "LinkMonitor")}
    told("objects", counts)
    monitor = large.plane.request("GET", f"{PATHS['LinkMonitor']}/nic")
    told("LinkMonitor nic, bytes", len(json.dumps(monitor, separators=(",", ":"))))
    assert said["troubles"] == []


def test_at_rest_next_to_nothing_is_asked(large: Large) -> None:
    before = large.requests()
    time.sleep(REST_S)
    found = large.requests() - before
    each = {verb: round(count / REST_S, 2) for verb, count in found.items()}
    told("requests in a second at rest", each)
    told("processor seconds since the beginning", large.cpu_s)
    assert sum(count for verb, count in found.items() if verb not in (*READS, "WATCH")) / REST_S < WRITES_MOST


def test_a_network_comes_to_all_nodes(large: Large) -> None:
    large.workers(f"expect {VID}")
    began = time.time()
    large.plane.request("POST", PATHS["NetworkAttachmentDefinition"], objects.nad(f"v{VID}x", VID))
    while VID not in large.vids():
        assert time.time() - began < 60
        time.sleep(0.002)
    real = time.time() - began
    said = large.until(lambda said: len(said["planned"]) == large.workers.count)
    for what in ("heard", "planned"):
        seconds = sorted(at - began for at in said[what])
        told(f"a network, {what} by the nodes, s (first, median, last)",
             *(round(one, 2) for one in (seconds[0], statistics.median(seconds), seconds[-1])))  # fmt: skip
    told("processor seconds since the beginning", large.cpu_s)
    told("a network, in the kernel of one agent that is a process, s", round(real, 3))


def test_memory(large: Large) -> None:
    server = large.plane._server
    assert server is not None and large.manager is not None
    told("MB of an agent, of the manager", round(mb(large.agent.pid)), round(mb(large.manager.pid)))
    told("MB of the API server, of all simulated agents", round(mb(server.process.pid)), round(large.workers.mb))
    assert mb(large.agent.pid) < AGENT_MB_MOST


def test_all_agents_begin_anew_at_once(large: Large) -> None:
    large.workers("stop")
    before, began = large.requests(), time.monotonic()
    large.workers("start")
    large.until(large.all_there)
    took = time.monotonic() - began
    large.at_rest()
    found = large.requests() - before
    told("all agents begun anew: listed and planned after, s", round(took), dict(found))
    told("processor seconds since the beginning", large.cpu_s)
    assert found["APPLY"] + found["PATCH"] < NODES / 10, "what is right is not written"
