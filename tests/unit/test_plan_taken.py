"""What others made on a NIC, a bond or a port, and takes a VLAN from machines and pods, is named, and in the way of a
NIC that is to join."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.apps.engine import converge, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.events import EventType
from windrow.model.facts import Known
from windrow.model.host import Bond, Bridge, HostState, Observed, Other, PortVlans, VlanIf
from windrow.model.ports import PORT_GROUP
from windrow.model.problems import Problem, Severity
from windrow.model.values import Cidr, IfName, Ref, VidSet
from windrow.plan import taken
from windrow.status import conditions, lostframes
from windrow.status.overview import overview
from windrow.status.report import NodeReport
from windrow.status.vlanstatus import vlan_statuses
from windrow.testing import builders
from windrow.testing.builders import link
from windrow.testing.fake import FakeKernel

NODE = "node-0"
CLUSTER = Cluster.of(
    (
        builders.cluster_network("oob"),
        builders.vlan_config("oob", ["eth1", "eth2"]),
        builders.nad("v100", "oob", 100),
        builders.host_network("oob", 300, {NODE: "10.30.0.1/24"}),
    )
)
CONFIG = Ref("VlanConfig", "oob")
NIC = Other(kind="device")


def host(*, made: bool = True) -> FakeKernel:
    kernel = FakeKernel()
    for number in range(3):
        kernel.add_nic(f"eth{number}", up=True)
    if made:
        assert converge(CLUSTER, kernel, NODE).ok
    return kernel


def vlan(name: str, parent: str, vid: int, *addrs: str) -> object:
    return link(name, VlanIf(parent=IfName(parent), vid=vid), up=True, addrs=frozenset(map(Cidr, addrs)))


def found(kernel: FakeKernel, cluster: Cluster = CLUSTER, known: Known = Known()) -> list[Problem]:
    planned = plan_node(cluster, look(kernel, NODE, known))
    return [p for p in planned.compiled.problems if p.code == taken.CODE]


@pytest.mark.parametrize("parent", ["oob-bo", "eth1", "eth2"])
@pytest.mark.parametrize("vid", [100, 300])
def test_an_interface_on_the_bond_or_a_nic_in_it_is_named(parent: str, vid: int) -> None:
    kernel = host()
    kernel.add(vlan("theirs", parent, vid))  # type: ignore[arg-type]
    (problem,) = found(kernel)
    assert problem.message.startswith(f"theirs, which Windrow did not make, takes VLAN {vid} on {parent}")
    assert "ip link delete dev theirs" in problem.hint
    assert (problem.about, problem.severity) == (CONFIG, Severity.WARNING)
    assert plan_node(CLUSTER, look(kernel, NODE, Known())).plan.empty, "a warning stops nothing"


def test_what_takes_nothing_is_not_named() -> None:
    kernel = host()
    kernel.add(vlan("unused", "oob-bo", 77))  # type: ignore[arg-type]
    kernel.add(vlan("elsewhere", "eth0", 100))  # type: ignore[arg-type]
    kernel.add(vlan("above", "oob-br", 100))  # type: ignore[arg-type]
    assert not found(kernel)


def test_whoever_is_reached_by_it_does_it_at_the_console() -> None:
    kernel = host()
    kernel.add(vlan("theirs", "oob-bo", 100, "10.1.0.5/24"))  # type: ignore[arg-type]
    (problem,) = found(kernel)
    assert "at the console of this host" in problem.hint


def test_the_management_networks_own_interface_is_meant_so() -> None:
    """`mgmt-bo.5` has the node's address: it is the operating system's, and so is its VLAN."""
    kernel = host(made=False)
    for made in (link("mgmt-br", Bridge(vlan_filtering=True), up=True), link("mgmt-bo", Bond(), up=True)):
        kernel.add(made)
    kernel.machine.set_master(kernel.machine.get("mgmt-bo"), kernel.machine.get("mgmt-br"))
    kernel.add(vlan("mgmt-bo.5", "mgmt-bo", 5, "10.5.0.1/24"))  # type: ignore[arg-type]
    kernel.add(vlan("theirs", "mgmt-bo", 6))  # type: ignore[arg-type]
    cluster = Cluster.of((builders.cluster_network("mgmt"), *(builders.nad(f"v{v}", "mgmt", v) for v in (5, 6))))
    (problem,) = found(kernel, cluster, Known(ways=frozenset({IfName("mgmt-bo.5")})))
    assert problem.message.startswith("theirs,")
    assert problem.about == Ref("ClusterNetwork", "mgmt")


def test_one_on_the_port_of_a_trunk_takes_what_the_machine_sends_in_its_vlan() -> None:
    kernel = host()
    record = builders.port_record("router", "oob-br", "1* 100")
    kernel.add(link(record.host, Other(kind="veth"), up=True))
    kernel.machine.get(record.host).group = PORT_GROUP
    known = Known(ports=(record,))
    assert converge(CLUSTER, kernel, NODE, knowing=lambda: known).ok
    for vid in (100, 300):  # of which the port has one
        kernel.add(vlan(f"on-port.{vid}", record.host, vid))  # type: ignore[arg-type]
    (problem,) = found(kernel, known=known)
    assert problem.message.startswith("on-port.100,")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (VlanIf(parent=IfName("eth2"), vid=100), "takes VLAN 100 on eth2"),
        (VlanIf(parent=IfName("eth2"), vid=300), "takes VLAN 300 on eth2"),
        (Other(kind="macvlan", parent=IfName("eth2")), "the kernel puts no such NIC into a bond"),
        (Other(kind="ipvlan", parent=IfName("eth2")), "the kernel puts no such NIC into a bond"),
    ],
)
def test_a_nic_with_a_leftover_on_it_does_not_join(spec: VlanIf | Other, text: str) -> None:
    kernel = host(made=False)
    kernel.add(link("leftover", spec, up=True))
    plan = plan_node(CLUSTER, look(kernel, NODE, Known())).plan
    assert any(text in p.message and "ip link delete dev leftover" in p.hint for p in plan.refusals), plan.refusals
    assert not any(step.link for step in plan.steps)
    kernel.machine.vanish(kernel.machine.get("leftover"))
    assert converge(CLUSTER, kernel, NODE).ok


def test_a_leftover_in_a_vlan_that_nobody_wants_is_in_nobodys_way() -> None:
    kernel = host(made=False)
    kernel.add(vlan("eth2.77", "eth2", 77))  # type: ignore[arg-type]
    assert converge(CLUSTER, kernel, NODE).ok


def test_status_says_it_and_an_event_tells_when_it_begins_and_ends() -> None:
    kernel = host()
    kernel.add(vlan("theirs", "oob-bo", 100))  # type: ignore[arg-type]
    report = NodeReport(node=NODE, observed=kernel.observe(), problems=tuple(found(kernel)))
    screen = overview(CLUSTER, report)
    assert not screen.well
    assert any(f.problem.message.startswith("theirs,") for f in screen.findings)
    (document,) = vlan_statuses(CLUSTER, report)
    assert [(c["type"], c["status"]) for c in document["status"]["conditions"]] == [
        ("ready", "True"),
        ("VlanTaken", "True"),
    ]
    current = tuple(lostframes.conditions(report))
    since, (begun,) = conditions.update((), current, 10.0)
    assert (begun.type, begun.reason, begun.about) == (EventType.WARNING, "VlanTaken", CONFIG)
    gone = replace(report, problems=())
    _, (ended,) = conditions.update(since, lostframes.conditions(gone), 20.0)
    assert (ended.type, ended.reason) == (EventType.NORMAL, "NoVlanTaken")


def test_what_is_not_seen_is_asked_of_bond_and_nics_and_told() -> None:
    """Not what is seen here, not more than may be, and not of a link with the largest MTU there is."""
    kernel = host()
    kernel.add(vlan("mine", "eth1", 100))  # type: ignore[arg-type]
    sight = look(kernel, NODE, Known())
    want = plan_node(CLUSTER, sight).compiled.state
    both, one = VidSet.of([100, 300]), VidSet.of([300])
    assert taken.askable(want, sight.observed) == {"oob-bo": both, "eth1": one, "eth2": both}
    (said,) = taken.elsewhere(want, sight.observed, {IfName("eth2"): both})
    assert (
        said.message == "an interface in another network namespace takes VLANs 100,300 on eth2 from machines and pods"
    )
    assert (said.about, said.severity) == (CONFIG, Severity.WARNING)
    assert f"@if{sight.observed.runtime[IfName('eth2')].ifindex}," in said.hint


def test_of_a_range_the_lowest_are_asked() -> None:
    want = HostState(links={IfName("b"): link("b", NIC, vlans=PortVlans(tagged=VidSet.span(2, 4094)))})
    seen = Observed(state=HostState(links={IfName("b"): link("b", NIC, mtu=1500)}), runtime={})
    assert taken.askable(want, seen) == {"b": VidSet.span(2, 1 + taken.MOST_ASKED)}
    large = Observed(state=HostState(links={IfName("b"): link("b", NIC, mtu=65535)}), runtime={})
    assert taken.askable(want, large) == {}
