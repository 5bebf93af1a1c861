"""The agent: what it costs while nothing happens, and how quick it is when something does.

It runs as a process of its own in a fresh network namespace, with two cables to another one. Needs bonding and VLAN
filtering, so it is measured in the lab kernel.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Group, NotMeasured, Row
from windrow.model.host import Bond, Observed
from windrow.model.steps import Action, DelAddr, Impact, Phase, SetBond, SetLink, SetVlans, Step
from windrow.model.values import Cidr, IfName, Ref, VidSet
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths

MANIFESTS = """\
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1, eth2]}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: backup}
spec: {clusterNetwork: oob, vlanID: 300, mode: static, ips: {bench: 10.30.0.10/24}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec: {config: '{"type":"bridge","bridge":"oob-br","vlan":100}'}
"""
NODE = "bench"
IDLE_S = 20.0
PATIENCE_S = 30.0
POLL_S = 0.002
TURNS = 2
"""The third repair of the same thing within five minutes would be a contest, and the third lost carrier a flap."""
AIM = "under 1 s"


@dataclass(frozen=True, slots=True)
class Drift:
    """What another hand does to a link, and how one sees that it is put right."""

    link: str
    action: Action
    right: Callable[[Observed], bool]


def _bond(seen: Observed) -> Bond:
    spec = seen.state.links[IfName("oob-bo")].spec
    assert isinstance(spec, Bond)
    return spec


ADDRESS = Cidr("10.30.0.10/24")
DRIFTS = (
    Drift("oob-bo", SetLink(mtu=1400), lambda seen: seen.state.links[IfName("oob-bo")].mtu == 1500),
    Drift("oob-bo", SetBond(Bond(miimon=250)), lambda seen: _bond(seen).miimon == 100),
    Drift("oob-br", SetLink(promisc=False), lambda seen: bool(seen.state.links[IfName("oob-br")].promisc)),
    Drift(
        "oob-bo",
        SetVlans(remove=VidSet.of([100])),
        lambda seen: 100 in (vlans.all if (vlans := seen.state.links[IfName("oob-bo")].vlans) else VidSet()),
    ),
    Drift(
        "oob-br.300",
        DelAddr(ADDRESS),
        lambda seen: ADDRESS in (seen.state.links[IfName("oob-br.300")].addrs or ()),
    ),
)


class Agent:
    """The process, and the namespace that it keeps."""

    def __init__(self, kernel: Kernel, paths: Paths, far: Kernel) -> None:
        self.kernel, self.paths, self.far = kernel, paths, far
        self.pid = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [
            sys.executable,
            "-m",
            "windrow.apps.cli.main",
            "--root",
            str(self.paths.root),
            "--node",
            NODE,
            "agent",
        ]
        path = os.pathsep.join(p for p in sys.path if p)
        with (self.paths.root / "agent.log").open("wb") as log:
            process = subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stderr=log
            )
        self.pid = process.pid
        try:
            wait(lambda: self._says("ready") is True, "the agent has not brought its network up", self.log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)

    def log(self) -> str:
        return (self.paths.root / "agent.log").read_text()[-2000:]

    def _says(self, type_: str) -> bool | None:
        """What the condition of the cluster network is, as the agent publishes it."""
        try:
            document = json.loads(self.paths.agent_status.read_bytes())
        except (OSError, ValueError):
            return None
        about = {"kind": "ClusterNetwork", "name": "oob"}
        found = (c for c in document["conditions"] if c["type"] == type_ and about.items() <= c["about"].items())
        return {"True": True, "False": False}.get(next((c["status"] for c in found), ""))

    # What is measured -----------------------------------------------------------------------------

    def repairs(self, drift: Drift) -> float:
        step = Step(
            phase=Phase.PREPARE,
            link=IfName(drift.link),
            action=drift.action,
            why=Ref("Test", "bench"),
            impact=Impact.NONE,
        )
        failure = self.kernel.run([step])
        assert failure is None, failure
        began = time.perf_counter()
        wait(lambda: drift.right(self.kernel.observe()), f"{drift.action} is not repaired", self.log)
        return time.perf_counter() - began

    def tells(self, cable: str) -> float:
        """From the moment in which the carrier is gone to the condition on disk; then the cable is put back."""
        self.far.rtnl.run(links.set_link(cable, up=False))
        began = time.perf_counter()
        wait(lambda: self._says("Degraded") is True, f"the loss of {cable} is not told", self.log)
        took = time.perf_counter() - began
        self.far.rtnl.run(links.set_link(cable, up=True))
        wait(lambda: self._says("Degraded") is False, f"the return of {cable} is not told", self.log)
        return took

    def memory(self) -> tuple[float, float]:
        """(resident, of it private), MiB."""
        rows = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:])
        private = _kib(rows["Private_Dirty"]) + _kib(rows["Private_Clean"])
        return _kib(rows["Rss"]) / 1024, private / 1024

    def processor(self) -> float:
        """Seconds of processor time so far, by the scheduler's clock where the kernel has one."""
        schedule = Path(f"/proc/{self.pid}/schedstat")
        if schedule.exists() and (spent := int(schedule.read_text().split()[0])):
            return spent / 1e9
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kib(text: str) -> int:
    return int(text.split()[0])


def wait(done: Callable[[], bool], what: str, log: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > end:
            raise NotMeasured(f"{what}\n{log()}")
        time.sleep(POLL_S)


def measure(where: str) -> Iterator[Group]:
    """Called in an empty network namespace."""
    away = netns.new()
    with tempfile.TemporaryDirectory() as root, Kernel() as kernel, Kernel(away) as far:
        paths = Paths(Path(root))
        paths.manifests.mkdir(parents=True)
        (paths.manifests / "oob.yaml").write_text(MANIFESTS)
        for n in (1, 2):
            kernel.rtnl.run(links.veth(links.End(name=f"eth{n}"), links.End(name=f"far{n}", netns=away)))
            far.rtnl.run(links.set_link(f"far{n}", up=True))
        agent = Agent(kernel, paths, far)
        with agent.running():
            yield _group(agent, where)
    os.close(away)


def _group(agent: Agent, where: str) -> Group:
    drifts = [agent.repairs(drift) for _ in range(TURNS) for drift in DRIFTS]
    losses = [agent.tells(f"far{n}") for _ in range(TURNS) for n in (1, 2)]
    time.sleep(1.0)
    before = agent.processor()
    time.sleep(IDLE_S)
    spent = agent.processor() - before
    resident, private = agent.memory()
    note = (
        f"While nothing happens: {spent * 1000:.1f} ms of processor time in {IDLE_S:.0f} s (until then {before:.2f} s, "
        f"its start included); {resident:.1f} MiB resident, of it {private:.1f} MiB private (aim: under 40 MB). "
        f"A drift is one of {len(DRIFTS)}: MTU, miimon, a VLAN, promiscuous mode, an address; it is repaired when the "
        "kernel shows it. Both are seen by polling, which shares the one processor: the true times are shorter."
    )
    rows = (
        Row(what="a difference that somebody made, until it is repaired", seconds=tuple(drifts), anchor=AIM),
        Row(what="a cable that is pulled, until the condition is on disk", seconds=tuple(losses), anchor="100 ms"),
    )
    return Group(title="Agent: from the event to the effect", where=where, rows=rows, note=note)
