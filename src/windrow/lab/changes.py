"""What a change costs: frames lost, doubled or sent in circles while a node gets other manifests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from windrow.lab import probe
from windrow.lab.circles import Circles
from windrow.lab.errors import LabError
from windrow.lab.scenario import Change, Steady
from windrow.lab.verdict import Verdict
from windrow.lab.world import World
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject
from windrow.model.problems import ProblemsError, errors
from windrow.model.steps import Impact
from windrow.model.values import Ref
from windrow.model.wire import load_documents, without_doubles

REACH_S = 15.0
BEFORE_S = 0.5
AFTER_S = {Impact.NONE: 1.0, Impact.HITLESS: 1.0, Impact.FLAP: 2.0, Impact.OUTAGE: 2.0}
"""How long the flow goes on after the last step: what is lost later than that, the second look finds."""
RECOVERED_S = 0.5

Ways = tuple[probe.Direction, probe.Direction]


class Applied(Protocol):
    """What became of the node; `session.Applied` is one."""

    @property
    def ok(self) -> bool: ...

    @property
    def steps(self) -> int: ...

    @property
    def left(self) -> int: ...

    @property
    def words(self) -> str: ...

    @property
    def complaints(self) -> tuple[str, ...]: ...

    @property
    def impact(self) -> Impact: ...


ChangeNode = Callable[[str, Sequence[AnyObject], Sequence[Ref]], Applied]
"""(node, objects to put, objects to remove): the rules, the store, the plan, its steps, and the look afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One change. `held_ms`: the longest that the sender was kept waiting, by the change or by the machine."""

    applied: Applied
    took_ms: float
    ways: Ways
    held_ms: float
    circles: Circles
    after: Ways


def steady(check: Steady, world: World) -> Verdict:
    """Without this a number of lost frames means nothing: nothing is done, and nothing is lost."""
    a, b = (world.station(name) for name in check.between)
    if silent := _silent(a, b):
        return False, silent, {}
    with probe.Flow(a, b) as flow:
        time.sleep(check.seconds)
    there, back = flow.result
    lost, doubled = there.lost + back.lost, there.duplicated + back.duplicated
    measured = {"there": _numbers(there), "back": _numbers(back), "held_ms": round(flow.held_ms, 1)}
    return not (lost or doubled), f"→ {there}, ← {back}; the sender waited {flow.held_ms:.0f} ms at most", measured


def change(check: Change, world: World, apply: ChangeNode) -> Verdict:
    """Raises ProblemsError where the rules refuse the manifests, LabError, KernelError."""
    a, b = (world.station(name) for name in check.between)
    if silent := _silent(a, b):
        return False, silent, {}
    objects = changed_objects(check.manifests, world)
    found = _measure(check, world, partial(apply, check.node, objects, check.delete))
    faults = list(_faults(check, found))
    numbers = {
        "steps": found.applied.steps,
        "impact": found.applied.impact.value,
        "ms": round(found.took_ms, 1),
        "there": _numbers(found.ways[0]),
        "back": _numbers(found.ways[1]),
        "held_ms": round(found.held_ms, 1),
        "circles": found.circles.to_json(),
    }
    return not faults, "\n".join([*_words(check, found), *faults]), numbers


def _measure(check: Change, world: World, act: Callable[[], Applied]) -> Measured:
    a, b = (world.station(name) for name in check.between)
    with Circles((a, b), _bridge(check, world)) as circles, probe.Flow(a, b) as flow:
        time.sleep(BEFORE_S)
        started = time.monotonic()
        applied = act()
        took = time.monotonic() - started
        time.sleep(AFTER_S[check.impact])
    with probe.Flow(a, b) as after:
        time.sleep(RECOVERED_S)
    return Measured(
        applied=applied,
        took_ms=took * 1000,
        ways=flow.result,
        held_ms=flow.held_ms,
        circles=circles,
        after=after.result,
    )


def _bridge(check: Change, world: World) -> probe.Station:
    """The one that the endpoint's port is on; Windrow's bridges are promiscuous and pass up what they forward."""
    endpoint = next(e for e in world.scenario.endpoints if e.node == check.node and e.name in check.between)
    name = world.nad(endpoint).bridge
    return probe.Station(name, name, partial(world.inside, check.node))


def _silent(a: probe.Station, b: probe.Station) -> str:
    answers = probe.ping([(a, b), (b, a)], deadline_s=REACH_S)
    missing = [f"{x} → {y}" for (x, y), ms in answers.items() if ms is None]
    return f"no answer before anything was changed: {', '.join(missing)}" if missing else ""


def on_all(world: World, act: Callable[[str], Applied]) -> None:
    """On every node, by its name. Raises LabError where one is not as it was to be."""
    for node in world.scenario.nodes:
        applied = act(node.name)
        if not applied.ok:
            raise LabError(f"{node.name}: {applied.words}: {'; '.join(applied.complaints)}")


def changed_objects(files: Sequence[str], world: World) -> tuple[AnyObject, ...]:
    """Of the scenario's `changes`. Raises ProblemsError."""
    loaded = without_doubles([load_documents(world.scenario.changes[file], file) for file in files])
    if errors(loaded.problems):
        raise ProblemsError(loaded.problems)
    return loaded.objects


# The verdict --------------------------------------------------------------------------------------


def _faults(check: Change, found: Measured) -> Iterator[str]:
    """What is not as the check and the plan say."""
    applied, circles = found.applied, found.circles
    if not applied.ok or applied.left:
        yield f"not applied: {applied.words}: {'; '.join(applied.complaints)}"
    if not applied.steps:
        yield "nothing was changed"
    if applied.impact is not check.impact:
        yield f"the plan announced {applied.impact.value}, and not {check.impact.value}"
    lost = max(way.lost for way in found.ways)
    longest = max(way.longest_ms for way in found.ways)
    if lost and applied.impact.rank <= Impact.HITLESS.rank:
        yield f"the plan announced {applied.impact.value}, and {lost} frames were lost"
    if check.lost is not None and lost > check.lost:
        yield f"{lost} frames lost one way, {check.lost} allowed"
    if check.within_ms is not None and longest > check.within_ms:
        yield f"a gap of {longest:.0f} ms, {check.within_ms} allowed"
    if doubled := sum(way.duplicated for way in found.ways):
        yield f"{doubled} frames arrived twice"
    yield from circles.faults()
    if any(way.lost for way in found.after):
        yield f"frames are still lost afterwards: → {found.after[0]}, ← {found.after[1]}"


def _words(check: Change, found: Measured) -> list[str]:
    applied = found.applied
    what = [*(f"apply {file}" for file in check.manifests), *(f"delete {ref}" for ref in check.delete)]
    steps = f"{applied.steps} step{'' if applied.steps == 1 else 's'}"
    return [
        f"{', '.join(what)}: {steps} in {found.took_ms:.0f} ms, announced {applied.impact.value}",
        f"→ {found.ways[0]}, ← {found.ways[1]}; the sender waited {found.held_ms:.0f} ms at most",
        str(found.circles),
    ]


def _numbers(way: probe.Direction) -> dict[str, Any]:
    return {"sent": way.sent, "lost": way.lost, "longest_ms": way.longest_ms, "doubled": way.duplicated}
