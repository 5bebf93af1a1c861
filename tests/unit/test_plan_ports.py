"""Ports of containers and machines as part of what a node should be: their units, the guard, undo, what is said."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from windrow.apps.engine import Converged, Planned, converge, execute, look, plan_node
from windrow.model.bridging import FRESH_BRIDGE_PORT
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bridge, BridgePort, Link, Other
from windrow.model.objects import AnyObject
from windrow.model.ports import PORT_GROUP, PortRecord, users
from windrow.model.problems import Severity
from windrow.model.steps import (
    AddRoute,
    DeleteLink,
    DelRoute,
    Failure,
    Impact,
    SetBond,
    SetLink,
    SetMaster,
    SetPort,
    SetVlans,
    Step,
)
from windrow.model.values import IfName, Ref
from windrow.model.wire import load_documents, yaml_text
from windrow.plan import make_plan, normalise
from windrow.testing import generate
from windrow.testing.builders import (
    cluster,
    cluster_network,
    host_network,
    link,
    nad,
    port_record,
    ports,
    step,
    vlan_config,
)
from windrow.testing.fake import FakeKernel

NODE = "n1"


def objects(*more: AnyObject) -> list[AnyObject]:
    return [cluster_network("oob"), vlan_config("oob", ["eth1", "eth2"]), nad("a", "oob", 100), *more]


class Node:
    """A host with the cluster network `oob`, and what CNI calls attached to it."""

    def __init__(self, *more: AnyObject) -> None:
        self.kernel = FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True).add_nic("eth3", up=True)
        self.cluster = cluster(*objects(*more))
        self.records: list[PortRecord] = []
        assert self.apply().ok
        self.kernel.journal.clear()

    def attach(self, record: PortRecord) -> PortRecord:
        self.records.append(record)
        made = link(record.host, "veth", up=True, master=record.bridge, vlans=record.vlans or ports("1*"))
        self.kernel.add(made, group=PORT_GROUP)
        return record

    def known(self) -> Known:
        return Known(ports=tuple(self.records))

    def plan(self, target: Cluster | None = None) -> Planned:
        return plan_node(target or self.cluster, look(self.kernel, NODE, self.known()))

    def apply(self, target: Cluster | None = None) -> Converged:
        return converge(target or self.cluster, self.kernel, NODE, knowing=self.known)

    def link(self, name: str) -> Link:
        return self.kernel.observe().state.links[IfName(name)]

    def do(self, *steps: Step) -> None:
        assert self.kernel.run(steps) is None


@pytest.fixture
def node() -> Node:
    return Node()


def names(steps: Sequence[Step]) -> list[str]:
    return [type(s.action).__name__ for s in steps]


# -- what is wanted --------------------------------------------------------------------------------


def test_a_port_in_its_place_asks_for_nothing(node: Node) -> None:
    node.attach(port_record("web", "oob-br", "100*"))
    node.attach(port_record("raw", "oob-br"))
    planned = node.plan()
    assert planned.plan.empty and planned.compiled.problems == ()


def test_a_port_is_wanted_as_its_record_says(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    want = node.plan().compiled.state.links[record.host]
    as_new = replace(FRESH_BRIDGE_PORT, isolated=None, hairpin=None)  # the record does not say these two
    spec, vlans = Other(kind="veth"), ports("100*")
    assert want == Link(
        name=record.host, spec=spec, up=True, mtu=1500, master="oob-br", vlans=vlans, port=as_new, mark=True
    )
    assert want.origin == (Ref("Port", "web/net1", "default"),)


def test_a_port_is_no_nic_of_the_node(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    assert record.host in node.kernel.nics()
    assert record.host not in look(node.kernel, NODE, node.known()).facts.nics


def test_a_record_of_another_bridge_asks_for_nothing(node: Node) -> None:
    node.kernel.add(link("br0", Bridge(), up=True))
    record = node.attach(port_record("web", "br0"))
    node.do(step(record.host, SetMaster(None)))
    assert node.plan().plan.empty


def test_a_link_that_only_has_the_name_is_left_alone(node: Node) -> None:
    record = port_record("web", "oob-br", "100*")
    node.records.append(record)
    node.kernel.add(link(record.host, "veth", up=True))
    planned = node.plan()
    assert planned.plan.empty
    assert [p.code for p in planned.compiled.problems] == ["port-gone"]


def test_a_record_without_its_port_is_said_and_nothing_is_wanted(node: Node) -> None:
    node.records.append(port_record("web", "oob-br", "100*"))
    (said,) = node.plan().compiled.problems
    assert (said.code, said.severity) == ("port-gone", Severity.WARNING)
    assert "pod default/web (net1)" in said.message and "windrow cni gc" in said.hint
    assert node.plan().plan.empty


def test_a_vlan_that_ends_on_the_node_is_said(node: Node) -> None:
    node.attach(port_record("web", "oob-br", "300*"))
    node.attach(port_record("db", "oob-br", "100*"))
    (said,) = node.plan().compiled.problems
    assert (said.code, said.severity, said.about) == ("port-vlan", Severity.WARNING, Ref("ClusterNetwork", "oob"))
    assert "VLAN 300" in said.message and "default/web" in said.message and "default/db" not in said.message


def test_what_a_running_port_loses_is_an_outage_with_its_name(node: Node) -> None:
    node.attach(port_record("web", "oob-br", "100*"))
    without = cluster(cluster_network("oob"), vlan_config("oob", ["eth1", "eth2"]))
    planned = node.plan(without)
    (gone,) = planned.plan.steps
    assert gone.impact is Impact.OUTAGE and "pod default/web (net1)" in gone.note
    assert [p.code for p in planned.compiled.problems] == ["port-vlan"]


# -- how it is put right ---------------------------------------------------------------------------


def test_a_port_is_closed_from_before_it_joins_until_its_vlans_are_set(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, SetMaster(None)))
    steps = node.plan().plan.steps
    assert names(steps) == ["SetLink", "SetMaster", "SetVlans", "SetLink"]
    assert [s.joined for s in steps] == [False, True, True, False], "it is not opened if that before it failed"
    assert (steps[0].action, steps[-1].action) == (SetLink(up=False), SetLink(up=True))
    assert {s.impact for s in steps} == {Impact.NONE}
    assert {s.why for s in steps} == {record.ref}
    assert node.apply().ok and node.link(record.host).vlans == ports("100*")


def test_a_port_whose_own_vlan_is_1_need_not_be_closed(node: Node) -> None:
    record = node.attach(port_record("trunk", "oob-br", "1* 100"))
    node.do(step(record.host, SetMaster(None)))
    assert names(node.plan().plan.steps) == ["SetMaster", "SetVlans"]


def test_a_port_in_another_bridge_is_taken_back_at_the_price_of_what_it_carries(node: Node) -> None:
    node.kernel.add(link("br0", Bridge(vlan_filtering=True), up=True))
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, SetMaster(IfName("br0"))))
    plan = node.plan().plan
    assert plan.refusals == () and plan.impact is Impact.FLAP
    assert node.apply().ok and node.link(record.host).master == "oob-br"


def test_more_and_less_vlans_in_one_step(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, SetVlans(add=ports("1*"), remove=ports("100").all)))
    (one,) = node.plan().plan.steps
    assert isinstance(one.action, SetVlans) and one.action.add.pvid == 100 and 1 in one.action.remove
    assert one.impact is Impact.FLAP


def test_an_isolated_port_comes_back_isolated_before_it_is_opened(node: Node) -> None:
    record = node.attach(replace(port_record("web", "oob-br", "1* 100"), isolated=True, hairpin=False))
    assert [s.action for s in node.plan().plan.steps] == [SetPort(BridgePort(isolated=True))], (
        "a call has set it, and here nobody"
    )
    assert node.apply().ok
    node.do(step(record.host, SetMaster(None)))
    assert names(node.plan().plan.steps) == ["SetLink", "SetMaster", "SetPort", "SetVlans", "SetLink"]
    assert node.apply().ok and node.link(record.host).port.isolated
    node.do(step(record.host, SetPort(BridgePort(hairpin=True))))
    assert [s.action for s in node.plan().plan.steps] == [SetPort(BridgePort(hairpin=False))]


def test_a_port_stands_alone_unless_its_bridge_has_to_be_made(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, SetMaster(None)), step("oob-bo", SetLink(mtu=1400)))
    assert sorted(unit.links for unit in node.plan().plan.units) == [
        ("eth1", "eth2", "oob-bo", "oob-br"),
        (record.host,),
    ]
    node.do(step("oob-br", DeleteLink()))
    (unit,) = node.plan().plan.units
    assert record.host in unit.links
    last = [s.link for s in unit.steps][-4:]
    assert last == [record.host] * 4, "the port comes last: one that is gone by then stops nothing"


def test_a_port_does_not_wait_for_a_bridge_that_is_somebody_elses(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step("oob-br", DeleteLink()))
    node.kernel.add(link("oob-br", Bridge(), up=True))
    planned = node.plan()
    assert [p.code for p in planned.plan.refusals] == ["in-the-way"]
    assert planned.plan.steps == () and node.link(record.host).master == ""


def test_a_port_of_the_management_network_is_put_back_and_nothing_else_changes() -> None:
    kernel = FakeKernel().add_nic("eth0")
    for made in generate.management():
        if made.name == "eth0":
            kernel.machine.set_master(kernel.machine.get("eth0"), kernel.machine.get("mgmt-bo"))
        else:
            kernel.add(made)
    record = port_record("web", "mgmt-br", "1*")
    kernel.add(link(record.host, "veth", up=True, mtu=1400), group=PORT_GROUP)
    before = kernel.observe().state.links
    report = converge(cluster(), kernel, NODE, knowing=lambda: Known(ports=(record,)))
    assert report.ok and {s.link for s in report.planned.plan.steps} == {record.host, ""}
    after = kernel.observe().state.links
    assert after[record.host].master == "mgmt-br" and after[record.host].vlans == ports("1*")
    assert {n: k for n, k in after.items() if n != record.host} == {n: k for n, k in before.items() if n != record.host}
    assert after[record.host].mtu == 1500, "mgmt-br follows its smallest port"


def test_a_port_follows_the_mtu_of_its_network() -> None:
    node = Node()
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.cluster = cluster(cluster_network("oob"), vlan_config("oob", ["eth1", "eth2"], mtu=9000), nad("a", "oob", 100))
    before = node.kernel.observe()
    plan = node.plan().plan
    assert SetLink(mtu=9000) in [s.action for s in plan.steps if s.link == record.host]
    assert node.apply().ok and node.link(record.host).mtu == 9000
    assert execute(make_plan(normalise(before, frozenset({record.host})), node.kernel.observe()), node.kernel).ok
    assert node.link(record.host).mtu == 1500, "undo"


def test_a_port_that_comes_back_has_the_mtu_of_its_network(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, SetMaster(None)), step(record.host, SetLink(mtu=1400)))
    assert node.apply().ok and node.link(record.host).mtu == 1500
    node.do(step(record.host, SetLink(mtu=9000)))
    (lowered,) = node.plan().plan.steps
    assert (lowered.action, lowered.impact) == (SetLink(mtu=1500), Impact.FLAP)


def test_the_vlan_of_a_network_with_several_plugins_is_on_the_uplink() -> None:
    plugins = [{"type": "bridge", "bridge": "oob-br", "vlan": 200}, {"type": "tuning", "sysctl": {}}]
    manifest = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "tuned", "namespace": "default"},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", "plugins": plugins})},
    }
    node = Node(*load_documents(yaml_text(manifest)).objects)
    node.attach(port_record("web", "oob-br", "200*"))
    assert node.plan().compiled.problems == ()
    uplink = node.link("oob-bo").vlans
    assert uplink is not None and 200 in uplink.tagged


# -- the guard -------------------------------------------------------------------------------------


def test_a_bridge_in_use_is_not_deleted_and_its_users_are_named(node: Node) -> None:
    node.attach(port_record("virt-launcher-db", "oob-br", "100*", container="vm-0123"))
    node.attach(port_record("web", "oob-br", "100*"))
    before = node.kernel.observe().state
    (refusal,) = node.plan(cluster(cluster_network("oob"))).plan.refusals
    assert (refusal.code, refusal.about) == ("in-use", Ref("ClusterNetwork", "oob"))
    assert refusal.message.endswith("it is in use: VM default/db (net1), pod default/web (net1)")
    assert not node.apply(cluster()).ok
    assert node.kernel.observe().state == before


def test_a_port_that_lost_its_bridge_is_in_use_none_the_less(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, SetMaster(None)))
    assert [p.code for p in node.plan(cluster()).plan.refusals] == ["in-use"]


def test_a_port_without_a_record_keeps_its_bridge_too(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.records.clear()
    (refusal,) = node.plan(cluster()).plan.refusals
    assert record.host in refusal.message


def test_a_record_whose_port_is_gone_keeps_nothing(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.do(step(record.host, DeleteLink()))
    assert node.apply(cluster()).ok
    assert "oob-br" not in node.kernel.machine.devices


def test_ports_are_not_ours_to_delete(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    node.records.clear()
    node.do(step(record.host, SetMaster(None)))
    assert node.apply(cluster()).ok
    assert node.link(record.host).master == ""


def test_the_uplink_changes_its_mode_under_a_port_that_notices_nothing(node: Node) -> None:
    record = node.attach(port_record("web", "oob-br", "100*"))
    for nics, mode in ((["eth1"], "802.3ad"), (["eth1", "eth2"], "balance-xor"), (["eth3"], "active-backup")):
        other = cluster(cluster_network("oob"), vlan_config("oob", nics, mode), nad("a", "oob", 100))
        assert node.apply(other).ok
        assert [s for s in node.kernel.journal if s.link in (record.host, "oob-br") and _touches(s)] == []


def _touches(one: Step) -> bool:
    """Steps on the bridge that its ports would notice."""
    return not isinstance(one.action, SetLink) or one.action.up is not None


# -- what goes away meanwhile ----------------------------------------------------------------------


class Fleeting(FakeKernel):
    """Its container ends just before the plan comes to it."""

    doomed = ""

    def run(self, steps: Sequence[Step]) -> Failure | None:
        if self.doomed in self.machine.devices and any(s.link == self.doomed for s in steps):
            self.machine.delete(self.machine.get(self.doomed))
        return super().run(steps)


def test_a_port_that_went_away_stops_neither_the_network_nor_the_other_ports() -> None:
    node = Node()
    first, second = (node.attach(port_record(pod, "oob-br", "100*")) for pod in ("a", "b"))
    node.do(step("oob-br", DeleteLink()))
    node.kernel.__class__ = Fleeting
    node.kernel.doomed = first.host  # type: ignore[attr-defined]
    report = node.apply()
    assert report.outcome.ok and report.left.empty and report.rounds == 2
    assert node.link("oob-bo").master == "oob-br" and node.link(second.host).vlans == ports("100*")


def test_a_port_that_went_away_last_of_all_leaves_nothing_undone() -> None:
    node = Node()
    record = node.attach(port_record("a", "oob-br", "100*"))
    node.do(step(record.host, SetMaster(None)))
    node.kernel.__class__ = Fleeting
    node.kernel.doomed = record.host  # type: ignore[attr-defined]
    report = node.apply()
    assert report.ok and report.rounds == 1
    assert [p.code for p in node.plan().compiled.problems] == ["port-gone"]


def test_what_is_refused_otherwise_is_not_tried_again(node: Node) -> None:
    node.do(step("oob-bo", SetLink(mtu=1400)))
    node.kernel.fail_at(1, errno.EPERM)
    assert node.apply().rounds == 1


# -- undo ------------------------------------------------------------------------------------------


def test_undo_puts_a_port_where_it_was(node: Node) -> None:
    moved, lost = (node.attach(port_record(pod, "oob-br", "100*")) for pod in ("a", "b"))
    node.do(step(moved.host, SetVlans(add=ports("1*"), remove=ports("100").all)), step(lost.host, SetMaster(None)))
    before = node.kernel.observe()
    plan = node.plan().plan
    touched = frozenset(n for unit in plan.units for n in unit.links if not before.owned(n))
    assert execute(plan, node.kernel).ok
    back = normalise(before, touched)
    assert execute(make_plan(back, node.kernel.observe()), node.kernel).ok
    now = node.kernel.observe().state.links
    for record in (moved, lost):
        assert now[record.host] == before.state.links[record.host]


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "user", "ref"),
    [
        (port_record("web", "oob-br"), "pod default/web", "Port/default/web/net1"),
        (
            port_record("virt-launcher-db", "oob-br", container="vm-00ff"),
            "VM default/db",
            "Port/default/virt-launcher-db/net1",
        ),
        (port_record("virt-launcher-db-x7k2p", "oob-br"), "pod default/virt-launcher-db-x7k2p", None),
        (
            port_record("", "oob-br", container="0123456789abcdef", ifname="eth1"),
            "container 0123456789ab",
            "Port/0123456789ab/eth1",
        ),
        (replace(port_record("", "oob-br"), pod="web"), "pod web", "Port/web/net1"),
    ],
)
def test_whose_a_port_is(record: PortRecord, user: str, ref: str | None) -> None:
    assert record.user == user
    assert ref is None or str(record.ref) == ref


def test_many_users_are_folded() -> None:
    text = users(port_record(f"p{n}", "oob-br", ifname=ifname) for n in range(10) for ifname in ("net2", "net1"))
    assert text.startswith("pod default/p0 (net1, net2), pod default/p1 (net1, net2)")
    assert text.endswith(", pod default/p7 (net1, net2), 2 more")


# -- bonds -----------------------------------------------------------------------------------------


def test_a_new_miimon_comes_with_the_delays_that_hang_on_it() -> None:
    """The kernel keeps them as multiples of miimon."""
    node = Node()
    delayed = vlan_config("oob", ["eth1", "eth2"], miimon=100, updelay=200)
    assert node.apply(cluster(cluster_network("oob"), delayed, host_network("oob", 7))).ok
    faster = cluster(cluster_network("oob"), vlan_config("oob", ["eth1", "eth2"], miimon=50, updelay=200))
    change = next(s.action for s in node.plan(faster).plan.steps if isinstance(s.action, SetBond))
    assert (change.options.miimon, change.options.updelay) == (50, 200)
    report = node.apply(faster)
    assert report.ok and report.rounds == 1


# Point-to-point ports -----------------------------------------------------------------------------


def alone(node: Node) -> PortRecord:
    """A port with a bridge of its own, as a call makes it: its routes, too."""
    record = replace(port_record("web", "wn-0a0b0c0d"), routed=("10.52.7.2", "fd52:7::2"))
    node.kernel.add(link("wn-0a0b0c0d", "bridge", up=True))
    node.attach(record)
    node.do(*(step(record.bridge, AddRoute(way)) for way in record.ways))
    return record


def test_the_ways_to_a_port_alone_are_wanted(node: Node) -> None:
    record = alone(node)
    assert node.plan().plan.steps == (), "as the call made it"
    for way in record.ways:
        node.do(step(record.bridge, DelRoute(way)))
        (planned,) = node.plan().plan.steps
        assert planned.action == AddRoute(way) and planned.link == record.bridge
        assert node.apply().ok and node.plan().plan.steps == ()


def test_an_undo_leaves_the_ways_to_ports_that_came_since(node: Node) -> None:
    before = normalise(node.kernel.observe())
    record = alone(node)
    plan = make_plan(before, node.kernel.observe(), records=tuple(node.records))
    assert not [s for s in plan.steps if s.link == record.bridge]


def test_a_port_alone_whose_bridge_is_gone_is_told(node: Node) -> None:
    record = alone(node)
    node.do(step(record.bridge, DeleteLink()))
    found = node.plan()
    assert found.plan.steps == ()
    assert [p.code for p in found.compiled.problems] == ["port-stranded"]
