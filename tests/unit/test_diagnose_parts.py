"""What a whole fabric does not bring about: odd answers of LACP, announcements, one node alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.diagnose import diagnose
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.evidence import (
    DhcpOffer,
    Evidence,
    Heard,
    Identity,
    Kind,
    LacpLeg,
    Leg,
    NicEvidence,
    RouterAdvert,
)
from windrow.model.findings import Certainty, Finding, Grade, Reason
from windrow.model.objects import VlanConfig
from windrow.model.values import IfName, Mac, Vid, VidSet
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import Fabric, Habit, cluster_of, evidence_of, fabric

ONE = Leg("node-1", IfName("eth1"))


def with_nic(f: Fabric, leg: Leg, **changes: object) -> Evidence:
    evidence = evidence_of(f)
    node = evidence.nodes[leg.node]
    nic: NicEvidence = replace(node.nics[leg.nic], **changes)  # type: ignore[arg-type]
    return Evidence(nodes={**evidence.nodes, leg.node: replace(node, nics={**node.nics, leg.nic: nic})})


def lacp_of(f: Fabric, leg: Leg) -> LacpLeg:
    nic = evidence_of(f).nic(leg)
    assert nic is not None and nic.lacp is not None
    return nic.lacp


def only(found: tuple[Finding, ...], reason: Reason) -> Finding:
    assert [f.reason for f in found] == [reason], found
    return found[0]


def test_a_member_that_the_switch_treats_as_a_port_by_itself() -> None:
    f = fabric(3, BondMode.LACP)
    lacp = lacp_of(f, ONE)
    assert lacp.partner is not None
    alone = replace(lacp, partner=replace(lacp.partner, state=lacp.partner.state & ~4))
    found = only(diagnose(cluster_of(f), with_nic(f, ONE, lacp=alone)), Reason.LACP_INDIVIDUAL)
    assert found.legs == (ONE,)


def test_a_member_that_the_switch_holds_back() -> None:
    f = fabric(3, BondMode.LACP)
    lacp = lacp_of(f, ONE)
    assert lacp.partner is not None
    held = replace(lacp, churned=True, partner=replace(lacp.partner, state=lacp.partner.state & ~8))
    assert only(diagnose(cluster_of(f), with_nic(f, ONE, lacp=held)), Reason.LACP_NOT_IN_SYNC).legs == (ONE,)
    at_once = replace(held, churned=False)
    assert not diagnose(cluster_of(f), with_nic(f, ONE, lacp=at_once))


def test_the_switch_hears_somebody_else() -> None:
    f = fabric(3, BondMode.LACP)
    lacp = lacp_of(f, ONE)
    other = lacp_of(f, Leg("node-2", IfName("eth1"))).actor
    found = only(diagnose(cluster_of(f), with_nic(f, ONE, lacp=replace(lacp, about_us=other))), Reason.CABLE_CROSSED)
    assert "node-2/oob" in found.message


def test_one_node_alone_knows_nothing() -> None:
    f = fabric(1)
    found = diagnose(cluster_of(f), evidence_of(f))
    assert {x.reason for x in found} == {Reason.NOBODY_TO_HEAR}
    assert {x.certainty for x in found} == {Certainty.UNKNOWN}


def test_two_nodes_with_one_leg_each_cannot_tell_whose_port_it_is() -> None:
    f = fabric(2)
    dark = {leg: replace(f.cable(leg), carrier=False) for leg in f.ports if leg.nic == "eth2"}
    f = faults.vlan_missing(ONE, 101)(replace(f, cables=dark))
    quiet = {name: replace(s, habit=type(s.habit).NONE) for name, s in f.switches.items()}
    found = [
        x for x in diagnose(cluster_of(f), evidence_of(replace(f, switches=quiet))) if x.reason is not Reason.NO_CARRIER
    ]
    assert [x.reason for x in found] == [Reason.VLAN_MISSING]
    assert found[0].certainty is Certainty.UNKNOWN and len(found[0].legs) == 2 and found[0].lacks
    sure = [x for x in diagnose(cluster_of(f), evidence_of(f)) if x.reason is Reason.VLAN_MISSING]
    assert [x.legs for x in sure] == [(ONE,)] and sure[0].certainty is Certainty.SURE


def test_pairs_that_are_apart_are_a_note() -> None:
    f = fabric(4)
    pair = {ONE, Leg("node-2", IfName("eth1"))}
    ports = {leg: replace(port, isolated=leg in pair) for leg, port in f.ports.items()}
    found = only(diagnose(cluster_of(f), evidence_of(replace(f, ports=ports))), Reason.PAIRS_APART)
    assert set(found.legs) == pair and found.certainty is Certainty.UNKNOWN
    assert found.grade.value == "note"


def test_an_mtu_that_is_announced_and_not_there() -> None:
    f = fabric()
    evidence = evidence_of(f)
    node = evidence.nodes["node-1"]
    router = RouterAdvert(router="fe80::1", mac=Mac("02:99:00:00:00:01"), lifetime_s=1800, mtu=9000)
    offer = DhcpOffer(server="10.0.0.1", server_mac=Mac("02:99:00:00:00:01"), address="10.0.0.9", prefix=24, mtu=1400)
    vlans = tuple(replace(v, routers=(router,), offers=(offer,)) if v.vid == 100 else v for v in node.vlans)
    found = diagnose(cluster_of(f), Evidence(nodes={**evidence.nodes, "node-1": replace(node, vlans=vlans)}))
    assert "9000" in only(found, Reason.MTU_ANNOUNCED_WRONG).message


def test_what_was_not_sent_is_not_missed() -> None:
    f = fabric()
    evidence = evidence_of(f)
    some = VidSet.parse("100-101")
    nodes = {
        name: replace(
            node,
            probed={nic: vids & some for nic, vids in node.probed.items() if vids & some},
            heard=tuple(h for h in node.heard if h.vid in some),
        )
        for name, node in evidence.nodes.items()
    }
    assert not diagnose(cluster_of(f), Evidence(nodes=nodes))


def test_a_neighbour_whose_time_is_over_names_nothing() -> None:
    f = faults.vlan_missing(ONE, 101)(fabric())
    nic = evidence_of(f).nic(ONE)
    assert nic is not None
    old = tuple(replace(n, heard=n.heard - 1000) for n in nic.neighbours)
    found = diagnose(cluster_of(f), with_nic(f, ONE, neighbours=old))
    assert [x.certainty for x in found] == [Certainty.LIKELY]
    assert found[0].place == "the switch port of node-1/eth1"


def test_many_neighbours_on_one_port() -> None:
    f = fabric()
    nic = evidence_of(f).nic(ONE)
    assert nic is not None
    first = nic.neighbours[0]
    many = tuple(replace(first, chassis=replace(first.chassis, text=f"c{n}"), system=f"s{n}") for n in range(3000))
    found = only(diagnose(cluster_of(f), with_nic(f, ONE, neighbours=many)), Reason.SEVERAL_NEIGHBOURS)
    assert len(found.evidence[0]) < 200


def test_a_switch_that_speaks_cdp_too_is_one_neighbour() -> None:
    """Cisco's do both: by CDP under another name, with the serial number behind it."""
    f = faults.vlan_missing(ONE, 101)(fabric())
    (port,) = evidence_of(f).nodes[ONE.node].nics[ONE.nic].neighbours
    cdp = replace(port, source=Kind.CDP, chassis=Identity(kind="local", text="tor-1(FDO1)"), vlans={}, pvid=None)
    found = diagnose(cluster_of(f), with_nic(f, ONE, neighbours=(cdp, port)))
    assert found == diagnose(cluster_of(f), evidence_of(f))


def test_two_switches_of_one_name_are_two() -> None:
    f = faults.vlan_missing_on_link(102)(fabric(4))
    evidence = evidence_of(f)
    nodes = {
        name: replace(
            node,
            nics={
                nic: replace(e, neighbours=tuple(replace(n, system="switch") for n in e.neighbours))
                for nic, e in node.nics.items()
            },
        )
        for name, node in evidence.nodes.items()
    }
    found = only(diagnose(cluster_of(f), Evidence(nodes=nodes)), Reason.SWITCH_LINK_VLAN_MISSING)
    assert len(found.switches) == 2


def test_heard_of_nodes_that_nobody_knows_is_not_used() -> None:
    f = fabric()
    evidence = evidence_of(f)
    node = evidence.nodes["node-1"]
    forged = Heard(sender=Leg("evil", IfName("x")), receiver=ONE, vid=100, arrived=101, sent=9, count=9)
    nodes = {**evidence.nodes, "node-1": replace(node, heard=(*node.heard, forged))}
    assert not diagnose(cluster_of(f), Evidence(nodes=nodes))


def test_the_fix_says_how_the_ports_have_to_be() -> None:
    f = faults.no_channel("node-1")(fabric(3, BondMode.LACP))
    found = only(diagnose(cluster_of(f), evidence_of(f)), Reason.LACP_MISSING)
    first = found.fix.ports[0]
    assert (first.switch, first.port, first.channel, str(first.tagged)) == ("tor-1", "Ethernet2", "lacp", "100-103")
    assert [p.leg.nic for p in found.fix.ports] == ["eth1", "eth2"]


def test_a_switch_without_a_link_and_without_a_name() -> None:
    """No LLDP: which switches they are cannot be told, and that they are apart can."""
    f = faults.vlan_missing_on_link(102)(fabric(3))
    quiet = {name: replace(s, habit=type(s.habit).NONE) for name, s in f.switches.items()}
    found = only(diagnose(cluster_of(f), evidence_of(replace(f, switches=quiet))), Reason.SWITCH_LINK_VLAN_MISSING)
    assert found.lacks and found.certainty is Certainty.LIKELY and found.vids == VidSet.of([102])


def quiet(f: Fabric) -> Fabric:
    """No switch says anything by LLDP."""
    return replace(f, switches={name: replace(s, habit=Habit.NONE) for name, s in f.switches.items()})


def test_without_lldp_a_switch_without_a_vlan_is_one_finding() -> None:
    f = quiet(faults.vlan_not_created("tor-2", 103)(fabric(4)))
    found = only(diagnose(cluster_of(f), evidence_of(f)), Reason.VLAN_MISSING)
    assert {leg.nic for leg in found.legs} == {"eth2"} and len(found.legs) == 4 and "LLDP" in found.lacks


@pytest.mark.parametrize("mode", [BondMode.BALANCE_XOR, BondMode.LACP])
@pytest.mark.parametrize("seed", range(30))
def test_without_lldp_a_link_without_a_vlan_is_no_fault_of_a_member(mode: BondMode, seed: int) -> None:
    """The switch may have chosen the same member of a channel for all that it hears: that the other heard nobody is no
    sign. In a sweep of one leg the other has not been heard either."""
    f = quiet(faults.vlan_missing_on_link(102)(fabric(4 + seed % 3, mode, mlag=False)))
    f = replace(f, seed=seed, one_leg=seed % 2 == 1)
    found = only(diagnose(cluster_of(f), evidence_of(f)), Reason.SWITCH_LINK_VLAN_MISSING)
    assert found.vids == VidSet.of([102])


@pytest.mark.parametrize("seed", range(20))
def test_a_member_that_drops_a_vlan_which_its_switch_names(seed: int) -> None:
    """A filter, and no list of VLANs. That nobody hears it, and it hears nobody, is not one way: the switch may have
    chosen the other member for all senders."""
    healthy = replace(fabric(4, BondMode.LACP, mlag=False), seed=seed)
    evidence = evidence_of(faults.vlan_missing(ONE, 102)(healthy))
    node, said = evidence.nodes[ONE.node], evidence_of(healthy).nic(ONE)
    assert said is not None
    nics = {**node.nics, ONE.nic: replace(node.nics[ONE.nic], neighbours=said.neighbours)}
    nodes = {**evidence.nodes, ONE.node: replace(node, nics=nics)}
    found = only(diagnose(cluster_of(healthy), Evidence(nodes=nodes)), Reason.VLAN_MISSING)
    assert (found.legs, found.vids) == ((ONE,), VidSet.of([102]))


@pytest.mark.parametrize("mode", [BondMode.ACTIVE_BACKUP, BondMode.LACP])
@pytest.mark.parametrize("seed", range(8))
def test_one_way_beside_a_link_without_a_vlan(mode: BondMode, seed: int) -> None:
    """Each of them is told, and neither takes what the other explains."""
    f = faults.vlan_missing_on_link(102)(fabric(6, mode, mlag=False))
    f = replace(faults.cable(ONE, back=0.0)(f), seed=seed)
    found = diagnose(cluster_of(f), evidence_of(f))
    assert sorted(x.reason.text for x in found) == ["OneWay", "SwitchLinkVlanMissing"], found


def test_without_lldp_a_small_mtu_between_switches_is_found() -> None:
    f = quiet(faults.link(mtu=1400)(fabric(4)))
    f = replace(f, networks=tuple(n for n in f.networks if n.name == "oob"))
    f = replace(f, ports={leg: port for leg, port in f.ports.items() if leg.nic != "eth0"})
    found = only(diagnose(cluster_of(f), evidence_of(f)), Reason.MTU_TOO_SMALL)
    assert found.place == "the link between the switches"


def test_without_lldp_a_loop_is_one_finding() -> None:
    f = quiet(faults.switch("tor-1", loops=True)(fabric(4)))
    only(diagnose(cluster_of(f), evidence_of(f)), Reason.LOOP)


def test_where_one_nic_sends_the_others_are_not_said_to_have_it() -> None:
    f = replace(faults.vlan_missing_on_channel("node-2", 101)(fabric(3, BondMode.BALANCE_XOR)), one_leg=True)
    found = only(diagnose(cluster_of(f), evidence_of(f)), Reason.VLAN_MISSING)
    assert "the other ports" not in found.message


def test_lldp_alone_is_likely() -> None:
    """Nothing was sent in that VLAN, and the port names others."""
    f = faults.vlan_missing(ONE, 101)(fabric())
    evidence = evidence_of(f)
    nodes = {name: replace(node, heard=(), probed={}) for name, node in evidence.nodes.items()}
    found = only(diagnose(cluster_of(f), Evidence(nodes=nodes)), Reason.VLAN_MISSING)
    assert (found.legs, found.certainty, found.vids) == ((ONE,), Certainty.LIKELY, VidSet.of([101]))
    cut = {
        name: replace(
            node,
            nics={
                nic: replace(e, neighbours=tuple(replace(n, vlans_cut=True) for n in e.neighbours))
                for nic, e in node.nics.items()
            },
        )
        for name, node in nodes.items()
    }
    assert not diagnose(cluster_of(f), Evidence(nodes=cut))


def test_probes_that_pass_say_more_than_lldp() -> None:
    f = fabric()
    nic = evidence_of(f).nic(ONE)
    assert nic is not None
    fewer = tuple(replace(n, vlans={vid: name for vid, name in n.vlans.items() if vid != 101}) for n in nic.neighbours)
    assert not diagnose(cluster_of(f), with_nic(f, ONE, neighbours=fewer))


def test_a_vlan_that_cannot_be_one_is_left_out() -> None:
    f = faults.vlan_missing(ONE, 101)(fabric())
    nic = evidence_of(f).nic(ONE)
    assert nic is not None
    odd = tuple(replace(n, vlans={**n.vlans, Vid(-3): "", Vid(70_000): ""}) for n in nic.neighbours)
    assert only(diagnose(cluster_of(f), with_nic(f, ONE, neighbours=odd)), Reason.VLAN_MISSING).legs == (ONE,)


@pytest.mark.parametrize("seed", range(6))
def test_a_link_that_loses_frames_is_told_once_for_all_networks(seed: int) -> None:
    f = replace(faults.link(passes=0.9)(fabric(4, tagged="100-119")), seed=seed)
    found = only(diagnose(cluster_of(f), evidence_of(f)), Reason.FRAMES_LOST)
    assert found.switches == ("tor-1", "tor-2")


def test_broadcasts_that_a_port_does_not_let_in_where_unicasts_go_to_one_node_in_a_sweep() -> None:
    """That others hear nothing of it in this sweep is a note beside, and no reason to say less."""
    evidence = evidence_of(fabric(3))
    nodes = {}
    for name, node in evidence.nodes.items():
        rows = [h for h in node.heard if h.sender != ONE]
        if name == "node-2":
            mine = [h for h in node.heard if h.sender == ONE and h.receiver == Leg("node-2", IfName("eth1"))]
            rows += [replace(h, sent=1, count=1, broadcast=0, unicast=1) for h in mine]
        nodes[name] = replace(node, heard=tuple(rows))
    found = [x for x in diagnose(cluster_of(fabric(3)), Evidence(nodes=nodes)) if x.grade is not Grade.NOTE]
    assert [x.reason for x in found] == [Reason.BROADCAST_FILTERED], found


# An uplink that the operating system made ----------------------------------------------------------------------------


def without_manifests_of(f: Fabric, network: str) -> Cluster:
    return Cluster.of(
        [
            one
            for one in cluster_of(f).objects.values()
            if not (isinstance(one, VlanConfig) and one.cluster_network == network)
        ]
    )


@pytest.mark.parametrize("habit", Habit)
@pytest.mark.parametrize("tagged", ["", "20"])
def test_a_crossing_with_the_operating_systems_own_mgmt(habit: Habit, tagged: str) -> None:
    """By probes, whatever the switches announce; both ports are named where LLDP names them."""
    mgmt = Leg("node-1", IfName("eth0"))
    f = fabric(3, habit=habit)
    oob, old = f.networks
    f = replace(f, networks=(oob, replace(old, tagged=VidSet.parse(tagged))))
    cluster = without_manifests_of(f, "mgmt")
    assert not diagnose(cluster, evidence_of(f))
    found = only(diagnose(cluster, evidence_of(faults.crossed(mgmt, ONE)(f))), Reason.CABLE_CROSSED)
    assert set(found.legs) == {mgmt, ONE}, found
    if habit is not Habit.NONE:
        assert "Ethernet1 of tor-1" in found.place and "Ethernet2 of tor-1" in found.place, found.place
        assert f"plug {mgmt} into Ethernet1 of tor-1, and {ONE} into Ethernet2 of tor-1" in found.fix.words


def test_a_fault_of_a_port_is_no_crossing_with_an_uplink_that_is_well() -> None:
    f = fabric(3)
    cluster = without_manifests_of(f, "mgmt")
    found = only(diagnose(cluster, evidence_of(faults.access(ONE, 1)(f))), Reason.ACCESS_PORT)
    assert found.legs == (ONE,)
