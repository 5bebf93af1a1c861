"""What a caller of the round chooses, and where it may listen in."""

from __future__ import annotations

from collections.abc import Callable

from windrow.apps.engine import OnStep
from windrow.apps.lock import HostLock
from windrow.model.checkpoint import GATEWAY, PROBE_S, Probe
from windrow.model.lazy import dataclass
from windrow.model.neighbours import Peer
from windrow.model.problems import Problem
from windrow.model.steps import Impact
from windrow.model.values import IfName, Ref
from windrow.rules import Admitted, Fit, Planned, Sight


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`made_by`: what people know the caller by."""

    made_by: str = "windrow"
    dry: bool = False
    """Look, admit and plan: no lock is taken and nothing is written."""
    explain: bool = False
    """What the plan refuses is there to be shown, and ends nothing."""
    permitted: bool = True
    """Whether this process may change the network."""
    consent: bool = False
    """The wish is about the management network, whatever it looks like."""
    trusts: Callable[[Admitted], bool] = lambda _: True
    """Whether consent counts: not for what was taken back a moment ago."""
    guard: bool = False
    """Guarded, also where the management network is not touched."""
    worst: Impact = Impact.OUTAGE
    """A plan that costs more is refused."""
    probes: tuple[Probe, ...] = (GATEWAY,)
    allowed_s: float = PROBE_S
    """For the probes, and for whoever has to confirm."""
    confirm: bool = False
    """Somebody has to confirm it, the probes are not enough."""
    can_confirm: bool = False
    """Somebody is there who can be asked, where nothing else can be."""
    login: Peer | None = None
    """Who is logged in over the network, and must get back in."""
    turn_s: float = 30.0
    network_s: float = 30.0
    """How long to wait for the locks."""
    aside: bool = False
    """Where another one has the turn, only look; beside a change that is not decided, do the rest."""
    within: HostLock | None = None
    """The turn is this caller's already: a plan of his waits, and meanwhile the rest is kept right. Nothing is
    remembered; the round that waits does that."""
    see: Callable[[Sight], Sight] = lambda sight: sight
    """What this caller knows of the first look that the look does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Each is called at most once in a round, but for `on_step` and `tell`; one that raises ends the round, and what
    was begun is undone."""

    tell: Callable[[Problem], None] = lambda _: None
    """Of what an earlier change left behind."""
    locked: Callable[[HostLock], None] = lambda _: None
    """The turn is ours until the round is done."""
    looked: Callable[[Sight], None] = lambda _: None
    planned: Callable[[Admitted, Planned], Fit | None] = lambda _admitted, _planned: None
    """Hears of all that is to be done before any of it is; what it returns leaves some of that out for now."""
    writing: Callable[[Admitted, Planned], None] = lambda _admitted, _planned: None
    """The way back is on disk, if there is to be one; now the wish is stored, and then carried out."""
    waits_for: Callable[[str], None] = lambda _: None
    """What somebody has to do now, in words, or the change is undone."""
    on_step: OnStep | None = None
    failing: Callable[[], frozenset[IfName]] = lambda: frozenset()
    """Links for which something failed earlier and is not tried now: their objects are not good yet."""
    taken_back: Callable[[], frozenset[Ref]] = lambda: frozenset()
    """Objects of a change that was taken back earlier, and is not tried now."""
