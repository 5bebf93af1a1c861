"""A network policy closes a way: who got there before, who does while all nodes have it, and who does afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from windrow.lab import probe
from windrow.lab.changes import ChangeNode, changed_objects, on_all
from windrow.lab.scenario import Closed
from windrow.lab.verdict import Verdict
from windrow.lab.world import World

REACH_S = 15.0
SILENT_S = 2.0
"""So long an answer that must not come is waited for; it takes a few milliseconds."""

Answers = Mapping[str, float | None]
"""By who asked: milliseconds, None: no answer."""


def closed(check: Closed, world: World, change: ChangeNode) -> Verdict:
    """Raises ProblemsError where the rules refuse the manifests, LabError, KernelError."""
    everybody = (*check.opened, *check.closed)
    objects = changed_objects(check.manifests, world)
    asked = partial(_answers, world, check.target)
    before = asked(everybody, REACH_S)
    on_all(world, lambda node: change(node, objects, ()))
    try:
        during = {**asked(check.opened, REACH_S), **asked(check.closed, SILENT_S)}
    finally:
        on_all(world, lambda node: change(node, (), [obj.ref for obj in objects]))
    after = asked(everybody, REACH_S)
    faults = [*_silent("before", before, everybody), *_silent("meanwhile", during, check.opened)]
    faults += [f"meanwhile {name} gets an answer all the same" for name in check.closed if during[name] is not None]
    faults += _silent("afterwards", after, everybody)
    files = ", ".join(check.manifests)
    phases = {"before": before, f"with {files}": during, "without it again": after}
    said = "\n".join(f"{phase}: {_words(check.target, found)}" for phase, found in phases.items())
    measured = {"before": dict(before), "closed": dict(during), "after": dict(after)}
    return not faults, "\n".join([said, *faults]), measured


def _answers(world: World, target: str, names: Sequence[str], patience_s: float) -> Answers:
    """Each ping is a connection of its own: one that is there may go on."""
    station = world.station(target)
    found = probe.ping([(world.station(name), station) for name in names], deadline_s=patience_s)
    return {name: found[name, station.name] for name in names}


def _silent(when: str, answers: Answers, names: Sequence[str]) -> Iterator[str]:
    yield from (f"{when} {name} gets no answer" for name in names if answers[name] is None)


def _words(target: str, answers: Answers) -> str:
    said = (f"{name} → {target} {'no answer' if ms is None else f'{ms:.1f} ms'}" for name, ms in answers.items())
    return ", ".join(said)
