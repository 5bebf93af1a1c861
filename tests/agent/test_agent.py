"""The agent on a real kernel: it brings a node to its manifests, follows them, repairs, gives up a fight, and costs
nothing when there is nothing to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import a_host, manifests
from tests.agent.patient import spent

from windrow.apps.agent.keeper import STATE
from windrow.lab.guest.run import enter
from windrow.lab.kernel.launch import mount
from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.cluster import Cluster
from windrow.model.host import Bond, Bridge, BridgePort, LinkFlags, PortVlans
from windrow.model.steps import (
    Action,
    DelAddr,
    DeleteLink,
    SetBond,
    SetBridge,
    SetLink,
    SetMark,
    SetMaster,
    SetPort,
    SetSysctl,
    SetVlanFlags,
    SetVlans,
)
from windrow.model.values import Cidr, IfName, VidSet
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.netlink.lock import locked

NODE = "a-node"
CALM_S = 16.0
"""What the agent did comes back to it as announcements, and the kernel announces a new bridge once more after 13 s."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with a_host(NODE) as host:
        host.write(manifests(NODE))
        host.start()
        host.right(host.cluster())
        yield host
        assert host.stop() == 0, "SIGTERM ends it cleanly"
        assert host.status() is None and not host.differences(host.cluster()), "the network stays"


@pytest.fixture
def good(host: Host) -> Iterator[Cluster]:
    """The network is right before the test; and its manifests are as they were after it."""
    cluster = host.cluster()
    host.right(cluster)
    yield cluster
    host.write(manifests(NODE))
    host.right(host.cluster(), 60)


VIDS = VidSet.of([300, 301])
DRIFT: dict[str, tuple[str, Action]] = {
    "a bond's option": ("oob-bo", SetBond(Bond(miimon=70))),
    "a bridge that filters no more": ("oob-br", SetBridge(Bridge(vlan_filtering=False))),
    "a VLAN too many on the uplink": ("oob-bo", SetVlans(add=PortVlans(tagged=VIDS))),
    "a VLAN that is missing": ("oob-bo", SetVlans(remove=VidSet.of([100]))),
    "a VLAN too many on the bridge": ("oob-br", SetVlans(add=PortVlans(tagged=VIDS), on_self=True)),
    "MTU": ("oob-bo", SetLink(mtu=1400)),
    "MAC of the bridge": ("oob-br", SetLink(mac="02:00:00:00:00:99")),
    "promiscuity": ("oob-br", SetLink(promisc=False)),
    "a bridge that is down": ("oob-br", SetLink(up=False)),
    "a bond that is down": ("oob-bo", SetLink(up=False)),
    "a bond out of its bridge": ("oob-bo", SetMaster(None)),
    "a NIC out of its bond": ("eth2", SetMaster(None)),
    "no bridge": ("oob-br", DeleteLink()),
    "no bond": ("oob-bo", DeleteLink()),
    "no VLAN interface": ("oob-br.100", DeleteLink()),
    "an address that is missing": ("oob-br.100", DelAddr(Cidr("10.60.0.1/24"))),
    **{f"{key} that see bridged frames": ("", SetSysctl(key, "1")) for key in BRIDGE_NETFILTER},
    "a link that takes routers": ("oob-br.100", SetSysctl("net/ipv6/conf/oob-br.100/accept_ra", "1")),
    "an uplink that is disabled as a port": ("oob-bo", SetPort(BridgePort(forwarding=False))),
    "an uplink that floods no more": ("oob-bo", SetPort(BridgePort(unicast_flood=False, learning=False))),
    "a bridge of providers": ("oob-br", SetBridge(Bridge(vlan_protocol=0x88A8))),
    "a bridge that snoops": ("oob-br", SetBridge(Bridge(mcast_snooping=True))),
    "no ARP": ("oob-br.100", SetLink(flags=LinkFlags(arp=False))),
    "carrier of its own": ("oob-br.100", SetVlanFlags(frozenset({"bridge_binding"}))),
    "no group": ("oob-br", SetMark(group=0)),
    "no second mark": ("oob-bo", SetMark(stale=("oob-bo",))),
    "a NIC in the wrong place": ("eth1", SetMaster(IfName("oob-br"))),
}


def netfilter(host: Host) -> set[str]:
    return set(host.kernel.observe().state.sysctls.values())


def test_drift_of_any_kind_is_repaired_soon_and_told(host: Host, good: Cluster) -> None:
    """Each is another difference, or far enough from the last one: no fight."""
    times: dict[str, float] = {}
    for what, (link, action) in DRIFT.items():
        told = sum(e.count for e in host.events())
        assert host.harm(link, action) is None, what
        times[what] = host.right(good)
        host.wait(lambda: "1" not in netfilter(host))
        host.wait(lambda told=told: sum(e.count for e in host.events()) > told)
    worst = max(times, key=lambda what: times[what])
    median = sorted(times.values())[len(times) // 2]
    print(f"{len(times)} kinds of drift: median {median:.3f} s, longest {times[worst]:.3f} s ({worst})")
    assert times[worst] < 5.0, times
    messages = [e.message for e in host.events() if e.reason == "Repaired"]
    print("\n".join(m for m in messages if "port." in m or "mark" in m or "flags" in m))
    assert "repaired oob-bo: miimon was 70, is 100" in messages
    assert any(m.startswith("repaired oob-br.100: it was gone") for m in messages), messages
    assert any("10.60.0.1/24" in m for m in messages), messages


def test_an_interface_that_takes_a_vlan_is_told_and_that_it_is_gone(host: Host, good: Cluster) -> None:
    rtnl = host.kernel.rtnl
    rtnl.run(links.create("thief", "vlan", parent=rtnl.index("oob-bo"), data={"vid": 100}))
    host.wait(lambda: any(e.reason == "VlanTaken" and e.message.startswith("thief, ") for e in host.events()))
    host.wait(lambda: [c.about.kind for c in host.conditions() if c.type == "VlanTaken" and c.status] == ["VlanConfig"])
    assert not host.differences(good), "nothing is done about it, and nothing else is wrong"
    rtnl.run(links.delete("thief"))
    host.wait(lambda: any(e.reason == "NoVlanTaken" for e in host.events()))


def test_one_in_another_network_namespace_is_told_too(host: Host, good: Cluster) -> None:
    """No announcement of this namespace is about it, and no look shows it: the kernel is asked, for it spoke of the
    link that the thief stands on."""
    rtnl, elsewhere = host.kernel.rtnl, netns.new()
    words = "an interface in another network namespace takes VLAN 100 on eth1"

    def taken() -> bool:
        return any(c.type == "VlanTaken" and words in c.message for c in host.conditions())

    host.stop()
    host.start(steady=False)  # asking takes a kernel's own socket
    try:
        host.wait(lambda: host.status() is not None)
        rtnl.run(links.create("hidden", "vlan", parent=rtnl.index("eth1"), data={"vid": 100}, netns_fd=elsewhere))
        took = host.wait(taken)
        assert any(e.reason == "VlanTaken" and words in e.message for e in host.events())
        assert not host.differences(good), "nothing is done about it"
        with Kernel(elsewhere) as there:
            there.rtnl.run(links.delete("hidden"))
        gone = host.wait(lambda: not taken())
        print(f"told after {took:.2f} s, and that it is gone after {gone:.2f} s")
    finally:
        os.close(elsewhere)
        host.stop()
        host.start()


def test_manifests_that_change_break_and_vanish(host: Host, good: Cluster) -> None:
    host.write(manifests(NODE, miimon=200, vid=200))
    host.wait(lambda: host.cluster() != good)
    took = host.right(host.cluster())
    print(f"an edit is carried out after {took:.2f} s")
    edited = host.cluster()
    host.wait(lambda: "oob-200" in host.paths.last_good.read_text())
    broken = manifests(NODE, miimon=300)
    host.write(broken[: broken.index(", eth2]")])
    host.wait(lambda: host.bad() & {"ManifestsUnreadable", "Rejected"})
    assert not host.differences(edited)
    host.write("{[garbage")
    host.wait(lambda: "ManifestsUnreadable" in host.bad())
    assert not host.differences(edited)
    aside = host.paths.manifests.with_name("aside")
    host.paths.manifests.rename(aside)
    host.wait(lambda: any("not there" in c.message for c in host.conditions()))
    assert not host.differences(edited)
    aside.rename(host.paths.manifests)
    host.write(manifests(NODE, miimon=200, vid=200))
    host.wait(lambda: not host.bad())
    shutil.rmtree(host.paths.manifests)
    host.wait(lambda: "ManifestsUnreadable" in host.bad())
    assert not host.differences(edited)
    host.paths.manifests.mkdir()


def repairs(host: Host) -> int:
    return sum(e.count for e in host.events() if e.message == "repaired oob-bo: miimon was 33, is 100")


def test_a_fight_is_given_up_until_somebody_decides(host: Host, good: Cluster) -> None:
    """Another program that sets an option back each time."""
    assert "Contested" not in host.bad()
    for _ in range(3):
        told = repairs(host)
        assert host.harm("oob-bo", SetBond(Bond(miimon=33))) is None
        host.wait(lambda told=told: repairs(host) > told)
    host.wait(lambda: "Contested" in host.bad())
    assert host.harm("oob-bo", SetBond(Bond(miimon=33))) is None
    time.sleep(1)
    assert host.differences(good) == ["oob-bo bond.miimon"]
    assert host.harm("oob-bo", SetLink(mtu=1300)) is None
    host.wait(lambda: host.differences(good) == ["oob-bo bond.miimon"])
    host.write(manifests(NODE, miimon=150))
    host.wait(lambda: host.cluster() != good and not host.differences(host.cluster()))
    host.wait(lambda: "Contested" not in host.bad())


def test_another_one_s_lock_is_waited_for(host: Host, good: Cluster) -> None:
    with locked(host.paths.turn, timeout_s=20):
        assert host.harm("oob-bo", SetLink(mtu=1350)) is None
        host.wait(lambda: "waiting: another one" in host.said())
        assert host.differences(good)
    host.right(good)


def test_a_second_agent_does_not_start(host: Host, good: Cluster) -> None:
    first, host.pid = host.pid, 0
    host.start()
    _, status = os.waitpid(host.pid, 0)
    host.pid = first
    assert os.waitstatus_to_exitcode(status) == 1
    assert f"another agent is at work on this node (pid {first})" in host.said()


def test_an_overflow_of_announcements_loses_nothing(host: Host, good: Cluster) -> None:
    """The agent is stopped while more comes than its buffer holds."""
    import signal

    from windrow.netlink import links

    os.kill(host.pid, signal.SIGSTOP)
    host.kernel.rtnl.run(links.create("noise", "dummy"))
    toggle = [links.set_link("noise", up=up) for up in (False, True)] * 128
    for _ in range(40):
        host.kernel.rtnl.run(*toggle)
    assert host.harm("oob-bo", SetBond(Bond(miimon=30))) is None
    os.kill(host.pid, signal.SIGCONT)
    host.right(good)
    host.wait(lambda: "came too fast" in host.log.read_text())
    host.kernel.rtnl.run(links.delete("noise"))


def test_the_socket_answers_and_only_its_own_may_ask(host: Host, good: Cluster) -> None:
    import socket
    import stat

    mode = host.paths.agent_socket.stat().st_mode
    assert stat.S_IMODE(mode) & 0o007 == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(host.paths.agent_socket))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"windrow_" in data


def test_it_costs_nothing_when_nothing_happens() -> None:
    """A process of its own, as systemd would start it."""
    idle_s = float(os.environ.get("WINDROW_IDLE_S", "10"))
    with a_host("i-node") as host:
        host.write(manifests("i-node"))
        argv = [
            sys.executable,
            "-m",
            "windrow.apps.cli.main",
            "--root",
            str(host.paths.root),
            "--node",
            "i-node",
            "agent",
        ]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with host.log.open("wb") as log:
            process = subprocess.Popen(argv, stderr=log, env=env, preexec_fn=lambda: enter(host.world.place("i-node")))
        try:
            host.right(host.cluster(), 60)
            host.wait(host.status)
            time.sleep(CALM_S)
            used, woken = min(spent(process.pid, idle_s) for _ in range(2))
            with open(f"/proc/{process.pid}/status") as status:
                rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            print(f"idle for {idle_s:.0f} s: {used} ticks, {woken} wake-ups of all threads; {rss / 1024:.1f} MiB")
            assert used == 0 and woken <= 4
            assert rss < 60 * 1024
        finally:
            process.terminate()
            assert process.wait(30) == 0


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextmanager
def full(directory: Path) -> Iterator[Callable[[], None]]:
    """A file system of its own with not a byte left in it; what is yielded makes room."""
    directory.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", str(directory), "tmpfs", options="size=64k")
    ballast = directory / "ballast"
    try:
        with pytest.raises(OSError, match="No space left"):
            fill(ballast)
        yield ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def test_a_disk_that_is_full_is_told_and_stops_nothing() -> None:
    with a_host("f-node") as host, full(host.paths.state) as make_room:
        host.write(manifests("f-node"))
        host.start()
        host.right(host.cluster())
        host.wait(lambda: STATE in host.bad())
        assert any("No space left" in c.message for c in host.conditions()), host.conditions()
        assert host.harm("oob-br", DeleteLink()) is None
        host.right(host.cluster())
        assert not host.paths.last_good.exists()
        make_room()
        assert host.harm("oob-br", SetLink(up=False)) is None
        host.wait(lambda: STATE not in host.bad())
        host.right(host.cluster())
        assert host.paths.last_good.exists()
        assert host.stop() == 0
