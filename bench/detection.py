"""From a VLAN that somebody takes off a switch port to the finding, and what an agent needs that probes.

Three agents, each a process in a namespace of its own, on one switch, which is a bridge. Needs bonding and VLAN
filtering, so it is measured in the lab kernel.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.agent import Agent, wait
from bench.measure import Group, Row
from windrow.model.values import PortVlans, VidSet
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths

VIDS = VidSet.span(100, 109)
PULLED = VidSet.of([104])
NODES = ("n1", "n2", "n3")
INTERVAL_S = 6
TURNS = 5
PHASE_S = 1.3
"""A fault comes at another moment between two sweeps in each turn."""
NETWORK = """\
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1]}}
"""
NAD = """\
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: v{vid}, namespace: default}}
spec: {{config: '{{"type":"bridge","bridge":"oob-br","vlan":{vid}}}'}}
"""


class Site:
    """A switch, and what is plugged into it. Called in an empty network namespace, which is the switch's."""

    def __init__(self, root: Path, switch: Kernel, fds: Sequence[int]) -> None:
        self.root, self.switch, self.fds = root, switch, fds
        self.kernels = [Kernel(fd) for fd in fds]
        data = {"vlan_filtering": 1, "stp": 0, "mcast_snooping": 0}
        switch.rtnl.run(links.create("br0", "bridge", data=data, up=True))
        for node, fd in zip(NODES, fds, strict=True):
            ends = links.End(name=node), links.End(name="eth1", netns=fd)
            switch.rtnl.run(links.veth(*ends, master=switch.rtnl.index("br0"), up=True))
            self.allow(node, VIDS)

    def allow(self, port: str, vids: VidSet) -> None:
        self.switch.rtnl.run(links.add_vlans(self.switch.rtnl.index(port), PortVlans(tagged=vids), name=port))

    def pull(self, port: str, vids: VidSet) -> None:
        self.switch.rtnl.run(links.delete_vlans(self.switch.rtnl.index(port), vids, name=port))

    @contextmanager
    def agents(self, nodes: Sequence[str], *words: str) -> Iterator[list[Agent]]:
        with ExitStack() as running:
            found = []
            for node in nodes:
                at = NODES.index(node)
                paths = Paths(self.root / node)
                paths.manifests.mkdir(parents=True, exist_ok=True)
                (paths.manifests / "oob.yaml").write_text(NETWORK + "".join(NAD.format(vid=vid) for vid in VIDS))
                agent = Agent(self.kernels[at], paths, self.switch, node=node, words=words)
                netns.opened_in(self.fds[at], lambda agent=agent: running.enter_context(agent.running()))  # type: ignore[misc]
                found.append(agent)
            yield found

    def close(self) -> None:
        for kernel, fd in zip(self.kernels, self.fds, strict=True):
            kernel.close()
            os.close(fd)


def measure(where: str) -> Iterator[Group]:
    """Called in an empty network namespace."""
    with tempfile.TemporaryDirectory() as root, Kernel() as switch:
        site = Site(Path(root), switch, [netns.new() for _ in NODES])
        try:
            yield _group(site, where)
        finally:
            site.close()


def _group(site: Site, where: str) -> Group:
    with site.agents(NODES[:1]) as (quiet,):
        time.sleep(INTERVAL_S)
        without = quiet.memory()[0]
    with site.agents(NODES, "--check", f"{INTERVAL_S}s") as agents:
        _until(agents, lambda: all(agent.finds_a_fault() is False for agent in agents), "not all is well")
        told, over = zip(*(_turn(site, agents, PHASE_S * turn) for turn in range(TURNS)), strict=True)
        more = agents[0].memory()[0] - without
    note = (
        f"Three agents with `--check {INTERVAL_S}s`, {len(VIDS)} VLANs, no LLDP; the VLAN is taken off one port, each "
        f"time at another moment between two sweeps. An agent that probes has {more:.1f} MiB more resident than one "
        f"that does not ({without:.1f} MiB); aim: under 8 MB more."
    )
    rows = (
        Row(
            what="a VLAN that is taken off a switch port, until the finding",
            seconds=told,
            anchor=f"one sweep ({INTERVAL_S} s) and 1 s",
        ),
        Row(what="the VLAN is back, until nothing is found", seconds=over),
    )
    return Group(title="Check: from the switch to the finding", where=where, rows=rows, note=note)


def _turn(site: Site, agents: list[Agent], phase_s: float) -> tuple[float, float]:
    """Seconds until the agent whose port it is tells it, and until it tells that all is well."""
    mine = agents[-1]
    time.sleep(phase_s)
    site.pull(mine.node, PULLED)
    began = time.perf_counter()
    _until(agents, lambda: mine.finds_a_fault() is True, "the VLAN is not missed")
    told = time.perf_counter() - began
    site.allow(mine.node, PULLED)
    began = time.perf_counter()
    _until(agents, lambda: mine.finds_a_fault() is False, "the VLAN is still missed")
    return told, time.perf_counter() - began


def _until(agents: list[Agent], done: Callable[[], bool], what: str) -> None:
    wait(done, what, lambda: "\n".join(agent.log() for agent in agents))
