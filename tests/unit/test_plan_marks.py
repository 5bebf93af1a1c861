"""Links of ours by their marks, on FakeKernel: lost, renamed, in somebody's way; names that are no text."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from windrow.apps.engine import Converged, converge, look, plan_node
from windrow.compile.uplinks import find_nic
from windrow.model.cluster import Cluster
from windrow.model.facts import Nic, NodeFacts
from windrow.model.host import Observed
from windrow.model.marks import is_marked, mark_of, marked_names
from windrow.model.objects import NicIdentity, NicSelector
from windrow.model.steps import CreateLink, DeleteLink, Impact, RenameLink, SetMark
from windrow.model.values import OWNER_GROUP, PORT_GROUP, IfName, Mac, name_bytes, name_text, parse_ifname
from windrow.plan import make_plan
from windrow.status.repairs import words
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

NODE = "n1"
OURS = ("oob-br", "oob-bo", "oob-br.300")
CLUSTER = Cluster.of(
    (
        builders.cluster_network("oob"),
        builders.vlan_config("oob", ["eth1", "eth2"]),
        builders.nad("v100", "oob", 100),
        builders.host_network("oob", 300, {NODE: "10.30.0.1/24,fd00:30::1/64"}),
    )
)


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel().add_nic("eth1").add_nic("eth2")
    assert converge(CLUSTER, kernel, NODE).ok
    return kernel


def apply(kernel: FakeKernel, cluster: Cluster = CLUSTER) -> Converged:
    return converge(cluster, kernel, NODE)


def renamed(kernel: FakeKernel, name: str, to: str) -> None:
    device = kernel.machine.get(name)
    kernel.machine.close(device)
    kernel.machine.rename(device, to)
    kernel.machine.open(device)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("lost", ["group", "altname"])
def test_either_mark_is_enough_and_the_other_comes_back(kernel: FakeKernel, name: str, lost: str) -> None:
    device = kernel.machine.get(name)
    if lost == "group":
        device.group = 0
    else:
        device.altnames.clear()
    plan = plan_node(CLUSTER, look(kernel, NODE)).plan
    group = OWNER_GROUP if lost == "group" else None
    assert [(s.link, s.action) for s in plan.steps] == [(name, SetMark(group=group, name=lost == "altname"))]
    assert plan.impact is Impact.NONE
    assert apply(kernel).ok
    assert (device.group, device.altnames) == (OWNER_GROUP, [mark_of(name)])


def test_without_its_group_it_is_deleted_all_the_same_when_nobody_wants_it(kernel: FakeKernel) -> None:
    for name in OURS:
        kernel.machine.get(name).group = 0
    assert apply(kernel, Cluster.of(())).ok
    assert sorted(kernel.machine.devices) == ["eth1", "eth2"]


@pytest.mark.parametrize(("name", "to"), [("oob-br", "lan-x"), ("oob-bo", "b0"), ("oob-br.300", "storage")])
def test_a_renamed_link_is_named_back_in_one_plan(kernel: FakeKernel, name: str, to: str) -> None:
    kernel.add(builders.link("tap0", "tun", up=True, master="oob-br"))
    device, before = kernel.machine.get(name), str(kernel)
    renamed(kernel, name, to)
    report = apply(kernel)
    assert report.ok and report.rounds == 1
    steps = report.planned.plan.steps
    assert RenameLink(IfName(name)) in [s.action for s in steps]
    assert not any(isinstance(s.action, CreateLink | DeleteLink) for s in steps)
    assert report.planned.plan.impact is Impact.FLAP
    assert kernel.machine.get(name) is device and str(kernel) == before


def test_one_that_is_closed_is_renamed_without_a_price(kernel: FakeKernel) -> None:
    device = kernel.machine.get("oob-br.300")
    kernel.machine.close(device)
    kernel.machine.rename(device, "x")
    plan = plan_node(CLUSTER, look(kernel, NODE)).plan
    assert (plan.steps[0].link, plan.steps[0].action) == ("x", RenameLink(IfName("oob-br.300")))
    assert plan.impact is Impact.NONE
    assert apply(kernel).ok


def test_a_renamed_link_of_a_network_that_is_held_is_left_alone(kernel: FakeKernel) -> None:
    renamed(kernel, "oob-br", "lan-x")
    seen = kernel.observe()
    held = frozenset(IfName(n) for n in ("oob-br", "oob-bo", "oob-br.300", "eth1", "eth2"))
    assert make_plan(replace(seen.state, links={}, routes=frozenset(), sysctls={}), seen, held=held).empty


def test_the_name_is_another_links_by_now(kernel: FakeKernel) -> None:
    renamed(kernel, "oob-br", "lan-x")
    kernel.machine.add("oob-br", "bridge")
    plan = plan_node(CLUSTER, look(kernel, NODE)).plan
    assert not plan.steps and [p.code for p in plan.refusals] == ["in-the-way"]


def test_foreign_ports_keep_a_bridge_but_with_consent(kernel: FakeKernel) -> None:
    kernel.add(builders.link("tap0", "tun", up=True, master="oob-br"))
    nothing, sight = Cluster.of(()), look(kernel, NODE)
    refused = plan_node(nothing, sight).plan
    assert not refused.steps and [p.code for p in refused.refusals] == ["in-the-way"]
    assert "tap0" in refused.refusals[0].message
    assert plan_node(nothing, sight, consent=True).plan.steps


def test_an_alternative_name_is_in_the_way_of_a_link_and_of_its_creation() -> None:
    kernel = FakeKernel().add_nic("eth1").add_nic("eth9")
    kernel.machine.get("eth9").altnames.append("oob-br")
    failure = kernel.run([builders.step("oob-br", CreateLink(builders.link("oob-br", builders.Bond())))])
    assert failure is not None and failure.errno == errno.EEXIST
    (refusal,) = plan_node(CLUSTER, look(kernel, NODE)).plan.refusals
    assert "eth9 also goes by the name oob-br" in refusal.message


def test_a_nic_by_its_alternative_name() -> None:
    nic = Nic(name=IfName("eth1"), mac=Mac("02:00:00:00:00:01"), altnames=("enp3s0", "enx020000000001"))
    facts = NodeFacts(node=NODE, nics={nic.name: nic})
    assert find_nic(NicSelector(by=NicIdentity.NAME, value="enp3s0"), facts) is nic
    assert find_nic(NicSelector(by=NicIdentity.NAME, value="enp4s0"), facts) is None


def test_what_cannot_be_read_is_held_and_told(kernel: FakeKernel) -> None:
    seen = kernel.observe()
    gone = IfName("oob-br.300")
    links = {name: link for name, link in seen.state.links.items() if name != gone}
    blind = Observed(
        state=replace(seen.state, links=links),
        runtime={name: r for name, r in seen.runtime.items() if name != gone},
        unreadable={gone: "KeyError: 'vid'"},
    )
    kernel.observe = lambda: blind  # type: ignore[method-assign]
    planned = plan_node(CLUSTER, look(kernel, NODE))
    assert not planned.plan.steps
    (problem,) = planned.compiled.problems
    assert problem.code == "link-unreadable" and "KeyError: 'vid'" in problem.message


def test_how_it_is_told(kernel: FakeKernel) -> None:
    renamed(kernel, "oob-bo", "b0")
    kernel.machine.get("oob-br").group = 0
    deltas = [d for u in plan_node(CLUSTER, look(kernel, NODE)).plan.units for d in u.deltas]
    assert [f"{d.link} {words(d)}" for d in deltas] == [
        "oob-bo was called b0, is oob-bo again",
        "oob-br its mark as Windrow's was gone, is there again",
    ]


def test_marks() -> None:
    assert mark_of("oob-br") == "made-by-windrow.oob-br" and len(mark_of("")) > 15
    assert marked_names(["enp3s0", mark_of("a"), mark_of("b")]) == ["a", "b"]
    assert is_marked("a", OWNER_GROUP, [mark_of("a"), "x"]) and is_marked("veth1", PORT_GROUP, [])
    for group, altnames in ((0, [mark_of("a")]), (OWNER_GROUP, []), (OWNER_GROUP, [mark_of("a"), mark_of("b")])):
        assert not is_marked("a", group, altnames)


@pytest.mark.parametrize("data", [b"eth0", "é".encode(), b"caf\xe9", b"\xff\xfe", b"a\x1b[2J"])
def test_names_are_bytes_to_the_kernel(data: bytes) -> None:
    assert name_bytes(name_text(data + b"\0")) == data


def test_the_length_of_a_name_counts_bytes_that_are_no_text() -> None:
    assert parse_ifname(name_text(b"\xff" * 15))
    with pytest.raises(ValueError, match="16 bytes"):
        parse_ifname(name_text(b"\xff" * 16))
