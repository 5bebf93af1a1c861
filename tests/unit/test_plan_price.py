"""What changes cost, attribute by attribute and mode by mode: the impact of the step, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from windrow.apps.engine import Sight, converge, look, plan_node
from windrow.apps.round.guarded import needs_guard
from windrow.compile.facts import protected_links
from windrow.model.bonding import OPTIONS, BondMode, Change
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import LacpState, Observed, PortVlans
from windrow.model.meta import Meta
from windrow.model.names import ANNOTATION_MANAGED
from windrow.model.ports import PORT_GROUP
from windrow.model.steps import Impact, Plan, SetBond, SetLink, SetMaster, SetVlans, Step
from windrow.model.values import IfName, Mac, VidSet
from windrow.status.consequences import Here, consequences
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

NODE = "node-0"
AB, RR, XOR, BC, LACP = (
    BondMode.ACTIVE_BACKUP,
    BondMode.BALANCE_RR,
    BondMode.BALANCE_XOR,
    BondMode.BROADCAST,
    BondMode.LACP,
)
TLB, ALB = BondMode.BALANCE_TLB, BondMode.BALANCE_ALB
FLAP, HITLESS, OUTAGE = Impact.FLAP, Impact.HITLESS, Impact.OUTAGE


def network(mode: BondMode, nics: tuple[str, ...] = ("eth1", "eth2"), **options: Any) -> Cluster:
    config = builders.vlan_config("oob", nics, mode, **options)
    return builders.cluster(builders.node(NODE), builders.cluster_network("oob"), config, builders.nad("n", "oob", 100))


def plan(
    before: Cluster, after: Cluster, seen: Callable[[Observed], Observed] = lambda o: o, *, consent: bool = False
) -> Plan:
    return planned(before, after, seen, consent=consent)[1]


def planned(
    before: Cluster, after: Cluster, seen: Callable[[Observed], Observed] = lambda o: o, *, consent: bool = False
) -> tuple[Sight, Plan]:
    """The plan on a host that has `before`, as the kernel would tell of it after `seen`."""
    kernel = FakeKernel()
    for number in range(1, 5):
        kernel.add_nic(f"eth{number}", up=True)
    report = converge(before, kernel, NODE, consent=True)
    assert report.ok, report.left
    sight = look(kernel, NODE, Known(memory=report.memory))
    observed = seen(sight.observed)
    sight = Sight(observed=observed, facts=replace(sight.facts, protected=protected_links(observed)))
    return sight, plan_node(after, sight, consent=consent).plan


def agreed(*nics: str) -> Callable[[Observed], Observed]:
    """LACP has agreed on these NICs of oob-bo; the others are in another aggregator."""

    def seen(observed: Observed) -> Observed:
        partner = Mac("02:00:00:00:fe:01")
        runtime = dict(observed.runtime)
        bond = IfName("oob-bo")
        runtime[bond] = replace(runtime[bond], aggregator=1, partner_mac=partner)
        for nic in (n for n, link in observed.state.links.items() if link.master == bond):
            state = LacpState(aggregator=1 if nic in nics else 2, partner_mac=partner if nic in nics else None)
            runtime[nic] = replace(runtime[nic], lacp=state, slave_active=nic in nics)
        return replace(observed, runtime=runtime)

    return seen


def one(plan: Plan, action: type, link: str) -> Step:
    (found,) = [s for s in plan.steps if isinstance(s.action, action) and s.link == link]
    return found


# -- NICs ------------------------------------------------------------------------------------------

JOINS = [
    (AB, {}, HITLESS, ""),
    (RR, {}, FLAP, "its part of the frames at once"),
    (XOR, {}, FLAP, "its part of the frames at once"),
    (BC, {}, FLAP, "every frame goes out of it too"),
    (TLB, {}, FLAP, "its part of the frames at once"),
    (ALB, {}, FLAP, "its part of the frames at once"),
    (LACP, {}, FLAP, "no partner answers"),
]


@pytest.mark.parametrize(("mode", "options", "impact", "why"), JOINS, ids=[mode for mode, *_ in JOINS])
def test_a_nic_joins(mode: BondMode, options: dict[str, Any], impact: Impact, why: str) -> None:
    before = network(mode, **options)
    found = plan(before, network(mode, ("eth1", "eth2", "eth3"), **options))
    step = one(found, SetMaster, "eth3")
    assert (step.impact, found.impact) == (impact, impact)
    assert why in step.note and bool(why) == bool(step.note)
    assert one(found, SetLink, "eth3").impact is Impact.NONE, "the NIC itself carries nothing yet"


@pytest.mark.parametrize(
    ("select", "impact", "why"),
    [("stable", HITLESS, ""), ("bandwidth", FLAP, "ad_select bandwidth"), ("count", FLAP, "ad_select count")],
)
def test_a_nic_joins_a_group_whose_partner_answers(select: str, impact: Impact, why: str) -> None:
    found = plan(
        network(LACP, ad_select=select),
        network(LACP, ("eth1", "eth2", "eth3"), ad_select=select),
        agreed("eth1", "eth2"),
    )
    assert found.impact is impact
    assert why in one(found, SetMaster, "eth3").note


@pytest.mark.parametrize("mode", BondMode)
def test_joining_a_bond_that_carries_nothing_costs_nothing(mode: BondMode) -> None:
    def pulled(observed: Observed) -> Observed:
        return replace(observed, runtime={n: replace(r, carrier=False) for n, r in observed.runtime.items()})

    found = plan(network(mode), network(mode, ("eth1", "eth2", "eth3")), pulled)
    assert one(found, SetMaster, "eth3").impact is Impact.NONE


def test_what_a_nic_that_joins_means_is_told() -> None:
    before, after = network(XOR), network(XOR, ("eth1", "eth2", "eth3"))
    sight, found = planned(before, after)
    (told,) = consequences(before, after, Here(node=NODE, observed=sight.observed, plan=found)).interruptions
    assert told.why == ("a NIC that joins has its part of the traffic at once",)
    assert (told.network, told.high) == ("oob", 1.2)


LEAVES = [(AB, "eth1", FLAP), (AB, "eth2", HITLESS), *((m, "eth2", FLAP) for m in (RR, XOR, BC, TLB, ALB))]


@pytest.mark.parametrize(("mode", "nic", "impact"), LEAVES)
def test_a_nic_leaves(mode: BondMode, nic: str, impact: Impact) -> None:
    stays = "eth1" if nic == "eth2" else "eth2"
    assert one(plan(network(mode), network(mode, (stays,))), SetMaster, nic).impact is impact


@pytest.mark.parametrize(("inside", "impact"), [(("eth1", "eth2"), FLAP), (("eth1",), HITLESS)])
def test_a_nic_leaves_a_group(inside: tuple[str, ...], impact: Impact) -> None:
    """One that is not in the active aggregator carries nothing."""
    found = plan(network(LACP), network(LACP, ("eth1",)), agreed(*inside))
    assert one(found, SetMaster, "eth2").impact is impact


def test_leaving_fewer_nics_than_min_links_ends_the_traffic() -> None:
    three = ("eth1", "eth2", "eth3")
    found = plan(network(LACP, three, min_links=2), network(LACP, ("eth1",), min_links=2), agreed(*three))
    assert found.impact is OUTAGE
    assert "min_links 2" in one(found, SetMaster, "eth2").note
    fewer = plan(network(LACP, three, min_links=2), network(LACP, ("eth1",), min_links=1), agreed(*three))
    assert fewer.impact is FLAP, "min_links is lowered before"


# -- options ---------------------------------------------------------------------------------------

OPTION_TABLE: list[tuple[str, BondMode, dict[str, Any], dict[str, Any], Impact, str]] = [
    ("primary", AB, {}, {"primary": "eth2"}, FLAP, "eth2 takes over"),
    ("primary", AB, {}, {"primary": "eth1"}, HITLESS, ""),
    ("primary", AB, {"primary": "eth1"}, {}, HITLESS, ""),
    ("primary", TLB, {}, {"primary": "eth2"}, FLAP, "eth2 takes over"),
    ("primary", ALB, {}, {"primary": "eth2"}, FLAP, "eth2 takes over"),
    ("miimon", AB, {}, {"miimon": 50}, HITLESS, ""),
    ("updelay", XOR, {}, {"updelay": 200}, HITLESS, ""),
    ("downdelay", XOR, {}, {"downdelay": 200}, HITLESS, ""),
    ("peer_notif_delay", AB, {}, {"peer_notif_delay": 200}, HITLESS, ""),
    ("use_carrier", AB, {}, {"use_carrier": "off"}, HITLESS, ""),
    ("arp_interval", AB, {}, {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)}, FLAP, "while 10.9.9.9 answer"),
    ("arp_interval", XOR, {}, {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)}, FLAP, "while 10.9.9.9 answer"),
    (
        "arp_ip_target",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.8",)},
        FLAP,
        "while 10.9.9.8 answer",
    ),
    (
        "arp_ip_target",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9", "10.9.9.8")},
        HITLESS,
        "",
    ),
    (
        "arp_ip_target",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",), "arp_all_targets": "all"},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9", "10.9.9.8"), "arp_all_targets": "all"},
        FLAP,
        "while 10.9.9.9, 10.9.9.8 answer",
    ),
    (
        "arp_interval",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {"arp_interval": 200, "arp_ip_target": ("10.9.9.9",)},
        HITLESS,
        "",
    ),
    (
        "arp_interval",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {},
        HITLESS,
        "",
    ),
    (
        "arp_validate",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",), "arp_validate": "all"},
        FLAP,
        "while 10.9.9.9 answer",
    ),
    (
        "arp_all_targets",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9", "10.9.9.8")},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9", "10.9.9.8"), "arp_all_targets": "all"},
        FLAP,
        "answer",
    ),
    (
        "missed_max",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",), "missed_max": 3},
        HITLESS,
        "",
    ),
    (
        "ns_ip6_target",
        AB,
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",)},
        {"arp_interval": 100, "arp_ip_target": ("10.9.9.9",), "ns_ip6_target": ("2001:db8::9",)},
        FLAP,
        "2001:db8::9",
    ),
    ("xmit_hash_policy", XOR, {}, {"xmit_hash_policy": "layer3+4"}, HITLESS, ""),
    ("xmit_hash_policy", LACP, {}, {"xmit_hash_policy": "layer3+4"}, HITLESS, ""),
    ("resend_igmp", AB, {}, {"resend_igmp": 3}, HITLESS, ""),
    ("num_peer_notif", AB, {}, {"num_peer_notif": 3}, HITLESS, ""),
    ("all_slaves_active", AB, {}, {"all_slaves_active": "on"}, HITLESS, ""),
    ("lp_interval", TLB, {}, {"lp_interval": 3}, HITLESS, ""),
    ("packets_per_slave", RR, {}, {"packets_per_slave": 3}, HITLESS, ""),
    ("min_links", LACP, {}, {"min_links": 2}, HITLESS, ""),
    ("min_links", LACP, {"min_links": 2}, {}, HITLESS, ""),
    ("ad_actor_sys_prio", LACP, {}, {"ad_actor_sys_prio": 9}, FLAP, "LACP agrees anew"),
    ("ad_actor_system", LACP, {}, {"ad_actor_system": Mac("02:ad:00:00:00:01")}, FLAP, "LACP agrees anew"),
    ("lacp_rate", LACP, {}, {"lacp_rate": "fast"}, FLAP, "only while down"),
    ("lacp_active", LACP, {}, {"lacp_active": "off"}, FLAP, "only while down"),
    ("ad_select", LACP, {}, {"ad_select": "count"}, FLAP, "only while down"),
    ("ad_user_port_key", LACP, {}, {"ad_user_port_key": 7}, FLAP, "only while down"),
    ("tlb_dynamic_lb", TLB, {}, {"tlb_dynamic_lb": "off"}, FLAP, "only while down"),
    ("mode", AB, {}, {}, FLAP, "the swap"),
    ("fail_over_mac", AB, {}, {"fail_over_mac": "active"}, FLAP, "the swap"),
    ("primary_reselect", AB, {"primary": "eth1"}, {"primary": "eth1", "primary_reselect": "failure"}, HITLESS, ""),
]


@pytest.mark.parametrize(
    ("option", "mode", "before", "after", "impact", "why"),
    OPTION_TABLE,
    ids=[f"{option}-{mode}-{impact.value}" for option, mode, _, _, impact, _ in OPTION_TABLE],
)
def test_an_option(
    option: str, mode: BondMode, before: dict[str, Any], after: dict[str, Any], impact: Impact, why: str
) -> None:
    seen = agreed("eth1", "eth2") if mode is LACP else lambda o: o
    target = network(XOR) if option == "mode" else network(mode, **after)
    found = plan(network(mode, **before), target, seen)
    assert any(d.field == f"bond.{option}" for unit in found.units for d in unit.deltas)
    assert found.impact is impact
    assert not why or any(why in step.note for step in found.steps if step.impact is impact)


def test_every_option_has_its_line() -> None:
    assert set(OPTIONS) == {option for option, *_ in OPTION_TABLE}
    down = {name for name, option in OPTIONS.items() if option.change is not Change.LIVE}
    assert not [line for line in OPTION_TABLE if line[0] in down and line[4] is HITLESS]


def test_a_primary_that_is_chosen_anew_takes_over() -> None:
    """primary_reselect: `failure` has left it aside."""

    def other(observed: Observed) -> Observed:
        bond = IfName("oob-bo")
        return replace(
            observed,
            runtime={**observed.runtime, bond: replace(observed.runtime[bond], active_slave=IfName("eth2"))},
        )

    before = network(AB, primary="eth1", primary_reselect="failure")
    found = plan(before, network(AB, primary="eth1", primary_reselect="always"), other)
    assert found.impact is FLAP
    assert one(found, SetBond, "oob-bo").note == "the primary eth1 takes over"


def test_more_min_links_than_agree_end_the_traffic() -> None:
    before, after = network(LACP), network(LACP, min_links=2)
    sight, found = planned(before, after, agreed("eth1"))
    step = one(found, SetBond, "oob-bo")
    assert step.impact is OUTAGE and "asks for 2 NICs on which LACP agrees, and has 1" in step.note
    (told,) = consequences(before, after, Here(node=NODE, observed=sight.observed, plan=found)).interruptions
    assert told.high is None and told.until == "LACP agrees on more of its NICs"


def test_min_links_that_nics_which_join_will_give() -> None:
    before, after = network(LACP), network(LACP, ("eth1", "eth2", "eth3"), min_links=3)
    sight, found = planned(before, after, agreed("eth1", "eth2"))
    assert found.impact is OUTAGE and found.lasting == ()
    (told,) = consequences(before, after, Here(node=NODE, observed=sight.observed, plan=found)).interruptions
    assert told.high == 5 and told.why == ("LACP agrees anew",)


# -- links and VLANs -------------------------------------------------------------------------------


def test_mtu_and_mac() -> None:
    assert plan(network(XOR, mtu=9000), network(XOR, mtu=1500)).impact is FLAP
    assert plan(network(XOR, mtu=1500), network(XOR, mtu=9000)).impact is HITLESS
    other = plan(network(XOR), network(XOR), another_mac)
    assert {s.link: s.impact for s in other.steps} == {"oob-br": FLAP, "oob-bo": FLAP}


def another_mac(observed: Observed) -> Observed:
    links = dict(observed.state.links)
    for name in (IfName("oob-br"), IfName("oob-bo")):
        links[name] = replace(links[name], mac=Mac("02:00:00:00:bb:01"))
    return replace(observed, state=replace(observed.state, links=links))


def test_vlans_that_the_host_itself_uses() -> None:
    """A VLAN interface that others made on the bridge keeps its VLAN; one that ends with it is an end by itself."""
    host = builders.host_network("oob", 60, {NODE: "10.0.60.1/24"})
    before = network(XOR).replace([host])
    found = plan(before, network(XOR))
    assert found.impact is OUTAGE and {s.link for s in found.steps if s.impact is OUTAGE} == {"oob-br.60"}
    assert {s.impact for s in found.steps if isinstance(s.action, SetVlans)} == {HITLESS}


@pytest.mark.parametrize("flag", ["tagged", "untagged"])
def test_a_vid_that_changes_its_tag(flag: str) -> None:
    """Somebody has set it otherwise: to set it back ends what has come to rely on it."""

    def other(observed: Observed) -> Observed:
        bond = IfName("oob-bo")
        one, hundred = VidSet.of([1]), VidSet.of([100])
        vlans = PortVlans(pvid=1, untagged=one | hundred) if flag == "untagged" else PortVlans(tagged=one | hundred)
        link = replace(observed.state.links[bond], vlans=vlans)
        return replace(observed, state=replace(observed.state, links={**observed.state.links, bond: link}))

    found = plan(network(AB), network(AB), other)
    assert found.impact is FLAP


# -- the management network ------------------------------------------------------------------------


def management(mode: BondMode, nics: tuple[str, ...]) -> Cluster:
    made = builders.vlan_config("mgmt", nics, mode)
    config = replace(made, meta=Meta(name="mgmt", annotations={ANNOTATION_MANAGED: "true"}))
    return builders.cluster(builders.node(NODE), config)


@pytest.mark.parametrize("mode", BondMode)
def test_a_nic_that_joins_the_management_bond_is_asked_for_by_the_guard(mode: BondMode) -> None:
    """Its own name is not among the protected ones: what it joins is."""
    before, after = management(mode, ("eth1", "eth2")), management(mode, ("eth1", "eth2", "eth3"))
    sight, found = planned(before, after, consent=True)
    assert {"mgmt-br", "mgmt-bo", "eth1", "eth2"} <= sight.facts.protected
    assert "eth3" not in sight.facts.protected
    (unit,) = [u for u in found.units if u.steps]
    assert [s.link for s in unit.touching(sight.facts.protected)] == ["eth3"]
    assert unit.impact is (HITLESS if mode is AB else FLAP)
    assert needs_guard(found, sight.facts.protected, consent=True)
    assert needs_guard(found, sight.facts.protected, consent=False) == (mode is not AB)


def test_a_port_that_comes_back_to_the_management_bridge_is_nobodys_risk() -> None:
    """Its call made it for that bridge; somebody has put it into another one."""
    kernel = FakeKernel()
    for number in range(1, 5):
        kernel.add_nic(f"eth{number}", up=True)
    cluster = management(AB, ("eth1", "eth2")).replace(network(AB, ("eth3", "eth4")).objects.values())
    assert converge(cluster, kernel, NODE, consent=True).ok
    record = builders.port_record("web", "mgmt-br", "1*")
    kernel.add(builders.link(record.host, "veth", up=True, master="oob-br"), group=PORT_GROUP)
    sight = look(kernel, NODE, Known(ports=(record,)))
    found = plan_node(cluster, sight).plan
    assert found.refusals == ()
    step = one(found, SetMaster, record.host)
    assert isinstance(step.action, SetMaster) and step.action.master == "mgmt-br" and step.impact is FLAP
    assert not needs_guard(found, sight.facts.protected, consent=False)


@pytest.mark.parametrize("mode", BondMode)
def test_a_nic_that_drifted_out_comes_back_without_consent(mode: BondMode) -> None:
    """It is a repair, and not refused; the guard stands by where it shares the traffic."""
    both = management(mode, ("eth1", "eth2"))
    sight, found = planned(both, both, without("eth2"))
    assert found.refusals == () and [s.link for s in found.steps if isinstance(s.action, SetMaster)] == ["eth2"]
    assert needs_guard(found, sight.facts.protected, consent=False) == (mode is not AB)


def without(nic: str) -> Callable[[Observed], Observed]:
    """As `ip link set dev NIC nomaster` leaves it."""

    def seen(observed: Observed) -> Observed:
        name = IfName(nic)
        free = replace(observed.state.links[name], master="", up=False)
        runtime = {**observed.runtime, name: replace(observed.runtime[name], carrier=False, slave_active=None)}
        state = replace(observed.state, links={**observed.state.links, name: free})
        return Observed(state=state, runtime=runtime)

    return seen
