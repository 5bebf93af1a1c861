"""What holds of every plan, tried on FakeKernel from random starts towards random targets.

A case is one seed: hypothesis chooses seeds, `windrow.testing.generate` does the rest, so a failing seed
can be run again by hand (`start(seed)`) and on the real kernel.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windrow.apps.engine import bursts, converge, execute, look, plan_node
from windrow.model.bonding import OPTIONS, BondMode, Change
from windrow.model.cluster import Cluster
from windrow.model.host import Bond, HostState, Link, Observed, Other
from windrow.model.objects import VlanConfig
from windrow.model.steps import CreateLink, DeleteLink, Impact, Plan
from windrow.model.values import IfName, VidSet
from windrow.plan import make_plan, normalise
from windrow.testing import builders, generate
from windrow.testing.fake import Crashed, FakeKernel
from windrow.testing.generate import NODE

CASES = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)
SEEDS = st.integers(min_value=0, max_value=2**32)


@dataclass
class Case:
    """A host in some state, and the cluster that it is to serve."""

    kernel: FakeKernel
    foreign: frozenset[IfName]
    target: Cluster
    dice: Random


def start(seed: int, *, guests: bool = True) -> Case:
    """A host with NICs and other people's links, on which Windrow may have worked before, whole or not, and on
    which somebody may have broken things."""
    dice = Random(seed)
    kernel = FakeKernel()
    for nic in ("eth0", *generate.NICS, "eth7"):
        kernel.add_nic(nic, up=dice.random() < 0.5 and nic not in ("eth0", "eth7"))
    foreign = _add(kernel, generate.random_foreign(dice))
    if dice.random() < 0.7:
        assert converge(generate.random_cluster(dice), kernel, NODE).ok
    if guests:
        foreign |= _add(kernel, generate.random_guests(dice, kernel.observe()))
    hands = generate.random_leftovers(dice) if dice.random() < 0.3 else []
    hands += generate.random_sabotage(dice, kernel.observe(), dice.choice((0, 0, 3, 8)))
    for step in hands:
        kernel.run([step])
    kernel.journal.clear()
    kernel.interruptions.clear()
    return Case(kernel=kernel, foreign=foreign, target=generate.random_cluster(dice), dice=dice)


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
    return plan_node(case.target, look(case.kernel, NODE)).plan


@given(seed=SEEDS)
@CASES
def test_one_converge_does_it_and_the_second_plan_is_empty(seed: int) -> None:
    case = start(seed)
    report = converge(case.target, case.kernel, NODE)
    assert report.outcome.failures == {}
    assert report.left.steps == ()
    assert report.rounds <= 1
    assert {p.code for p in report.left.refusals} <= {"in-the-way"}
