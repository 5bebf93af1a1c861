"""From a cable that is pulled to the condition that says so, and how long traffic is gone meanwhile.

The lab kernel has one processor that carries the traffic, too. So the limits are generous; the numbers are printed.
"""

from __future__ import annotations

import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from tests.lab.asked import Asked

from windrow.apps.labguest import LabEngine
from windrow.lab.checks import Checker
from windrow.lab.scenario import CablePull, End
from windrow.lab.scenario_file import read
from windrow.lab.session import Session
from windrow.lab.world import World
from windrow.model.events import Condition, Event
from windrow.model.values import IfName, Ref
from windrow.netlink.kernel import Kernel
from windrow.netlink.netns import RUN_NETNS
from windrow.status.bonds import BondMemory, watch

RTMGRP_LINK = 1
PATIENCE_S = 30.0
TIMES = 3
PASSING = 0x30
"""LACP_STATE_COLLECTING | LACP_STATE_DISTRIBUTING."""
EVENT_TO_CONDITION_MS = 100
"""What is promised, of the median; a single one may be kept waiting by whatever else the one processor does."""
MODES = ("active-backup", "802.3ad")


@dataclass
class Eye:
    """Watches the bond of node-0 as the agent does: what the kernel announces makes it look, and nothing else."""

    kernel: Kernel
    news: socket.socket
    memory: BondMemory = field(default_factory=BondMemory)
    condition: Condition | None = None
    events: list[Event] = field(default_factory=list)
    took_ms: float = 0.0
    """From the announcement to the condition, at the last look."""

    def look(self, heard: float) -> None:
        found = watch(self.memory, self.kernel.observe(), time.time(), wanted={"oob-bo": 2})
        self.memory, (self.condition,) = found.memory, found.conditions
        self.events += found.events
        self.took_ms = (time.monotonic() - heard) * 1000

    def until(self, wanted: Callable[[Condition], bool]) -> float:
        """Seconds until the condition is so."""
        began = time.monotonic()
        while self.condition is None or not wanted(self.condition):
            assert time.monotonic() - began < PATIENCE_S, (self.condition, self.events)
            # A time that runs out wakes the agent, too (`Watched.again`).
            select.select([self.news], [], [], 0.5)
            heard = time.monotonic()
            self.drain()
            self.look(heard)
        return time.monotonic() - began

    def drain(self) -> None:
        try:
            while self.news.recv(65536):
                pass
        except BlockingIOError:
            return


@dataclass
class Place:
    mode: str
    world: World
    eye: Eye
    engine: LabEngine

    def checker(self) -> Checker:
        return Checker(
            self.world,
            steps_left=lambda node: self.engine.steps_left(self.world.root(node), node),
            change=lambda node, put, remove: self.engine.change(self.world.root(node), node, put, remove),
        )


@pytest.fixture(scope="module", params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    mode, engine = request.param, LabEngine()
    session = Session(engine, sys.path)
    texts = read(f"mode-{mode}")
    # A partner that falls silent is lost after three seconds then, and not after ninety.
    manifests = {k: t.replace("mode: 802.3ad", "mode: 802.3ad, lacpRate: fast") for k, t in texts.manifests.items()}
    assert (mode == "802.3ad") == (manifests != texts.manifests)
    session.up(Asked(scenario=replace(texts, manifests=manifests).to_json()))  # type: ignore[arg-type]
    world = session.world

    def announcements() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.setblocking(False)
        made.bind((0, RTMGRP_LINK))
        return made

    news = world.inside("node-0", announcements)
    with Kernel(str(RUN_NETNS / "node-0")) as kernel:
        yield Place(mode, world, Eye(kernel, news), engine)
    news.close()
    world.close()


def whole(condition: Condition) -> bool:
    return condition.status is False


def broken(condition: Condition) -> bool:
    return condition.status is True


def settle(place: Place) -> None:
    """All NICs carry, LACP agrees, and none has flapped of late."""
    place.eye.memory, place.eye.condition = BondMemory(), None
    place.eye.until(whole)
    if place.mode == "802.3ad":
        end = time.monotonic() + PATIENCE_S
        while not agreed(place.eye.kernel):
            assert time.monotonic() < end, "LACP does not agree"
            time.sleep(0.1)
    place.eye.drain()


def agreed(kernel: Kernel) -> bool:
    seen = kernel.observe()
    slaves = [run.lacp for name, run in seen.runtime.items() if seen.state.links[name].master == "oob-bo"]
    return all(lacp and lacp.actor_state & lacp.partner_state & PASSING == PASSING for lacp in slaves)


def active(kernel: Kernel) -> str:
    """Which NIC of an active-backup bond carries the traffic."""
    found = kernel.observe().runtime[IfName("oob-bo")].active_slave
    assert found is not None
    return found


def test_a_pulled_cable_is_a_condition_at_once(place: Place) -> None:
    eye, took, whole_way = place.eye, [], []
    for n in range(TIMES):
        settle(place)
        nic = ("eth2", "eth3")[n % 2]
        eye.events.clear()
        place.world.pull(End("node-0", nic))
        whole_way.append(eye.until(broken) * 1000)
        took.append(eye.took_ms)
        assert eye.condition is not None
        assert (eye.condition.reason, eye.condition.about) == ("OneLeg", Ref("ClusterNetwork", "oob"))
        assert nic in eye.condition.message
        assert [e.reason for e in eye.events][:1] == ["OneLeg"]
        place.world.plug(End("node-0", nic))
        eye.until(whole)
        assert "SlaveUp" in [e.reason for e in eye.events]
    print(
        f"\n{place.mode}: event → condition: median {statistics.median(took):.1f} ms, at most {max(took):.1f} ms; "
        f"cable → condition: median {statistics.median(whole_way):.0f} ms, at most {max(whole_way):.0f} ms"
    )
    assert statistics.median(took) < EVENT_TO_CONDITION_MS


def test_both_cables_and_their_return(place: Place) -> None:
    settle(place)
    eye = place.eye
    eye.events.clear()
    for nic in ("eth2", "eth3"):
        place.world.pull(End("node-0", nic))
    eye.until(lambda c: c.reason == "CutOff")
    since = eye.condition.since if eye.condition else 0.0
    for nic in ("eth3", "eth2"):
        place.world.plug(End("node-0", nic))
    eye.until(whole)
    assert eye.condition is not None
    assert eye.condition.since > since
    assert "CutOff" in [e.reason for e in eye.events]
    assert [e.reason for e in eye.events].count("SlaveUp") >= 1


def test_a_cable_that_comes_and_goes_is_told_once(place: Place) -> None:
    settle(place)
    eye = place.eye
    eye.events.clear()
    for _ in range(6):
        for up in (False, True):
            place.world._set_cable(End("node-0", "eth3"), up=up)
            for _ in range(10):
                select.select([eye.news], [], [], 0.02)
                eye.drain()
                eye.look(time.monotonic())
    eye.until(lambda c: "lost carrier 3 times or more" in c.message)
    told = [e.reason for e in eye.events]
    assert told.count("Flapping") == 1
    assert told.count("OneLeg") <= 3, "what flaps is not told each time"


def test_a_partner_that_falls_silent(place: Place) -> None:
    """The cables stay in, and no LACPDU comes through. Without LACP there is nothing to be missed."""
    settle(place)
    place.eye.events.clear()
    with silent_switch():
        if place.mode != "802.3ad":
            time.sleep(1)
            place.eye.look(time.monotonic())
            assert (place.eye.condition and place.eye.condition.status, place.eye.events) == (False, [])
            return
        took = place.eye.until(lambda c: c.reason == "NoLacpPartner")
    back = place.eye.until(whole)
    print(f"\n802.3ad: silent → condition: {took:.1f} s (lacpRate fast); answers → whole: {back:.1f} s")
    told = [e.reason for e in place.eye.events]
    assert told.index("NoLacpPartner") < told.index("LacpPartner")


@contextmanager
def silent_switch() -> Iterator[None]:
    """Nothing comes out of the ports to node-0."""

    def tc(verb: str, *more: str) -> None:
        for port in ("p1", "p2"):
            command = ["ip", "netns", "exec", "sw-oob", "tc", "qdisc", verb, "dev", port, "root", *more]
            subprocess.run(command, check=True)

    tc("add", "netem", "loss", "100%")
    try:
        yield
    finally:
        tc("del")


def test_how_long_traffic_is_gone(place: Place) -> None:
    """500 frames a second each way while a cable is pulled; with LACP one of the two carries this pair."""
    settle(place)
    gaps = []
    for nic in ("eth2", "eth3") if place.mode == "802.3ad" else (active(place.eye.kernel),):
        said = place.checker().run(
            CablePull(name=nic, cable=End("node-0", nic), between=("a100", "b100"), within_ms=2000)
        )
        assert said.ok, said.detail
        ways = said.measured["pulled"]
        gaps.append(max(way["longest_ms"] for way in ways.values()))
        print(f"\n{place.mode}, miimon 100, {nic}: {said.detail}")
    print(f"{place.mode}: longest gap {max(gaps):.0f} ms")
