"""The engine: look, plan, run, look again. The command line, the lab and the agent all use this one.

It stops at a unit's first failed step and goes on with the other units; what is left is in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from windrow.compile import Compiled, compile_node, node_facts
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Nic, NodeFacts
from windrow.model.host import Observed
from windrow.model.steps import Failure, Outcome, Plan, Step
from windrow.model.values import IfName
from windrow.plan import make_plan

MAX_ROUNDS = 3
"""One round does it; a second one finds what only showed after the first (another hand at the same links)."""


class Kernel(Protocol):
    """What the engine needs of a kernel: `netlink.Kernel` is the real one, `testing.FakeKernel` the other."""

    def observe(self) -> Observed: ...

    def run(self, steps: Sequence[Step]) -> Failure | None: ...

    def nics(self) -> Mapping[IfName, Nic]: ...

    def features(self) -> KernelFeatures: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at a node."""

    observed: Observed
    facts: NodeFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    compiled: Compiled
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a convergence did. `planned` is the first plan; `left` what is still to do: empty when all is well."""

    planned: Planned
    outcome: Outcome
    left: Plan
    sight: Sight
    rounds: int

    @property
    def ok(self) -> bool:
        return self.outcome.ok and self.left.empty


OnStep = Callable[[Step, Failure | None], None]


def look(kernel: Kernel, node: str) -> Sight:
    """Observe the kernel and derive the facts of `node` from it."""
    observed = kernel.observe()
    return Sight(observed=observed, facts=node_facts(node, observed, kernel.nics(), kernel.features()))


def plan_node(cluster: Cluster, sight: Sight) -> Planned:
    """What the cluster's objects ask of this node, and the steps that lead there."""
    compiled = compile_node(cluster, sight.facts)
    plan = make_plan(compiled.state, sight.observed, protected=sight.facts.protected, held=compiled.held)
    return Planned(compiled=compiled, plan=plan)


def bursts(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    """Steps that are `joined` go to the kernel together with the one before them."""
    together: list[Step] = []
    for step in steps:
        if together and not step.joined:
            yield tuple(together)
            together = []
        together.append(step)
    if together:
        yield tuple(together)


def execute(plan: Plan, kernel: Kernel, on_step: OnStep | None = None) -> Outcome:
    """Run every unit of the plan, each until its first failure."""
    done: dict[int, int] = {}
    failures: dict[int, Failure] = {}
    for number, unit in enumerate(plan.units):
        done[number] = 0
        for together in bursts(unit.steps):
            failure = kernel.run(together)
            for step in together:
                failed = failure is not None and step is failure.step
                if on_step:
                    on_step(step, failure if failed else None)
                if failed:
                    break
                done[number] += 1
            if failure is not None:
                failures[number] = failure
                break
    return Outcome(done=done, failures=failures)


def converge(cluster: Cluster, kernel: Kernel, node: str, on_step: OnStep | None = None) -> Report:
    """Bring the node to what the cluster asks, and verify it by looking again."""
    sight = look(kernel, node)
    first = planned = plan_node(cluster, sight)
    outcome = Outcome()
    rounds = 0
    while planned.plan.steps and rounds < MAX_ROUNDS and outcome.ok:
        outcome = execute(planned.plan, kernel, on_step)
        rounds += 1
        sight = look(kernel, node)
        planned = plan_node(cluster, sight)
    return Report(planned=first, outcome=outcome, left=planned.plan, sight=sight, rounds=rounds)
