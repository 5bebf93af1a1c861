"""What the worker hands, after each round, to those that ask over HTTP: a value, read when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.agentstatus import AgentStatus
from windrow.model.events import EventType
from windrow.model.findings import Finding
from windrow.model.host import Observed
from windrow.model.lazy import dataclass
from windrow.model.steps import Plan
from windrow.model.values import IfName


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Since the agent began."""

    rounds: int = 0
    """Full looks at the network."""
    repaired: int = 0
    """Differences that were put right, those of new manifests not counted."""
    steps_done: int = 0
    steps_failed: int = 0
    events: Mapping[EventType, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Of the last round, seconds."""

    observe: float = 0.0
    plan: float = 0.0
    whole: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`observed` None: the network was not looked at yet. `left`: what is still to do.

    `lease_ends`: by link, when its DHCP lease runs out (Unix time); one for ever is left out.
    """

    status: AgentStatus
    made: float = 0.0
    """On the clock that never jumps: whoever shows it says how old it is."""
    observed: Observed | None = None
    left: Plan = field(default_factory=Plan)
    counters: Counters = Counters()
    timings: Timings = Timings()
    lease_ends: Mapping[IfName, float] = field(default_factory=dict)
    outside: tuple[Finding, ...] = ()
    """What the probes found, notes included."""
