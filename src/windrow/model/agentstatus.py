"""What the agent last found, as a value: whoever shows the node's state reads it, and nobody decides by it.

Times are Unix time, in seconds.
"""

from __future__ import annotations

from windrow.model.events import Condition
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailure:
    """A step that the kernel refused, or a plan that was refused, and when it is tried again."""

    about: Ref
    link: IfName
    message: str
    """In words, the errno included; begins with the link (`status.report.failure_words`)."""
    hint: str = ""
    errno: int = 0
    """0: no step was tried; the plan itself was refused."""
    attempts: int = 1
    since: float = 0.0
    """The first of these attempts."""
    retry: float = 0.0
    """When the next one is due; 0: not before something changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A difference that comes back as often as it is repaired, so that it is repaired no more."""

    about: Ref
    link: IfName
    field: str
    """`miimon`, `vlans`; `link`: the link itself, that is deleted or made by others."""
    repaired: int
    since: float
    """The first of these repairs."""
    rival: str = ""
    """Who else may manage the link, in words: `NetworkManager`, `driver bnxt_en`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Somebody else says that an address of this host is his."""

    link: IfName
    address: str
    """Without its prefix length."""
    mac: Mac
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideFault:
    """Something is wrong outside of this host, as its probes found. `place`: where it has to be put right."""

    about: Ref
    reason: str
    place: str
    message: str
    hint: str
    grave: bool
    """It cuts something off that is wanted; else it may."""
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """`pid` and `ticks` (when it began, in the kernel's ticks since boot) name one process until the next boot."""

    node: str
    pid: int
    ticks: int
    version: str
    started: float
    last_round: float = 0.0
    """When the agent last looked at the whole network; it is at rest since then."""
    conditions: tuple[Condition, ...] = ()
    failures: tuple[StepFailure, ...] = ()
    contests: tuple[Contest, ...] = ()
    claims: tuple[Claim, ...] = ()
    outside: tuple[OutsideFault, ...] = ()
    """The worst first."""
