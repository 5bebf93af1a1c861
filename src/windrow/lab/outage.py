"""The API server is gone while a node boots: what the node does then, and what all do when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from windrow.lab import probe
from windrow.lab.errors import LabError
from windrow.lab.scenario import ApiOutage
from windrow.lab.verdict import Verdict
from windrow.lab.world import World
from windrow.model.lazy import dataclass
from windrow.render.text import plural

REACH_S = 60.0
"""For a node that boots: its agent starts, and makes all its networks from the last good state."""

Follow = Callable[[Sequence[str]], Mapping[str, int]]
"""Waits until these nodes are as a cluster's objects want them; the steps that are left on each."""
UNKNOWN = -1
"""Steps of a node for which no plan could be made: the API server gave no objects."""


def api_outage(check: ApiOutage, world: World, follow: Follow) -> Verdict:
    """Raises LabError, ServiceError, KernelError."""
    cluster = world.cluster
    if cluster is None:
        raise LabError(f"{check.name}: this lab has no API server")
    changes = {file: world.scenario.changes[file] for file in check.manifests}
    pods = cluster.containers(check.node)
    world.power.cut(check.node)
    said = cluster.apply(changes)
    cluster.control.stop_server()
    try:
        away = _boot(check, world)
    finally:
        cluster.control.start_server()
    if away.back_s is None:
        return False, f"{' and '.join(check.between)} do not reach each other {REACH_S:.0f} s after the boot", {}
    returned = time.monotonic()
    left = follow(cluster.followers)
    cluster.await_pods(gone=pods)
    caught_up = time.monotonic() - returned
    cluster.raise_if_died()
    busy = [f"{node}: {left_words(steps)}" for node, steps in left.items() if steps]
    words = f"{check.node} had its network {away.back_s:.1f} s after its boot, "
    words += f"with the API server gone for {away.gone_s:.0f} s; "
    words += f"missed meanwhile: {said.strip() or 'nothing'}; caught up {caught_up:.1f} s after it was back"
    times = {"network_s": away.back_s, "gone_s": away.gone_s, "caught_up_s": caught_up}
    measured = {**{name: round(value, 1) for name, value in times.items()}, "left": left}
    if not away.stayed:
        busy.append(f"{' and '.join(check.between)} lost each other while it was gone")
    return not busy, "; ".join([words, *busy]), measured


@dataclass(frozen=True, slots=True, kw_only=True)
class _Away:
    """`back_s`: from the boot until the two reached each other; None: they did not. `stayed`: until the end."""

    back_s: float | None
    gone_s: float
    stayed: bool


def _boot(check: ApiOutage, world: World) -> _Away:
    """The node, while there is no API server, for as long as the check says."""
    began = time.monotonic()
    world.power.boot(check.node)
    back = _reach(check, world)
    if back is not None:
        time.sleep(max(0.0, check.seconds - (time.monotonic() - began)))
    stayed = _answered(check, world, 2.0)
    return _Away(back_s=back, gone_s=time.monotonic() - began, stayed=stayed)


def _reach(check: ApiOutage, world: World) -> float | None:
    """Seconds until the two reach each other; None: they do not. An endpoint of the node is plugged in anew."""
    began = time.monotonic()
    while (took := time.monotonic() - began) < REACH_S:
        world.attach(check.node)
        if set(check.between) <= world.attached and _answered(check, world, 1.0):
            return took
        time.sleep(0.2)
    return None


def left_words(steps: int) -> str:
    """`steps`: one or more that are left, or UNKNOWN. How a message about the node goes on."""
    if steps == UNKNOWN:
        return "the API server gives no objects"
    return f"{plural(steps, 'step')} {'is' if steps == 1 else 'are'} left"


def _answered(check: ApiOutage, world: World, deadline_s: float) -> bool:
    a, b = map(world.station, check.between)
    return all(ms is not None for ms in probe.ping([(a, b), (b, a)], deadline_s=deadline_s).values())
