"""The network outside, broken in each way of the catalogue: exactly that is found, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.faultcatalogue import CASES, Case, Healthy

from windrow.diagnose import diagnose
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.evidence import (
    Absent,
    Answer,
    Counters,
    DhcpOffer,
    Evidence,
    ForeignCluster,
    Heard,
    Identity,
    Kind,
    LacpLeg,
    LacpSide,
    Leg,
    NicEvidence,
    RouterAdvert,
    SwitchPort,
    VlanEvidence,
)
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.values import IfName, Mac, Vid
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import NOBODY, Fabric, Habit, cluster_of, evidence_of, fabric


def found_in(f: Fabric) -> tuple[Finding, ...]:
    return diagnose(cluster_of(f), evidence_of(f))


def shown(found: tuple[Finding, ...]) -> str:
    return "\n".join(f"{f.reason} {f.certainty} [{f.place}] {f.message} {f.vids}" for f in found)


def is_it(case: Case, finding: Finding) -> bool:
    return (
        finding.reason is case.reason
        and (not case.legs or finding.legs == case.legs)
        and finding.vids == case.expected()
        and all(words in finding.place for words in case.place)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_alone(case: Case) -> None:
    healthy = case.on.fabric()
    assert not found_in(healthy)
    found = found_in(case.fault(healthy))
    assert len(found) == 1, shown(found)
    assert is_it(case, found[0]), shown(found)
    assert case.certainty in (None, found[0].certainty)
    assert all(words in found[0].fix.words for words in case.fix), found[0].fix.words
    assert found[0].evidence or found[0].lacks


def pairs() -> list[tuple[Case, Case]]:
    """Two faults on one fabric, at different nodes and in different VLANs: neither hides the other, as two faults
    of one server would."""
    several = [case for case in CASES if not case.single]
    return [
        (one, other)
        for index, one in enumerate(several)
        for other in several[index + 1 :]
        if one.on == other.on and not {leg.node for leg in one.legs} & {leg.node for leg in other.legs}
        if one.legs or other.legs or one.vids != other.vids
    ]


@pytest.mark.parametrize("seed", range(200))
def test_two_faults_at_once(seed: int) -> None:
    one, other = random.Random(seed).choice(pairs())
    f = replace(one.on.fabric(nodes=5), seed=seed)
    found = found_in(other.fault(one.fault(f)))
    story = f"{one.name} + {other.name}:\n{shown(found)}"
    assert any(is_it(one, x) for x in found), story
    assert any(is_it(other, x) for x in found), story
    assert len(found) == 2, story


# Silence where all is well --------------------------------------------------------------------------------------------


def random_fabric(seed: int) -> Fabric:
    """Healthy: any mode, habit, number of nodes; NICs that are not plugged in symmetrically; any channel numbers."""
    dice = random.Random(seed)
    modes = list(BondMode)
    f = fabric(
        dice.randint(1, 7),
        dice.choice(modes),
        dice.choice(list(Habit)),
        tagged=dice.choice(["100", "100-103", "7,900-915", "2000-2030"]),
        untagged=dice.random() < 0.5,
        mlag=dice.random() < 0.5,
    )
    ports = dict(f.ports)
    for leg, port in f.ports.items():
        if not port.channel and dice.random() < 0.3:
            ports[leg] = replace(port, switch=dice.choice(["tor-1", "tor-2"]))
    habits = {name: replace(s, habit=dice.choice(list(Habit))) for name, s in f.switches.items()}
    return replace(f, ports=ports, switches=habits, one_leg=dice.random() < 0.4, seed=seed)


@pytest.mark.parametrize("seed", range(150))
def test_all_is_well(seed: int) -> None:
    f = random_fabric(seed)
    found = found_in(f)
    if len(f.nodes) == 1:
        assert {x.reason for x in found} <= {Reason.NOBODY_TO_HEAR}, shown(found)
        assert all(x.certainty is Certainty.UNKNOWN for x in found)
    else:
        assert not found, shown(found)


def test_isolated_ports_are_no_fault_where_the_gateway_answers() -> None:
    f = Healthy(tagged="100-101", services=True).fabric(nodes=4)
    assert not found_in(f)
    assert not found_in(faults.isolated()(f))
    silent = replace(faults.isolated()(f), servers=())
    assert {x.reason for x in found_in(silent)} >= {Reason.VLAN_NOT_CREATED}


def test_a_few_lost_probes_are_chance() -> None:
    f = fabric(4)
    heard = [h for node in evidence_of(f).nodes.values() for h in node.heard]
    evidence = evidence_of(f)
    lossy = replace(heard[0], count=heard[0].count - 1, broadcast=heard[0].broadcast - 1)
    node = evidence.nodes[lossy.receiver.node]
    nodes = {**evidence.nodes, node.node: replace(node, heard=(lossy, *(h for h in node.heard if h != heard[0])))}
    assert not diagnose(cluster_of(f), Evidence(nodes=nodes))


def test_no_evidence_is_no_finding() -> None:
    assert diagnose(cluster_of(fabric()), Evidence()) == ()
    found = diagnose(cluster_of(fabric()), Evidence(silent=frozenset({"node-1", "node-2"})))
    assert [f.certainty for f in found] == [Certainty.UNKNOWN] * 2
    assert diagnose(Cluster.of(()), evidence_of(fabric())) == ()


@pytest.mark.parametrize("habit", Habit)
@pytest.mark.parametrize("case", [case for case in CASES if case.reason is Reason.VLAN_MISSING], ids=lambda c: c.name)
def test_absence_in_lldp_proves_nothing(case: Case, habit: Habit) -> None:
    """Whatever the switches announce, the place is found; it is sure only where they name other VLANs."""
    found = found_in(case.fault(case.on.fabric(habit)))
    assert [f.reason for f in found if f.legs == case.legs] == [case.reason], shown(found)
    assert len(found) == 1, shown(found)
    assert (found[0].certainty is Certainty.SURE) == (habit in (Habit.ALL, Habit.TEN))


# Evidence of others is not to be trusted ------------------------------------------------------------------------------

_texts = st.text(max_size=12)
_numbers = st.integers(min_value=-(2**40), max_value=2**40)
_legs = st.sampled_from([*fabric().ports, Leg("", IfName("")), Leg("node-1", IfName("\x1b[31m"))])
_floats = st.one_of(st.floats(), st.just(float("nan")))
_macs = st.one_of(st.sampled_from([NOBODY, Mac("02:00:00:00:00:01")]), _texts.map(Mac))
_sides = st.builds(LacpSide, system=_macs, key=_numbers, port=_numbers, state=_numbers)
_maybe_side = st.none() | _sides
_lacp_legs = st.builds(
    LacpLeg,
    aggregator=st.none() | _numbers,
    actor=_maybe_side,
    partner=_maybe_side,
    sent=_maybe_side,
    about_us=_maybe_side,
    churned=st.none() | st.booleans(),
)
_identities = st.builds(Identity, kind=_texts, text=_texts)
_switch_ports = st.builds(
    SwitchPort,
    source=st.sampled_from([Kind.LLDP, Kind.CDP]),
    chassis=_identities,
    port=_identities,
    system=_texts,
    is_bridge=st.none() | st.booleans(),
    pvid=st.none() | _numbers,
    vlans=st.dictionaries(_numbers.map(Vid), _texts, max_size=4),
    vlans_cut=st.booleans(),
    heard=_floats,
    hold_s=_numbers,
)
_counters = st.builds(Counters, errors_lately=st.none() | _numbers, carrier_changes_lately=_numbers, over_s=_floats)
_nics = st.builds(
    NicEvidence,
    name=st.sampled_from([leg.nic for leg in fabric().ports]),
    mac=_macs,
    carrier=st.booleans(),
    carrier_since=st.none() | _floats,
    speed=st.none() | _numbers,
    full_duplex=st.none() | st.booleans(),
    neighbours=st.lists(_switch_ports, max_size=3).map(tuple),
    lacp=st.none() | _lacp_legs,
    counters=_counters,
)
_vids = st.one_of(st.integers(-2, 5000), st.integers(100, 103))
_heard = st.builds(
    Heard,
    sender=_legs,
    receiver=_legs,
    vid=_vids,
    arrived=_vids,
    sent=_numbers,
    count=_numbers,
    broadcast=_numbers,
    unicast=_numbers,
    duplicates=_numbers,
    largest=_numbers,
    largest_sent=_numbers,
)
_offers = st.builds(DhcpOffer, server=_texts, server_mac=_macs, address=_texts, prefix=_numbers, mtu=_numbers)
_answers = st.builds(Answer, address=_texts, macs=st.lists(_macs, max_size=2).map(tuple), asked=_numbers)
_vlans = st.builds(
    VlanEvidence,
    cluster_network=st.sampled_from(["oob", "mgmt", ""]),
    vid=_vids,
    asked=st.frozensets(st.sampled_from(Kind)),
    offers=st.lists(_offers, max_size=2).map(tuple),
    gateways=st.lists(_answers, max_size=2).map(tuple),
    duplicates=st.lists(_answers, max_size=2).map(tuple),
    routers=st.lists(st.builds(RouterAdvert, router=_texts, mac=_macs, lifetime_s=_numbers, mtu=_numbers)).map(tuple),
    moved=st.lists(_macs, max_size=2).map(tuple),
)


@st.composite
def odd_evidence(draw: st.DrawFn) -> Evidence:
    """Some nodes of a fabric, and in each anything that a value can hold."""
    whole = evidence_of(fabric()).nodes
    nodes = {}
    for name, node in whole.items():
        if draw(st.booleans()):
            nodes[name] = replace(
                node,
                at=draw(_floats),
                nics={**node.nics, **{nic.name: nic for nic in draw(st.lists(_nics, max_size=2))}},
                heard=(*node.heard[: draw(st.integers(0, 60))], *draw(st.lists(_heard, max_size=6))),
                vlans=tuple(draw(st.lists(_vlans, max_size=3))),
                foreign=tuple(draw(st.lists(st.builds(ForeignCluster, cluster=_texts, vid=_vids, frames=_numbers)))),
                absent=tuple(
                    draw(
                        st.lists(
                            st.builds(
                                Absent, kind=st.sampled_from(Kind), reason=_texts, nic=_legs.map(lambda leg: leg.nic)
                            )
                        )
                    )
                ),
            )
    return Evidence(nodes=nodes, silent=draw(st.frozensets(_texts, max_size=2)))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(odd_evidence(), st.sampled_from([BondMode.ACTIVE_BACKUP, BondMode.BALANCE_XOR, BondMode.LACP]))
def test_odd_evidence_raises_nothing(evidence: Evidence, mode: BondMode) -> None:
    cluster = cluster_of(fabric(3, mode))
    found = diagnose(cluster, evidence)
    assert found == diagnose(cluster, evidence)
    for finding in found:
        assert finding.message and finding.fix.words and (finding.evidence or finding.lacks), finding


@pytest.mark.parametrize("seed", range(12))
def test_heavy_loss_between_two_nodes_is_loss_and_nothing_else(seed: int) -> None:
    """Half of the frames: in some VLANs not one of them comes through."""
    f = faults.cable(Leg("node-1", IfName("eth1")), out=0.5)(fabric(2, tagged="100-119"))
    dark = {leg: replace(f.cable(leg), carrier=False) for leg in f.ports if leg.nic == "eth2"}
    found = found_in(replace(f, cables={**f.cables, **dark}, seed=seed))
    assert {x.reason for x in found} == {Reason.NO_CARRIER, Reason.FRAMES_LOST}, shown(found)


def test_a_lossy_port_that_misses_a_vlan_has_both() -> None:
    leg = Leg("node-1", IfName("eth1"))
    f = faults.cable(leg, out=0.9, back=0.9)(faults.vlan_missing(leg, 110)(fabric(4, tagged="100-119")))
    found = found_in(f)
    assert {(x.reason, x.legs) for x in found} == {(Reason.VLAN_MISSING, (leg,)), (Reason.FRAMES_LOST, (leg,))}, shown(
        found
    )
