"""plan_node: what a cluster asks of one node, and the steps that lead there from what was seen of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from windrow.compile import Compiled, compile_node
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.host import Observed
from windrow.model.lazy import dataclass
from windrow.model.steps import Plan, Unit
from windrow.plan import make_plan
from windrow.plan.concede import by_weight, conceded, repairable
from windrow.plan.taken import taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at a node."""

    observed: Observed
    facts: NodeFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    compiled: Compiled
    plan: Plan


Fit = Callable[[Compiled, Sight], Compiled]
"""What is to be planned of what is wanted: the agent leaves out what it is not to touch just now."""


def as_it_is(compiled: Compiled, _: Sight) -> Compiled:
    return compiled


def plan_node(cluster: Cluster, sight: Sight, *, consent: bool = False, fit: Fit = as_it_is) -> Planned:
    """What the cluster's objects ask of this node, and the steps that lead there. `consent`: also where they change
    what carries the management traffic; somebody stands by with an undo."""
    compiled = fit(compile_node(cluster, sight.facts), sight)
    lost = tuple(taken(compiled.state, sight.observed, sight.facts.protected))
    compiled = replace(compiled, problems=compiled.problems + lost)
    plan = _plan(compiled, sight, consent=consent)
    if any(repairable(unit) for unit in plan.units):
        plan = replace(plan, units=tuple(_with_the_rest(unit, plan, compiled, sight) for unit in plan.units))
    return Planned(compiled=compiled, plan=plan)


def _plan(compiled: Compiled, sight: Sight, *, consent: bool) -> Plan:
    return make_plan(
        compiled.state,
        sight.observed,
        protected=sight.facts.protected,
        held=compiled.held,
        records=sight.facts.ports,
        consent=consent,
    )


def _with_the_rest(unit: Unit, plan: Plan, compiled: Compiled, sight: Sight) -> Unit:
    """What is refused of a unit that is there stops no repair of the rest of it: a VLAN that somebody took off comes
    back, though the address next to it is not to be changed."""
    if not repairable(unit):
        return unit
    keys = by_weight(unit)
    for count in range(1, len(keys)):
        state, held = conceded(compiled.state, plan, keys[:count])
        less = _plan(replace(compiled, state=state, held=compiled.held | held), sight, consent=False)
        rest = [part for part in less.units if part not in plan.units]  # a port's rules are a unit beside its link's
        parts = [part for part in rest if set(part.links) & set(unit.links)]
        if not any(part.refusals for part in parts):
            return replace(unit, steps=tuple(step for part in parts for step in part.steps))
    return unit
