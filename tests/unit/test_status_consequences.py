"""What a change means: nodes, machines, addresses, seconds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from windrow.apps.engine import converge, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond
from windrow.model.machines import GuestNetwork, MachineSpec, VirtualMachine
from windrow.model.meta import Meta
from windrow.model.objects import HostNetworkConfig
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.selectors import LabelSelector, Operator, Requirement
from windrow.model.steps import SetBond, SetLink
from windrow.render.consequences import Consequences, consequences_text, consequences_value, seconds_words
from windrow.status.consequences import Here, consequences
from windrow.status.outages import PRICES
from windrow.testing.builders import (
    cluster,
    cluster_network,
    host_network,
    link,
    nad,
    node,
    port_record,
    step,
    vlan_config,
)
from windrow.testing.fake import FakeKernel

OOB, STO = cluster_network("oob"), cluster_network("sto")


def machine(name: str, *nads: str) -> VirtualMachine:
    networks = tuple(GuestNetwork(name=f"n{n}", nad=nad) for n, nad in enumerate(nads))
    return VirtualMachine(meta=Meta(name=name, namespace="default"), spec=MachineSpec(networks=networks))


def kernel() -> FakeKernel:
    return FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True).add_nic("eth3", up=True)


def means(before: Cluster, after: Cluster, *ports: PortRecord, host: FakeKernel | None = None) -> Consequences:
    """Of the node n1, which is as `before` wants it."""
    host = host or kernel()
    assert converge(before, host, "n1").ok
    for record in ports:
        host.add(link(record.host, "veth", up=True, master=record.bridge, vlans=record.vlans), group=PORT_GROUP)
    sight = look(host, "n1", Known(ports=ports))
    plan = plan_node(after, sight).plan
    return consequences(before, after, Here(node="n1", observed=sight.observed, plan=plan, ports=ports))


# -- nodes -----------------------------------------------------------------------------------------


def test_a_label_of_a_node_moves_a_network() -> None:
    config = replace(vlan_config("oob", ["eth1", "eth2"]), node_selector={"rack": "1"})
    before = cluster(OOB, config, node("n1", rack="1"), node("n2", rack="1"), node("n3", rack="2"))
    after = before.replace([node("n1", rack="2"), node("n3", rack="1")])
    found = means(before, after)
    assert [(n.cluster_network, n.how, n.nodes) for n in found.networks] == [
        ("oob", "loses", ("n1",)),
        ("oob", "gains", ("n3",)),
    ]
    assert found.elsewhere == ("n3",)
    assert found.interruptions[0].until == "it is wanted again"


def test_nodes_alike_are_one_change_and_differences_are_named() -> None:
    before = cluster(OOB, vlan_config("oob", ["eth1", "eth2"], mtu=1500), node("n1"), node("n2"))
    after = before.replace([vlan_config("oob", ["eth1", "eth3"], "active-backup", mtu=9000, miimon=50)])
    (change,) = means(before, after).networks
    assert (change.how, change.nodes) == ("changes", ("n1", "n2"))
    assert change.what == ("NICs eth1, eth2 → eth1, eth3; miimon 100 → 50; MTU 1500 → 9000")


def test_an_option_that_is_only_written_out_is_no_change() -> None:
    before = cluster(OOB, vlan_config("oob", ["eth1", "eth2"], "active-backup", miimon=100), node("n1"))
    assert means(before, before.replace([vlan_config("oob", ["eth1", "eth2"])])).none


def test_a_network_that_moves_to_another_config_is_a_change_only_where_it_differs() -> None:
    a = replace(vlan_config("oob", ["eth1"], name="a"), node_selector={"rack": "1"})
    b = replace(vlan_config("oob", ["eth1"], name="b"), node_selector={"rack": "2"})
    before = cluster(OOB, a, b, node("n1", rack="1"))
    assert means(before, before.replace([node("n1", rack="2")])).none


def test_a_node_that_is_deleted_has_nothing_any_more() -> None:
    config = replace(vlan_config("oob", ["eth1"]), node_selector={"rack": "1"})
    before = cluster(OOB, config, node("n1", rack="1"), node("n2", rack="1"))
    found = means(before, before.without([node("n2").ref]))
    assert [(n.how, n.nodes) for n in found.networks] == [("loses", ("n2",))]


def test_the_mirror_of_the_management_uplink_means_nothing() -> None:
    before = cluster(node("n1"))
    assert means(before, before.replace([vlan_config("mgmt", ["eth1", "eth2"])])).none


# -- who uses it -----------------------------------------------------------------------------------


def test_machines_are_found_by_their_manifests_and_by_their_ports() -> None:
    before = cluster(
        OOB, STO,
        vlan_config("oob", ["eth1", "eth2"]), vlan_config("sto", ["eth3"]),
        nad("v100", "oob", 100), nad("v200", "oob", 200), nad("s5", "sto", 5),
        machine("web", "default/v100"), machine("db", "default/v200", "default/s5"), machine("other", "default/s5"),
        node("n1"),
    )  # fmt: skip
    record = port_record("pod1", "oob-br", "200*")
    found = means(before, before.replace([vlan_config("oob", ["eth1", "eth2"], "802.3ad")]), record)
    (change,) = found.networks
    assert change.users == ("VM default/db", "VM default/web", "pod default/pod1")
    (stop,) = found.interruptions
    assert (stop.network, stop.users) == ("oob", ("pod default/pod1 (net1)",))


def test_a_vlan_taken_from_a_running_port_lasts_until_it_is_started_anew() -> None:
    before = cluster(
        OOB, vlan_config("oob", ["eth1", "eth2"]), nad("v100", "oob", 100), nad("v200", "oob", 200),
        machine("db", "default/v200"), node("n1"), node("n2"),
    )  # fmt: skip
    ports = (port_record("a", "oob-br", "200*"), port_record("b", "oob-br", "100*", container="b"))
    found = means(before, before.without([nad("v200", "oob", 200).ref]), *ports)
    (stop,) = found.interruptions
    assert (stop.high, stop.until) == (None, "VLAN 200 is back, or they are started anew in another one")
    assert stop.users == ("pod default/a (net1)",)
    assert stop.addresses == ()
    (change,) = found.networks
    assert (change.how, change.nodes, change.what) == ("loses-vlans", ("n1", "n2"), "VLAN 200 goes")
    assert change.users == ("VM default/db", "pod default/a")


# -- addresses -------------------------------------------------------------------------------------


def test_addresses_of_hosts() -> None:
    uplink = vlan_config("oob", ["eth1", "eth2"])
    before = cluster(
        OOB, uplink, host_network("oob", 300, {"n1": "10.0.0.1/24", "n2": "10.0.0.2/24"}), node("n1"), node("n2")
    )
    moved = before.replace([host_network("oob", 300, {"n1": "10.0.0.9/24", "n2": "10.0.0.2/24"})])
    found = means(before, moved)
    assert [(a.node, a.interface, a.before, a.after) for a in found.addresses] == [
        ("n1", "oob-br.300", "10.0.0.1/24", "10.0.0.9/24")
    ]
    assert found.interruptions == (), "an address that goes is told for itself"
    dhcp = before.replace([host_network("oob", 300)])
    assert [(a.node, a.after) for a in means(before, dhcp).addresses] == [
        ("n1", "its address by DHCP"),
        ("n2", "its address by DHCP"),
    ]


def test_an_address_goes_with_its_network_and_with_its_selector() -> None:
    hosts = host_network("oob", 300, {"n1": "10.0.0.1/24"})
    before = cluster(OOB, vlan_config("oob", ["eth1", "eth2"]), hosts, node("n1"))
    gone = means(before, before.without([vlan_config("oob", []).ref]))
    assert [(a.before, a.after) for a in gone.addresses] == [("10.0.0.1/24", "")]
    only = LabelSelector(requirements=(Requirement(key="rack", operator=Operator.EXISTS),))
    assert isinstance(hosts, HostNetworkConfig)
    narrowed = means(before, before.replace([replace(hosts, node_selector=only)]))
    assert [(a.before, a.after) for a in narrowed.addresses] == [("10.0.0.1/24", "")]


def test_whose_address_an_interruption_concerns() -> None:
    hosts = host_network("oob", 300, {"n1": "10.0.0.1/24"})
    before = cluster(OOB, vlan_config("oob", ["eth1", "eth2"], "802.3ad"), hosts, node("n1"))
    after = before.replace([vlan_config("oob", ["eth1", "eth2"], "802.3ad", lacp_rate="fast")])
    (stop,) = means(before, after).interruptions
    assert stop.addresses == ("10.0.0.1/24 on oob-br.300",)
    assert (stop.why, stop.low, stop.high) == (("its bond is down for a moment",), 0, PRICES["restart"].high)


# -- seconds ---------------------------------------------------------------------------------------

PAIR = ["eth1", "eth2"]


@pytest.mark.parametrize(
    ("old", "new", "why", "low", "high"),
    [
        (
            vlan_config("oob", PAIR),
            vlan_config("oob", PAIR, "balance-xor"),
            (
                "the new bond takes over",
                "a NIC that joins has its part of the traffic at once",
                "its bond is down for a moment",
            ), 0, 2.5,
        ),
        (
            vlan_config("oob", PAIR),
            vlan_config("oob", PAIR, "802.3ad"),
            ("the new bond takes over; LACP agrees anew", "its bond is down for a moment"), 0, 4.2,
        ),
        (
            vlan_config("oob", ["eth1"]),
            vlan_config("oob", ["eth1"], "balance-xor"),
            ("its only NIC leaves the bond and comes back",), 0, 5,
        ),
        (
            vlan_config("oob", ["eth1"]),
            vlan_config("oob", ["eth1"], "802.3ad"),
            ("its only NIC leaves the bond and comes back, and LACP agrees",), 2, 15,
        ),
        (vlan_config("oob", ["eth1"]), vlan_config("oob", ["eth2"]), ("its only NIC is exchanged",), 0, 5),
        (vlan_config("oob", PAIR), vlan_config("oob", ["eth2"]), ("another NIC takes over",), 0, 0.2),
        (
            vlan_config("oob", ["eth1", "eth2", "eth3"]),
            vlan_config("oob", ["eth3"]),
            ("another NIC takes over",), 0, 0.2,
        ),
        (
            vlan_config("oob", PAIR, primary="eth1"),
            vlan_config("oob", PAIR, primary="eth2"),
            ("another NIC takes over",), 0, 0.2,
        ),
        (
            vlan_config("oob", PAIR, mtu=9000),
            vlan_config("oob", PAIR),
            ("a driver may start its NIC anew for another MTU",), 0, 3,
        ),
    ],
)  # fmt: skip
def test_what_changes_cost(old: object, new: object, why: tuple[str, ...], low: float, high: float) -> None:
    before = cluster(OOB, old, node("n1"))  # type: ignore[arg-type]
    after = cluster(OOB, new, node("n1"))  # type: ignore[arg-type]
    (stop,) = means(before, after).interruptions
    assert (stop.why, stop.low, stop.high, stop.until) == (why, low, high, "")


@pytest.mark.parametrize(
    "new",
    [vlan_config("oob", PAIR, miimon=50), vlan_config("oob", [*PAIR, "eth3"]), vlan_config("oob", PAIR, mtu=9000)],
)
def test_what_is_hitless_interrupts_nothing(new: object) -> None:
    found = means(cluster(OOB, vlan_config("oob", PAIR), node("n1")), cluster(OOB, new, node("n1")))  # type: ignore[arg-type]
    assert found.networks
    assert found.interruptions == ()


def test_every_price_has_a_source() -> None:
    assert all(p.source and p.why and p.low <= p.high for p in PRICES.values())


def test_a_repair_costs_too() -> None:
    """Nothing of the objects is changed: only what is to be done here is told."""
    found = cluster(OOB, vlan_config("oob", PAIR, "802.3ad", lacp_rate="fast"), node("n1"))
    host = kernel()
    assert converge(found, host, "n1").ok
    by_hand = [SetLink(up=False), SetBond(Bond(lacp_rate="slow")), SetLink(up=True)]
    assert host.run([step("oob-bo", action) for action in by_hand]) is None
    sight = look(host, "n1")
    what = consequences(found, found, Here(node="n1", observed=sight.observed, plan=plan_node(found, sight).plan))
    assert (what.networks, what.addresses) == ((), ())
    assert [i.high for i in what.interruptions] == [1.2]


# -- as text and data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0, 0.2, "up to 200 ms"), (0, 1.3, "up to 1.3 s"), (2, 15, "2 to 15 s")]
)
def test_seconds(low: float, high: float, words: str) -> None:
    assert seconds_words(low, high) == words


def test_nothing_is_said_where_nothing_happens() -> None:
    found = cluster(OOB, vlan_config("oob", PAIR), node("n1"))
    assert consequences_text(means(found, found)) == ""


def test_many_users_are_counted() -> None:
    nads = [nad("v100", "oob", 100)]
    machines = [machine(f"vm{n:02}", "default/v100") for n in range(12)]
    before = cluster(OOB, vlan_config("oob", PAIR), *nads, *machines, node("n1"))
    text = consequences_text(means(before, before.replace([vlan_config("oob", PAIR, mtu=9000)])))
    assert "VM default/vm07, 4 more" in text


def test_as_data() -> None:
    before = cluster(
        OOB, vlan_config("oob", PAIR), host_network("oob", 300, {"n1": "10.0.0.1/24"}), node("n1"), node("n2")
    )
    found = means(before, before.replace([vlan_config("oob", PAIR, "balance-xor")]))
    value = json.loads(json.dumps(consequences_value(found)))
    assert value["clusterNetworks"][0] == {
        "clusterNetwork": "oob", "change": "changes", "nodes": ["n1", "n2"],
        "what": "mode active-backup → balance-xor", "users": [],
    }  # fmt: skip
    assert value["interruptions"][0]["seconds"] == {"least": 0, "most": 2.5}
    assert value["otherNodes"] == ["n2"]
