"""What holds of every plan, tried on FakeKernel from random starts towards random targets.

A case is one seed: hypothesis chooses seeds, `windrow.testing.generate` does the rest, so a failing seed
can be run again by hand (`start(seed)`) and on the real kernel.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from windrow.apps.engine import Converged, converge, execute, look, plan_node
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import ACCEPT_RA, Bond, Bridge, HostState, Link, Observed, VlanIf
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import CreateLink, DeleteLink, Impact, Plan, RenameLink, SetBond, SetLink, SetPort
from windrow.model.values import IfName, VidSet
from windrow.plan import make_plan, normalise
from windrow.testing import builders, generate, traffic
from windrow.testing.fake import Crashed, FakeKernel
from windrow.testing.generate import NODE
from windrow.testing.traffic import Interruption

CASES = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),  # a smaller seed is not a smaller case
    suppress_health_check=list(HealthCheck),
)
PROTECTED = ("mgmt-br", "mgmt-bo", "mgmt-br.5", "eth0")
SEEDS = st.integers(min_value=0, max_value=2**32)


@dataclass
class Case:
    """A host in some state, and the cluster that it is to serve."""

    kernel: FakeKernel
    foreign: frozenset[IfName]
    target: Cluster
    dice: Random
    before: Cluster
    ports: tuple[PortRecord, ...] = ()

    def known(self) -> Known:
        return Known(ports=self.ports)


def start(seed: int, *, guests: bool = True, leftovers: bool = True) -> Case:
    """A host with NICs and other people's links, on which Windrow may have worked before, whole or not, to which
    containers are attached, and on which somebody may have broken things."""
    dice = Random(seed)
    kernel = FakeKernel()
    for nic in ("eth0", *generate.NICS, "eth7"):
        kernel.add_nic(nic, up=dice.random() < 0.5 and nic not in ("eth0", "eth7"))
    foreign = _add(kernel, generate.random_foreign(dice))
    before = Cluster.of(())
    if dice.random() < 0.7:
        before = generate.random_cluster(dice)
        assert converge(before, kernel, NODE).ok
    attached = generate.Attached(links=(), records=())
    if guests:
        attached = generate.random_ports(dice, kernel.observe())
        for link in attached.links:
            kernel.add(link, group=PORT_GROUP)
        foreign |= _add(kernel, generate.random_guests(dice, kernel.observe()))
    hands = generate.random_leftovers(dice) if leftovers and dice.random() < 0.3 else []
    hands += generate.random_sabotage(dice, kernel.observe(), dice.choice((0, 0, 3, 8)))
    for step in hands:
        kernel.run([step])
    kernel.journal.clear()
    kernel.interruptions.clear()
    target = generate.random_cluster(dice)
    _free(kernel, target, attached.records)
    return Case(kernel=kernel, foreign=foreign, target=target, dice=dice, before=before, ports=attached.records)


def _free(kernel: FakeKernel, target: Cluster, records: tuple[PortRecord, ...]) -> None:
    """The plan refuses to delete a bridge that others put links into, so they have taken them off."""
    sight = look(kernel, NODE, Known(ports=records))
    kernel.run(generate.freed(sight.observed, plan_node(target, sight).compiled.state))


def _add(kernel: FakeKernel, foreign: generate.Foreign) -> frozenset[IfName]:
    for link in foreign.links:
        if link.name in kernel.machine.devices:
            if link.master:
                kernel.machine.set_master(kernel.machine.get(link.name), kernel.machine.get(link.master))
        else:
            kernel.add(link)
    for route in foreign.routes:
        kernel.add_route(route)
    return foreign.names


def plan_of(case: Case) -> Plan:
    return plan_node(case.target, look(case.kernel, NODE, case.known())).plan


def come_to(case: Case, target: Cluster) -> Converged:
    return converge(target, case.kernel, NODE, knowing=case.known)


def only_a_remembered_primary(plan: Plan) -> bool:
    """The kernel remembers the name of a primary that is not in the bond, and tells no one (`bond_fill_info`);
    when that NIC joins, it shows, and a second round sets it right."""
    return all(isinstance(s.action, SetBond) and s.action.options == Bond(primary="") for s in plan.steps)


# -- whose it is ---------------------------------------------------------------------------------------


@given(seed=SEEDS)
@CASES
def test_whatever_becomes_of_names_and_marks_it_is_the_same_link_again(seed: int) -> None:
    """Each link of ours may be renamed and lose one of its marks; foreign links stand in our bridges. One plan puts all
    of it right, makes nothing, and deletes nothing."""
    dice, kernel = Random(seed), FakeKernel()
    for nic in generate.NICS:
        kernel.add_nic(nic)
    target = generate.random_cluster(dice)
    assert converge(target, kernel, NODE).ok
    _add(kernel, generate.random_guests(dice, kernel.observe()))
    assert converge(target, kernel, NODE).ok, "the VIDs of their VLAN interfaces"
    before, ours = str(kernel), [d for d in kernel.machine.devices.values() if d.altnames]
    devices = dict(kernel.machine.devices)
    for number, device in enumerate(ours):
        if dice.random() < 0.4:
            up = device.up
            kernel.machine.close(device)
            kernel.machine.rename(device, f"x{number}")
            if up and not (device.parent and not device.parent.up):
                kernel.machine.open(device)
        elif dice.random() < 0.3:
            device.altnames.clear()
            continue
        if dice.random() < 0.4:
            device.group = 0
    # A host without a default route may be reached at a VLAN interface of others on a bridge of ours: with consent.
    report = converge(target, kernel, NODE, consent=True)
    assert report.ok, report.left
    assert not any(isinstance(s.action, CreateLink | DeleteLink) for plan in report.plans for s in plan.steps)
    assert kernel.machine.devices == devices
    assert str(kernel) == before


# -- it arrives --------------------------------------------------------------------------------------


@given(seed=SEEDS)
@CASES
def test_one_plan_does_it_and_the_second_is_empty(seed: int) -> None:
    case = start(seed)
    first = plan_of(case)
    outcome = execute(first, case.kernel)
    assert outcome.failures == {}
    assert only_a_remembered_primary(plan_of(case))
    assert execute(plan_of(case), case.kernel).ok
    assert plan_of(case).steps == ()
    assert plan_of(case).refusals == first.refusals


@given(seed=SEEDS)
@CASES
def test_without_others_in_the_way_nothing_is_refused(seed: int) -> None:
    case = start(seed, guests=False)
    report = come_to(case, case.target)
    assert report.ok, report


@given(seed=SEEDS)
@CASES
def test_a_plan_cut_anywhere_is_resumed_by_planning_again(seed: int) -> None:
    whole, cut = start(seed), start(seed)
    assert execute(plan_of(whole), whole.kernel).ok
    steps = plan_of(cut).steps
    cut.kernel.crash_after(cut.dice.randint(0, max(0, len(steps) - 1)))
    with pytest.raises(Crashed) if steps else nullcontext():
        execute(plan_of(cut), cut.kernel)
    cut.kernel.recover()
    report = come_to(cut, cut.target)
    assert report.outcome.failures == {}
    assert report.left.steps == ()
    assert ours(cut.kernel.observe()) == ours(whole.kernel.observe())


@given(seed=SEEDS)
@CASES
def test_a_refused_step_stops_its_unit_and_no_other(seed: int) -> None:
    case = start(seed)
    plan = plan_of(case)
    if not plan.steps:
        return
    case.kernel.fail_at(case.dice.randint(1, len(plan.steps)))
    outcome = execute(plan, case.kernel)
    assert len(outcome.failures) == 1
    for number, unit in enumerate(plan.units):
        assert (outcome.done[number] == len(unit.steps)) == (number not in outcome.failures)
    report = come_to(case, case.target)
    assert report.outcome.failures == {}
    assert report.left.steps == ()


@given(seed=SEEDS)
@CASES
def test_undo_returns(seed: int) -> None:
    """From what Windrow made, whole or spoiled. (Not from any state: a VLAN interface of ours on a bond, which
    Windrow never makes, does not survive the takeover of that bond.)"""
    case = start(seed, leftovers=False)
    before = case.kernel.observe()
    plan = plan_of(case)
    names = frozenset(name for unit in plan.units for name in unit.links if not before.owned(name))
    assert execute(plan, case.kernel).ok
    for _ in range(2):
        back = make_plan(normalise(before, names), case.kernel.observe())
        assert back.refusals == ()
        assert execute(back, case.kernel).failures == {}
    assert make_plan(normalise(before, names), case.kernel.observe()).empty
    assert ours(case.kernel.observe()).keys() == ours(before).keys()
    assert routers_taken(case.kernel.observe()) == routers_taken(before)


def ours(observed: Observed) -> dict[IfName, Link]:
    """What is ours and the NICs in it, without what chance decides: MACs of slaves, and of empty bonds; and without the
    neighbours that others set, which a plan that was cut off may have taken away."""
    links = {name: replace(link, neighbours=frozenset()) for name, link in normalise(observed).links.items()}
    return {name: replace(link, mac=None) if isinstance(link.spec, Bond) else link for name, link in links.items()}


def routers_taken(observed: Observed) -> dict[IfName, str | None]:
    """`accept_ra` of our bridges and VLAN interfaces."""
    links = (link for name, link in observed.state.links.items() if observed.owned(name))
    return {k.name: k.settings.get(ACCEPT_RA) for k in links if isinstance(k.spec, Bridge | VlanIf)}


# -- it leaves others alone --------------------------------------------------------------------------


@given(seed=SEEDS)
@CASES
def test_what_others_made_is_as_it_was(seed: int) -> None:
    case = start(seed)
    before = case.kernel.observe()
    plan = plan_of(case)
    come_to(case, case.target)
    after = case.kernel.observe()
    touched = frozenset(name for unit in plan.units if unit.steps for name in unit.links)
    for name in before.state.links:
        if before.owned(name) or name in touched or name == "mgmt-br" or name == "mgmt-bo":
            continue
        assert name in after.state.links
        assert apart_from_ours(name, before, after) == apart_from_ours(name, before, before), name
        assert after.runtime[name].ifindex == before.runtime[name].ifindex
    kept = {r for r in before.state.routes if r.dev not in touched}
    assert kept <= after.state.routes


def apart_from_ours(name: IfName, before: Observed, now: Observed) -> Link:
    """A link without what follows from ours that it stands on, or from the bridge of ours that went away."""
    link = now.state.links[name]
    if before.owned(link.parent or ""):
        link = replace(link, mac=None, mtu=None, up=None)
    bridge = before.state.links[name].master or ""
    return replace(link, master=None, vlans=None, port=None) if before.owned(bridge) else link


@given(seed=SEEDS)
@CASES
def test_the_management_network_only_gains_and_loses_tagged_vlans(seed: int) -> None:
    case = start(seed)
    kernel = FakeKernel()
    for nic in ("eth0", *generate.NICS, "eth7"):
        kernel.add_nic(nic)
    for link in generate.management():
        if link.name == "eth0":
            kernel.machine.set_master(kernel.machine.get("eth0"), kernel.machine.get("mgmt-bo"))
        else:
            kernel.add(link)
    before = kernel.observe()
    vid = case.dice.choice(generate.VIDS)
    mgmt = [builders.nad("m", "mgmt", vid), builders.host_network("mgmt", 300, {NODE: "10.9.0.1/24"})]
    for cluster in (case.target.replace(mgmt), case.target):
        report = converge(cluster, kernel, NODE)
        assert report.ok, report
        after = kernel.observe()
        for name in PROTECTED:
            was, now = before.state.links[IfName(name)], after.state.links[IfName(name)]
            assert replace(now, vlans=None, self_vlans=None) == replace(was, vlans=None, self_vlans=None)
            for vlans, old in ((now.vlans, was.vlans), (now.self_vlans, was.self_vlans)):
                assert (vlans is None) == (old is None)
                if vlans is not None and old is not None:
                    assert (vlans.pvid, vlans.untagged) == (old.pvid, old.untagged)
                    assert 5 in vlans.tagged
    assert [i for i in kernel.interruptions if i.link in PROTECTED and not i.vids] == []


# -- ports -------------------------------------------------------------------------------------------


def in_place(record: PortRecord, observed: Observed) -> bool:
    link = observed.state.links[record.host]
    vlans = record.vlans is None or link.vlans == record.vlans
    options = record.isolated is None or (link.port and link.port.isolated) == record.isolated
    return bool(link.up) and link.master == record.bridge and vlans and options


@given(seed=SEEDS)
@CASES
def test_every_port_of_a_network_that_stays_is_in_its_place_after_one_plan(seed: int) -> None:
    case = start(seed)
    there = {n for n, r in case.kernel.observe().runtime.items() if r.group == PORT_GROUP}
    plan = plan_node(case.before, look(case.kernel, NODE, case.known())).plan
    refused = {name for unit in plan.units if unit.refusals for name in unit.links}
    assert not [p for p in plan.refusals if p.code == "in-use"]
    assert execute(plan, case.kernel).failures == {}
    after = case.kernel.observe()
    assert {n for n, r in after.runtime.items() if r.group == PORT_GROUP} == there
    for record in case.ports:
        if record.host in there - refused:
            assert in_place(record, after), record


@given(seed=SEEDS)
@CASES
def test_a_port_that_a_plan_has_touched_is_open_in_its_own_vlans_only(seed: int) -> None:
    """Whatever step the plan is cut at; VLAN 1 is not its own unless the record says so."""
    case = start(seed)
    wanted = {r.host: r for r in case.ports if r.vlans is not None}
    plan = plan_of(case)
    touched: set[str] = set()
    for step in plan.steps:
        assert case.kernel.run([step]) is None
        now = case.kernel.observe().state.links
        neither = isinstance(step.action, SetPort) or step.action == SetLink(mtu=getattr(step.action, "mtu", None))
        touched |= set() if neither else {step.link} & wanted.keys()  # options and MTU move and open nothing
        for name in touched:
            link, own = now[IfName(name)], wanted[name].vlans
            if link.up and link.vlans is not None and own is not None:
                assert not link.vlans.all - own.all and link.vlans.pvid == own.pvid, (step, link)


@given(seed=SEEDS)
@CASES
def test_no_bridge_goes_from_under_a_port(seed: int) -> None:
    case = start(seed)
    before = case.kernel.observe()
    used = {r.bridge: r for r in case.ports if r.host in before.state.links and before.owned(r.bridge)}
    report = come_to(case, Cluster.of(()))
    after = case.kernel.observe()
    said = " ".join(p.message for p in report.left.refusals)
    for bridge, record in used.items():
        assert bridge in after.state.links
        assert f"{bridge} would be deleted" in said and record.user in said
    for name, runtime in before.runtime.items():
        if runtime.group == PORT_GROUP and not _mgmt(case, name):
            assert after.state.links[name] == before.state.links[name]


def _mgmt(case: Case, name: str) -> bool:
    return any(r.host == name and r.bridge == "mgmt-br" for r in case.ports)


# -- it costs what it says ---------------------------------------------------------------------------


@given(seed=SEEDS)
@CASES
def test_steps_without_a_price_interrupt_nobody(seed: int) -> None:
    """An impact is what a step costs the traffic that is there when the plan is made; what an earlier step has
    interrupted, and said so, is not there any more."""
    case = start(seed)
    there = traffic.lanes(case.kernel.machine)
    planned = plan_node(case.target, look(case.kernel, NODE, case.known()))
    execute(planned.plan, case.kernel)
    paid: set[str] = set()
    broken: list[Interruption] = []
    for cost in case.kernel.interruptions:
        if cost.step.impact not in (Impact.NONE, Impact.HITLESS):
            paid.add(cost.link)
        elif cost.link in there.keys() - paid and not _no_more_wanted(cost, planned.compiled.state):
            broken.append(cost)
    assert [f"{i.step.phase.name} {i.step.link} {i.step.action}: {i}" for i in broken] == []
    assert planned.plan.impact is Impact.worst(s.impact for s in planned.plan.steps)


def _no_more_wanted(cost: Interruption, want: HostState) -> bool:
    """VIDs that no object asks for any more are meant to go."""
    link = want.links.get(IfName(cost.link))
    wanted = VidSet()
    for vlans in (link.vlans, link.self_vlans) if link else ():
        wanted |= vlans.all if vlans else VidSet()
    return bool(cost.vids) and not cost.vids & wanted


@given(seed=SEEDS)
@CASES
def test_only_a_mode_makes_a_bond_anew(seed: int) -> None:
    dice = Random(seed)
    kernel = FakeKernel()
    for nic in generate.NICS:
        kernel.add_nic(nic)
    mode = dice.choice(list(BondMode))

    def cluster() -> Cluster:
        nics = dice.sample(generate.NICS, dice.randint(1, 3))
        options = generate.random_options(dice, mode, nics) | {"fail_over_mac": None}
        nads = [builders.nad(f"n{vid}", "oob", vid) for vid in dice.sample(generate.VIDS, 3)]
        config = builders.vlan_config("oob", nics, mtu=dice.choice(generate.MTUS), **options)
        return builders.cluster(builders.node(NODE), builders.cluster_network("oob"), config, *nads)

    assert converge(cluster(), kernel, NODE).ok
    index = kernel.observe().runtime[IfName("oob-bo")].ifindex
    for _ in range(3):
        report = converge(cluster(), kernel, NODE)
        assert report.ok
        steps = report.planned.plan.steps
        assert [s for s in steps if isinstance(s.action, CreateLink | DeleteLink | RenameLink)] == []
        assert kernel.observe().runtime[IfName("oob-bo")].ifindex == index


# -- its shape ---------------------------------------------------------------------------------------


@given(seed=SEEDS)
@CASES
def test_phases_are_in_order_and_a_refused_unit_has_no_steps(seed: int) -> None:
    plan = plan_of(start(seed))
    for unit in plan.units:
        phases = [s.phase for s in unit.steps]
        assert phases == sorted(phases)
        assert not (unit.steps and unit.refusals)
        assert not unit.steps or not unit.steps[0].joined
    names = [name for unit in plan.units for name in unit.links]
    assert len(names) == len(set(names))


@given(seed=SEEDS)
@CASES
def test_planning_is_a_pure_function(seed: int) -> None:
    case = start(seed)
    sight = look(case.kernel, NODE, case.known())
    journal = list(case.kernel.journal)
    assert plan_node(case.target, sight) == plan_node(case.target, sight)
    assert case.kernel.journal == journal
