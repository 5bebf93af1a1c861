"""A machine that only listens, and a host whose MAC address changes: others find them again at once.

Two switches, a leg of the bond on each, and whoever sends is on the second one. A cable that is pulled out of the first
switch tells the second one nothing.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import manifests

from windrow.apps.labguest import LabEngine
from windrow.frames import ethernet
from windrow.lab.scenario import End
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.host import Bond
from windrow.model.steps import SetBond, SetLink
from windrow.model.values import IfName
from windrow.netlink import sysctl
from windrow.netlink.kernel import Kernel

NODE = "h-node"
RATE, PROBE = 50, 0x88B5
GAP_S = 1.0
"""Of a fail-over: `miimon`, 100 ms, and the announcement. On a machine that is quiet otherwise it is 26 to 70 ms here;
the lab kernel has one processor, and who measures works there, too. Without announcements it is for good."""
SCENARIO = f"""\
apiVersion: windrow/v1
kind: Scenario
metadata: {{name: {NODE}}}
spec:
  nodes: [{{name: {NODE}, nics: [eth1, eth2]}}]
  hosts: [{{name: {NODE}-out, nics: [{{name: eth0, addresses: {{100: 10.60.0.9/24}}}}]}}]
  switches:
    - {{name: {NODE}-sa, ports: [{{names: [p1, p9], native: 1, vlans: "100"}}]}}
    - {{name: {NODE}-sb, ports: [{{names: [p2, p8, p9], native: 1, vlans: "100"}}]}}
  cables:
    - ["{NODE}:eth1", "{NODE}-sa:p1"]
    - ["{NODE}:eth2", "{NODE}-sb:p2"]
    - ["{NODE}-out:eth0", "{NODE}-sb:p8"]
    - ["{NODE}-sa:p9", "{NODE}-sb:p9"]
  endpoints: [{{name: {NODE}-vm, node: {NODE}, network: oob-100, address: 10.60.0.50/24}}]
"""
PRIMARY = manifests(NODE).replace("miimon: 100", "miimon: 100, primary: eth1")


class Silent:
    """One-way frames to a machine that has spoken once, as its switch knows it, and says nothing any more."""

    def __init__(self, world: World) -> None:
        out, machine = f"{NODE}-out", f"{NODE}-vm"
        world.inside(machine, lambda: sysctl.write("net/ipv6/conf/eth0/disable_ipv6", "1"))
        self._ear = world.inside(machine, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PROBE)))
        self._ear.bind(("eth0", PROBE))
        self._mouth = world.inside(out, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        self._mouth.bind(("eth0", 0))
        self.mac = self._ear.getsockname()[4]
        self.sent = 0
        self.arrived: list[tuple[float, int]] = []
        self._end = threading.Event()
        self._ear.settimeout(0.2)

    def speak(self) -> None:
        self._ear.send(ethernet.frame(ethernet.BROADCAST, self.mac, PROBE, b"once"))

    @contextmanager
    def stream(self) -> Iterator[None]:
        self.sent, self.arrived = 0, []
        self._end.clear()
        threads = [threading.Thread(target=one) for one in (self._send, self._hear)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _send(self) -> None:
        began = time.monotonic()
        own = self._mouth.getsockname()[4]
        while not self._end.wait(max(0.0, began + self.sent / RATE - time.monotonic())):
            number = struct.pack("!I", self.sent)
            self._mouth.send(ethernet.frame(self.mac, own, PROBE, b"n" + number, 100))
            self.sent += 1

    def _hear(self) -> None:
        last = time.monotonic() + 9999
        while time.monotonic() < last:
            try:
                data = self._ear.recv(2048)
            except TimeoutError:
                data = b""
            if data[14:15] == b"n":
                self.arrived.append((time.monotonic(), struct.unpack_from("!I", data, 15)[0]))
            if self._end.is_set() and last > time.monotonic() + 1:
                last = time.monotonic() + 0.3

    @property
    def gap(self) -> float:
        return max(b - a for (a, _), (b, _) in itertools.pairwise(self.arrived))

    @property
    def lost(self) -> int:
        return self.sent - len({number for _, number in self.arrived})

    def close(self) -> None:
        self._ear.close()
        self._mouth.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    world = World(parse(Texts("announce.yaml", SCENARIO, {"oob.yaml": PRIMARY})))
    world.build(lambda _: None)
    try:
        with Kernel() as kernel:
            features = kernel.features()
        host = Host(world, NODE, features)
        try:
            yield host
        finally:
            host.close()
    finally:
        world.close()


@pytest.fixture
def agent(host: Host) -> Iterator[Host]:
    """The agent is at work, the network as PRIMARY wants it, and eth1 carries it."""
    host.write(PRIMARY)
    host.start()
    try:
        host.right(host.cluster())
        host.wait(lambda: leg(host) == "eth1")
        yield host
    finally:
        host.stop()


@pytest.fixture
def silent(host: Host) -> Iterator[Silent]:
    """Not before the network is there."""
    made: list[Silent] = []

    def make() -> Silent:
        host.world.attach(NODE)
        made.append(Silent(host.world))
        return made[0]

    yield make  # type: ignore[misc]
    for one in made:
        one.close()


def leg(host: Host) -> str:
    run = host.kernel.observe().runtime.get(IfName("oob-bo"))
    return str(run.active_slave) if run else ""


def through(host: Host, silent: Silent, act: Callable[[], object], to: str) -> None:
    """`act` makes `to` the leg; the machine misses what the fail-over itself costs, and then hears all again."""
    silent.speak()
    time.sleep(1.0)
    with silent.stream():
        time.sleep(0.5)
        act()
        host.wait(lambda: leg(host) == to)
        time.sleep(2.0)
    print(f"\n→ {to}: {silent.lost} of {silent.sent} lost, the longest gap {silent.gap * 1000:.0f} ms")
    assert silent.gap < GAP_S, host.said()
    assert silent.arrived[-1][1] == silent.sent - 1, f"it does not hear to the end; the agent said:\n{host.said()}"


def test_a_machine_that_only_listens_is_found_after_every_fail_over(agent: Host, silent: Callable[[], Silent]) -> None:
    """By the cable, back by `primary` under the agent, and by hand."""
    one, world = silent(), agent.world
    through(agent, one, lambda: world.pull(End(NODE, "eth1")), "eth2")
    through(agent, one, lambda: world.plug(End(NODE, "eth1")), "eth1")
    by_hand = SetBond(Bond(primary="eth2"))
    through(agent, one, lambda: agent.harm("oob-bo", by_hand), "eth1")
    through(agent, one, lambda: agent.write(PRIMARY.replace("primary: eth1", "primary: eth2")), "eth2")


def test_a_plan_announces_without_the_agent(agent: Host, silent: Callable[[], Silent]) -> None:
    one = silent()
    agent.stop()
    engine, root = LabEngine(), agent.world.root(NODE)

    def apply(primary: str) -> Callable[[], object]:
        def act() -> None:
            agent.write(PRIMARY.replace("primary: eth1", f"primary: {primary}"))
            assert (found := engine.apply(root, NODE)).ok, found.complaints

        return act

    through(agent, one, apply("eth2"), "eth2")
    through(agent, one, apply("eth1"), "eth1")
    agent.start()


def test_an_agent_that_starts_makes_up_for_what_it_has_missed(agent: Host, silent: Callable[[], Silent]) -> None:
    one = silent()
    one.speak()
    agent.stop()
    agent.harm("oob-bo", SetBond(Bond(primary="eth2")))
    agent.harm("oob-bo", SetBond(Bond(primary="eth2")))
    assert leg(agent) == "eth2"
    with one.stream():
        time.sleep(0.6)
        assert not one.arrived, "nobody has said where it is now"
        agent.start()
        agent.wait(lambda: one.arrived)


def neighbour_mac(host: Host) -> str:
    """Where the outside thinks that 10.60.0.1 is."""
    text = host.world.inside(f"{NODE}-out", lambda: Path("/proc/thread-self/net/arp").read_text())
    return next((line.split()[3] for line in text.splitlines() if line.startswith("10.60.0.1 ")), "")


def test_a_new_mac_of_the_bridge_is_announced(agent: Host) -> None:
    mac = bridge_mac(agent)

    def ask() -> None:
        out = agent.world.inside(f"{NODE}-out", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with out:
            out.sendto(b"", ("10.60.0.1", 9))

    ask()
    agent.wait(lambda: neighbour_mac(agent) == mac)
    time.sleep(1.2)  # within a second only what is gratuitous may change it (`arp_process`, LOCKTIME)
    assert agent.harm("oob-br", SetLink(mac="02:00:00:00:00:99")) is None
    took = agent.wait(lambda: neighbour_mac(agent) == "02:00:00:00:00:99", 3, 0.002)
    back = agent.wait(lambda: neighbour_mac(agent) == mac, 5, 0.002)
    print(
        f"\nthe outside knows it after {took * 1000:.0f} ms, and the one put back by the agent after {back * 1000:.0f}"
    )


def test_another_mac_address_is_announced_by_the_plan_that_gives_it(agent: Host) -> None:
    """`hardwareAddr`, there and back, without the agent."""
    agent.stop()
    engine, root = LabEngine(), agent.world.root(NODE)
    given = '\n    linkAttributes: {hardwareAddr: "02:00:00:00:00:55"}'
    with agent.world.inside(f"{NODE}-out", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
        for what in (given, ""):
            out.sendto(b"", ("10.60.0.1", 9))
            agent.wait(lambda: neighbour_mac(agent) == bridge_mac(agent))
            before = bridge_mac(agent)
            time.sleep(1.2)  # within a second only what is gratuitous may change it (`arp_process`, LOCKTIME)
            agent.write(PRIMARY.replace("primary: eth1}", f"primary: eth1}}{what}"))
            assert (found := engine.apply(root, NODE)).ok, found.complaints
            assert bridge_mac(agent) != before, found.words
            took = agent.wait(lambda: neighbour_mac(agent) == bridge_mac(agent), 1.5, 0.002)
            print(f"\n{bridge_mac(agent)}: the outside knows it {took * 1000:.0f} ms after the plan")
    agent.start()


def bridge_mac(host: Host) -> str:
    return str(host.kernel.observe().state.links[IfName("oob-br.100")].mac)
