"""The management network and what others made, on a real kernel: never touched, and what is in the way is named."""

from __future__ import annotations

from typing import Any

import pytest

from windrow.apps.engine import Converged, converge, look, plan_node
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.host import Bond, Bridge, Link, Observed, Other, PortVlans, Route, VlanIf
from windrow.model.objects import AnyObject
from windrow.model.steps import (
    AddAddr,
    CreateLink,
    DeleteLink,
    Phase,
    SetLink,
    SetMaster,
    SetVlans,
    Step,
)
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import links
from windrow.plan.guard import forbidden
from windrow.plan.scene import Scene
from windrow.testing import builders

Ns = Any
NODE = "n1"
MGMT = ("eth0", "mgmt-bo", "mgmt-br", "mgmt-br.5")


@pytest.fixture
def node(ns: Ns) -> Ns:
    """A host as others left it: mgmt on VLAN 5 with the default route, a docker0, a bond of their own."""
    ns.run(*(links.create(f"eth{i}", "dummy", mac=f"02:00:00:00:01:0{i}", up=i == 0) for i in range(6)))
    ns.do(
        ("eth0", SetLink(up=False)),
        ("mgmt-bo", CreateLink(link("mgmt-bo", Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100)))),
        ("mgmt-br", CreateLink(link("mgmt-br", Bridge(vlan_filtering=True), mac=Mac("02:00:00:00:01:00")))),
        ("eth0", SetMaster(IfName("mgmt-bo"))),
        ("mgmt-bo", SetMaster(IfName("mgmt-br"))),
        ("mgmt-bo", SetVlans(add=PortVlans(tagged=VidSet.of([5])))),
        ("mgmt-br", SetVlans(add=PortVlans(tagged=VidSet.of([5])), on_self=True)),
        ("mgmt-bo", SetLink(up=True)),
        ("mgmt-br", SetLink(up=True)),
        ("mgmt-br.5", CreateLink(link("mgmt-br.5", VlanIf(parent=IfName("mgmt-br"), vid=5)))),
        ("mgmt-br.5", SetLink(up=True)),
        ("mgmt-br.5", AddAddr(Cidr("10.0.0.10/24"))),
        ("docker0", CreateLink(link("docker0", Bridge()))),
        ("docker0", AddAddr(Cidr("172.17.0.1/16"))),
        ("bond7", CreateLink(link("bond7", Bond(mode=BondMode.BALANCE_XOR)))),
        ("eth5", SetMaster(IfName("bond7"))),
    )
    dev = IfName("mgmt-br.5")
    ns.run(
        links.add_route(Route(dst="default", dev=dev, gateway="10.0.0.1"), ns.index(dev)),
        links.add_route(Route(dst="192.168.77.0/24", dev=dev, gateway="10.0.0.2"), ns.index(dev)),
    )
    ns.disown("mgmt-bo", "mgmt-br", "mgmt-br.5", "docker0", "bond7")
    return ns


def link(name: str, spec: Any, **fields: Any) -> Link:
    return Link(name=IfName(name), spec=spec, **fields)


def run(node: Ns, *objects: AnyObject) -> Converged:
    return converge(Cluster.of(objects), node.kernel, NODE)


def oob(*nics: str, mode: str | None = None, **options: Any) -> list[AnyObject]:
    return [builders.cluster_network("oob"), builders.vlan_config("oob", list(nics), mode, **options)]


def foreign(observed: Observed) -> dict[str, Link]:
    """Everything that Windrow neither made nor took as a NIC."""
    state = observed.state.links
    return {n: k for n, k in state.items() if not observed.owned(n) and not observed.owned(k.master or "")}


def test_nothing_of_others_changes_while_a_network_comes_goes_and_changes(node: Ns) -> None:
    before = node.kernel.observe()
    others = {n: k for n, k in foreign(before).items() if n not in ("eth1", "eth2", "eth3")}
    clusters: list[list[AnyObject]] = [
        [*oob("eth1", "eth2"), builders.nad("a", "oob", 100)],
        [*oob("eth2", "eth3", mode="balance-xor"), builders.nad("a", "oob", 200)],
        [],
    ]
    for objects in clusters:
        report = run(node, *objects)
        assert report.ok, (report.outcome, report.left)
        now = node.kernel.observe()
        assert {n: now.state.links[IfName(n)] for n in others} == others
        assert before.state.routes <= now.state.routes


def test_mgmt_gets_vids_and_keeps_its_own_when_the_last_network_on_it_goes(node: Ns) -> None:
    networks = [builders.nad("a", "mgmt", 100), builders.nad("same-vid", "mgmt", 5)]
    assert run(node, *networks).ok
    assert str(node.link("mgmt-bo").vlans.tagged) == "5,100"
    assert run(node).ok
    assert str(node.link("mgmt-bo").vlans.tagged) == "5"
    assert str(node.link("mgmt-br").self_vlans.tagged) == "5"
    assert node.link("mgmt-bo").vlans.pvid == 1


def test_a_vlan_config_for_mgmt_changes_nothing(node: Ns) -> None:
    before = node.kernel.observe().state.links
    mine = [builders.cluster_network("mgmt"), builders.vlan_config("mgmt", ["eth1"], "802.3ad", mtu=9000)]
    assert run(node, *mine).ok
    assert node.kernel.observe().state.links == before


def test_the_nic_of_mgmt_is_refused_with_the_reason(node: Ns) -> None:
    before = node.kernel.observe().state.links
    report = run(node, *oob("eth0", "eth1"))
    codes = {p.code for p in report.left.refusals}
    assert "protected" in codes and not report.left.steps
    assert any("eth0 carries this node's management traffic" in p.message for p in report.left.refusals)
    assert node.kernel.observe().state.links == before


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("mgmt-br", DeleteLink()),
        ("mgmt-bo", DeleteLink()),
        ("mgmt-br.5", DeleteLink()),
        ("mgmt-br", SetLink(up=False)),
        ("mgmt-bo", SetMaster(None)),
        ("eth0", SetMaster(None)),
        ("mgmt-bo", SetVlans(remove=VidSet.of([5]))),
        ("mgmt-br", SetVlans(remove=VidSet.of([5]), on_self=True)),
    ],
)
def test_the_guard_refuses_a_step_on_mgmt_whatever_made_it(node: Ns, name: str, action: Any) -> None:
    sight = look(node.kernel, NODE)
    planned = plan_node(Cluster.of([]), sight)
    scene = Scene(want=planned.compiled.state, have=sight.observed, protected=sight.facts.protected, held=frozenset())
    bad = Step(phase=Phase.CLEAN, link=IfName(name), action=action, why=builders.WHY, impact=planned.plan.impact)
    assert [p.code for p in forbidden(scene, (bad,))] == ["protected"]


def test_a_nic_in_somebody_elses_bond_is_named(node: Ns) -> None:
    report = run(node, *oob("eth1", "eth5"))
    (refusal,) = report.left.refusals
    assert refusal.code == "nic-in-use" and "eth5" in refusal.message and "bond7" in refusal.message
    assert node.link("eth5").master == "bond7" and node.link("eth1").master == ""


def test_a_bridge_of_that_name_is_named_and_can_be_handed_over(node: Ns) -> None:
    node.do(("oob-br", CreateLink(link("oob-br", Bridge()))))
    node.disown("oob-br")
    (refusal,) = run(node, *oob("eth1")).left.refusals
    assert refusal.code == "in-the-way" and "windrow adopt oob-br" in refusal.hint
    node.run(links.set_link("oob-br", group=30574))
    assert run(node, *oob("eth1")).ok
    assert node.link("oob-br").spec.vlan_filtering


def test_a_hand_made_vlan_interface_keeps_its_vid_and_its_bridge(node: Ns) -> None:
    assert run(node, *oob("eth1", "eth2")).ok
    node.do(
        ("oob-br.77", CreateLink(link("oob-br.77", VlanIf(parent=IfName("oob-br"), vid=77)))),
        ("oob-br.77", AddAddr(Cidr("10.77.0.1/24"))),
    )
    node.disown("oob-br.77")
    assert run(node, *oob("eth1", "eth2")).ok
    assert 77 in node.link("oob-bo").vlans.tagged and 77 in node.link("oob-br").self_vlans.tagged
    (refusal,) = run(node).left.refusals
    assert refusal.code == "in-the-way" and "oob-br.77" in refusal.message
    assert node.link("oob-br.77").addrs == {"10.77.0.1/24"}


def test_a_host_network_does_not_take_a_hand_made_interface(node: Ns) -> None:
    assert run(node, *oob("eth1")).ok
    node.do(("oob-br.77", CreateLink(link("oob-br.77", VlanIf(parent=IfName("oob-br"), vid=77)))))
    node.disown("oob-br.77")
    report = run(node, *oob("eth1"), builders.host_network("oob", 77, {NODE: "10.1.1.1/24"}))
    assert [p.code for p in report.left.refusals] == ["in-the-way"]
    assert not node.link("oob-br.77").addrs


def test_a_nic_with_addresses_of_its_own_is_left_alone(node: Ns) -> None:
    node.do(("eth3", AddAddr(Cidr("192.168.5.1/24"))))
    (refusal,) = run(node, *oob("eth3")).left.refusals
    assert refusal.code == "nic-has-addresses" and "192.168.5.1/24" in refusal.message
    assert node.link("eth3").addrs == {"192.168.5.1/24"}


def test_a_machine_on_the_bridge_is_named_before_the_bridge_goes(node: Ns) -> None:
    assert run(node, *oob("eth1")).ok
    node.run(links.create("tap-vm1", "dummy", master=node.index("oob-br")))
    sight = look(node.kernel, NODE)
    (refusal,) = plan_node(Cluster.of([]), sight).plan.refusals
    assert refusal.code == "in-the-way" and "tap-vm1" in refusal.message
    plan = plan_node(Cluster.of([]), sight, consent=True).plan
    (gone,) = [s for s in plan.steps if s.link == "oob-br" and isinstance(s.action, DeleteLink)]
    assert gone.impact.value == "outage" and "tap-vm1" in gone.note
    assert isinstance(node.link("tap-vm1").spec, Other)
