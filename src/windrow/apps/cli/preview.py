"""What a change of the store would lead to: `plan` and `diff` show it, `apply` and `delete` begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from windrow.apps.cli.manifests import read
from windrow.apps.cli.output import gate
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored, survey
from windrow.apps.engine import Kernel, Planned, Sight, plan_node
from windrow.apps.located import located
from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
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


def preview(session: Session, kernel: Kernel, wish: Wish) -> Preview:
    """Raises ProblemsError with everything that speaks against the store, the manifests and the change."""
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
    planned = plan_node(after, sight)
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
