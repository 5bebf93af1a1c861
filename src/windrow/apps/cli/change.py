"""A change of the store and the kernel, gate by gate: what `apply` and `delete` have in common.

Nothing is written, in the store or the kernel, before the last gate: manifests, rules, the compiler, the guard,
the impact, the permission. From the first look to the last acknowledgement the host's lock is held, but for the time
in which a plan only waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial

import click

from windrow.apps.cli.output import complain, gate, nothing_changed, print_json, say
from windrow.apps.cli.preview import Preview, Wish, preview
from windrow.apps.cli.session import Session
from windrow.apps.engine import OnStep, Report, Waiting, cluster_networks, converge, plan_node
from windrow.apps.known import known
from windrow.apps.located import located
from windrow.apps.lock import HostLock
from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.steps import Failure, Impact, Plan, Step
from windrow.netlink.errors import KernelError
from windrow.render.consequences import consequences_text, consequences_value
from windrow.render.plan import (
    advice,
    cost,
    failure_lines,
    impact_mark,
    plan_text,
    problem_lines,
    step_line,
    summary,
)
from windrow.render.text import plural
from windrow.render.values import document, failure_value, plan_value, problem_value
from windrow.store.clusternetworks import write_cluster_networks
from windrow.store.directory import Store
from windrow.store.lastgood import write_last_good
from windrow.store.memory import write_memory
from windrow.store.paths import Paths

LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    dry_run: bool = False
    max_impact: Impact = Impact.OUTAGE
    json: bool = False


def carry_out(session: Session, wish: Wish, options: Options) -> None:
    """Through all gates, then the store, then the kernel. Ends with exit code 1 where something is left undone."""
    with ExitStack() as held:
        with nothing_changed(session.error_style):
            if not session.permitted():
                gate(wish.problems)  # before the lock, which may not be theirs to take
            kernel = held.enter_context(session.kernel())
            waiting = _lock(session, options, held)
            seen = preview(session, kernel, wish)
            warnings = _pass_guard(seen, wish)
            _allow(session, seen.planned.plan, options)
        plan = seen.planned.plan
        if session.verbose:
            _say_where(session, seen)
        complain(warnings, session.error_style)
        if options.dry_run:
            _show_dry_run(session, seen, wish, options)
            return
        began = time.monotonic()
        _write(session, wish)
        if not options.json:
            _say_stored(seen, wish)
            _announce(session, plan)
        paths, on_step = Paths(session.root), _progress(session, plan, options)
        report = converge(seen.after, kernel, session.node, on_step, knowing=partial(known, paths), waiting=waiting)
        write_cluster_networks(paths, cluster_networks(seen.after, report.sight.observed))
        write_memory(paths, report.memory)
        if report.ok:
            write_last_good(paths, Store(paths).load().objects, time.time())
        took = time.monotonic() - began
        if options.json:
            print_json(_report_value(session, report, warnings, took))
        else:
            _conclude(session, report, took, warnings, seen.after)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _lock(session: Session, options: Options, held: ExitStack) -> Waiting:
    """Take the host's lock, unless this is a dry run: that needs none, and may run where nothing can be written.
    Returns what lets CNI calls in while the plan waits."""
    if options.dry_run:
        return nullcontext
    return held.enter_context(HostLock(Paths(session.root), timeout_s=LOCK_TIMEOUT_S)).waiting


# -- the gates -------------------------------------------------------------------------------------


def _pass_guard(seen: Preview, wish: Wish) -> tuple[Problem, ...]:
    """What is only worth saying. Raises ProblemsError with what refuses the change.

    A change is refused for what is said against its own objects, and for what nobody said before it. Old
    trouble elsewhere does not stand in its way.
    """
    objects = {**seen.before.objects, **seen.after.objects}
    old = plan_node(seen.before, seen.sight)
    known = {*located(old.compiled.problems, objects), *old.plan.refusals}
    against: list[Problem] = []
    others: list[Problem] = []
    for problem in (*seen.problems, *seen.planned.plan.refusals):
        refuses = wish.touched and problem.severity is Severity.ERROR
        if refuses and (problem.about in wish.touched or problem not in known):
            against.append(problem)
        else:
            others.append(problem)
    if against:
        raise ProblemsError(located(against, objects))
    return located(others, objects)


def _allow(session: Session, plan: Plan, options: Options) -> None:
    """The impact and the permission. Raises ProblemsError, KernelError."""
    if plan.impact.rank > options.max_impact.rank:
        worst = [s for s in plan.steps if s.impact.rank > options.max_impact.rank]
        links = ", ".join(dict.fromkeys(s.link for s in worst))
        text = f"the plan has impact {plan.impact.value} on {links}, and --max-impact is {options.max_impact.value}"
        hint = "see `windrow plan` with the same arguments"
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
        text = f"traffic over {links} is interrupted: {cost(plan)}"
        click.echo(f"{session.error_style.yellow('warning:')} {text}", err=True, color=True)


# -- what is said of it ----------------------------------------------------------------------------


def full_name(found: AnyObject) -> str:
    """As kubectl says it: `vlanconfig.network.harvesterhci.io/oob`."""
    group = found.API_VERSION.rpartition("/")[0]
    kind = f"{found.KIND.lower()}.{group}" if group else found.KIND.lower()
    return f"{kind}/{found.name}"


def _verbs(seen: Preview, wish: Wish) -> list[tuple[AnyObject, str]]:
    changed = {c.new.ref: c.old is None for c in seen.changes if c.new is not None}
    found = [(o, {True: "created", False: "configured", None: "unchanged"}[changed.get(o.ref)]) for o in wish.put]
    return [*((o, "deleted") for o in wish.remove), *found]


def _say_stored(seen: Preview, wish: Wish, suffix: str = "") -> None:
    for found, verb in _verbs(seen, wish):
        say(f"{full_name(found)} {verb}{suffix}")


def _say_where(session: Session, seen: Preview) -> None:
    paths, facts = Paths(session.root), seen.sight.facts
    nics = ", ".join(sorted(facts.nics)) or "none"
    text = f"{paths.manifests}; node {session.node}: {plural(len(facts.links), 'link')}, NICs: {nics}"
    click.echo(session.error_style.dim(text), err=True, color=True)
    if facts.protected:
        click.echo(session.error_style.dim(f"protected: {', '.join(sorted(facts.protected))}"), err=True, color=True)


def _show_dry_run(session: Session, seen: Preview, wish: Wish, options: Options) -> None:
    plan = seen.planned.plan
    if options.json:
        value = plan_value(plan, node=session.node, problems=seen.problems)
        print_json({**value, "consequences": consequences_value(seen.means)})
        return
    _say_stored(seen, wish, " (dry run)")
    say(plan_text(plan, node=session.node, style=session.style))
    if not seen.means.none:
        say(f"\n{consequences_text(seen.means, session.style)}")


def _conclude(session: Session, report: Report, took: float, said: tuple[Problem, ...], after: Cluster) -> None:
    plan = report.planned.plan
    if not report.ok:
        refusals = located(report.left.refusals, after.objects)
        _lament(session, report, [p for p in refusals if p not in said])
    elif plan.steps:
        steps = plural(sum(report.outcome.done.values()), "step")
        done = session.style.green(f"{session.node} is as its manifests want it")
        say(f"{done}: {steps} in {took:.2f} s, worst impact {impact_mark(plan.impact, session.style)}.")
    else:
        say(summary(plan, node=session.node, style=session.style))


def _lament(session: Session, report: Report, refusals: Sequence[Problem]) -> None:
    style = session.error_style
    lines: list[str] = []
    for number, failure in sorted(report.outcome.failures.items()):
        unit = report.planned.plan.units[number] if number < len(report.planned.plan.units) else None
        lines += failure_lines(failure, style)
        if unit is not None:
            lines.append(f"    {report.outcome.done.get(number, 0)} of {len(unit.steps)} steps of this unit were done")
        lines.append(f"    {style.cyan('hint:')} {advice(failure)}")
    for refusal in refusals:
        lines += problem_lines(refusal, style)
    rest = sum(len(unit.deltas) for unit in report.left.units)
    if rest and not report.outcome.failures and report.left.steps:
        lines.append(f"{style.red('error:')} {plural(rest, 'difference')} left after {plural(report.rounds, 'round')}")
        lines.append(f"    {style.cyan('hint:')} somebody else changes the same links; see: windrow diff")
    lines.append(f"{session.node} is not yet as its manifests want it; see: windrow diff")
    for line in lines:
        click.echo(line, err=True, color=True)


def _report_value(session: Session, report: Report, warnings: tuple[Problem, ...], took: float) -> Mapping[str, object]:
    return document(
        "Report",
        node=session.node,
        ok=report.ok,
        seconds=round(took, 4),
        rounds=report.rounds,
        plan=plan_value(report.planned.plan, node=session.node),
        failures=[failure_value(f) for f in report.outcome.failures.values()],
        left=plan_value(report.left, node=session.node),
        problems=[problem_value(p) for p in warnings],
    )
