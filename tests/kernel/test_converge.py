"""The properties of plans on the real kernel: any start, any target, cut anywhere, undone, sabotaged.

The NICs are ends of veth cables in a namespace of their own for each case; their other ends stay up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

import pytest
from tests.standins import StandIn

from windrow.apps.engine import Converged, Planned, bursts, converge, execute, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Known, Memory
from windrow.model.host import Bond, Link, Observed, Other, PortVlans, VlanIf
from windrow.model.names import cluster_network_of_bridge
from windrow.model.objects import VlanConfig
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import Plan, SetBond
from windrow.model.values import IfName, VidSet
from windrow.netlink import claims, links
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import Rtnl
from windrow.plan import make_plan, normalise
from windrow.testing import generate
from windrow.testing.generate import NICS, NODE

PAIRS, CUTS, UNDOS, SABOTAGES = 200, 50, 50, 60
ALL_NICS = ("eth0", *NICS, "eth7")


class Ns(Protocol):
    kernel: Kernel
    rtnl: Rtnl


class Begin(Protocol):
    def __call__(self, seed: int, *, spoiled: bool = True) -> Case: ...


class Steady(StandIn):
    """A kernel whose features are asked for once: trying them takes two namespaces each time."""

    def __init__(self, kernel: Kernel, features: KernelFeatures) -> None:
        super().__init__(kernel)
        self._features = features

    def features(self) -> KernelFeatures:
        return self._features


@pytest.fixture(autouse=True)
def quick_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is on the wires of these hosts: to ask for each address for half a second tells nothing."""
    monkeypatch.setattr(claims, "SPACING_S", 0.0)
    monkeypatch.setattr(claims, "LAST_S", 0.01)
    monkeypatch.setattr("windrow.netlink.execute.ASKED_CARRIER_S", 0.0)


@pytest.fixture(scope="module")
def features() -> KernelFeatures:
    with Kernel() as kernel:
        return kernel.features()


@pytest.fixture
def begin(new_ns: Callable[[], Ns], features: KernelFeatures) -> Begin:
    """Makes a namespace and puts the case of a seed into it."""

    def make(seed: int, *, spoiled: bool = True) -> Case:
        ns = new_ns()
        return start(ns, Steady(ns.kernel, features), Random(seed), spoiled=spoiled)

    return make


@dataclass
class Case:
    kernel: Steady
    dice: Random
    before: Cluster
    target: Cluster
    foreign: frozenset[IfName]
    ports: tuple[PortRecord, ...] = ()
    memory: Memory = Memory()

    def planned(self, target: Cluster) -> Planned:
        """What it is to give is written down before it is carried out (`apps.round.remember.to_give`)."""
        found = plan_node(target, look(self.kernel, NODE, self.known()))
        before, wanted = self.memory.given, found.compiled.memory.given
        both = {n: before.get(n, frozenset()) | wanted.get(n, frozenset()) for n in (*before, *wanted)}
        self.memory = replace(self.memory, given=both)
        return found

    def come_to(self, target: Cluster) -> Converged:
        report = converge(target, self.kernel, NODE, knowing=self.known)
        self.memory = report.memory
        return report

    def known(self) -> Known:
        return Known(ports=tuple(self.ports), memory=self.memory)


def start(ns: Ns, kernel: Steady, dice: Random, *, spoiled: bool) -> Case:
    """A host on which Windrow has worked, more or less, and to which containers are attached; `spoiled`: and on which
    others have done damage."""
    for number, nic in enumerate(ALL_NICS):
        end = links.End(name=nic, mac=f"02:00:00:00:00:{number + 1:02x}")
        ns.rtnl.run(links.veth(end, links.End(name=f"{nic}p")), links.set_link(f"{nic}p", up=True))
    foreign = add(ns, generate.random_foreign(dice))
    before, target = random_cluster(dice), random_cluster(dice)
    memory = Memory()
    if dice.random() < 0.7 or not spoiled:
        report = converge(before, kernel, NODE)
        assert_done(report)
        memory = report.memory
    attached = generate.random_ports(dice, kernel.observe())
    for port in attached.links:
        attach(ns, port)
    hands = generate.random_leftovers(dice) if spoiled and dice.random() < 0.3 else []
    hands += generate.random_sabotage(dice, kernel.observe(), dice.choice((0, 0, 3, 8)) if spoiled else 0)
    for step in hands:
        kernel.run([step])
    return Case(
        kernel=kernel,
        dice=dice,
        before=before,
        target=target,
        foreign=foreign,
        ports=attached.records,
        memory=memory,
    )


def attach(ns: Ns, port: Link) -> None:
    """As a CNI call leaves it; its other end stays here, and up."""
    end, peer = links.End(name=port.name, group=PORT_GROUP), links.End(name=f"{port.name}p")
    ns.rtnl.run(links.veth(end, peer), links.set_link(peer.name, up=True))
    ns.rtnl.run(links.set_master(port.name, ns.rtnl.index(port.master or "")))
    index, vlans = ns.rtnl.index(port.name), port.vlans or PortVlans()
    ns.rtnl.run(
        links.port_options(index, isolated=int(bool(port.port and port.port.isolated))), links.add_vlans(index, vlans)
    )
    if gone := VidSet.of([1]) - vlans.all:
        ns.rtnl.run(links.delete_vlans(index, gone))
    ns.rtnl.run(links.set_link(port.name, up=True))


def random_cluster(dice: Random) -> Cluster:
    """Without ARP monitoring: nobody answers here."""
    return generate.random_cluster(dice, arp=False)


def add(ns: Ns, foreign: generate.Foreign) -> frozenset[IfName]:
    """What others made, made with their own hands: no group."""
    for link in foreign.links:
        if not isinstance(link.spec, Other):
            ns.rtnl.run(*links.create_link(link, ns.rtnl.index, group=0))
        elif link.name not in ns.kernel.observe().state.links:
            ns.rtnl.run(links.create(link.name, link.spec.kind))
        if link.master:
            ns.rtnl.run(links.set_master(link.name, ns.rtnl.index(link.master)))
        index = ns.rtnl.index(link.name)
        if link.vlans:
            ns.rtnl.run(links.add_vlans(index, link.vlans))
        if link.self_vlans:
            ns.rtnl.run(links.add_vlans(index, link.self_vlans, on_self=True))
        ns.rtnl.run(links.set_link(link.name, up=link.up), *(links.add_addr(index, a) for a in link.addrs or ()))
    for route in foreign.routes:
        ns.rtnl.run(links.add_route(route, ns.rtnl.index(route.dev or "")))
    return foreign.names


def assert_done(report: Converged) -> None:
    assert report.outcome.failures == {}
    assert report.left.empty, report.left


def only_a_remembered_primary(plan: Plan) -> bool:
    """See tests/property/test_plan.py."""
    return all(isinstance(s.action, SetBond) and s.action.options == Bond(primary="") for s in plan.steps)


def foreign_links(case: Case, observed: Observed) -> dict[IfName, Link]:
    return {n: observed.state.links[n] for n in case.foreign if not n.startswith("mgmt-b")}


@pytest.mark.parametrize("block", range(4))
def test_any_start_converges_to_any_target(begin: Begin, block: int) -> None:
    done = attached = 0
    for seed in range(block * PAIRS // 4, (block + 1) * PAIRS // 4):
        case = begin(seed)
        others = foreign_links(case, case.kernel.observe())
        target = with_what_is_in_use(case)
        planned = case.planned(target)
        assert planned.plan.refusals == (), seed
        assert execute(planned.plan, case.kernel).failures == {}, seed
        assert only_a_remembered_primary(case.planned(target).plan), seed
        assert_done(case.come_to(target))
        assert ports_in_place(case), seed
        attached += len(case.ports)
        assert foreign_links(case, case.kernel.observe()) == others, seed
        done += 1
    print(f"convergence: {done} of {PAIRS // 4}, each in one plan, with {attached} ports")
    assert attached > PAIRS // 8


def with_what_is_in_use(case: Case) -> Cluster:
    """The target, and the networks that it would take from under a container as they were."""
    used = {cluster_network_of_bridge(r.bridge) for r in case.ports}
    kept = [o for o in case.before.objects.values() if isinstance(o, VlanConfig) and o.cluster_network in used]
    wanted = {c.cluster_network for c in case.target.all(VlanConfig)}
    rest = [c for c in case.target.all(VlanConfig) if c.cluster_network not in used]
    nics = {n.value for c in kept for n in c.uplink.nics}
    clash = [c.ref for c in rest if nics & {n.value for n in c.uplink.nics}]
    same = [c.ref for c in case.target.all(VlanConfig) if c.cluster_network in used & wanted]
    target = case.target.without([*clash, *same]).replace(kept)
    case.kernel.run(generate.freed(case.kernel.observe(), case.planned(target).compiled.state))
    return target


def ports_in_place(case: Case) -> bool:
    """All of networks that the node has."""
    observed = case.kernel.observe()
    for record in case.ports:
        link = observed.state.links.get(record.host)
        if link is None or record.bridge not in observed.state.links:
            continue
        vlans, isolated = record.vlans or link.vlans, record.isolated or (link.port and link.port.isolated)
        if not link.up or (link.master, link.vlans, link.port and link.port.isolated) != (
            record.bridge,
            vlans,
            isolated,
        ):
            return False
    return True


def test_a_plan_cut_at_a_random_step_resumes(begin: Begin) -> None:
    done = 0
    for seed in range(1000, 1000 + CUTS):
        whole, cut = begin(seed), begin(seed)
        target = with_what_is_in_use(whole)
        with_what_is_in_use(cut)  # the same, and it makes the same room
        assert_done(whole.come_to(target))
        steps = cut.planned(target).plan.steps
        for together in bursts(steps[: cut.dice.randint(0, len(steps))]):
            assert cut.kernel.run(together) is None, seed
        assert_done(cut.come_to(target))
        assert ports_in_place(cut), seed
        assert given(cut) == given(whole), seed
        done += 1
    print(f"resumed: {done} of {CUTS}")


def ours(observed: Observed) -> dict[IfName, Link]:
    """What is ours and the NICs in it. The queue length is nobody's wish here, so nobody restores it."""
    return {name: replace(link, txqlen=None) for name, link in normalise(observed).links.items()}


def given(case: Case) -> dict[IfName, Link]:
    """The same without the addresses that hands added to VLAN interfaces: they are theirs, and stay; but not where the
    interface is made anew, and the plan was cut just then."""
    return {
        name: replace(link, addrs=link.addrs & case.memory.given.get(name, frozenset()))
        if isinstance(link.spec, VlanIf) and link.addrs is not None
        else link
        for name, link in ours(case.kernel.observe()).items()
    }


def test_undo_returns_to_the_start(begin: Begin) -> None:
    done = 0
    for seed in range(2000, 2000 + UNDOS):
        case = begin(seed, spoiled=False)
        before = case.kernel.observe()
        plan = case.planned(with_what_is_in_use(case)).plan
        names = frozenset(name for unit in plan.units for name in unit.links if not before.owned(name))
        assert execute(plan, case.kernel).failures == {}, seed
        want = normalise(before, names)
        for _ in range(2):
            assert execute(make_plan(want, case.kernel.observe()), case.kernel).failures == {}, seed
        assert make_plan(want, case.kernel.observe()).empty, seed
        assert ours(case.kernel.observe()).keys() == ours(before).keys(), seed
        done += 1
    print(f"undone: {done} of {UNDOS}")


def test_one_apply_repairs_sabotage(begin: Begin) -> None:
    done = damages = 0
    for seed in range(3000, 3000 + SABOTAGES):
        case = begin(seed, spoiled=False)
        whole = given(case)
        for step in generate.random_sabotage(case.dice, case.kernel.observe(), case.dice.randint(1, 12)):
            damages += case.kernel.run([step]) is None
        planned = case.planned(case.before)
        assert execute(planned.plan, case.kernel).failures == {}, seed
        assert case.planned(case.before).plan.empty, seed
        assert ports_in_place(case), seed
        assert given(case) == whole, seed
        done += 1
    print(f"repaired: {done} of {SABOTAGES}, after {damages} pieces of damage")
