"""What a round does not see, for the kernel has to be asked for it question by question, and there are many: who takes
a VLAN from another network namespace, and whether somebody asks a bridge that snoops for multicast groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.apps.round.report import Report
from windrow.apps.site import Site
from windrow.model.host import HostState, Observed
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem
from windrow.model.values import IfName, VidSet
from windrow.plan import snooped, taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What the kernel can be asked after a round."""

    vlans: Mapping[IfName, VidSet] = field(default_factory=dict)
    """Who has these VLANs of a link."""
    bridge: IfName | None = None
    """Whether this bridge has heard a querier."""

    def __bool__(self) -> bool:
        return bool(self.vlans) or self.bridge is not None


def questions(report: Report) -> Questions:
    want, have = _states(report)
    return Questions(vlans=taken.askable(want, have), bridge=snooped.askable(want, have))


def answers(site: Site, report: Report, asked: Questions) -> tuple[Problem, ...]:
    """As warnings. Raises KernelError."""
    want, have = _states(report)
    found = tuple(taken.elsewhere(want, have, site.held(site.kernel, asked.vlans)))
    if asked.bridge is not None and site.querier(site.kernel, asked.bridge):
        found += tuple(snooped.shared(want, asked.bridge))
    return found


def _states(report: Report) -> tuple[HostState, Observed]:
    return report.whole.compiled.state, report.sight.observed
