"""A change of the store and the kernel, gate by gate: what `apply` and `delete` have in common.

Nothing is written, in the store or the kernel, before the last gate: manifests, rules, the compiler, the guard,
the impact, the permission. From the first look to the last acknowledgement the host's lock is held, but for the time
in which a plan only waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import click

from windrow.apps.cli.output import complain, gate, nothing_changed, print_json, say
from windrow.apps.cli.preview import Preview, Wish, changes_management, preview
from windrow.apps.cli.safety import await_decision, settle, standing, unheard
from windrow.apps.cli.session import Session
from windrow.apps.engine import Fit, OnStep, Report, Waiting, as_it_is, plan_node
from windrow.apps.kept import keep_as_good
from windrow.apps.located import located
from windrow.apps.lock import HostLock
from windrow.apps.safe.change import PROBE_S, Proposal, Result, Terms, carry_out_safely
from windrow.apps.safe.peers import peers
from windrow.model.checkpoint import GATEWAY, Probe, Stage
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.steps import Failure, Impact, Plan, Step
from windrow.model.values import Ref
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
from windrow.rules import Change
from windrow.store.directory import Store
from windrow.store.paths import Paths

LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`confirm_s`: it is undone unless somebody confirms it in time, or the `probes` (where there are some) succeed.
    `allowed_s`: how long the probes have where nobody has to confirm. `consent`: the wish is about the management
    network, whatever it looks like. `fit`: see `engine.plan_node`. `command`: what people know it by."""

    dry_run: bool = False
    max_impact: Impact = Impact.OUTAGE
    json: bool = False
    confirm_s: float | None = None
    allowed_s: float = PROBE_S
    probes: tuple[Probe, ...] = ()
    consent: bool = False
    fit: Fit = as_it_is
    command: str = "windrow apply"

    def terms(self, cluster: Cluster, node: str, *, consent: bool) -> Terms:
        return Terms(
            probes=self.probes or (GATEWAY,),
            allowed_s=self.allowed_s if self.confirm_s is None else self.confirm_s,
            confirm=self.confirm_s is not None and not self.probes,
            guarded=self.confirm_s is not None or bool(self.probes),
            consent=consent,
            peers=peers(cluster, node, os.environ.get("SSH_CONNECTION", "")),
        )


def carry_out(session: Session, wish: Wish, options: Options) -> None:
    """Through all gates, then the store, then the kernel. Ends with exit code 1 where something is left undone, or
    the whole was undone."""
    ground = session.ground()
    with ExitStack() as held:
        with nothing_changed(session.error_style):
            if not session.permitted():
                gate(wish.problems)  # before the lock, which may not be theirs to take
            kernel = held.enter_context(session.kernel())
            waiting = _lock(session, options, held)
            if not options.dry_run and session.permitted():
                settle(session, ground, kernel, waiting)
            consent = options.consent or options.confirm_s is not None
            seen = preview(session, kernel, wish, consent=consent, fit=options.fit)
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
        proposal = Proposal(
            cluster=seen.after,
            documents=documents(seen.changes),
            write=partial(_write, session, seen, wish, options),
            made_by=options.command,
            fit=options.fit,
            terms=options.terms(seen.after, session.node, consent=consent or changes_management(wish, seen.before)),
        )
        with standing():
            on_step = _progress(session, plan, options)
            result = carry_out_safely(ground, kernel, proposal, on_step, waiting=waiting)
        if result.kept and result.report.ok:
            keep_as_good(ground.paths)
        took = time.monotonic() - began
        if options.json:
            print_json(_report_value(session, result, warnings, took))
        elif result.stage is Stage.UNDONE and result.report.ok:
            pass  # it was as it should be, and is not any more: `say_decision` says why
        else:
            _conclude(session, result.report, took, warnings, seen.after)
    decided = await_decision(session, ground, result, quiet=options.json)
    if not result.report.ok or not decided:
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


def _write(session: Session, seen: Preview, wish: Wish, options: Options) -> None:
    store = Store(session.root)
    if wish.remove:
        store.remove(o.ref for o in wish.remove)
    if wish.put:
        store.put(wish.put)
    if not options.json:
        with unheard():
            _say_stored(seen, wish)
            _announce(session, seen.planned.plan)


def documents(changes: Sequence[Change]) -> dict[Ref, Mapping[str, Any] | None]:
    """The objects that change, as they were in the store: None where there was none, or a built-in one."""
    return {c.ref: dict(c.old.doc) if c.old is not None and c.old.doc else None for c in changes}


def _progress(session: Session, plan: Plan, options: Options) -> OnStep | None:
    if options.json:
        return None
    widest = max((len(step.link) for step in plan.steps), default=0)

    def on_step(step: Step, failure: Failure | None) -> None:
        with unheard():
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


def _report_value(session: Session, result: Result, warnings: tuple[Problem, ...], took: float) -> Mapping[str, object]:
    report = result.report
    safety = {"stage": str(result.stage), "decidedOn": result.said} if result.stage else None
    return document(
        "Report",
        node=session.node,
        ok=report.ok and (result.kept or result.stage is Stage.WAITING),
        **({"safety": safety} if safety else {}),
        seconds=round(took, 4),
        rounds=report.rounds,
        plan=plan_value(report.planned.plan, node=session.node),
        failures=[failure_value(f) for f in report.outcome.failures.values()],
        left=plan_value(report.left, node=session.node),
        problems=[problem_value(p) for p in warnings],
    )
