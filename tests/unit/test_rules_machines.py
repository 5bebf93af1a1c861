"""Virtual machines beside the other objects: networks that are there, addresses of their own, a node to run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import Nic, NodeFacts
from windrow.model.machines import (
    AnyMachine,
    Binding,
    GuestNetwork,
    GuestNic,
    Lack,
    LinkState,
    MachineSpec,
    VirtualMachine,
    VirtualMachineInstance,
)
from windrow.model.meta import Meta
from windrow.model.objects import AnyObject, Node
from windrow.model.problems import Problem, Severity
from windrow.model.selectors import NodeTerm, Operator, Requirement
from windrow.model.values import Cidr, IfName, Mac
from windrow.rules import Change, changes_to, check
from windrow.rules.start import machine_obstacles
from windrow.testing.builders import cluster_network, nad, node, vlan_config

M1, M2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
NETWORK = (cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("v100", "oob", 100), nad("v200", "oob", 200))
OTHER = (cluster_network("dmz"), vlan_config("dmz", ["eth2"]), nad("dmz", "dmz"))
ALL = (*NETWORK, *OTHER)


def spec(
    *nics: str, binding: Binding = Binding.BRIDGE, state: LinkState = LinkState.UP, **selector: str
) -> MachineSpec:
    """`"v100=02:…"`: a NIC on a NAD of the namespace default; `"pod"`: on the pod network."""
    pairs = [nic.partition("=") for nic in nics]
    return MachineSpec(
        networks=tuple(
            GuestNetwork(name=f"n{i}", nad="" if where == "pod" else f"default/{where}")
            for i, (where, _, _) in enumerate(pairs)
        ),
        nics=tuple(
            GuestNic(name=f"n{i}", binding=binding, mac=Mac(mac) if mac else None, state=state)
            for i, (_, _, mac) in enumerate(pairs)
        ),
        node_selector=tuple(selector.items()),
    )


def vm(name: str, *nics: str, **fields: str) -> VirtualMachine:
    return VirtualMachine(meta=Meta(name=name, namespace="prod"), spec=spec(*nics, **fields))


def vmi(name: str, *nics: str) -> VirtualMachineInstance:
    return VirtualMachineInstance(meta=Meta(name=name, namespace="prod"), spec=spec(*nics))


def problems(*objects: AnyObject, before: Sequence[AnyObject] = ALL) -> tuple[Problem, ...]:
    cluster = Cluster.of(before)
    return check(cluster, changes_to(cluster, objects))


def put(*objects: AnyObject, before: Sequence[AnyObject] = ALL) -> list[str]:
    return [p.code for p in problems(*objects, before=before)]


# -- networks --------------------------------------------------------------------------------------------


def test_a_machine_on_networks_that_are_there() -> None:
    assert put(vm("a", "pod", f"v100={M1}", f"dmz={M1}")) == []
    assert put(*ALL, vm("a", "v100"), before=()) == []


def test_a_network_that_is_not_there() -> None:
    (found,) = problems(vm("a", "pod", "v300"))
    assert (found.code, found.path) == ("nad-missing", "spec.template.spec.networks[1].multus.networkName")
    assert "default/dmz, default/v100, default/v200" in found.hint
    (found,) = problems(vmi("a", "v300"), before=())
    assert found.path == "spec.networks[0].multus.networkName"


def test_a_network_that_could_not_be_read_is_there() -> None:
    gone = nad("v300", "oob", 300)
    found = check(Cluster.of(ALL), [Change(None, vm("a", "v300"))], unread=[gone.ref])
    assert [p.code for p in found] == []


def test_a_network_whose_cluster_network_is_not_there() -> None:
    lost = nad("lost", "gone", 5)
    assert put(vm("a", "lost"), before=[*ALL, lost]) == ["clusternetwork-missing"]
    assert put(vm("a", "lost"), lost) == ["clusternetwork-missing"], "said once, by the network"


def test_a_network_in_use_stays() -> None:
    machine = vm("a", "v100")
    before = Cluster.of([*ALL, machine])
    v100, v200 = NETWORK[2], NETWORK[3]
    assert [p.code for p in check(before, [Change(v100, None)])] == ["nad-in-use"]
    assert [p.code for p in check(before, [Change(v200, None)])] == []
    assert [p.code for p in check(before, [Change(v100, None), Change(machine, None)])] == []
    assert [p.code for p in check(before, [Change(v100, None), Change(machine, vm("a", "v200"))])] == []
    assert [p.code for p in check(before, [Change(v100, None), Change(machine, vm("a", "v100", x="y"))])] == [
        "nad-missing"
    ], "said by the machine"


# -- MAC addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "codes"),
    [
        (f"v100={M1}", f"v100={M1}", ["mac-duplicate"]),
        (f"v100={M1}", f"v200={M1}", ["mac-duplicate"]),  # of the cluster network, whatever the VLAN (Harvester)
        (f"v100={M1}", f"dmz={M1}", []),
        (f"v100={M1}", f"v100={M2}", []),
        (f"v100={M1}", "v100", []),
        (f"pod={M1}", f"pod={M1}", ["mac-duplicate"]),
        (f"pod={M1}", f"v100={M1}", []),
    ],
)
def test_a_mac_address_is_one_machines(one: str, other: str, codes: list[str]) -> None:
    assert put(vm("a", one), before=[*ALL, vm("b", other)]) == codes
    assert put(vm("a", one), vm("b", other)) == codes, "said once"
    assert put(vmi("a", one), before=[*ALL, vm("b", other)]) == codes
    assert put(vm("a", one, other)) == codes, "within one machine"


def test_who_has_the_address_is_said() -> None:
    (found,) = problems(vm("b", "pod", f"v100={M1}"), before=[*ALL, vm("a", f"v200={M1}")])
    assert found.path == "spec.template.spec.domain.devices.interfaces[1].macAddress"
    assert found.message == f"{M1} is already the address of VirtualMachine/prod/a in cluster network oob"


def test_a_machine_and_its_instance_are_one() -> None:
    assert put(vmi("a", f"v100={M1}"), before=[*ALL, vm("a", f"v100={M1}")]) == []
    assert put(vm("a", f"v100={M1}", x="y"), before=[*ALL, vm("a", f"v100={M1}")]) == []


def test_an_address_that_does_not_leave_its_pod_may_be_anybodys() -> None:
    behind = VirtualMachine(meta=Meta(name="b", namespace="prod"), spec=spec(f"pod={M1}", binding=Binding.MASQUERADE))
    assert put(behind, replace(behind, meta=Meta(name="c", namespace="prod"))) == []


def test_a_nic_that_is_to_go_has_no_address() -> None:
    going = VirtualMachine(meta=Meta(name="b", namespace="prod"), spec=spec(f"v100={M1}", state=LinkState.ABSENT))
    assert put(vm("a", f"v100={M1}"), before=[*ALL, going]) == []


# -- nodes -----------------------------------------------------------------------------------------------


def rack(name: str, rack_: str) -> Node:
    return node(name, rack=rack_)


def test_a_machine_that_can_run_nowhere_is_told() -> None:
    racks = [cluster_network("oob"), nad("v100", "oob", 100), rack("n1", "a"), rack("n2", "b")]
    here = replace(vlan_config("oob", ["eth1"]), node_selector={"rack": "a"})
    assert put(vm("a", "v100", rack="a"), before=[*racks, here]) == []
    assert put(vm("a", "v100"), before=[*racks, here]) == []
    (found,) = problems(vm("a", "v100", rack="b"), before=[*racks, here])
    assert (found.code, found.severity) == ("clusternetwork-nowhere", Severity.WARNING)
    assert put(vm("a", "v100", rack="c"), before=[*racks, here]) == ["node-selector"]
    assert put(vm("a", "v100"), before=racks) == ["clusternetwork-nowhere"]
    assert put(vm("a", "v100"), before=racks[:2]) == [], "of no node is anything known"


def test_mgmt_is_everywhere() -> None:
    assert put(vm("a", "m"), before=[nad("m", "mgmt", 5), rack("n1", "a")]) == []


def needing(*requirements: tuple[str, str], names: Sequence[str] = (), **fields: str) -> VirtualMachine:
    """A machine on v100 whose required node affinity has one term: labels with these values, these nodes."""
    term = NodeTerm(
        labels=tuple(Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in requirements),
        names=(Requirement(key="metadata.name", operator=Operator.IN, values=tuple(names)),) if names else (),
    )
    return VirtualMachine(
        meta=Meta(name="a", namespace="prod"), spec=replace(spec("v100", **fields), node_terms=(term,))
    )


MANAGED, OOB = ("network.harvesterhci.io/mgmt", "true"), ("network.harvesterhci.io/oob", "true")


@pytest.mark.parametrize(
    ("machine", "fine"),
    [
        (needing(("rack", "a")), True),
        (needing(("rack", "b")), False),
        (needing(("rack", "a"), names=["n1"]), True),
        (needing(("rack", "a"), names=["n2"]), False),
        (needing(names=["n1", "n2"]), True),
        (needing(("rack", "a"), rack="b"), False),
        (needing(), False),
        # What a cluster of Harvester's gives its nodes by itself, and writes into every machine that it exports.
        (needing(MANAGED, OOB), True),
        (needing(MANAGED, ("network.harvesterhci.io/lost", "true")), False),
        (needing(("kubernetes.io/os", "linux"), ("kubernetes.io/hostname", "n1")), True),
        # And the kubelet and KubeVirt, each of which knows it of its node alone.
        (needing(("kubernetes.io/arch", "amd64"), ("kubevirt.io/schedulable", "true")), True),
        (needing(("rack", "b"), **{"kubernetes.io/arch": "amd64"}), False),
    ],
)
def test_required_node_affinity_counts(machine: VirtualMachine, fine: bool) -> None:
    before = [*NETWORK, node("n1", rack="a")]
    assert put(machine, before=before) == ([] if fine else ["node-selector"])
    cluster = Cluster.of([*before, machine])
    found = machine_obstacles(machine, cluster, node="n1", links=["oob-br"], default_network=False)
    assert [p.code for p in found] == ([] if fine else ["node-selector"])
    assert fine or found[0].path.startswith("spec.template.spec."), "it has a place"


def test_what_a_node_says_of_itself_counts() -> None:
    machine = needing(("rack", "a"), **{"kubernetes.io/arch": "arm64"})
    assert put(machine, before=[*NETWORK, node("n1", rack="a", **{"kubernetes.io/arch": "arm64"})]) == []
    assert put(machine, before=[*NETWORK, node("n1", rack="a", **{"kubernetes.io/arch": "amd64"})]) == ["node-selector"]


@pytest.mark.parametrize(
    ("operator", "value", "fine"),
    [
        (Operator.GREATER, "3", True),
        (Operator.GREATER, "4", False),
        (Operator.LESS, "5", True),
        (Operator.LESS, "-1", False),
        (Operator.NOT_IN, "4", False),
        (Operator.EXISTS, "", True),
        (Operator.DOES_NOT_EXIST, "", False),
    ],
)
def test_operators_of_node_affinity(operator: Operator, value: str, fine: bool) -> None:
    term = NodeTerm(labels=(Requirement(key="cpus", operator=operator, values=(value,) if value else ()),))
    other = NodeTerm(labels=(Requirement(key="cpus", operator=Operator.GREATER, values=("9",)),))
    machine = VirtualMachine(
        meta=Meta(name="a", namespace="prod"), spec=replace(spec("v100"), node_terms=(other, term))
    )
    assert put(machine, before=[*NETWORK, node("n1", cpus="4")]) == ([] if fine else ["node-selector"])
    words = VirtualMachine(meta=Meta(name="a", namespace="prod"), spec=replace(spec("v100"), node_terms=(other,)))
    assert put(words, before=[*NETWORK, node("n1", cpus="many")]) == ["node-selector"]


def test_a_machine_of_another_host_where_no_node_object_says_which_there_are() -> None:
    facts = NodeFacts(node="n1", nics={IfName("eth1"): Nic(name=IfName("eth1"), mac=Mac("02:00:00:00:00:99"))})

    def said(*nodes: Node, **labels: str) -> list[str]:
        cluster = Cluster.of([*NETWORK, *nodes])
        return [p.code for p in check(cluster, [Change(None, vm("a", "v100", **labels))], facts=facts)]

    elsewhere = {names.LABEL_HOSTNAME: "n9"}
    assert said(**elsewhere) == []
    assert said(node("n1"), **elsewhere) == ["node-selector"]
    assert said(**elsewhere, rack="a") == ["node-selector"]


# -- what is not made here -------------------------------------------------------------------------------

DISK = Lack(code="volume-unsupported", path="spec.template.spec.volumes[0].dataVolume", message="no", hint="do")
NIC = Lack(code="binding-unsupported", path="spec.template.spec.domain", message="no", hint="do", hypervisor=False)


def lacking(*found: Lack, **fields: str) -> VirtualMachine:
    return VirtualMachine(meta=Meta(name="a", namespace="prod"), spec=replace(spec("v100", **fields), lacks=found))


def test_what_a_machine_lacks_is_one_warning_and_lets_it_in() -> None:
    (found,) = problems(lacking(DISK, NIC))
    assert (found.code, found.severity, found.path) == ("not-startable", Severity.WARNING, DISK.path)
    assert found.message == "it cannot be started here: no (and 1 more)"


def test_what_a_machine_of_another_node_lacks_is_nobodys_business_here() -> None:
    cluster = Cluster.of([*NETWORK, node("n1", rack="a"), node("n2", rack="b")])
    facts = NodeFacts(node="n1", nics={IfName("eth1"): Nic(name=IfName("eth1"), mac=Mac("02:00:00:00:00:99"))})
    for rack_, expected in (("a", ["not-startable"]), ("b", [])):
        found = check(cluster, [Change(None, lacking(DISK, rack=rack_))], facts=facts)
        assert [p.code for p in found] == expected


def test_what_a_machine_lacks_is_every_reason_against_its_start() -> None:
    assert [p.code for p in obstacles(lacking(DISK, NIC))] == ["volume-unsupported", "binding-unsupported"]
    cluster = Cluster.of([*ALL, PODS])
    found = machine_obstacles(
        lacking(DISK, NIC), cluster, node="n1", links=LINKS, default_network=False, hypervisor=False
    )
    assert [p.code for p in found] == ["binding-unsupported"], "disks are the other hypervisor's"


# -- may it start? ---------------------------------------------------------------------------------------

PODS = Node(meta=Meta(name="n1", labels={"rack": "a"}), pod_cidrs=(Cidr("10.52.0.0/24"),))
LINKS = ("oob-br", "dmz-br", "eth0")


def obstacles(
    machine: AnyMachine,
    *more: AnyObject,
    at: Node = PODS,
    links: Sequence[str] = LINKS,
    default_network: bool = False,
) -> tuple[Problem, ...]:
    cluster = Cluster.of([*ALL, at, *more])
    return machine_obstacles(machine, cluster, node="n1", links=links, default_network=default_network)


def test_nothing_is_in_the_way() -> None:
    assert obstacles(vm("a", "pod", f"v100={M1}", "dmz", rack="a")) == ()


def test_a_machine_for_another_node() -> None:
    (found,) = obstacles(vm("a", "pod", rack="b", row="1"))
    assert found.code == "node-selector"
    assert "rack=b, row=1" in found.message


def test_a_cluster_network_that_is_not_on_the_node() -> None:
    (found,) = obstacles(vm("a", "dmz"), links=["oob-br"])
    assert found.code == "clusternetwork-absent"
    assert found.message == (
        "cluster network dmz of NetworkAttachmentDefinition/default/dmz is not on node n1: there is no bridge dmz-br"
    )
    assert found.hint == "windrow apply makes it"


@pytest.mark.parametrize(
    ("more", "name", "hint"),
    [
        ([cluster_network("x"), nad("x", "x")], "x", "there is no VlanConfig of x; it says which NICs carry it"),
        (
            [cluster_network("x"), nad("x", "x"), replace(vlan_config("x", ["e1"]), node_selector={"rack": "z"})],
            "x",
            "no VlanConfig of x is for this node (x); start it on another one",
        ),
        ([nad("x", "x")], "x", "there is no ClusterNetwork x"),
        ([nad("m", "mgmt")], "m", "the operating system makes mgmt-br, with the node's own address on it"),
    ],
)
def test_what_would_make_it(more: list[AnyObject], name: str, hint: str) -> None:
    (found,) = obstacles(vm("a", name), *more)
    assert (found.code, found.hint) == ("clusternetwork-absent", hint)


def test_a_network_that_nobody_describes() -> None:
    assert [p.code for p in obstacles(vm("a", "v300"))] == ["nad-missing"]


def test_a_pod_network_needs_addresses_or_somebody_who_gives_them() -> None:
    bare = Node(meta=Meta(name="n1"))
    (found,) = obstacles(vm("a", "v100", "pod"), at=bare)
    assert (found.code, found.path) == ("pod-network-missing", "spec.template.spec.networks[1]")
    assert obstacles(vm("a", "pod"), at=bare, default_network=True) == ()
    assert obstacles(vm("a", "v100"), at=bare) == ()
    first = MachineSpec(
        networks=(GuestNetwork(name="n0", nad="default/v100", default=True),),
        nics=(GuestNic(name="n0", binding=Binding.BRIDGE),),
    )
    assert obstacles(VirtualMachine(meta=Meta(name="a", namespace="prod"), spec=first), at=bare) == ()


def test_an_address_that_another_machine_has() -> None:
    assert [p.code for p in obstacles(vm("a", f"v100={M1}"), vm("b", f"v200={M1}"))] == ["mac-duplicate"]
    assert obstacles(vm("a", f"v100={M1}"), vm("a", f"v100={M1}")) == ()


def test_everything_at_once() -> None:
    found = obstacles(vm("a", "v300", "dmz", "pod", rack="z"), at=Node(meta=Meta(name="n1")), links=["oob-br"])
    assert [p.code for p in found] == ["node-selector", "nad-missing", "clusternetwork-absent", "pod-network-missing"]


def test_a_nic_that_is_to_go_needs_no_network() -> None:
    going = VirtualMachine(meta=Meta(name="a", namespace="prod"), spec=spec("dmz", state=LinkState.ABSENT))
    assert obstacles(going, links=[]) == ()


def test_the_label_of_a_host_name_selects() -> None:
    at = replace(PODS, meta=Meta(name="n1", labels={names.LABEL_HOSTNAME: "n1"}))
    machine = VirtualMachine(
        meta=Meta(name="a", namespace="prod"),
        spec=replace(spec("pod"), node_selector=((names.LABEL_HOSTNAME, "n1"),)),
    )
    assert obstacles(machine, at=at) == ()
