"""A thousand pieces of damage within two minutes. Afterwards the network is right, the agent at rest and no larger."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import a_host, many_manifests

from windrow.plan import normalise
from windrow.testing import generate

NODE = "s-node"
DAMAGES, STORM_S, NETWORKS = 1000, 60.0, 5
TICK = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with a_host(NODE, 2 * NETWORKS + 1) as host:
        yield host


def rss_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def test_a_thousand_pieces_of_damage(host: Host) -> None:
    dice = Random(7)
    host.write(many_manifests(NODE, NETWORKS))
    wanted = host.cluster()
    host.start()
    host.right(wanted, 60)
    host.wait(host.status)
    before = normalise(host.kernel.observe()).links
    done, begun, sizes = 0, time.monotonic(), [rss_kib(host.pid)]
    for number in range(DAMAGES):
        time.sleep(max(0.0, begun + number * STORM_S / DAMAGES - time.monotonic()))
        (step,) = generate.random_sabotage(dice, host.kernel.observe(), 1) or [None]
        if step is not None and step.link != "eth0":
            done += host.kernel.run([step]) is None
        if number % 250 == 249:
            sizes.append(rss_kib(host.pid))
    storm = time.monotonic() - begun
    calm = host.right(wanted, 200)
    after = normalise(host.kernel.observe()).links
    status = host.status()
    assert status is not None
    given_up = len(status.contests)
    repaired = sum(event.count for event in host.events() if event.reason == "Repaired")
    time.sleep(2)
    spent, start = cpu_s(host.pid), time.monotonic()
    time.sleep(5)
    idle = (cpu_s(host.pid) - spent) / (time.monotonic() - start)
    print(
        f"{done} of {DAMAGES} pieces of damage in {storm:.0f} s; right {calm:.1f} s after the last; {repaired} repairs "
        f"told, {given_up} fights; private memory {sizes[0]} KiB before, {sizes[1:]} in the storm, "
        f"{rss_kib(host.pid)} after; CPU at rest {idle:.1%}"
    )
    assert {n: (v.master, v.vlans, v.up) for n, v in after.items()} == {
        n: (v.master, v.vlans, v.up) for n, v in before.items()
    }
    assert done > DAMAGES / 2 and storm < 120
    assert rss_kib(host.pid) < sizes[1] + 4096, "no leak: at the end as after the first quarter"
    assert idle < 0.05
    assert host.stop() == 0
