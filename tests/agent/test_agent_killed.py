"""An agent that is killed at a hundred random moments of its work, and a node that loses its power: the network comes
back to the last good state each time, and nothing is left over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from random import Random

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import a_host, manifests

from windrow.lab.errors import LabError
from windrow.model.cluster import Cluster
from windrow.model.host import HostState
from windrow.plan import normalise
from windrow.store.lastgood import read_last_good

NODE = "k-node"
KILLS, CUTS = 100, 5
SHAPES = {
    "two": manifests(NODE),
    "other options": manifests(NODE, miimon=200, vid=200),
    "other NICs": manifests(NODE, nics="eth2, eth3", vid=300),
    "three": manifests(NODE, nics="eth1, eth2, eth3"),
    "nothing": "# nothing\n",
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with a_host(NODE) as host:
        yield host


@pytest.fixture(autouse=True)
def no_agent_left(host: Host) -> Iterator[None]:
    yield
    host.kill()


def ours(host: Host) -> HostState:
    """All that is ours: links, NICs in them, routes. The queue length is nobody's wish."""
    return normalise(host.kernel.observe())


def good(host: Host) -> Cluster:
    found = read_last_good(host.paths)
    assert found is not None
    return Cluster.of(found.objects)


def at_rest(host: Host, shape: str) -> None:
    """The agent has carried it out, and written it down."""
    host.write(SHAPES[shape])
    carried_out(host)


def carried_out(host: Host) -> None:
    """What is written there is carried out, and written down. The first without the second is not the end of it:
    whoever was killed in between comes up from the last good state, and follows the manifests then."""
    wanted = host.cluster()
    host.wait(lambda: host.paths.last_good.exists() and good(host).objects == wanted.objects, 60)
    host.wait(lambda: not host.differences(wanted), 60)


@pytest.mark.timeout(1200)
def test_killed_at_a_hundred_random_moments(host: Host) -> None:
    """Between the edit and the end of the change, and a little after; the next agent does the rest."""
    dice, halfway, begun = Random(4), 0, time.monotonic()
    host.start()
    at_rest(host, "two")
    whole, shape = {"two": links_of(host)}, "two"
    for number in range(KILLS):
        shape = dice.choice([s for s in SHAPES if s != shape])
        size = host.log.stat().st_size
        host.write(SHAPES[shape])
        if number % 2:  # its first step, and a moment; else any moment
            host.wait(lambda size=size: " done " in said_since(host, size), pause_s=0.001)
        time.sleep(dice.random() * (0.01 if number % 2 else 0.2))
        assert read_last_good(host.paths) is not None, "the last good state is never lost"
        host.kill()
        wanted = host.cluster()
        halfway += bool(host.differences(wanted)) and bool(host.differences(good(host)))
        host.start()
        carried_out(host)
        state = links_of(host)
        assert whole.setdefault(shape, state) == state, f"kill {number}: {shape}"
    host.wait(host.status)
    took = time.monotonic() - begun
    print(f"{KILLS} kills in {took:.0f} s, {halfway} of them in the middle of a change; always right afterwards")
    assert halfway >= 3
    host.wait(lambda: not host.bad() - {"Degraded"})
    host.stop()
    leftovers = [p.name for p in host.paths.state.iterdir() if p.name.startswith(".")]
    assert len(leftovers) <= 3, leftovers


def said_since(host: Host, size: int) -> str:
    with host.log.open() as log:
        log.seek(size)
        return log.read()


def links_of(host: Host) -> dict[str, object]:
    """By name, without what the order of NICs decides: a bridge's MAC is its first NIC's."""
    return {
        str(name): (link.kind, link.up, link.mtu, link.master, link.vlans, link.self_vlans, link.addrs)
        for name, link in ours(host).links.items()
        if name.startswith(("oob", "eth"))
    }


def test_the_power_goes_and_no_manifests_are_there(host: Host) -> None:
    """In the middle of a change, too; it boots to the last good state, without a directory of manifests."""
    dice = Random(5)
    host.start()
    for number in range(CUTS):
        at_rest(host, "three" if number % 2 else "two")
        before = links_of(host)
        if number % 2:
            host.write(SHAPES["other options"])
            time.sleep(0.2 * dice.random())
        host.power_cut()
        # Whether the change had come so far is open; what is on the disk counts.
        wanted = good(host)
        aside = host.paths.manifests.with_name("aside")
        host.paths.manifests.rename(aside)
        host.boot()
        assert not any(name.startswith("oob") for name in links_of(host)), "nothing of it is in memory"
        assert not host.paths.runtime.exists()
        host.start()
        took = host.right(wanted, 60)
        if not number % 2:
            assert links_of(host) == before
        host.wait(lambda: "ManifestsUnreadable" in host.bad())
        print(f"power cut {number}: right {took:.2f} s after the agent's start")
        aside.rename(host.paths.manifests)
        host.wait(lambda: "ManifestsUnreadable" not in host.bad())
    host.stop()


def test_a_card_comes_back_under_another_name(host: Host) -> None:
    host.start()
    at_rest(host, "two")
    host.power_cut()
    host.world.power.rename(NODE, "eth1", "enp7s0")
    host.world.power.rename(NODE, "eth3", "eth1")
    host.boot()
    host.start()
    host.wait(lambda: slaves(host) == {"enp7s0", "eth2"}, 60)
    host.wait(lambda: not host.bad() - {"Degraded"})
    host.stop()
    host.world.power.rename(NODE, "eth3", "eth3")
    host.world.power.rename(NODE, "eth1", "eth1")
    shutil.rmtree(host.paths.runtime, ignore_errors=True)


def slaves(host: Host) -> set[str]:
    return {str(n) for n, link in host.kernel.observe().state.links.items() if link.master == "oob-bo"}


def test_what_cannot_be_done_to_the_power_is_said(host: Host) -> None:
    power = host.world.power
    for act, words in (
        (lambda: power.boot(NODE), "has power"),
        (lambda: power.cut("nobody"), "there is no node nobody"),
        (lambda: power.rename(NODE, "eth9", "x"), "has no NIC eth9"),
        (lambda: power.rename(NODE, "eth2", "much-too-long-a-name"), "the kernel allows 15"),
    ):
        with pytest.raises(LabError, match=words):
            act()
