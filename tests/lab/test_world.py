"""What a scenario becomes, looked at in the kernel; and that the probes see what they are for."""

from __future__ import annotations

import struct
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from windrow.lab import probe
from windrow.lab.checks import Checker
from windrow.lab.errors import LabError
from windrow.lab.scenario import End, Isolated, Reach, Scenario
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World, mac_of
from windrow.model.host import Bond, Bridge, PortVlans
from windrow.model.values import IfName, VidSet
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel

# Two nodes whose bridges are made by hand here: what Windrow would do is not what these tests are about.
TEXT = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: trial}
spec:
  nodes:
    - name: t-node
      nics: [eth0, eth1, eth2, spare]
      management: {nics: [eth0, eth1], vlan: 50, address: 10.50.0.11/24, gateway: 10.50.0.1}
    - {name: t-other, nics: [eth2]}
  switches:
    - name: t-sw
      ports:
        - {names: [p1, p2]}
        - {names: [p3, p4], native: 1, vlans: "100,200"}
        - {name: p5, native: 0, vlans: "50,100,200"}
        - {name: p6, native: 200}
      groups:
        - {name: lag0, mode: static, ports: [p1, p2], native: 1, vlans: "50"}
  hosts:
    - name: t-host
      role: dhcp
      nics:
        - name: eth0
          addresses: {50: 10.50.0.1/24, 100: 10.1.0.1/24, 200: 10.2.0.1/24}
          leases: {200: 10.2.0.100-10.2.0.199}
    - name: t-access
      nics: [{name: eth0, addresses: {untagged: 10.2.0.2/24}}]
  cables:
    - ["t-node:eth0", "t-sw:p1"]
    - ["t-node:eth1", "t-sw:p2"]
    - ["t-node:eth2", "t-sw:p3"]
    - ["t-other:eth2", "t-sw:p4"]
    - ["t-host:eth0", "t-sw:p5"]
    - ["t-access:eth0", "t-sw:p6"]
  endpoints:
    - {name: t-a100, node: t-node, network: v100, address: 10.1.0.11/24}
    - {name: t-b100, node: t-other, network: v100, address: 10.1.0.12/24}
    - {name: t-a200, node: t-node, network: v200, address: dhcp}
    - {name: t-b200, node: t-other, network: v200, address: 10.2.0.12/24}
"""
NADS = "\n---\n".join(
    f"""\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: v{vid}, namespace: default}}
spec:
  config: '{{"cniVersion": "0.3.1", "name": "v{vid}", "type": "bridge", "bridge": "t-br", "vlan": {vid}}}'
"""
    for vid in (100, 200)
)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return parse(Texts("trial.yaml", TEXT, {"nads.yaml": NADS}))


@pytest.fixture(scope="module")
def world(scenario: Scenario) -> Iterator[World]:
    built = World(scenario)
    built.build(lambda _: None)
    assert built.attach() == (), "no bridge is there yet, so nobody can be plugged in"
    for node in ("t-node", "t-other"):
        rtnl = built.rtnl(node)
        rtnl.run(links.create("t-br", "bridge", data={"vlan_filtering": 1, "stp": 0}, up=True))
        rtnl.run(links.set_master("eth2", rtnl.index("t-br")))
        rtnl.run(links.add_vlans(rtnl.index("eth2"), PortVlans(tagged=VidSet.of([100, 200]))))
    assert built.attach() == ("t-a100", "t-b100", "t-a200", "t-b200")
    yield built
    built.close()
    assert not set(netns.names()) & set(scenario.places())


def test_the_switch(world: World) -> None:
    with Kernel("t-sw") as kernel:
        state = kernel.observe().state
    assert isinstance(state.links[IfName("br0")].spec, Bridge)
    one = VidSet.of([1])
    assert state.links[IfName("p3")].vlans == PortVlans(pvid=1, untagged=one, tagged=VidSet.of([100, 200]))
    assert state.links[IfName("p5")].vlans == PortVlans(tagged=VidSet.of([50, 100, 200]))
    assert state.links[IfName("p6")].vlans == PortVlans(pvid=200, untagged=VidSet.of([200]))
    assert state.links[IfName("lag0")].vlans == PortVlans(pvid=1, untagged=one, tagged=VidSet.of([50]))
    lag = state.links[IfName("lag0")].spec
    assert isinstance(lag, Bond)
    assert lag.mode == "balance-xor"
    assert {n for n, link in state.links.items() if link.master == "lag0"} == {"p1", "p2"}


def test_the_management_network_is_as_an_installer_leaves_it(world: World) -> None:
    with Kernel("t-node") as kernel:
        observed = kernel.observe()
    found = observed.state.links
    assert found[IfName("mgmt-br.50")].addrs == {"10.50.0.11/24"}
    assert found[IfName("mgmt-bo")].master == "mgmt-br"
    assert found[IfName("mgmt-bo")].vlans == PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.of([50]))
    assert 50 in (found[IfName("mgmt-br")].self_vlans or PortVlans()).tagged
    assert not any(observed.owned(name) for name in found), "nothing of it is Windrow's"
    assert any(r.dst == "default" and r.gateway == "10.50.0.1" for r in observed.state.routes)


def test_nics_keep_their_permanent_macs(world: World) -> None:
    with Kernel("t-node") as kernel:
        nics = kernel.nics()
    for name in ("eth0", "eth1", "eth2", "spare"):
        assert nics[IfName(name)].mac == mac_of(End("t-node", name))


def test_a_nic_without_a_cable_has_no_carrier(world: World) -> None:
    with Kernel("t-node") as kernel:
        runtime = kernel.observe().runtime
    assert not runtime[IfName("spare")].carrier
    assert runtime[IfName("eth2")].carrier


def test_a_pulled_cable(world: World) -> None:
    end = End("t-node", "eth2")
    with Kernel("t-node") as kernel:
        world.pull(end)
        assert not kernel.observe().runtime[IfName("eth2")].carrier
        world.plug(end)
        assert kernel.observe().runtime[IfName("eth2")].carrier


def test_an_address_by_dhcp(world: World) -> None:
    assert world.leases["t-a200"].startswith("10.2.0.1")
    with Kernel("t-a200") as kernel:
        assert kernel.observe().state.links[IfName("eth0")].addrs == {world.leases["t-a200"]}


def test_ping(world: World) -> None:
    names = ("t-a100", "t-b100", "t-host/100", "t-b200")
    a100, b100, host, b200 = (world.station(name) for name in names)
    found = probe.ping([(a100, b100), (b100, a100), (a100, host), (a100, b200)], deadline_s=2)
    assert found["t-a100", "t-b100"] is not None
    assert found["t-b100", "t-a100"] is not None
    assert found["t-a100", "t-host/100"] is not None
    assert found["t-a100", "t-b200"] is None


@pytest.fixture
def checker(world: World) -> Checker:
    def never(*_: object) -> int:
        raise AssertionError("no plan is made here")

    return Checker(world, *([never] * (len(Checker.__slots__) - 1)))  # type: ignore[arg-type]


GROUPS = (("t-a100", "t-b100", "t-host/100"), ("t-a200", "t-b200", "t-host/200", "t-access"), ("t-node", "t-host/50"))


def test_vlans_stay_apart(checker: Checker) -> None:
    result = checker.run(Isolated(name="apart", groups=GROUPS))
    assert result.ok, result.detail
    assert result.measured["strays"] == 0
    assert result.measured["at_home"] > 50


def test_a_leak_is_found(world: World, checker: Checker) -> None:
    """Harvester's #8816 at its worst: the port of one VM lets another VLAN out untagged."""
    rtnl = world.rtnl("t-other")
    port = rtnl.index("ve-t-b200")
    rtnl.run(links.add_vlans(port, PortVlans(untagged=VidSet.of([100]))))
    try:
        result = checker.run(Isolated(name="apart", groups=GROUPS))
    finally:
        rtnl.run(links.delete_vlans(port, VidSet.of([100])))
    assert not result.ok
    assert "t-a100 → t-b200" in result.detail


def test_a_deaf_capture_is_no_proof(checker: Checker, world: World) -> None:
    world.pull(End("t-other", "eth2"))
    try:
        result = checker.run(Isolated(name="apart", groups=(("t-a100", "t-b100"), ("t-a200",))))
    finally:
        world.plug(End("t-other", "eth2"))
    assert not result.ok
    assert "heard nobody" in result.detail


def test_everyone_in_a_vlan_is_reached(checker: Checker) -> None:
    for group in GROUPS:
        result = checker.run(Reach(name="reach", sources=group, targets=group))
        assert result.ok, result.detail


def test_a_capture_sees_the_tag(world: World) -> None:
    host = probe.Station("trunk", "eth0", lambda fn: world.inside("t-host", fn), trunk=True)
    pairs = [(world.station("t-a100"), world.station("t-host/100"))]
    timer = threading.Timer(0.7, probe.ping, args=[pairs], kwargs={"deadline_s": 1})
    timer.start()
    frames = probe.capture(host, 2.0, lambda f: not f.outgoing and f.data[12:14] == struct.pack("!H", 0x0800))
    timer.join()
    assert frames
    assert {frame.vid for frame in frames} == {100}


def test_an_idle_path_loses_nothing(world: World) -> None:
    a, b = world.station("t-a100"), world.station("t-b100")
    assert all(ms is not None for ms in probe.ping([(a, b), (b, a)], deadline_s=2).values())
    with probe.Flow(a, b) as flow:
        time.sleep(3)
    for way in flow.result:
        assert way.sent > 1000
        assert (way.lost, way.duplicated, way.late) == (0, 0, 0)


def test_a_flow_counts_what_is_lost(world: World) -> None:
    a, b = world.station("t-a100"), world.station("t-b100")
    with probe.Flow(a, b) as flow:
        time.sleep(0.5)
        world.pull(End("t-node", "eth2"))
        time.sleep(0.4)
        world.plug(End("t-node", "eth2"))
        time.sleep(2.0)
    for way in flow.result:
        # The bridge hears of a carrier that came back within a second (`linkwatch_schedule_work`).
        assert 150 <= way.lost <= 850
        assert 300 <= way.longest_ms <= 1700
        assert way.received > 500


def test_names_that_are_not_there(world: World) -> None:
    with pytest.raises(LabError, match="there is no station"):
        world.station("t-nobody")
    with pytest.raises(LabError, match="there is no 't-nobody'"):
        world.place("t-nobody")


def test_ip_netns_finds_the_places(world: World) -> None:
    done = subprocess.run(["ip", "netns", "exec", "t-host", "cat", "/proc/sys/net/ipv4/ip_forward"], check=True)
    assert done.returncode == 0


def test_endpoints_are_plugged_in_again_though_the_namespace_of_before_is_still_going(world: World) -> None:
    """The kernel takes a namespace apart later (`cleanup_net`); somebody may hold it for longer."""
    with netns.opened("t-other"):
        world.power.cut("t-other")
        world.power.boot("t-other")
        rtnl = world.rtnl("t-other")
        rtnl.run(links.create("t-br", "bridge", data={"vlan_filtering": 1, "stp": 0}, up=True))
        assert world.attach("t-other") == ("t-b100", "t-b200")


def test_endpoints_follow_a_bridge_that_is_made_anew(world: World) -> None:
    """As `ip link del` and a repair leave it; and who has his bridge is left alone."""
    rtnl = world.rtnl("t-node")
    rtnl.run(links.delete("t-br"), links.create("t-br", "bridge", data={"vlan_filtering": 1, "stp": 0}, up=True))
    rtnl.run(links.set_master("eth2", rtnl.index("t-br")))
    rtnl.run(links.add_vlans(rtnl.index("eth2"), PortVlans(tagged=VidSet.of([100, 200]))))

    def ports() -> dict[str, tuple[str | None, PortVlans | None]]:
        found = world.inside("t-node", Kernel)
        with found:
            seen = found.observe().state.links
        return {name: (seen[IfName(name)].master, seen[IfName(name)].vlans) for name in ("ve-t-a100", "ve-t-a200")}

    assert {master for master, _ in ports().values()} == {""}
    world.replug_stranded()
    assert ports() == {
        "ve-t-a100": ("t-br", PortVlans(pvid=100, untagged=VidSet.of([100]))),
        "ve-t-a200": ("t-br", PortVlans(pvid=200, untagged=VidSet.of([200]))),
    }
    rtnl.run(links.set_master("ve-t-a100", None))
    world.replug_stranded()
    assert ports()["ve-t-a100"][0] == "", "somebody took it out of a bridge that is still there"
    rtnl.run(links.set_master("ve-t-a100", rtnl.index("t-br")))
