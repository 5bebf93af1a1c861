"""Plans, diffs and failures as text and as data."""

from __future__ import annotations

import json

import pytest

from windrow.apps.engine import look, plan_node
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures
from windrow.model.host import Bond, Bridge, Link, PortVlans, Route
from windrow.model.problems import Problem, Severity
from windrow.model.steps import (
    Action,
    AddAddr,
    AwaitCarrier,
    Change,
    CreateLink,
    DelAddr,
    DeleteLink,
    Delta,
    Failure,
    Impact,
    Phase,
    Plan,
    RenameLink,
    SetBond,
    SetBridge,
    SetLink,
    SetMaster,
    SetSysctl,
    SetVlans,
    Step,
    Unit,
)
from windrow.model.values import Cidr, IfName, Ref, VidSet
from windrow.render.plan import action_words, delta_lines, diff_text, failure_lines, plan_text, problem_lines, step_line
from windrow.render.text import Style, width
from windrow.render.values import action_value, plan_value
from windrow.testing.builders import cluster, cluster_network, link, nad, ports, step, vlan_config
from windrow.testing.fake import FakeKernel

OOB = Ref("VlanConfig", "oob")


def seed() -> Cluster:
    config = vlan_config("oob", ["eth1", "eth2"], "802.3ad")
    return cluster(cluster_network("oob"), config, nad("v100", "oob", 100), nad("v200", "oob", 200))


def seed_plan(kernel: FakeKernel) -> Plan:
    return plan_node(seed(), look(kernel, "n1")).plan


def two_nics() -> FakeKernel:
    return FakeKernel(features=KernelFeatures()).add_nic("eth1").add_nic("eth2")


WORDS: list[tuple[Action, str]] = [
    (CreateLink(link("b", Bond(mode=BondMode.LACP, miimon=9), mtu=9000)), "create bond 802.3ad, miimon 9, MTU 9000"),
    (CreateLink(link("oob-br", Bridge(vlan_filtering=True))), "create bridge vlan_filtering on"),
    (DeleteLink(), "delete"),
    (RenameLink(IfName("oob-bo")), "rename to oob-bo"),
    (SetLink(up=True, mtu=9000, promisc=True), "up, MTU 9000, promiscuous on"),
    (SetLink(up=False), "down"),
    (SetBond(Bond(miimon=200, lacp_rate="fast")), "set miimon 200, lacp_rate fast"),
    (SetBond(Bond(primary="")), "set primary none"),
    (SetBond(Bond(miimon=100, primary="")), "set miimon 100, primary none"),
    (SetBridge(Bridge(vlan_filtering=False)), "set vlan_filtering off"),
    (SetMaster(IfName("oob-bo")), "join oob-bo"),
    (SetMaster(None), "leave its bond or bridge"),
    (SetVlans(add=ports("100 200"), remove=VidSet.of([7])), "VLANs: add tagged 100,200; remove 7"),
    (SetVlans(add=ports("1*"), on_self=True), "VLANs of the bridge itself: add untagged 1, PVID 1"),
    (AddAddr(Cidr("10.0.0.1/24")), "add address 10.0.0.1/24"),
    (DelAddr(Cidr("10.0.0.1/24")), "delete address 10.0.0.1/24"),
    (SetSysctl("a.b", "0"), "sysctl a.b=0"),
    (AwaitCarrier(2500), "wait for carrier, at most 2.5 s"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "words"), WORDS, ids=[w for _, w in WORDS])
def test_every_action_in_words_and_as_data(action: Action, words: str) -> None:
    assert action_words(action) == words
    assert "name" in json.loads(json.dumps(action_value(action)))


def test_routes_that_differ_are_told_as_routes() -> None:
    route = Route(dst="default", dev=IfName("oob-br"), gateway="192.0.2.1", metric=1024)
    have: frozenset[Route] = frozenset()
    delta = Delta(link=IfName("oob-br"), field="routes", have=have, want=frozenset({route}), change=Change.LIVE)
    assert list(delta_lines(delta)) == ["  ~ routes: none → default via 192.0.2.1 metric 1024"]


def test_the_plan_of_the_seed() -> None:
    text = plan_text(seed_plan(two_nics()), node="n1")
    assert "eth1, eth2, oob-bo, oob-br\n" in text
    lines = text.splitlines()
    assert any(line.startswith("  + oob-bo  create bond 802.3ad") for line in lines)
    assert any(line.startswith("  ~ eth1    join oob-bo") for line in lines)
    assert any("VLANs: add tagged 100,200" in line and "VlanConfig/oob" in line for line in lines)
    assert lines[-1].startswith("Plan for n1: ")
    assert "worst impact none (nothing is carried yet)." in lines[-1]


def test_a_sysctl_is_no_link() -> None:
    plan = seed_plan(FakeKernel().add_nic("eth1").add_nic("eth2"))
    text = plan_text(plan, node="n1")
    assert "this kernel\n  ~ sysctl net.bridge.bridge-nf-call-arptables=0  every cluster network  hitless\n" in text


def test_nothing_to_do_says_so() -> None:
    assert plan_text(Plan(), node="n1") == "n1 is as its manifests want it: nothing to do.\n"


def test_refusals_stand_in_their_unit_with_the_hint() -> None:
    refusal = Problem(code="in-the-way", about=OOB, message="oob-br exists", hint="delete it")
    text = plan_text(Plan(units=(Unit(links=(IfName("oob-br"),), refusals=(refusal,)),)), node="n1")
    assert text == (
        "oob-br\n"
        "  ✗ VlanConfig/oob: oob-br exists\n"
        "      hint: delete it\n"
        "\n"
        "Plan for n1: 1 unit refused.\n"
    )  # fmt: skip


def test_the_diff_says_have_and_want_per_attribute() -> None:
    kernel = two_nics()
    for one in seed_plan(kernel).steps:
        assert kernel.run([one]) is None
    assert diff_text(seed_plan(kernel)) == ""
    kernel.machine.devices["oob-bo"].mtu = 1400
    text = diff_text(seed_plan(kernel))
    assert text == "oob-bo  (VlanConfig/oob)\n  ~ mtu: 1400 → 1500\n"


def test_a_link_that_is_missing_or_left_over() -> None:
    text = diff_text(seed_plan(two_nics()))
    assert "oob-br  (VlanConfig/oob)\n  + bridge vlan_filtering on, MTU 1500" in text
    assert "eth1  (VlanConfig/oob)\n  ~ up: off → on\n  ~ master: none → oob-bo\n" in text


def test_json_has_every_step_with_its_reason_and_price() -> None:
    found = json.loads(json.dumps(plan_value(seed_plan(two_nics()), node="n1")))
    assert (found["apiVersion"], found["kind"], found["node"]) == ("windrow/v1", "Plan", "n1")
    assert (found["empty"], found["impact"], found["refusals"]) == (False, "none", [])
    steps = [s for unit in found["units"] for s in unit["steps"]]
    keys = {"phase", "link", "action", "why", "impact", "note", "joined"}
    assert steps
    assert all(set(s) == keys for s in steps)
    joins = [s for s in steps if s["action"] == {"name": "set-master", "master": "oob-bo"}]
    assert [(s["link"], s["phase"], s["why"]) for s in joins] == [
        ("eth1", "attach", {"kind": "VlanConfig", "name": "oob"}),
        ("eth2", "attach", {"kind": "VlanConfig", "name": "oob"}),
    ]


def test_progress_and_failure() -> None:
    done = step("eth1", SetMaster(IfName("oob-bo")))
    assert step_line(done, link_width=6) == "✓ eth1    join oob-bo  (Test/test)"
    failure = Failure(step=done, errno=22, reason="Invalid argument", extack="Can not enslave bond to itself")
    assert step_line(done, failure).startswith("✗ eth1")
    assert list(failure_lines(failure)) == [
        "error: eth1: join oob-bo: Can not enslave bond to itself [errno 22]",
        "    the kernel's errno says: Invalid argument",
        "    wanted by Test/test",
    ]


def test_colours_change_no_width_and_no_word() -> None:
    plan = seed_plan(two_nics())
    plain, coloured = plan_text(plan, node="n1"), plan_text(plan, node="n1", style=Style(colour=True))
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert [width(line) for line in coloured.splitlines()] == [len(line) for line in plain.splitlines()]


def test_a_problem_names_its_place() -> None:
    problem = Problem(
        code="x", message="eth9 is no NIC", hint="see: ip link", path="spec.uplink.nics[1]", about=OOB,
        file="oob.yaml", line=12, severity=Severity.WARNING,
    )  # fmt: skip
    assert list(problem_lines(problem)) == [
        "warning: oob.yaml:12: VlanConfig/oob: spec.uplink.nics[1]: eth9 is no NIC",
        "    hint: see: ip link",
    ]


def test_an_impact_is_named_where_it_costs() -> None:
    costly = Step(
        phase=Phase.PREPARE, link=IfName("oob-bo"), action=DeleteLink(), why=OOB, impact=Impact.OUTAGE, note="made anew"
    )
    text = plan_text(Plan(units=(Unit(links=(IfName("oob-bo"),), steps=(costly,)),)), node="n1")
    assert "  - oob-bo  delete: made anew  VlanConfig/oob  outage\n" in text
    assert text.endswith("worst impact outage (traffic stops, and does not come back with this plan).\n")
    again = Step(
        phase=Phase.CREATE,
        link=IfName("oob-bo"),
        action=CreateLink(link("oob-bo", Bond())),
        why=OOB,
        impact=Impact.NONE,
    )
    text = plan_text(Plan(units=(Unit(links=(IfName("oob-bo"),), steps=(costly, again)),)), node="n1")
    assert text.endswith("Plan for n1: 2 steps, worst impact outage (traffic stops until the plan is through).\n")


def test_what_was_observed_is_data_too() -> None:
    seen = Link(name=IfName("x"), spec=Bridge(), vlans=PortVlans(pvid=1, untagged=VidSet.of([1])))
    assert action_value(CreateLink(seen))["link"]["vlans"] == {"pvid": 1, "untagged": "1", "tagged": ""}
