"""However wrong a change of the management network is: the node answers on its old address again, in time."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.agent.hands import Running, Site, site, until

from windrow.apps.agent import keeper
from windrow.apps.known import agent_status
from windrow.apps.round import guarded
from windrow.apps.safe import watchdog
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.host import Route
from windrow.model.values import IfName
from windrow.netlink import links
from windrow.services import process
from windrow.store.events import Events
from windrow.testing import builders

OLD = "10.0.0.10"
ALLOWED = "1s"
STATED_S = 15.0
"""From the beginning of the command: a second to prove itself, the plan there and back, and a loaded machine."""

CTRL_C_S = 10.0
"""From Ctrl-C to the end of the command: one undo, on a loaded machine."""

LO = builders.link("lo", addrs=frozenset())

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: lockout}
spec:
  nodes:
    - name: node-0
      nics: [eth0, eth1, eth2, eth3]
      management: {nics: [eth0], address: 10.0.0.10/24, gateway: 10.0.0.1, plain: true}
  switches:
    - name: sw
      ports:
        - {names: [p0, p1, p9], native: 1, vlans: "5"}
        - {names: [p2], native: 99}
  hosts:
    - name: router
      role: router
      nics: [{name: eth0, addresses: {untagged: 10.0.0.1/24, 5: 10.0.5.1/24}}]
  cables:
    - ["node-0:eth0", "sw:p0"]
    - ["node-0:eth1", "sw:p1"]
    - ["node-0:eth2", "sw:p2"]
    - ["router:eth0", "sw:p9"]
"""
LAG = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: lag}
spec:
  nodes:
    - name: node-1
      nics: [eth0, eth1]
      management: {nics: [eth0], address: 10.0.0.10/24, gateway: 10.0.0.1, plain: true}
  switches:
    - name: sw-1
      ports: [{names: [p0, p1, p9], native: 1}]
      groups: [{name: lag0, mode: static, ports: [p0, p1], native: 1}]
  hosts:
    - {name: router-1, role: router, nics: [{name: eth0, addresses: {untagged: 10.0.0.1/24}}]}
  cables:
    - ["node-1:eth0", "sw-1:p0"]
    - ["node-1:eth1", "sw-1:p1"]
    - ["router-1:eth0", "sw-1:p9"]
"""


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Site, Any]]:
    """eth0 has the address, eth1 is on the same switch, eth2 in another VLAN, eth3 has no cable; and its state."""
    with site(SCENARIO) as made:
        yield made, made.state()


def given_back(world: tuple[Site, Any]) -> None:
    node, before = world
    if "mgmt-br" in node.observe().state.links:
        said = node.run("init", "--undo", "--timeout", "20s")
        assert said.code == 0, said.said
    assert node.state() == before


@pytest.fixture
def plain(world: tuple[Site, Any]) -> Site:
    """As the installer left it."""
    given_back(world)
    return world[0]


@pytest.fixture
def managed(world: tuple[Site, Any]) -> Site:
    """Initialised, on eth0."""
    node = world[0]
    if "10.0.0.10/24" not in (node.observe().state.links.get(IfName("mgmt-br")) or LO).addrs:
        given_back(world)
        done = node.run("init", "--nic", "eth0", "--timeout", "20s")
        assert done.code == 0, done.said
    return node


def reached_again(node: Site, running: Running, what: str, before: object) -> None:
    """The command ends with 1, the node answers, and all is as it was."""
    code = running.wait()
    took = node.answers(OLD, STATED_S)
    assert code == 1, running.said
    assert took is not None, f"{what}: locked out\n{running.said}"
    spent = time.monotonic() - running.began
    print(f"\n{what}: answers again {spent:.1f} s after the command began")
    assert spent < STATED_S
    assert "the change was undone" in running.said
    assert node.state() == before
    found = node.checkpoint()
    assert found is not None and found.stage is Stage.UNDONE


# -- through init ----------------------------------------------------------------------------------


def test_a_vlan_that_the_switch_does_not_carry(plain: Site) -> None:
    before = plain.state()
    words = ("init", "--nic", "eth0", "--vlan", "7", "--timeout", ALLOWED)
    running = plain.begin(*words)
    until(lambda: plain.answers(OLD, 0.3) is None)
    reached_again(plain, running, "wrong VLAN", before)


def test_a_gateway_that_is_not_there(plain: Site) -> None:
    before = plain.state()
    running = plain.begin("init", "--nic", "eth0", "--gateway", "10.0.0.99", "--timeout", ALLOWED)
    reached_again(plain, running, "wrong gateway", before)
    assert "the gateway 10.0.0.99 does not answer" in running.said


@pytest.mark.parametrize(("nic", "what"), [("eth3", "a NIC without a cable"), ("eth2", "a NIC in another VLAN")])
def test_a_wrong_nic(managed: Site, nic: str, what: str) -> None:
    before = managed.state()
    reached_again(managed, managed.begin("init", "--nic", nic, "--timeout", ALLOWED), what, before)


def test_a_wrong_nic_at_once(plain: Site) -> None:
    before = plain.state()
    refused = plain.run("init", "--nic", "eth3", "--address", "10.0.0.10/24", "--gateway", "10.0.0.1")
    assert refused.code == 1
    assert "10.0.0.10/24 is the address of eth0" in refused.said
    assert plain.state() == before


def test_a_mode_that_the_switch_does_not_speak() -> None:
    """The switch spreads over both ports of a group, and the node listens on one of them: whichever it is, what the
    switch sends to the other is lost. At least one of the two is noticed, and then undone."""
    with site(LAG, "node-1", "router-1") as node:
        node.kernel.rtnl.run(links.set_link("eth1", up=False))
        until(lambda: node.answers(OLD, 1.0))
        mode = ("--mode", "balance-xor", "--timeout", "10s")
        good = node.run("init", "--nic", "eth0", "--nic", "eth1", *mode)
        assert good.code == 0, good.said
        before, undone = node.state(), 0
        for first, second in (("eth0", "eth1"), ("eth1", "eth0")):
            began = time.monotonic()
            pair = ("--nic", first, "--nic", second)
            wrong = node.run("init", *pair, "--mode", "active-backup", "--timeout", ALLOWED)
            if wrong.code == 0:
                assert node.run("init", "--nic", "eth0", "--nic", "eth1", *mode).code == 0
                continue
            undone += 1
            assert node.answers(OLD, STATED_S) is not None
            print(f"\nwrong mode: answers again {time.monotonic() - began:.1f} s after the command began")
            assert node.state() == before
        assert undone


def test_the_cable_is_pulled_in_the_middle(plain: Site) -> None:
    before = plain.state()
    running = plain.begin("init", "--nic", "eth0", "--timeout", ALLOWED)
    until(lambda: pending_stage(plain))
    running.kill(signal.SIGSTOP)  # for as long as the cable takes, on a machine with much to do
    plain.pull("eth0")
    try:
        pending(plain)
        running.kill(signal.SIGCONT)
        assert running.wait() == 1
        assert "the change was undone" in running.said
    finally:
        running.kill(signal.SIGCONT)
        plain.plug("eth0")
    assert plain.answers(OLD, STATED_S) is not None
    assert plain.state() == before


# -- through apply and delete ----------------------------------------------------------------------


def edited(node: Site, old: str, new: str) -> str:
    """A file with both objects, one of them changed."""
    text = "---\n".join(node.manifests().values())
    assert old in text
    path = node.root / "edited.yaml"
    path.write_text(text.replace(old, new))
    return str(path)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("vlanID: 0", "vlanID: 7", "another VLAN"),
        ("gateway: 10.0.0.1", "gateway: 10.0.0.98", "another gateway"),
        ("10.0.0.10/24", "10.77.0.10/24", "another network"),
    ],
)
def test_a_manifest_that_cuts_the_way_off(managed: Site, old: str, new: str, what: str) -> None:
    before = managed.state()
    if what == "another network":
        new_gateway = edited(managed, "gateway: 10.0.0.1", "gateway: 10.77.0.1")
        path = managed.root / "edited.yaml"
        path.write_text(path.read_text().replace(old, new))
        running = managed.begin("apply", "-f", new_gateway, "--probe", "gateway", "--confirm", ALLOWED)
    else:
        running = managed.begin("apply", "-f", edited(managed, old, new), "--probe", "gateway", "--confirm", ALLOWED)
    reached_again(managed, running, what, before)


def test_deleting_the_management_network(managed: Site) -> None:
    before = managed.state()
    words = ("delete", "vc/mgmt-vlanconfig-node-0", "hnc/mgmt-node-0", "--probe", "gateway", "--confirm", ALLOWED)
    reached_again(managed, managed.begin(*words), "deleted", before)


def test_nobody_confirms(managed: Site) -> None:
    before = managed.state()
    again = managed.run("apply", "-f", edited(managed, "mgmt", "mgmt"), "--confirm", "30s")
    assert again.code == 0, f"nothing changes, so nothing has to be confirmed: {again.said}"
    path = edited(managed, "10.0.0.10/24", "10.0.0.11/24")
    reached_again(managed, managed.begin("apply", "-f", path, "--confirm", ALLOWED), "not confirmed", before)


def test_somebody_confirms(managed: Site) -> None:
    path = edited(managed, "10.0.0.10/24", "10.0.0.11/24")
    running = managed.begin("apply", "-f", path, "--confirm", "50s")
    until(lambda: stage(managed) is Stage.WAITING)
    assert managed.answers("10.0.0.11", 5)
    refused = managed.run("apply")
    assert refused.code == 1
    assert "is not confirmed yet" in refused.said
    guard = pending(managed).watchdog
    assert managed.run("confirm").code == 0
    assert running.wait() == 0, running.said
    until(lambda: not process.alive(guard))
    assert managed.answers("10.0.0.11", 5), "and it stays"
    assert managed.run("confirm").code == 1


def test_taken_back_from_another_terminal(managed: Site) -> None:
    before = managed.state()
    running = managed.begin("apply", "-f", edited(managed, "10.0.0.10/24", "10.0.0.11/24"), "--confirm", "50s")
    until(lambda: stage(managed) is Stage.WAITING)
    assert managed.run("undo").code == 0
    assert running.wait() == 1
    assert managed.state() == before


# -- who is killed ---------------------------------------------------------------------------------


def stage(node: Site) -> Stage | None:
    found = node.checkpoint()
    return found.stage if found else None


def pending(node: Site) -> Checkpoint:
    found = node.checkpoint()
    assert found is not None and found.stage.pending
    return found


def test_the_command_is_killed_at_any_moment(plain: Site) -> None:
    """Whenever it is between the first step and the decision: afterwards it is as before, or done."""
    dice, before, usual = random.Random(7), plain.state(), 0.0
    for _ in range(2):  # the first loads what the second has
        given_back((plain, before))
        running = plain.begin("init", "--nic", "eth0", "--timeout", "20s")
        until(lambda: pending_stage(plain))
        began = time.monotonic()
        until(lambda: not pending_stage(plain))
        usual = time.monotonic() - began
        assert running.wait() == 0
    ends: list[tuple[str, float]] = []
    for number in range(6):
        given_back((plain, before))
        last = plain.checkpoint()
        running = plain.begin("init", "--nic", "eth0", "--timeout", "20s")
        until(lambda: pending_stage(plain))
        time.sleep((number + dice.random()) / 6 * usual)
        running.kill()
        running.wait()
        began = time.monotonic()
        until(lambda: not pending_stage(plain))
        assert plain.answers(OLD, STATED_S) is not None
        found = plain.checkpoint()
        assert found is not None and last is not None and found.id != last.id
        ends.append((str(found.stage), round(time.monotonic() - began, 2)))
        assert time.monotonic() - began < STATED_S
        if found.stage is Stage.UNDONE:
            assert plain.state() == before
    print(f"\nfrom the first step to the decision {usual:.2f} s; killed in it, and answers again after: {ends}")
    assert "undone" in {how for how, _ in ends}


def pending_stage(node: Site) -> bool:
    found = node.checkpoint()
    return found is not None and found.stage.pending


def locked_out(node: Site) -> Running:
    """In the middle of a change that leads nowhere, with half a minute to go."""
    running = node.begin("init", "--nic", "eth0", "--vlan", "7", "--timeout", "30s")
    until(lambda: pending_stage(node) and "mgmt-br.7" in node.observe().state.links)
    until(lambda: node.answers(OLD, 0.3) is None)
    return running


def test_the_terminal_and_the_session_end(plain: Site) -> None:
    """SIGHUP to all of the session, as a shell that goes sends it: the command goes on, and undoes it."""
    before = plain.state()
    running = plain.begin("init", "--nic", "eth0", "--vlan", "7", "--timeout", ALLOWED)
    until(lambda: pending_stage(plain))
    running.kill(signal.SIGHUP)
    reached_again(plain, running, "the session ends", before)


def test_the_command_is_killed_while_nobody_is_reached(plain: Site) -> None:
    before = plain.state()
    running = locked_out(plain)
    began = time.monotonic()
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert plain.answers(OLD, STATED_S) is not None
    print(f"\nkilled: answers again after {time.monotonic() - began:.2f} s")
    until(lambda: stage(plain) is Stage.UNDONE)
    assert plain.state() == before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As in a terminal: what is started in the background may have been told to ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(node: Site, running: Running, before: object) -> None:
    """It ends with the undo, and lets the locks go."""
    began = time.monotonic()
    running.kill(signal.SIGINT)
    assert node.answers(OLD, STATED_S) is not None
    back = time.monotonic() - began
    assert running.wait() == 128 + signal.SIGINT
    ended = time.monotonic() - began
    print(f"\nCtrl-C: answers again after {back:.1f} s, the command ends after {ended:.1f} s")
    assert ended < CTRL_C_S
    assert node.state() == before and "cut off (KeyboardInterrupt)" in undone(node)[-1]
    assert stage(node) is Stage.UNDONE
    again = node.run("apply")
    assert again.code == 0 and time.monotonic() - began < 2 * CTRL_C_S, again.said


def test_ctrl_c_during_the_probe(plain: Site, interruptible: None) -> None:
    before = plain.state()
    interrupted(plain, locked_out(plain), before)


def test_ctrl_c_while_the_plan_waits(managed: Site, interruptible: None) -> None:
    """The switch does not speak LACP: the new bond waits for it for 20 s."""
    both = managed.run("init", "--nic", "eth0", "--nic", "eth1", "--timeout", "20s")
    assert both.code == 0, both.said
    before = managed.state()
    running = managed.begin("init", "--mode", "802.3ad", "--timeout", "50s")
    until(lambda: "mgmt-bn" in managed.observe().state.links)
    time.sleep(1.0)
    assert "mgmt-bn" in managed.observe().state.links, running.said
    interrupted(managed, running, before)
    alone = managed.run("init", "--nic", "eth0", "--timeout", "20s")
    assert alone.code == 0, alone.said


def test_the_watchdog_is_told_to_end(plain: Site) -> None:
    before = plain.state()
    running = locked_out(plain)
    guard = pending(plain).watchdog
    assert guard is not None and process.end(guard, patience_s=STATED_S)
    until(lambda: stage(plain) is Stage.UNDONE)
    assert running.wait() == 1
    assert plain.answers(OLD, STATED_S) is not None
    assert plain.state() == before


def test_a_command_that_hangs_with_the_locks(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "PLAN_S", -29.0)  # and thirty for the probes: a second in all
    monkeypatch.setattr(watchdog, "GRACE_S", 1.0)
    monkeypatch.setattr(watchdog, "LOCK_S", 1.0)
    before = plain.state()
    running = plain.begin("init", "--nic", "eth0", "--vlan", "7", "--timeout", "30s")
    until(lambda: pending_stage(plain) and "mgmt-br.7" in plain.observe().state.links)
    running.kill(signal.SIGSTOP)
    until(lambda: stage(plain) is Stage.UNDONE)
    assert plain.answers(OLD, STATED_S) is not None
    running.kill(signal.SIGCONT)
    assert running.wait() != 0
    assert plain.state() == before


def test_both_are_killed_and_the_next_command_undoes_it(plain: Site) -> None:
    before = plain.state()
    running = locked_out(plain)
    process.end(pending(plain).watchdog, patience_s=0)
    running.kill()
    running.wait()
    assert plain.answers(OLD, 0.5) is None, "nobody is there to undo it"
    again = plain.run("apply")
    assert "is undone: whoever made the change is gone" in again.said
    assert plain.answers(OLD, STATED_S) is not None
    assert plain.state() == before


def test_both_are_killed_and_the_power_fails(plain: Site) -> None:
    """The operating system brings the address back; nothing of the change is left to come up from."""
    before = plain.state()
    running = locked_out(plain)
    process.end(pending(plain).watchdog, patience_s=0)
    running.kill()
    running.wait()
    assert plain.manifests() != before[2], "the new manifests are on disk"
    plain.power_cut()
    rtnl = plain.kernel.rtnl
    rtnl.run(links.add_addr(rtnl.index("eth0"), f"{OLD}/24"))
    rtnl.run(links.add_route(Route(dst="default", dev=None, gateway="10.0.0.1"), None))
    started = plain.run("apply")
    assert started.code == 0, started.said
    assert "is undone: the host was started anew before the change was confirmed" in started.said
    assert plain.answers(OLD, STATED_S) is not None
    assert plain.state() == before


# The agent ----------------------------------------------------------------------------------------


@pytest.fixture
def agent(managed: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """It gives a change a second to prove itself, and has looked around."""
    monkeypatch.setattr(keeper, "POLICY", replace(keeper.POLICY, allowed_s=1.0))
    running = managed.begin("agent")
    until(lambda: agent_status(managed.paths))
    yield running
    if running.code is None:
        running.kill(signal.SIGTERM)
        assert running.wait() == 0, running.said


def edit(node: Site) -> None:
    """The address moves to a VLAN that the switch does not carry."""
    path = node.paths.manifests / "hostnetworkconfig-mgmt-node-0.yaml"
    text = path.read_text()
    assert "vlanID: 0" in text
    path.write_text(text.replace("vlanID: 0", "vlanID: 60"))


def undone(node: Site) -> list[str]:
    return [event.message for event in Events(node.paths).all() if event.reason == "ChangeUndone"]


def test_the_agent_follows_an_edit_that_cuts_the_way_off_and_comes_back(managed: Site, agent: Running) -> None:
    before, told = managed.state(), len(undone(managed))
    edit(managed)
    until(lambda: "mgmt-br.60" in managed.observe().state.links)
    assert managed.answers(OLD, STATED_S) is not None, agent.said
    until(lambda: len(undone(managed)) > told)
    until(lambda: managed.state() == before)
    assert "does not answer" in undone(managed)[-1]


def test_the_agent_is_killed_in_the_middle_of_it(managed: Site, agent: Running) -> None:
    before = managed.state()
    edit(managed)
    until(lambda: "mgmt-br.60" in managed.observe().state.links)
    agent.kill()
    agent.wait()
    assert managed.answers(OLD, STATED_S) is not None
    until(lambda: managed.checkpoint() is not None and managed.checkpoint().stage is Stage.UNDONE)  # type: ignore[union-attr]
    assert managed.state() == before
