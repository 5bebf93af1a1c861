"""What a change of the store would lead to: `plan` and `diff` show it, `apply` and `delete` begin with it."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.apps.cli.manifests import read
from windrow.apps.cli.output import gate
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored, survey
from windrow.apps.engine import Fit, Kernel, Planned, Sight, as_it_is, plan_node
from windrow.apps.located import located
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject, HostNetworkConfig, VlanConfig
from windrow.model.problems import Problem, ProblemsError, Severity, errors
from windrow.model.values import Ref
from windrow.netlink.errors import KernelError
from windrow.render.consequences import Consequences
from windrow.rules import Change, check
from windrow.status.consequences import Here, consequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to become of the store; all empty: nothing. `problems` and `unread`: what is wrong with the
    manifests themselves, and the objects that are in them none the less."""

    put: tuple[AnyObject, ...] = ()
    remove: tuple[AnyObject, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: frozenset[Ref] = frozenset()

    @property
    def touched(self) -> frozenset[Ref]:
        return frozenset(o.ref for o in (*self.put, *self.remove))

    def after(self, before: Cluster) -> Cluster:
        return before.without(o.ref for o in self.remove).replace(self.put)

    def changes(self, before: Cluster) -> tuple[Change, ...]:
        changed = [Change(old=before.objects.get(o.ref), new=o) for o in self.put if _differs(before, o)]
        return (*changed, *(Change(old=o, new=None) for o in self.remove))


def _differs(before: Cluster, new: AnyObject) -> bool:
    """Also in fields that Windrow does not know, and where the old one is built in and has no document."""
    old = before.objects.get(new.ref)
    return old is None or old != new or dict(old.doc) != dict(new.doc)


def changes_management(wish: Wish, before: Cluster) -> bool:
    """Whether it is about the uplink or the address of a management network that is Windrow's, or is to be: who says
    so in a manifest means it."""
    after = wish.after(before)
    managed = [v for cluster in (before, after) for v in cluster.vlan_configs(names.MGMT) if v.effective]
    about = (*wish.put, *wish.remove)
    return bool(managed) and any(
        isinstance(o, VlanConfig | HostNetworkConfig) and o.cluster_network == names.MGMT for o in about
    )


def wish_for(places: Sequence[str]) -> Wish:
    """To store what these files hold."""
    loaded = read(places)
    return Wish(put=loaded.objects, problems=loaded.problems, unread=loaded.unread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The store and the plan, as they would be. `problems`: warnings, and what the compiler has to say."""

    before: Cluster
    after: Cluster
    changes: tuple[Change, ...]
    sight: Sight
    planned: Planned
    problems: tuple[Problem, ...]

    @property
    def means(self) -> Consequences:
        """For all nodes that the objects name, and for this one."""
        facts = self.sight.facts
        here = Here(node=facts.node, observed=self.sight.observed, plan=self.planned.plan, ports=facts.ports)
        return consequences(self.before, self.after, here)


def preview(session: Session, kernel: Kernel, wish: Wish, *, consent: bool = False, fit: Fit = as_it_is) -> Preview:
    """Raises ProblemsError with everything that speaks against the store, the manifests and the change. `consent`:
    the plan may change what carries the management traffic; `fit`: see `engine.plan_node`."""
    before, troubles = stored(session)
    gate(troubles, session.error_style)  # a manifest that cannot be read must not count as deleted
    try:
        sight, unread = survey(session, kernel)
    except KernelError:
        gate(wish.problems, session.error_style)
        raise
    changes = wish.changes(before)
    said = (*wish.problems, *check(before, changes, facts=sight.facts, unread=wish.unread))
    said = located(said, {o.ref: o for o in (*wish.remove, *wish.put)})
    if errors(said):
        raise ProblemsError(dict.fromkeys(said))
    after = wish.after(before)
    planned = plan_node(after, sight, consent=consent or changes_management(wish, before), fit=fit)
    warnings = (p for p in said if p.severity is Severity.WARNING)
    problems = located(planned.compiled.problems, after.objects)
    return Preview(
        before=before,
        after=after,
        changes=changes,
        sight=sight,
        planned=planned,
        problems=tuple(dict.fromkeys((*warnings, *unread, *problems))),
    )
