"""From manifests, the last good state and one look at the node: the cluster to work with."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.apps.engine import Planned, Sight, plan_node
from windrow.apps.located import located
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.events import Condition
from windrow.model.manifests import Found
from windrow.model.objects import HostNetworkConfig, VlanConfig
from windrow.model.problems import Problem, errors
from windrow.model.values import Ref
from windrow.rules.settlement import Settled, settle

REJECTED, UNREADABLE = "Rejected", "ManifestsUnreadable"
_TRIES = 4


def manages(cluster: Cluster | None, refs: Iterable[Ref]) -> bool:
    """Whether one of these objects is about the management network: its change needs consent, and somebody who stands
    by with an undo."""
    if cluster is None or not any(config.effective for config in cluster.vlan_configs(names.MGMT)):
        return False
    found = [cluster.objects.get(ref) for ref in refs]
    return any(isinstance(o, VlanConfig | HostNetworkConfig) and o.cluster_network == names.MGMT for o in found)


def choose(found: Found, good: Cluster | None, sight: Sight) -> Settled:
    """What the rules let pass, and of that what the compiler and the planner do not refuse: the gates of `apply`,
    object by object."""
    refused: dict[Ref, Problem] = {}
    settled = settle(found, good, sight.facts)
    for _ in range(_TRIES):
        against = _against(settled, good, sight)
        if not against:
            return settled
        refused |= against
        settled = settle(found, good, sight.facts, refused)
    # What clashes anew each time is left as it was, all of it.
    clash = Problem(code="clash", message="it cannot be carried out together with the other changes")
    return settle(found, good, sight.facts, {ref: refused.get(ref, clash) for ref in (*refused, *settled.changed)})


def _against(settled: Settled, good: Cluster | None, sight: Sight) -> dict[Ref, Problem]:
    """What the plan has against objects that changed. Old trouble elsewhere does not stand in their way."""
    if not settled.changed or settled.cluster is None:
        return {}
    consent = manages(settled.cluster, settled.changed) or manages(good, settled.changed)
    said = _said(plan_node(settled.cluster, sight, consent=consent))
    against = {p.about: p for p in reversed(said) if p.about in settled.changed and p.about is not None}
    if against or good is None:
        return against
    known = set(_said(plan_node(good, sight)))
    fresh = [p for p in said if p not in known]
    return dict.fromkeys(settled.changed, fresh[0]) if fresh else {}


def _said(planned: Planned) -> tuple[Problem, ...]:
    return (*errors(planned.compiled.problems), *planned.plan.refusals)


# What is said of it ------------------------------------------------------------------------------


def conditions(settled: Settled, found: Found, node: str) -> tuple[Condition, ...]:
    """One for each object that keeps its last good version, and one of the node for what is no object's."""
    objects = {o.ref: o for o in found.loaded.objects}
    if settled.cluster is not None:
        objects = {**settled.cluster.objects, **objects}
    by_object: dict[Ref, list[Problem]] = {}
    for problem in located(errors(settled.problems), objects):
        by_object.setdefault(problem.about or Ref("Node", node), []).append(problem)
    known = settled.cluster.objects if settled.cluster is not None else {}
    return tuple(_condition(about, problems, kept=about in known) for about, problems in by_object.items())


def _condition(about: Ref, problems: list[Problem], *, kept: bool) -> Condition:
    first, rest = problems[0], len({p.message for p in problems}) - 1
    place = f"{first.file}:{first.line}: " if first.file and first.line else f"{first.file}: " if first.file else ""
    where = f"{first.path}: " if first.path else ""
    more = f" (and {rest} more)" if rest else ""
    if about.kind == "Node" and first.about is None:
        text = first.message if first.message.startswith(first.file) else f"{place}{first.message}"
        return Condition(
            about=about,
            type=UNREADABLE,
            status=True,
            reason=_word(first.code),
            message=f"{text}{more}",
            hint=first.hint,
        )
    fate = "its last good version stays in force" if kept else "it is left out"
    return Condition(
        about=about,
        type=REJECTED,
        status=True,
        reason=_word(first.code),
        message=f"{place}{where}{first.message}{more}; {fate}",
        hint=first.hint,
    )


def _word(code: str) -> str:
    """`nic-missing` -> `NicMissing`."""
    return "".join(part.capitalize() for part in code.split("-"))


def good_after(accepted: Cluster, good: Cluster | None, failing: Iterable[Ref]) -> Cluster:
    """The cluster that the node was brought to: without what could not be carried out, which stays as it was."""
    failed = set(failing)
    if not failed:
        return accepted
    before = good.objects if good is not None else {}
    kept = [o for ref, o in accepted.objects.items() if ref not in failed]
    return Cluster.of([*kept, *(o for ref, o in before.items() if ref in failed)])
