"""That the check of a change can fail: the shipped scenario `hitless` passing proves nothing otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.lab.asked import Asked

from windrow.apps.engine import bursts, look, plan_node
from windrow.apps.known import known
from windrow.apps.labguest import LabEngine
from windrow.lab import changes, probe
from windrow.lab.checks import Checker
from windrow.lab.circles import Circles
from windrow.lab.scenario import Change, Command
from windrow.lab.scenario_file import Texts, read
from windrow.lab.session import Applied, Session
from windrow.model.cluster import Cluster
from windrow.model.host import PortVlans
from windrow.model.problems import ProblemsError
from windrow.model.steps import Impact
from windrow.model.values import Ref, VidSet
from windrow.model.wire import load_documents
from windrow.netlink import links
from windrow.netlink.kernel import Kernel
from windrow.render.plan import action_words
from windrow.store.directory import Store
from windrow.store.paths import Paths


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """The scenario `hitless` with nothing but its active-backup network: comes up in half a second."""
    texts = read("hitless")
    text = "\n".join(line for line in texts.text.splitlines() if "name: lag-" not in line and "name: mig-" not in line)
    text = text.partition("  checks:")[0]
    files = {"oob.yaml": texts.manifests["oob.yaml"]}
    made = Session(LabEngine(), sys.path)
    made.up(Asked(scenario=Texts("hitless.yaml", text, files, texts.changes).to_json()))  # type: ignore[arg-type]
    yield made
    made.world.close()


@pytest.fixture
def checker(session: Session) -> Checker:
    engine, world = LabEngine(), session.world
    return Checker(
        world,
        steps_left=lambda node: engine.steps_left(world.root(node), node),
        change=lambda node, put, remove: engine.change(world.root(node), node, put, remove),
    )


def change(*manifests: str, impact: Impact = Impact.HITLESS, **more: Any) -> Change:
    return Change(name="test", node="node-0", between=("oob-a", "oob-b"), impact=impact, manifests=manifests, **more)


def uplink(nics: str, options: str) -> str:
    return f"""\
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {{name: oob}}
spec: {{clusterNetwork: oob, uplink: {{nics: [{nics}], bondOptions: {{{options}}}}}}}
"""


def told(session: Session, **files: str) -> None:
    """More files of `changes/`."""
    world = session.world
    world.scenario = replace(world.scenario, changes={**world.scenario.changes, **files})


def test_a_live_change_loses_nothing_and_the_plan_must_have_said_so(checker: Checker, session: Session) -> None:
    told(session, policy=uplink("eth0, eth1", "mode: active-backup, miimon: 150"))
    said = checker.run(change("policy", impact=Impact.FLAP))
    assert not said.ok
    assert "the plan announced hitless, and not flap" in said.detail
    assert (said.measured["there"]["lost"], said.measured["back"]["lost"]) == (0, 0)
    assert not checker.run(change("policy")).ok, "nothing is left to change"
    told(session, policy=uplink("eth0, eth1", "mode: active-backup, miimon: 100"))
    assert (found := checker.run(change("policy", lost=0))).ok, found.detail


def test_what_a_hitless_plan_loses_is_told(checker: Checker, session: Session) -> None:
    """The engine does what it should, and somebody holds the switch's port down meanwhile."""
    world, engine = session.world, LabEngine()
    told(session, policy=uplink("eth0, eth1", "mode: active-backup, miimon: 90"))

    def clumsy(node: str, put: Any, remove: Any) -> Applied:
        world.rtnl("oob-b").run(links.set_link("eth0", up=False))
        time.sleep(0.1)
        world.rtnl("oob-b").run(links.set_link("eth0", up=True))
        return engine.change(world.root(node), node, put, remove)

    said = replace(checker, change=clumsy).run(change("policy", lost=3, within_ms=10))
    assert not said.ok
    assert said.measured["there"]["lost"] > 20
    assert "the plan announced hitless, and" in said.detail
    assert "3 allowed" in said.detail
    assert "10 allowed" in said.detail


def test_two_uplinks_that_forward_at_once_are_seen(checker: Checker, session: Session) -> None:
    """A NIC beside the bond as a second port of the bridge: the loop that a takeover must never make, for a moment."""
    world = session.world
    a, b = world.station("oob-a"), world.station("oob-b")
    bridge = probe.Station("oob-br", "oob-br", partial(world.inside, "node-0"))
    node, switch = world.rtnl("node-0"), world.rtnl("sw-oob")
    # One frame in ten ms goes round, instead of as many as the processor can.
    slow = ["tc", "qdisc", "add", "dev", "p3", "root", "netem", "delay", "10ms"]
    assert checker.run(command("sw-oob", *slow)).ok
    with Circles((a, b), bridge) as quiet:
        time.sleep(0.2)
    assert (quiet.returned, quiet.doubled) == (0, 0)
    assert quiet.seen == 2 * quiet.sent
    with Circles((a, b), bridge) as circles:
        time.sleep(0.05)
        node.run(links.set_master("eth2", node.index("oob-br")))
        node.run(links.add_vlans(node.index("eth2"), PortVlans(tagged=VidSet.of([100]))))
        time.sleep(0.05)
        switch.run(links.set_link("p3", up=False))
        node.run(links.set_master("eth2", None))
    switch.run(links.set_link("p3", up=True))
    assert circles.returned > 0
    assert circles.doubled > 0
    assert any("two uplinks forward at once" in fault for fault in circles.faults())


def test_what_the_rules_refuse_is_not_stored(checker: Checker, session: Session) -> None:
    told(session, bad=uplink("eth0, eth0", "mode: active-backup"))
    with pytest.raises(ProblemsError):
        checker.run(change("bad"))
    with pytest.raises(ProblemsError):
        checker.run(change(delete=(Ref("ClusterNetwork", "oob"),)))
    assert checker.steps_left("node-0") == 0


def test_a_silent_pair_is_no_measure(checker: Checker, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "REACH_S", 0.5)
    world = session.world
    world.rtnl("oob-b").run(links.set_link("eth0", up=False))
    said = checker.run(change("policy"))
    world.rtnl("oob-b").run(links.set_link("eth0", up=True))
    assert not said.ok
    assert "no answer before anything was changed: oob-a → oob-b" in said.detail


def test_a_mode_change_that_was_killed_goes_on(checker: Checker, session: Session) -> None:
    """Cut after each of its bursts, in turn to another mode: the next plan ends it, and traffic goes on. The cut after
    the last NIC has followed, and before the old bond is deleted, once cost a second of traffic."""
    lost: dict[str, int] = {}
    for after in range(1, 20):
        mode = ("active-backup", "balance-alb")[after % 2]
        told(session, next=uplink("eth0, eth1", f"mode: {mode}"))
        killed = Killed(session, after)
        said = replace(checker, change=killed).run(change("next", impact=Impact.FLAP))
        if killed.left == 0:
            break
        frames = said.measured["there"]["lost"] + said.measured["back"]["lost"]
        lost[killed.last] = max(lost.get(killed.last, 0), frames)
        print(f"to {mode}, cut after {killed.last}: {said.detail}")
        assert checker.steps_left("node-0") == 0
    assert {f"eth{n} join oob-bn" for n in (0, 1)} <= lost.keys(), "the case that was found is among them"
    assert {cut: frames for cut, frames in lost.items() if frames > 10} == {}


class Killed:
    """Carries out a change as somebody does who is killed after so many bursts, and comes again.

    `last`: the step after which; `left`: how many bursts there were still to do.
    """

    def __init__(self, session: Session, after: int) -> None:
        self.session, self.after = session, after
        self.last, self.left = "", 0

    def __call__(self, node: str, put: Any, remove: Any) -> Applied:
        del remove
        root = self.session.world.root(node)
        store = Store(root)
        store.put(put)
        with Kernel(node) as kernel:
            cluster = Cluster.of(store.load().objects)
            whole = list(bursts(plan_node(cluster, look(kernel, node, known(Paths(root)))).plan.steps))
            done = whole[: self.after]
            for together in done:
                assert kernel.run(together) is None
        self.left = len(whole) - len(done)
        self.last = f"{done[-1][-1].link} {action_words(done[-1][-1].action)}"
        return LabEngine().apply(root, node)


@pytest.mark.parametrize(
    ("mode", "impact", "takes"), [("active-backup", Impact.HITLESS, False), ("balance-rr", Impact.FLAP, True)]
)
def test_a_nic_that_joins_from_a_wrong_port(
    checker: Checker, session: Session, mode: str, impact: Impact, takes: bool
) -> None:
    """The switch's port of eth2 is not in VLAN 100. Standing by, it takes nothing; where the traffic is shared out it
    takes its half at once: that the plan has to announce."""
    switch, options = session.world.rtnl("sw-oob"), f"mode: {mode}"
    apply(session, uplink("eth0", options))
    switch.run(links.delete_vlans(switch.index("p3"), VidSet.of([100])))
    told(session, join=uplink("eth0, eth2", options))
    said = checker.run(change("join", impact=impact))
    apply(session, uplink("eth0", options))
    switch.run(links.add_vlans(switch.index("p3"), PortVlans(tagged=VidSet.of([100]))))
    print(said.detail)
    assert f"announced {impact.value}" in said.detail and "and not" not in said.detail
    lost, sent = said.measured["there"]["lost"], said.measured["there"]["sent"]
    assert (lost > sent // 10) == takes
    assert takes or lost == 0


def apply(session: Session, text: str) -> None:
    root, loaded = session.world.root("node-0"), load_documents(text)
    assert LabEngine().change(root, "node-0", loaded.objects, ()).ok


def command(node: str, *argv: str) -> Command:
    return Command(name="test", node=node, argv=argv)
