"""Two machines on two nodes: what the checks say of them, and that each check can fail."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from windrow.apps.labguest import LabEngine
from windrow.lab import machinechecks
from windrow.lab.checks import Checker, Result
from windrow.lab.errors import LabError
from windrow.lab.scenario import Check, ForgedMac, Isolated, Lease, Matrix, Reach, Recreate
from windrow.lab.scenario_file import Texts, read
from windrow.lab.session import Session
from windrow.lab.vm import fleet
from windrow.model.host import PortVlans
from windrow.model.values import VidSet
from windrow.netlink import links, netns
from windrow.services import process
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

VMS = ("vm-b", "vm-d")
"""Of the seed: VLAN 200 on both nodes, and a VLAN 100 and the untagged network."""
CHECKED = Lease(name="x", endpoint="vm-b/vlan200", network="172.16.200.0/24", server="dhcp")


class Asked:
    """A request that nobody sent."""

    def __init__(self, **document: Any) -> None:
        self.document: Mapping[str, Any] = document
        self.said: list[str] = []
        self.out = b""

    def log(self, text: str, **more: Any) -> None:
        self.said.append(text)

    def output(self, data: bytes, *, errors: bool = False) -> None:
        self.out += data


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    texts = read("seed")
    lines = [line for line in texts.text.splitlines() if not any(f"name: {vm}," in line for vm in ("vm-a", "vm-c"))]
    text = "\n".join(lines).partition("  checks:")[0]
    made = Session(LabEngine(), sys.path)
    up = Asked(scenario=Texts("seed.yaml", text, texts.manifests).to_json())
    made.up(up)  # type: ignore[arg-type]
    assert any(line.startswith("vm-d on node-1: ") for line in up.said)
    pids = [guest.record.pid for guest in made.world.fleet.guests.values()]
    names = [guest.record.netns for guest in made.world.fleet.guests.values()]
    assert len(pids) == 2
    yield made
    made.world.close()
    assert not [one for one in pids if process.alive(_hypervisor(one))]
    assert not set(names) & set(netns.names())


def _hypervisor(pid: int) -> process.Process | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return process.Process(pid=pid, started=int(file.read().rpartition(")")[2].split()[19]))
    except FileNotFoundError:
        return None


@pytest.fixture
def checker(session: Session) -> Checker:
    engine, world = LabEngine(), session.world
    return Checker(
        world,
        steps_left=lambda node: engine.steps_left(world.root(node), node),
        change=lambda node, put, remove: engine.change(world.root(node), node, put, remove),
    )


def true(checker: Checker, check: Check) -> Result:
    found = checker.run(check)
    assert found.ok, found.detail
    return found


def false(checker: Checker, check: Check) -> Result:
    found = checker.run(check)
    assert not found.ok, found.detail
    return found


def port_of(session: Session, vm: str, network: str) -> tuple[str, str]:
    """(node, its end of the machine's link)."""
    guest = session.world.fleet.guest(vm)
    pod = next(nic.pod for nic in guest.record.nics if nic.network == network)
    records = PortRecords(Paths(session.world.root(guest.vm.node))).all()
    host = next(r.host for r in records if (r.container_id, r.ifname) == (guest.record.container_id, pod))
    return guest.vm.node, host


# Addresses ----------------------------------------------------------------------------------------


def test_a_lease_is_what_the_guest_says(checker: Checker, session: Session) -> None:
    found = true(checker, CHECKED)
    assert found.measured["server"] == "172.16.200.1"
    assert "says the guest" in found.detail
    false(checker, Lease(name="x", endpoint="vm-b/vlan200", network="10.0.0.0/8"))
    false(checker, Lease(name="x", endpoint="vm-b/vlan200", network="172.16.200.0/24", server="gateway"))
    assert "no lease" in false(checker, Lease(name="x", endpoint="vm-d/untagged", network="172.16.0.0/24")).detail
    leased = session.world.fleet.guest("vm-b").seen.leases
    assert leased["eth0"].address == "10.0.2.2/24", "the pod's own server gave it"


def test_commands_in_a_guest(session: Session) -> None:
    asked = Asked(node="vm-d", argv=["sh", "-c", "hostname; cat '/sys/class/net/eth2/address'; exit 3"])
    assert session.exec(asked) == {"exit": 3}  # type: ignore[arg-type]
    name, mac = asked.out.decode().split()
    assert (name, mac) == ("vm-d", session.world.fleet.guest("vm-d").record.nics[2].mac)
    with pytest.raises(LabError, match="windrow lab shell vm-d"):
        session.exec(Asked(node="vm-d", argv=["top"], tty=[24, 80]))  # type: ignore[arg-type]
    with pytest.raises(LabError, match="vm-d is a virtual machine"):
        session.world.place("vm-d")


def test_the_picture_shows_machines(session: Session) -> None:
    drawn = session.picture(Asked(columns=160))  # type: ignore[arg-type]
    address = session.world.fleet.guest("vm-b").seen.addresses["eth2"]
    assert re.search(rf"vlan200 +{address} +vlan 200 +━━━ oob-br", drawn["text"])
    assert re.search(r"untagged +172\.16\.0\.14/24 +1 untagged +━━━ oob-br", drawn["text"])
    assert re.search(r"default +10\.0\.2\.2/24 NAT 10\.52\.0\.\d+ .* wn-pods", drawn["text"])
    assert "vlan 200  vm-b (vlan200)" in drawn["text"]
    assert [drawn["svg"].count(f">{vm}</text>") for vm in ("vm-b", "vm-d")] == [1, 1]


# Who reaches whom ---------------------------------------------------------------------------------


def test_the_matrix_is_as_the_manifests_say_and_notices_what_is_not(checker: Checker, session: Session) -> None:
    few = Matrix(name="x", targets=("vm-b/vlan200", "vm-d/vlan200", "vm-d/untagged", "dhcp/200", "dhcp", "node-0"))
    found = true(checker, few)
    assert found.measured["expected"] > 4
    assert found.measured["silent"] > 10
    # A machine's port in another VLAN: what it should reach is silent, and what it must not reach answers.
    node, port = port_of(session, "vm-d", "vlan200")
    rtnl = session.world.rtnl(node)
    one = VidSet.of([1])
    rtnl.run(links.delete_vlans(rtnl.index(port), VidSet.of([200])))
    rtnl.run(links.add_vlans(rtnl.index(port), PortVlans(pvid=1, untagged=one)))
    try:
        faults = false(checker, few).measured["wrong"]
        assert "no answer: vm-d/vlan200 → dhcp/200" in faults
        assert "no answer: vm-b/vlan200 → vm-d/vlan200" in faults
        assert any(fault.startswith("an answer that must not be: vm-d/vlan200 → dhcp") for fault in faults)
        groups = (("vm-b/vlan200", "dhcp/200"), ("vm-d/vlan200",), ("vm-d/untagged", "plain-a", "dhcp"))
        strays = false(checker, Isolated(name="x", groups=groups))
        assert "dhcp → vm-d/vlan200" in strays.detail, "VLAN 1's broadcasts arrive at its tap"
        assert "vm-d/vlan200 → plain-a" in strays.detail
    finally:
        rtnl.run(links.delete_vlans(rtnl.index(port), one))
        rtnl.run(links.add_vlans(rtnl.index(port), PortVlans(pvid=200, untagged=VidSet.of([200]))))
    true(checker, Reach(name="x", sources=("vm-b/vlan200",), targets=("vm-d/vlan200", "dhcp/200")))
    assert checker.steps_left(node) == 0


def test_machines_are_apart_and_a_silent_one_is_no_proof(checker: Checker, session: Session) -> None:
    groups = (("vm-b/vlan200", "vm-d/vlan200", "dhcp/200"), ("vm-d/untagged", "plain-a", "dhcp"))
    found = true(checker, Isolated(name="x", groups=groups))
    assert found.measured["at_home"] > 30
    assert "3 of the captures on machines' taps" in found.detail
    session.world.fleet.run("vm-d", "ip link set eth1 down")
    said = false(checker, Isolated(name="x", groups=groups)).detail
    session.world.fleet.run("vm-d", "ip link set eth1 up")
    assert "vm-d/vlan200" in said and "was heard by nobody" in said


def test_a_forged_address(checker: Checker, session: Session) -> None:
    """VLAN 200 is checked for it (`macspoofchk`), VLAN 100 is not: the same forgery is heard there."""
    true(checker, ForgedMac(name="x", station="vm-b/vlan200", listener="dhcp/200"))
    found = false(checker, ForgedMac(name="x", station="vm-b/vlan100", listener="dhcp/100"))
    assert "a forged one: 2 sent, 2 heard" in found.detail
    session.world.fleet.look_again()
    guest = session.world.fleet.guest("vm-b")
    assert guest.seen.macs["eth2"] == guest.record.nics[2].mac, "it has its own again"


# What it is left with -----------------------------------------------------------------------------


def test_one_apply_after_the_uplink_was_deleted(checker: Checker, session: Session) -> None:
    between = ("vm-b/vlan200", "vm-d/vlan200")
    check = Recreate(name="x", node="node-0", cluster_network="oob", between=between, within_ms=10_000)
    found = true(checker, check)
    assert found.measured["steps"] > 5
    assert found.measured["left"] == 0
    true(checker, Reach(name="x", sources=("vm-b/vlan100", "o100-a"), targets=("dhcp/100",)))


def test_an_apply_that_does_nothing_is_noticed(checker: Checker, session: Session) -> None:
    """The bridge stays away: that the checks of before and after are made at all."""
    engine, world = LabEngine(), session.world
    node = world.rtnl("node-1")
    applied = engine.apply(world.root("node-1"), "node-1")
    silly = Recreate(
        name="x", node="node-1", cluster_network="oob", between=("vm-b/vlan200", "vm-d/vlan200"), within_ms=500
    )
    ok, words, _ = machinechecks.recreate(silly, world, lambda *_: applied, lambda _: 0)
    assert not ok
    assert "no answer 500 ms later" in words
    assert engine.apply(world.root("node-1"), "node-1").ok
    world.replug("node-1")
    assert "oob-br" in node.indexes()
    true(checker, Reach(name="x", sources=("vm-d/vlan200",), targets=("vm-b/vlan200",)))


def test_a_machine_that_does_not_start_is_told(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    (one, *_) = session.world.scenario.vms
    strange = (replace(one, machine=replace(one.machine, name="nosuch")),)
    again = fleet.Fleet(strange, session.world.place, session.world.root)
    with pytest.raises(LabError, match="windrow vm start nosuch ended with exit code 1"):
        again.start(lambda text, level: lines.append(text))
    assert any('virtual machine "default/nosuch" not found' in line for line in lines), lines


# The last of them: what it ends stays ended.


def test_the_power_of_a_node_takes_its_machines_along(session: Session) -> None:
    world = session.world
    record = world.fleet.guest("vm-d").record
    assert process.alive(_hypervisor(record.pid))
    world.power.cut("node-1")
    assert not process.alive(_hypervisor(record.pid))
    assert record.netns not in netns.names()
    with pytest.raises(LabError, match="vm-d does not run"):
        world.fleet.run("vm-d", "true")
    assert world.fleet.run("vm-b", "echo here").output == "here\n", "those of other nodes go on"
    world.power.boot("node-1")
