"""The engine: look, plan, run, look again. The command line, the lab and the agent all use this one.

It stops at a unit's first failed step and goes on with the other units; what is left is in the report.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

from windrow.compile import node_facts
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Known, Memory, Nic
from windrow.model.filters import Filters, FiltersSeen
from windrow.model.host import Bridge, Observed
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork
from windrow.model.ruletable import PoliciesSeen
from windrow.model.steps import AskAddr, AwaitCarrier, Failure, Outcome, Plan, Step, hangs_on
from windrow.model.values import IfName
from windrow.rules.planning import Fit as Fit
from windrow.rules.planning import Planned as Planned
from windrow.rules.planning import Sight as Sight
from windrow.rules.planning import as_it_is as as_it_is
from windrow.rules.planning import plan_node as plan_node

MAX_ROUNDS = 3
"""One round does it; a second one finds what only showed after the first (another hand at the same links)."""


class Kernel(Protocol):
    """What the engine needs of a kernel: `netlink.Kernel` is the real one, `testing.FakeKernel` the other."""

    def observe(self) -> Observed: ...

    def run(self, steps: Sequence[Step]) -> Failure | None: ...

    def nics(self) -> Mapping[IfName, Nic]: ...

    def features(self) -> KernelFeatures: ...

    def link_defaults(self) -> Mapping[str, str]: ...

    def filters(self, wanted: Filters, known: Iterable[tuple[str, str]], links: Collection[str]) -> FiltersSeen: ...

    def policies(self, *, policed: bool) -> PoliciesSeen: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Converged:
    """What a convergence did. `planned` is the first plan, `last` the one of the last look."""

    planned: Planned
    outcome: Outcome
    last: Planned
    sight: Sight
    rounds: int
    plans: tuple[Plan, ...] = ()
    """All that were carried out: the first one, and those of what only showed after it."""

    @property
    def left(self) -> Plan:
        """What is still to do: empty when all is well."""
        return self.last.plan

    @property
    def memory(self) -> Memory:
        """To be written (`store.memory`): what the next look should know."""
        return self.last.compiled.memory

    @property
    def ok(self) -> bool:
        return self.outcome.ok and self.left.empty


OnStep = Callable[[Step, Failure | None], None]
Knowing = Callable[[], Known]
"""Reads what the disk knows anew: each look at the kernel goes with the records of its moment."""
Waiting = Callable[[], AbstractContextManager[None]]
"""What is entered for as long as the plan only waits: it lets the network's lock go, and takes it again."""


def look(kernel: Kernel, node: str, known: Known = Known()) -> Sight:
    """Observe the kernel and derive the facts of `node` from it and from what its disk knows."""
    observed = _with_filters(kernel.observe(), kernel, known)
    observed = with_policies(observed, kernel, policed=known.memory.policed)
    facts = node_facts(node, observed, kernel.nics(), kernel.features(), known)
    return Sight(observed=observed, facts=facts)


def _with_filters(observed: Observed, kernel: Kernel, known: Known) -> Observed:
    """After the links: a port that is seen had its rules before, so none that just comes is taken for one without."""
    links = observed.state.links.keys()
    found = {r.host: wanted for r in known.ports if r.host in links and (wanted := r.filter) is not None}
    if not found:
        return observed
    seen = kernel.filters(found, [record.key for record in known.ports], links)
    return replace(
        observed,
        state=replace(observed.state, filters={n: one for n, one in seen.filters.items() if n not in seen.left_over}),
        stale_filters={n: one for n, one in seen.filters.items() if n in seen.left_over},
        filters_unread=seen.unread,
    )


def with_policies(observed: Observed, kernel: Kernel, *, policed: bool) -> Observed:
    """With the table of network policies. `policed`: as in `model.facts.Memory`."""
    seen = kernel.policies(policed=policed)
    return replace(observed, state=replace(observed.state, policies=seen.table), policies_unread=seen.unread)


def cluster_networks(cluster: Cluster, observed: Observed) -> frozenset[str]:
    """Whose bridges are no CNI call's to make: every cluster network there is, present on this node or not, and those
    that Windrow has not cleared away yet."""
    known = {network.name for network in cluster.all(ClusterNetwork)}
    bridges = (n for n, link in observed.state.links.items() if isinstance(link.spec, Bridge) and observed.owned(n))
    return frozenset(known | {cn for n in bridges if (cn := names.cluster_network_of_bridge(n))})


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


def execute(
    plan: Plan, kernel: Kernel, on_step: OnStep | None = None, *, waiting: Waiting = nullcontext, go_on: bool = False
) -> Outcome:
    """Run every unit of the plan, each until its first failure; with `go_on`, past failures: on the way back every step
    that can be done is better than none. A unit that has to wait is parked, and the others go on.

    While a step only waits, for carrier or an answer, nobody else need wait: `waiting` lets CNI calls in. Going on with
    the same plan after that is safe. Steps are absolute, so what was not touched meanwhile is as it was planned, and
    what was is made so. A call neither makes, changes nor deletes a bridge or bond of a cluster network; a port that it
    attaches comes with its own VLANs to a bridge that the plan keeps, and in no step of it; a port that it takes away
    may be in one, which then fails with ENODEV, and `converge` looks again. A second plan would be no match for this
    one's second half: the caller keeps it out throughout.
    """
    done: dict[int, int] = dict.fromkeys(range(len(plan.units)), 0)
    failures: dict[int, tuple[Failure, ...]] = {}
    todo = {number: list(bursts(unit.steps)) for number, unit in enumerate(plan.units)}
    for waits in (False, True):
        for number, rest in todo.items():
            while rest and (waits or not _only_waits(rest[0])):
                together = rest.pop(0)
                with waiting() if _only_waits(together) else nullcontext():
                    failure = kernel.run(together)
                for at, step in enumerate(together):
                    failed = failure is not None and step is failure.step
                    if on_step:
                        on_step(step, failure if failed else None)
                    if failed:
                        if together[at + 1 :]:
                            rest.insert(0, together[at + 1 :])
                        break
                    done[number] += 1
                if failure is not None:
                    failures[number] = (*failures.get(number, ()), failure)
                    if not go_on:
                        rest[:] = _in_spite_of(failure.step, rest)
    return Outcome(done=done, failures=failures)


def _in_spite_of(failed: Step, rest: list[tuple[Step, ...]]) -> list[tuple[Step, ...]]:
    """What is done all the same: nothing, but where somebody else has an address that was asked for. He must not keep
    the rest of this host from its network."""
    if not isinstance(failed.action, AskAddr):
        return []
    kept = (tuple(step for step in together if not hangs_on(step, failed)) for together in rest)
    return [together for together in kept if together]


def _only_waits(together: tuple[Step, ...]) -> bool:
    return all(isinstance(step.action, AwaitCarrier | AskAddr) for step in together)


def converge(
    cluster: Cluster,
    kernel: Kernel,
    node: str,
    on_step: OnStep | None = None,
    *,
    knowing: Knowing = Known,
    waiting: Waiting = nullcontext,
    consent: bool = False,
    fit: Fit = as_it_is,
    begin: tuple[Sight, Planned] | None = None,
) -> Converged:
    """Bring the node to what the cluster asks, and verify it by looking again. `begin`: the look and the plan that
    were already made, by somebody who has kept other plans away since."""
    if begin is None:
        sight = look(kernel, node, knowing())
        begin = sight, plan_node(cluster, sight, consent=consent, fit=fit)
    sight, planned = begin
    first = planned
    outcome = Outcome()
    rounds = 0
    plans: list[Plan] = []
    while planned.plan.steps and rounds < MAX_ROUNDS and (outcome.ok or _gone(outcome)):
        outcome = execute(planned.plan, kernel, on_step, waiting=waiting)
        rounds += 1
        plans.append(planned.plan)
        sight = look(kernel, node, knowing())
        planned = plan_node(cluster, sight, consent=consent, fit=fit)
        if _gone(outcome) and not planned.plan.steps:
            outcome = Outcome(done=outcome.done)  # what was to be done to the link went with it
    return Converged(
        planned=first,
        outcome=outcome,
        last=planned,
        sight=sight,
        rounds=rounds,
        plans=tuple(plans),
    )


def _gone(outcome: Outcome) -> bool:
    """Links come and go with their containers, locked or not: a plan that met one which is no more is made anew."""
    return all(failure.errno == errno.ENODEV for failure in outcome.failed)
