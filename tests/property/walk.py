"""A plan that is cut off after each of its steps, and planned again: what the rest costs, and what it leaves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from tests.property.test_plan import only_a_remembered_primary

from windrow.apps.engine import bursts, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond, Link
from windrow.model.names import bridge_of
from windrow.model.steps import Impact, Plan, Step
from windrow.model.values import IfName, VidSet
from windrow.plan import normalise
from windrow.status.consequences import Here, consequences
from windrow.testing.fake import FakeKernel


@dataclass
class Start:
    """A host, and what it is to become."""

    kernel: FakeKernel
    target: Cluster
    node: str
    known: Known = Known()

    def plan(self) -> Plan:
        return plan_node(self.target, look(self.kernel, self.node, self.known)).plan

    def seconds(self, plan: Plan) -> dict[str, float]:
        """By network: how long its traffic may stop, as the user is told (`inf`: it does not come back)."""
        here = Here(node=self.node, observed=self.kernel.observe(), plan=plan, ports=self.known.ports)
        found: dict[str, float] = {}
        for told in consequences(self.target, self.target, here).interruptions:
            found[told.network] = found.get(told.network, 0) + (inf if told.high is None else told.high)
        return found

    def twin(self) -> Start:
        kernel = copy.copy(self.kernel)
        kernel.machine, kernel.journal, kernel.interruptions = copy.deepcopy(kernel.machine), [], []
        return replace(self, kernel=kernel)


@dataclass(frozen=True)
class Whole:
    """A plan that nobody cut: what it is, how long each network may wait for it, the host after it, and the bridges
    that carried something before it."""

    plan: Plan
    seconds: dict[str, float]
    after: FakeKernel
    carried: frozenset[str]

    @classmethod
    def of(cls, start: Start) -> Whole:
        plan, going = start.plan(), start.twin()
        holes(going.kernel, plan.steps, {})
        carried = frozenset(bridge for bridge, vids in reached(start.kernel).items() if vids)
        return cls(plan, start.seconds(plan), going.kernel, carried)


@dataclass(frozen=True)
class Cut:
    """Where the host stands after `steps` of the plan `whole`, of which `last` was the last."""

    start: Start
    whole: Whole
    steps: int
    last: Step

    def __str__(self) -> str:
        return f"cut after step {self.steps}: {self.last.link} {self.last.action}"


def cuts(start: Start) -> Iterator[Cut]:
    """The plan of `start`, cut after its first step, its second, ... but not after its last."""
    whole, going = Whole.of(start), start.twin()
    for number, step in enumerate(whole.plan.steps[:-1], 1):
        assert going.kernel.run([step]) is None, f"{step} fails by itself"
        yield Cut(going.twin(), whole, number, step)


def faults(cut: Cut) -> Iterator[str]:
    """What is wrong with the rest: it costs more than the whole, takes traffic that was there and that the plan would
    have left, or comes to another end. What carried nothing before the plan had nothing to pay with: where the plan was
    cut after that began to carry, only the last two count."""
    start, whole, rest = cut.start, cut.whole, cut.start.plan()
    if extra := set(map(str, rest.refusals)) - set(map(str, whole.plan.refusals)):
        yield f"refused: {extra}"
    dear = Impact.worst(s.impact for unit in rest.units if whole.carried & set(unit.links) for s in unit.steps)
    if dear.rank > max(whole.plan.impact.rank, Impact.HITLESS.rank):  # which costs nobody a frame, as NONE
        yield f"the rest is {dear.value}, and the whole {whole.plan.impact.value}"
    for network, high in start.seconds(rest).items():
        if bridge_of(network) in whole.carried and high > whole.seconds.get(network, 0):
            yield f"{network}: the rest takes up to {high:g} s, and the whole {whole.seconds.get(network, 0):g} s"
    before = reached(start.kernel)
    going = start.twin()
    taken = holes(going.kernel, rest.steps, before)
    meant = holes(start.twin().kernel, whole.plan.steps[cut.steps :], before)
    if taken - meant:
        yield f"takes the traffic of {', '.join(sorted(taken - meant))}"
    yield from _other_end(going, whole.after)


def _other_end(going: Start, after: FakeKernel) -> Iterator[str]:
    left = going.plan()
    if only_a_remembered_primary(left):
        holes(going.kernel, left.steps, {})
        left = going.plan()
    yield from (f"still to do: {s.link} {s.action}" for s in left.steps)
    ours, theirs = _ours(going.kernel), _ours(after)
    yield from (f"{n} is {ours.get(n)}, not {theirs.get(n)}" for n in ours | theirs if ours.get(n) != theirs.get(n))


def _ours(kernel: FakeKernel) -> dict[IfName, Link]:
    """Without what chance decides: MACs of slaves, and of empty bonds."""
    links = normalise(kernel.observe()).links
    return {name: replace(link, mac=None) if isinstance(link.spec, Bond) else link for name, link in links.items()}


def reached(kernel: FakeKernel) -> dict[str, VidSet]:
    """Bridge -> the VLANs that its uplinks carry to the wire."""
    machine = kernel.machine
    found: dict[str, VidSet] = {}
    for device in machine.devices.values():
        bridge = device.master
        if device.bond is None or bridge is None or bridge.bridge is None or device.vlans is None:
            continue
        if bridge.up and machine.carrier(device):
            found[bridge.name] = found.get(bridge.name, VidSet()) | device.vlans.all
    return found


def holes(kernel: FakeKernel, steps: Sequence[Step], before: dict[str, VidSet]) -> set[str]:
    """Do the steps. The bridges that lose between two bursts what they carried `before`, and carry in the end."""
    seen: list[dict[str, VidSet]] = []
    for together in bursts(steps):
        failure = kernel.run(together)
        assert failure is None, f"{failure} of {together}"
        seen.append(reached(kernel))
    none = VidSet()
    after = reached(kernel)
    kept = {bridge: vids & after.get(bridge, none) for bridge, vids in before.items()}
    return {bridge for at in seen for bridge, vids in kept.items() if vids - at.get(bridge, none)}
