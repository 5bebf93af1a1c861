"""What is wrong with the network outside: one finding for each cause, however much it cuts off."""

from __future__ import annotations

from enum import StrEnum

from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass
from windrow.model.values import Ref, VidSet


class Grade(StrEnum):
    """How bad it is: `error` cuts something off that is wanted, `warning` may, `note` is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Certainty(StrEnum):
    """`sure`: two kinds of evidence that do not depend on each other say so; `likely`: one does; `unknown`: something is
    missing to tell."""

    SURE = "sure"
    LIKELY = "likely"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause.

    `reason` is stable, for scripts and conditions. `place`: where it has to be put right: a switch's port by the names
    that LLDP gives it, a node, a VLAN. `legs`: the NICs that it is about. `vids`: the VLANs; VID 0 is without a tag.
    """

    reason: str
    grade: Grade
    certainty: Certainty
    message: str
    """One sentence: what is wrong, with node, NIC, switch and port."""
    fix: str
    """What to do, in words."""
    place: str
    about: Ref | None = None
    legs: tuple[Leg, ...] = ()
    vids: VidSet = VidSet()
    evidence: tuple[str, ...] = ()
    """Sentences: what was heard, and by which means."""
    lacks: str = ""
    """What would have to be known to be more certain."""
    ports: tuple[Leg, ...] = ()
    """The NICs whose switch ports have to be configured as they are wanted: `windrow switch config` has the
    statements."""
