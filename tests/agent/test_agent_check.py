"""Agents that probe: what they know follows the switches, and whoever asks them is answered at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.agents import Host
from tests.lab.checkworld import NODES, Checked, checked

from windrow.apps.check.ask import ask
from windrow.apps.check.settings import Settings
from windrow.apps.check.told import Told, rows
from windrow.apps.known import agent_status
from windrow.model.values import VidSet
from windrow.netlink import ingress
from windrow.netlink.kernel import Kernel
from windrow.render.vlanmatrix import State
from windrow.status.findings import GONE, OUTSIDE
from windrow.store.paths import Paths

INTERVAL_S = 12.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Checked]:
    with checked() as one:
        yield one


@pytest.fixture
def hosts(lab: Checked) -> Iterator[dict[str, Host]]:
    with Kernel() as kernel:
        features = kernel.features()
    settings = Settings(interval_s=INTERVAL_S, skipped={"oob": VidSet.parse("30")})
    found = {node: Host(lab.world, node, features, settings) for node in NODES}
    try:
        for host in found.values():
            host.start()
        yield found
    finally:
        for host in found.values():
            host.close()


def socket_of(lab: Checked, node: str) -> Path:
    return Paths(lab.world.root(node)).agent_socket


def told_by(lab: Checked, node: str) -> Told | None:
    try:
        return ask(socket_of(lab, node))
    except Exception:  # noqa: BLE001 - it has just begun
        return None


def wrong(lab: Checked, node: str) -> dict[tuple[str, int], State] | None:
    """None: not all are known yet."""
    told = told_by(lab, node)
    if told is None or not told.answered:
        return None
    found = {(row.node, vid): state for row in rows(told, lab.cluster) for vid, state in row.cells.items()}
    assert {vid for _, vid in found} == {10, 20}, "VLAN 30 is not to be probed"
    return {at: state for at, state in found.items() if state is not State.PASSES}


def test_what_agents_know_follows_the_switch(lab: Checked, hosts: dict[str, Host]) -> None:
    first = hosts["n1"].wait(lambda: wrong(lab, "n1") == {}, 60)
    with lab.without_vlan("s2", "p5", 20), lab.without_vlan("s2", "p6", 20):
        missing = {("n3", 20): State.NOT_THERE}
        taken = hosts["n1"].wait(lambda: wrong(lab, "n1") == missing, 3 * INTERVAL_S)
        for node in NODES:
            hosts[node].wait(lambda node=node: wrong(lab, node) == missing, 3 * INTERVAL_S)  # type: ignore[misc]
    back = hosts["n1"].wait(lambda: wrong(lab, "n1") == {}, 3 * INTERVAL_S)
    print(
        f"healthy after {first:.1f} s, missing after {taken:.1f} s, back after {back:.1f} s, a sweep each {INTERVAL_S}"
    )
    assert taken <= INTERVAL_S + 5
    for host in hosts.values():  # each judges by itself, after a sweep of its own
        host.wait(lambda host=host: not host.bad(), INTERVAL_S)  # type: ignore[misc]


def test_the_command_asks_the_agent(lab: Checked, hosts: dict[str, Host]) -> None:
    """Nothing is sent twice, and the agent sweeps at once."""
    hosts["n2"].wait(lambda: wrong(lab, "n2") == {}, 60)
    before = told_by(lab, "n2")
    assert before is not None
    done = windrow(lab, "n2", "check", "-o", "json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    document = json.loads(done.stdout)
    assert document["result"] == "healthy"
    assert document["sweeps"] > before.sweeps
    assert document["authenticated"] is False
    assert {row["node"]: row["vlans"] for row in document["matrix"]} == {node: {"passes": "10,20"} for node in NODES}
    table = windrow(lab, "n2", "check", "--node", "n3", "--vlan", "20", "--for", "2s")
    assert "n3     ✓\n" in table.stdout
    assert "n1" not in table.stdout
    assert "not authenticated" in table.stdout
    alone = windrow(lab, "n2", "--node", "n2", "check", "--for", "1s", "--vlan", "999")
    assert alone.returncode == 3, "no such VLAN is known of"


def windrow(lab: Checked, node: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WINDROW_ROOT": str(lab.world.root(node)), "WINDROW_NODE": node}
    return lab.world.inside(
        node, lambda: subprocess.run(["windrow", *words], capture_output=True, text=True, env=environment, check=False)
    )


def filters(lab: Checked, node: str) -> list[str]:
    """The NICs and ports that end probes."""
    rtnl = lab.world.rtnl(node)
    return sorted(name for name, index in rtnl.indexes().items() if ingress._ours(rtnl, index) is not None)


def test_filters_live_as_long_as_the_agent_probes(lab: Checked, hosts: dict[str, Host]) -> None:
    """Also where it was killed in between."""
    host = hosts["n3"]
    expected = ["eth0", "eth1", "ve-guest"]
    host.wait(lambda: filters(lab, "n3") == expected)
    host.kill()
    assert filters(lab, "n3") == expected
    host.start()
    host.wait(lambda: wrong(lab, "n1") == {}, 60)
    assert host.stop() == 0
    assert filters(lab, "n3") == []
    assert told_by(lab, "n3") is None


def test_a_port_that_comes_later_can_send_none(lab: Checked, hosts: dict[str, Host]) -> None:
    host = hosts["n1"]
    host.wait(lambda: "ve-trunk" in filters(lab, "n1"))
    rtnl = lab.world.rtnl("n1")
    ingress.let_frames(rtnl, "ve-trunk")
    host.wait(lambda: "ve-trunk" in filters(lab, "n1"), 2 * INTERVAL_S + 5)


def test_memory_and_answers(lab: Checked) -> None:
    """Of real processes; the health is asked while it probes."""
    sizes = {}
    for words in ((), ("--check", "5s")):
        environment = {**os.environ, "WINDROW_ROOT": str(lab.world.root("n2")), "WINDROW_NODE": "n2"}
        agent = lab.world.inside(
            "n2",
            lambda: subprocess.Popen(["windrow", "agent", *words], env=environment, stderr=subprocess.DEVNULL),  # noqa: B023
        )
        end = time.monotonic() + 60
        while time.monotonic() < end and not _is_ready(lab, probes=bool(words)):
            time.sleep(0.2)
        time.sleep(5)
        status = Path(f"/proc/{agent.pid}/status").read_text()
        sizes[words] = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
    more = sizes["--check", "5s"] - sizes[()]
    print(f"memory of the agent: {sizes[()]} kB, with probes {more} kB more")
    assert more < 8 * 1024


def _is_ready(lab: Checked, *, probes: bool) -> bool:
    if agent_status(Paths(lab.world.root("n2"))) is None:
        return False
    told = told_by(lab, "n2")
    return not probes or (told is not None and told.sweeps > 0)


def told_of(host: Host, reason: str, since: int) -> list[str]:
    """Of the events but the first ones, which are of tests before: they stay on the disk."""
    return [e.message for e in host.events()[since:] if e.reason == reason]


def outside(host: Host) -> dict[str, bool | None]:
    """Object -> its condition."""
    return {str(c.about): c.status for c in host.conditions() if c.type == OUTSIDE}


def test_what_is_wrong_outside_is_told_by_whose_port_it_is(lab: Checked, hosts: dict[str, Host]) -> None:
    """A condition, an event as it comes and one as it goes, however many sweeps it lasts; and nothing elsewhere."""
    one, other = hosts["n3"], hosts["n1"]
    for host in hosts.values():
        host.wait(lambda host=host: set(outside(host).values()) == {False}, 60)  # type: ignore[misc]
    events = {node: len(host.events()) for node, host in hosts.items()}
    with lab.without_vlan("s2", "p5", 20):
        took = one.wait(lambda: outside(one) == {"VlanConfig/backup": True}, 5 * INTERVAL_S)
        time.sleep(2 * INTERVAL_S)
        status = one.status()
        assert status is not None
        assert [(f.reason, f.grave) for f in status.outside] == [("VlanMissing", True)], status.outside
        assert "n3/eth0" in status.outside[0].message
        assert status.outside[0].hint
        assert len(told_of(one, "VlanMissing", events["n3"])) == 1
        shown = windrow(lab, "n3", "status").stdout
        assert "VLAN 20" in shown, shown
        described = windrow(lab, "n3", "get", "vlanconfig", "backup", "-o", "yaml").stdout
        assert "OutsideFaulty" in described, described
        metrics = answered(lab, "n3", "/metrics")
        assert 'windrow_findings{reason="VlanMissing",grade="error"' in metrics
    back = one.wait(lambda: outside(one) == {"VlanConfig/backup": False}, 5 * INTERVAL_S)
    print(f"told after {took:.1f} s, over after {back:.1f} s, a sweep each {INTERVAL_S}")
    assert len(told_of(one, GONE, events["n3"])) == 1
    assert len(one.events()) == events["n3"] + 2, one.events()
    assert len(other.events()) == events["n1"], other.events()
    assert other.status() is not None
    for node in NODES:
        assert 'grade="error"' not in answered(lab, node, "/metrics")


def answered(lab: Checked, node: str, path: str) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(socket_of(lab, node)))
        asking.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: asking.recv(65536), b"")).decode()


def test_a_link_between_switches_is_told_as_such_by_all_and_soon(lab: Checked, hosts: dict[str, Host]) -> None:
    """Without LLDP. The fault is the same from its first moment on: nobody takes a part of it for another one."""
    for host in hosts.values():
        host.wait(lambda host=host: set(outside(host).values()) == {False}, 60)  # type: ignore[misc]
    events = {node: len(host.events()) for node, host in hosts.items()}
    begun = time.monotonic()
    with lab.without_vlan("s2", "isl", 10):
        for host in hosts.values():
            host.wait(lambda host=host: True in outside(host).values(), 5 * INTERVAL_S)  # type: ignore[misc]
        told = time.monotonic() - begun
        time.sleep(INTERVAL_S + 3)
        for host in hosts.values():
            status = host.status()
            assert status is not None
            assert [f.reason for f in status.outside] == ["SwitchLinkVlanMissing"], status.outside
    begun = time.monotonic()
    for host in hosts.values():
        host.wait(lambda host=host: set(outside(host).values()) == {False}, 5 * INTERVAL_S)  # type: ignore[misc]
    over = time.monotonic() - begun
    print(f"told by all after {told:.1f} s, over after {over:.1f} s, a sweep each {INTERVAL_S}")
    assert told <= INTERVAL_S + 5
    for node, host in hosts.items():
        came = [e.reason for e in host.events()[events[node] :]]
        assert came == ["SwitchLinkVlanMissing", GONE], host.events()
