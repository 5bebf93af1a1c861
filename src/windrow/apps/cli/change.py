"""A change of the store and the kernel, gate by gate: what `apply` and `delete` have in common.

Nothing is written, in the store or the kernel, before the last gate: manifests, rules, the compiler, the guard,
the impact, the permission. From the first look to the last acknowledgement the host's lock is held.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import click

from windrow.apps.cli.output import complain, gate, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import located, stored
from windrow.apps.engine import Kernel, OnStep, Planned, Report, converge, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.steps import Failure, Impact, Plan, Step
from windrow.model.values import Ref
from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.render.plan import (
    COSTS,
    advice,
    failure_lines,
    impact_mark,
    plan_text,
    problem_lines,
    step_line,
    summary,
)
from windrow.render.text import plural
from windrow.render.values import document, failure_value, plan_value, problem_value
from windrow.rules import Change, check
from windrow.store.directory import Store
from windrow.store.paths import Paths

LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to become of the store. Both empty: only bring the kernel to it."""

    put: tuple[AnyObject, ...] = ()
    remove: tuple[AnyObject, ...] = ()

    @property
    def touched(self) -> frozenset[Ref]:
        return frozenset(o.ref for o in (*self.put, *self.remove))

    def after(self, before: Cluster) -> Cluster:
        return before.without(o.ref for o in self.remove).replace(self.put)

    def changes(self, before: Cluster) -> tuple[Change, ...]:
        changed = [Change(old=before.objects.get(o.ref), new=o) for o in self.put if _differs(before, o)]
        return (*changed, *(Change(old=o, new=None) for o in self.remove))


def _differs(before: Cluster, new: AnyObject) -> bool:
    """An object that stands only in Windrow itself (`mgmt`) has no document, and becomes one."""
    old = before.objects.get(new.ref)
    return old is None or old != new or dict(old.doc) != dict(new.doc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    dry_run: bool = False
    max_impact: Impact = Impact.OUTAGE
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """The store and the plan, as they would be."""

    before: Cluster
    after: Cluster
    changes: tuple[Change, ...]
    planned: Planned
    warnings: tuple[Problem, ...] = field(default=())


def carry_out(session: Session, wish: Wish, options: Options) -> None:
    """Through all gates, then the store, then the kernel. Ends with exit code 1 where something is left undone."""
    with session.kernel() as kernel, _lock(session, options):
        prospect = _prospect(session, kernel, wish)
        complain(prospect.warnings, session.error_style)
        _allow(session, prospect.planned.plan, options)
        if options.dry_run:
            _show_dry_run(session, prospect, wish, options)
            return
        began = time.monotonic()
        _write(session, wish)
        if not options.json:
            _say_stored(prospect, wish)
            _announce(session, prospect.planned.plan)
        report = converge(prospect.after, kernel, session.node, _progress(session, prospect.planned.plan, options))
        _conclude(session, report, prospect, options, time.monotonic() - began)


def _lock(session: Session, options: Options) -> AbstractContextManager[None]:
    """A dry run needs none, and may run where nothing can be written."""
    return nullcontext() if options.dry_run else locked(Paths(session.root).lock, timeout_s=LOCK_TIMEOUT_S)


# -- the gates -------------------------------------------------------------------------------------


def _prospect(session: Session, kernel: Kernel, wish: Wish) -> Prospect:
    """Raises ProblemsError with all that stands against the wish."""
    before, troubles = stored(session)
    gate(troubles, session.error_style)  # a manifest that cannot be read must not count as deleted
    changes = wish.changes(before)
    after = wish.after(before)
    problems = located(check(before, changes), {o.ref: o for o in (*wish.remove, *wish.put)})
    gate([p for p in problems if p.severity is Severity.ERROR])
    sight = look(kernel, session.node)
    planned = plan_node(after, sight)
    changed = frozenset(c.new.ref for c in changes if c.new is not None)
    against, others = _sorted_out(planned, plan_node(before, sight), wish.touched, changed)
    objects = {**before.objects, **after.objects}
    if against:
        raise ProblemsError(located(against, objects))
    warnings = [p for p in problems if p.severity is Severity.WARNING]
    return Prospect(
        before=before,
        after=after,
        changes=changes,
        planned=planned,
        warnings=tuple(dict.fromkeys((*warnings, *located(others, objects)))),
    )


def _sorted_out(
    after: Planned, before: Planned, touched: frozenset[Ref], changed: frozenset[Ref]
) -> tuple[list[Problem], list[Problem]]:
    """(what refuses the change, what is only worth saying).

    A change is refused for what is said against its own objects, and for what nobody said before it. Old
    trouble elsewhere does not stand in its way. A NIC that is missing is an error in a new or edited
    VlanConfig; for a stored one the others go on working.
    """
    known = {*before.plan.refusals, *before.compiled.problems}
    against: list[Problem] = []
    others: list[Problem] = []
    for problem in (*after.compiled.problems, *after.plan.refusals):
        own = problem.about in touched
        new = problem not in known
        if problem.code == "nic-missing" and problem.about in changed:
            against.append(replace(problem, severity=Severity.ERROR))
        elif problem.severity is Severity.ERROR and touched and (own or new):
            against.append(problem)
        else:
            others.append(problem)
    return against, others


def _allow(session: Session, plan: Plan, options: Options) -> None:
    """The impact and the permission. Raises ProblemsError, KernelError."""
    if plan.impact.rank > options.max_impact.rank:
        worst = [s for s in plan.steps if s.impact.rank > options.max_impact.rank]
        links = ", ".join(dict.fromkeys(s.link for s in worst))
        text = f"the plan has impact {plan.impact.value} on {links}, and --max-impact is {options.max_impact.value}"
        hint = "see `windrow plan` with the same arguments; nothing was changed"
        raise ProblemsError([Problem(code="impact", message=text, hint=hint)])
    if plan.steps and not options.dry_run and not session.permitted():
        raise KernelError(1, "change the network of this host", hint=advice_for_permission())


def advice_for_permission() -> str:
    return "this needs the capability CAP_NET_ADMIN: run it as root; `--dry-run` and `windrow plan` do not need it"


# -- the store and the kernel ----------------------------------------------------------------------


def _write(session: Session, wish: Wish) -> None:
    store = Store(session.root)
    if wish.remove:
        store.remove(o.ref for o in wish.remove)
    if wish.put:
        store.put(wish.put)


def _progress(session: Session, plan: Plan, options: Options) -> OnStep | None:
    if options.json:
        return None
    widest = max((len(step.link) for step in plan.steps), default=0)

    def on_step(step: Step, failure: Failure | None) -> None:
        say(f"  {step_line(step, failure, session.style, widest)}")

    return on_step


def _announce(session: Session, plan: Plan) -> None:
    if not plan.steps:
        return
    say(summary(plan, node=session.node, style=session.style))
    if plan.impact.rank >= Impact.FLAP.rank:
        links = ", ".join(dict.fromkeys(s.link for s in plan.steps if s.impact.rank >= Impact.FLAP.rank))
        text = f"traffic over {links} is interrupted: {COSTS[plan.impact]}"
        click.echo(f"{session.error_style.yellow('warning:')} {text}", err=True, color=True)


# -- what is said of it ----------------------------------------------------------------------------


def full_name(found: AnyObject) -> str:
    """As kubectl says it: `vlanconfig.network.harvesterhci.io/oob`."""
    group = found.API_VERSION.rpartition("/")[0]
    kind = f"{found.KIND.lower()}.{group}" if group else found.KIND.lower()
    return f"{kind}/{found.name}"


def _verbs(prospect: Prospect, wish: Wish) -> list[tuple[AnyObject, str]]:
    changed = {c.new.ref: c.old is None for c in prospect.changes if c.new is not None}
    found = [(o, {True: "created", False: "configured", None: "unchanged"}[changed.get(o.ref)]) for o in wish.put]
    return [*((o, "deleted") for o in wish.remove), *found]


def _say_stored(prospect: Prospect, wish: Wish, suffix: str = "") -> None:
    for found, verb in _verbs(prospect, wish):
        say(f"{full_name(found)} {verb}{suffix}")


def _show_dry_run(session: Session, prospect: Prospect, wish: Wish, options: Options) -> None:
    plan = prospect.planned.plan
    if options.json:
        print_json(plan_value(plan, node=session.node, problems=prospect.warnings))
        return
    _say_stored(prospect, wish, " (dry run)")
    say(plan_text(plan, node=session.node, style=session.style))


def _conclude(session: Session, report: Report, prospect: Prospect, options: Options, took: float) -> None:
    """The summary; exit code 1 where the kernel is not as the store wants it."""
    plan = report.planned.plan
    if options.json:
        print_json(_report_value(session, report, prospect, took))
    elif report.ok:
        if plan.steps:
            steps = plural(sum(report.outcome.done.values()), "step")
            cost = impact_mark(plan.impact, session.style)
            done = session.style.green(f"{session.node} is as its manifests want it")
            say(f"{done}: {steps} in {took:.2f} s, worst impact {cost}.")
        else:
            say(summary(plan, node=session.node, style=session.style))
    else:
        _lament(session, report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _lament(session: Session, report: Report) -> None:
    style = session.error_style
    lines: list[str] = []
    for number, failure in sorted(report.outcome.failures.items()):
        unit = report.planned.plan.units[number] if number < len(report.planned.plan.units) else None
        lines += failure_lines(failure, style)
        if unit is not None:
            lines.append(f"    {report.outcome.done.get(number, 0)} of {len(unit.steps)} steps of this unit were done")
        lines.append(f"    {style.cyan('hint:')} {advice(failure)}")
    for refusal in report.left.refusals:
        lines += problem_lines(refusal, style)
    rest = sum(len(unit.deltas) for unit in report.left.units)
    if rest and not report.outcome.failures and report.left.steps:
        lines.append(f"{style.red('error:')} {plural(rest, 'difference')} left after {plural(report.rounds, 'round')}")
        lines.append(f"    {style.cyan('hint:')} somebody else changes the same links; see: windrow diff")
    lines.append(f"{session.node} is not yet as its manifests want it; see: windrow diff")
    for line in lines:
        click.echo(line, err=True, color=True)


def _report_value(session: Session, report: Report, prospect: Prospect, took: float) -> Mapping[str, object]:
    return document(
        "Report",
        node=session.node,
        ok=report.ok,
        seconds=round(took, 4),
        rounds=report.rounds,
        plan=plan_value(report.planned.plan, node=session.node),
        failures=[failure_value(f) for f in report.outcome.failures.values()],
        left=plan_value(report.left, node=session.node),
        problems=[problem_value(p) for p in prospect.warnings],
    )
