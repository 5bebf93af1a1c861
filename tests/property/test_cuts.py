"""Every cut of every plan goes on from what carries the traffic.

A plan is killed after any of its steps (power, the kernel's memory, a hand), and the next one begins where it stood. It
must never cost more than the plan that was cut, never take down what carries the traffic meanwhile, and come to the
same end. Tried for all golden plans, all scenarios that ship, and changes of a bond's mode in all their company.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tests.golden import cases
from tests.property.test_plan import CASES, SEEDS, start
from tests.property.walk import Start, cuts, faults, holes, reached

from windrow.apps.engine import converge
from windrow.lab.scenario import Change
from windrow.lab.scenario_file import SHIPPED, parse, read
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.problems import errors
from windrow.model.steps import Impact
from windrow.model.wire import load_documents
from windrow.plan import make_plan, normalise
from windrow.testing import builders, generate
from windrow.testing.fake import FakeKernel

NODE = "node-0"


def walk(start: Start) -> int:
    """Cut the plan everywhere, and plan again; how many cuts there were."""
    found = list(cuts(start))
    wrong = [f"{cut}\n    {fault}" for cut in found for fault in faults(cut)]
    assert not wrong, "\n".join(wrong)
    return len(found)


# -- all plans that are written down ---------------------------------------------------------------


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_golden_plans(case: Path) -> None:
    kernel, known = cases.start(case)
    walk(Start(kernel, cases.manifests(case / "after.yaml"), NODE, known))


# -- all scenarios ---------------------------------------------------------------------------------


def scenarios() -> Iterator[tuple[str, str]]:
    for path in sorted(SHIPPED.glob("*/scenario.yaml")):
        texts = read(path.parent.name)
        for node in parse(texts).nodes:
            yield path.parent.name, node.name


@pytest.mark.parametrize(("name", "node"), list(scenarios()))
def test_scenarios(name: str, node: str) -> None:
    """From nothing to what it applies, and on through its changes."""
    texts = read(name)
    scenario = parse(texts)
    kernel = FakeKernel()
    for nic in next(n for n in scenario.nodes if n.name == node).nics:
        kernel.add_nic(nic, up=True)
    known = Known(agent=True)
    target = _put(Cluster.of(()), *scenario.manifests.values())
    walk(Start(kernel, target, node, known))
    for change in (c for c in scenario.checks if isinstance(c, Change) and c.node == node):
        report = converge(target, kernel, node, knowing=lambda: known)
        assert report.outcome.ok
        target = _put(target, *(scenario.changes[file] for file in change.manifests)).without(change.delete)
        walk(Start(kernel, target, node, known))


def _put(cluster: Cluster, *texts: str) -> Cluster:
    for text in texts:
        loaded = load_documents(text)
        assert not errors(loaded.problems), loaded.problems
        cluster = cluster.replace(loaded.objects)
    return cluster


# -- a bond's mode, in all its company -------------------------------------------------------------

PAIRS = list(permutations(BondMode, 2))


@pytest.mark.parametrize("nics", [1, 2, 3])
@pytest.mark.parametrize(("old", "new"), PAIRS, ids=lambda mode: mode.value)
def test_modes(old: BondMode, new: BondMode, nics: int) -> None:
    names = [f"eth{n}" for n in range(1, nics + 1)]
    assert walk(changed(network(names, old), network(names, new))) >= 4


COMPANY = {
    "a NIC joins": {"nics": ["eth1", "eth2", "eth3"]},
    "a NIC leaves": {"nics": ["eth1"]},
    "a NIC is exchanged": {"nics": ["eth1", "eth3"]},
    "all NICs are exchanged": {"nics": ["eth3", "eth4"]},
    "VLANs": {"vids": (101, 200)},
    "a smaller MTU": {"mtu": 1400},
    "a larger MTU": {"mtu": 9000},
    "a host address": {"address": True},
    "all of it": {"nics": ["eth2", "eth3"], "vids": (101, 200), "mtu": 9000, "address": True},
}


KINDS = (BondMode.ACTIVE_BACKUP, BondMode.BALANCE_XOR, BondMode.LACP, BondMode.BALANCE_ALB)
"""One that stands by, one that shares out, one that asks its partner, one with an active slave that shares out."""
IN_COMPANY = [(a, b, c) for c in COMPANY for a, b in PAIRS if c == "all of it" or {a, b} <= {*KINDS}]


@pytest.mark.parametrize(("old", "new", "company"), IN_COMPANY)
def test_modes_and_more(old: BondMode, new: BondMode, company: str) -> None:
    more: dict[str, Any] = {"nics": ["eth1", "eth2"], **COMPANY[company]}
    assert walk(changed(network(["eth1", "eth2"], old), network(mode=new, **more))) >= 4


def network(
    nics: list[str], mode: BondMode, *, vids: tuple[int, ...] = (100, 101), mtu: int = 1500, address: bool = False
) -> Cluster:
    host = [builders.host_network("oob", 100, {NODE: "10.0.100.1/24"})] if address else []
    nads = [builders.nad(f"n{vid}", "oob", vid) for vid in vids]
    config = builders.vlan_config("oob", nics, mode, mtu=mtu)
    return builders.cluster(builders.node(NODE), builders.cluster_network("oob"), config, *nads, *host)


def changed(before: Cluster, after: Cluster) -> Start:
    """A host that has the one, and is to have the other."""
    kernel = FakeKernel()
    for number in range(1, 5):
        kernel.add_nic(f"eth{number}", up=True)
    assert converge(before, kernel, NODE).ok
    return Start(kernel, after, NODE)


@pytest.mark.parametrize("third", [False, True], ids=["back", "another"])
@pytest.mark.parametrize(("old", "new"), PAIRS, ids=lambda mode: mode.value)
def test_the_wish_changes_after_the_cut(old: BondMode, new: BondMode, third: bool) -> None:
    """Back to the mode that it had, or on to a third one: with two NICs never more than a flap, and nothing is taken
    down that carries the traffic."""
    nics = ["eth1", "eth2"]
    other = next(mode for mode in BondMode if mode not in (old, new)) if third else old
    wrong: list[str] = []
    for cut in cuts(changed(network(nics, old), network(nics, new))):
        start = replace(cut.start, target=network(nics, other))
        plan, there, going = start.plan(), reached(start.kernel), start.twin()
        said = start.seconds(plan)
        taken = holes(going.kernel, plan.steps, there)
        if plan.impact.rank > Impact.FLAP.rank or taken or inf in said.values() or not going.plan().empty:
            wrong.append(f"{cut}\n    {plan.impact.value}, {said}, takes {taken}, left {going.plan().steps}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=lambda mode: mode.value)
def test_undo_after_the_cut(old: BondMode, new: BondMode) -> None:
    """As the way back is planned: towards what was observed before."""
    start = changed(network(["eth1", "eth2"], old), network(["eth1", "eth2"], new))
    back = normalise(start.kernel.observe())
    wrong: list[str] = []
    for cut in cuts(start):
        kernel, there = cut.start.kernel, reached(cut.start.kernel)
        plan = make_plan(back, kernel.observe(), consent=True)
        taken = holes(kernel, plan.steps, there)
        left = make_plan(back, kernel.observe(), consent=True)
        if plan.impact.rank > Impact.FLAP.rank or taken or not left.empty:
            wrong.append(f"{cut}\n    {plan.impact.value}, takes {taken}, left {left.steps}")
    assert not wrong, "\n".join(wrong)


# -- anything --------------------------------------------------------------------------------------


@given(seed=SEEDS)
@CASES
def test_any_plan(seed: int) -> None:
    """What nobody spoiled: a host that Windrow made, or that it has not seen, with its ports."""
    case = start(seed, leftovers=False)
    walk(Start(case.kernel, case.target, generate.NODE, case.known()))
