"""A change of the store and the kernel, as people see it: what `apply`, `delete` and `init` have in common."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from windrow.apps.cli.noted import noted
from windrow.apps.cli.options import confirm, dry_run, max_impact, output
from windrow.apps.cli.output import complain, gate, nothing_changed, print_json, say
from windrow.apps.cli.safety import await_decision, standing, unheard
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import means, said_of
from windrow.apps.engine import OnStep
from windrow.apps.known import unreadable
from windrow.apps.round import Hooks, Policy, Report, Stored, carry_out
from windrow.apps.safe.incoming import unheard_of
from windrow.apps.safe.peers import login, session_of
from windrow.apps.site import Site
from windrow.model.checkpoint import GATEWAY, PROBE_S, Probe, ProbeKind, Stage
from windrow.model.connections import Connection
from windrow.model.lazy import dataclass
from windrow.model.located import located
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.steps import Failure, Impact, Plan, Step
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
from windrow.rules import OUTDATED, Admitted, Fit, Planned, Sight, Wish, as_it_is
from windrow.services import process
from windrow.store.paths import Paths

LOCK_S = 30.0
"""How long to wait for another one who changes this host's network."""

ANEW = 10
"""How often a wish is made anew: each time, another one's change has come between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`confirm_s`: it is undone unless somebody confirms it in time, or the `probes` (where there are some) succeed.
    `allowed_s`: how long the probes have where nobody has to confirm. `consent`: the wish is about the management
    network, whatever it looks like. `fit`: see `rules.planning`. `see`: see `Policy`. `writing`: what else is to be
    kept once the way back is on disk. `command`: what people know it by. `begun`: it has changed something before this
    round, so that nobody is told that nothing was changed."""

    dry_run: bool = False
    max_impact: Impact = Impact.OUTAGE
    json: bool = False
    confirm_s: float | None = None
    allowed_s: float = PROBE_S
    probes: tuple[Probe, ...] = ()
    consent: bool = False
    fit: Fit = as_it_is
    see: Callable[[Sight], Sight] = lambda sight: sight
    writing: Callable[[Admitted], None] = lambda _: None
    command: str = "windrow apply"
    begun: bool = False

    def policy(self, *, permitted: bool) -> Policy:
        connection = process.inherited("SSH_CONNECTION")
        return Policy(
            made_by=self.command,
            dry=self.dry_run,
            permitted=permitted,
            consent=self.consent or self.confirm_s is not None,
            guard=self.confirm_s is not None or bool(self.probes),
            worst=self.max_impact,
            probes=_where(self.probes, session_of(connection)) or (GATEWAY,),
            allowed_s=self.allowed_s if self.confirm_s is None else self.confirm_s,
            confirm=self.confirm_s is not None and not self.probes,
            can_confirm=not self.json and sys.stdin.isatty() and sys.stdout.isatty(),
            login=login(connection),
            see=self.see,
            turn_s=LOCK_S,
            network_s=LOCK_S,
        )


def changing(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options of every verb that changes this host: --dry-run, --max-impact, --confirm, --probe, -o. The function gets
    them as `options`. `command`: what people know it by."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @dry_run
        @max_impact
        @confirm
        @output
        @functools.wraps(function)
        def gathered(
            *args: Any,
            dry_run: bool,
            max_impact: str,
            confirm_s: float | None,
            probes: tuple[Probe, ...],
            output: str,
            **more: Any,
        ) -> None:
            options = Options(
                dry_run=dry_run,
                max_impact=Impact(max_impact),
                json=output == "json",
                confirm_s=confirm_s,
                probes=probes,
                command=command,
            )
            function(*args, options=options, **more)

        return gathered

    return decorate


def _where(probes: Sequence[Probe], session: Connection | None) -> tuple[Probe, ...]:
    """A new connection where nobody said to which port: to the one over which this session came."""
    port = session.port if session is not None else 0
    return tuple(replace(p, port=p.port or port) if p.kind is ProbeKind.INCOMING else p for p in probes)


def change(session: Session, wish: Wish, options: Options, *, anew: Callable[[], Wish] | None = None) -> Report:
    """One round for it, and what came of it. Ends with exit code 1 where something is left undone, or the whole was
    undone. `anew`: makes the wish again from what is stored then, where somebody else has changed that meanwhile."""
    permitted = session.permitted()
    teller = _Teller(session, wish, options)
    began = time.monotonic()
    with nothing_changed(session.error_style, lambda: teller.wrote), session.site() as site:
        if not permitted:
            gate(wish.problems)  # before the lock, which may not be theirs to take
        policy = options.policy(permitted=permitted)
        gate(tuple(unheard_of(site, policy.probes)), session.error_style)
        with standing():
            report = _carried_out(site, teller, policy, anew)
    teller.tell_of(report, time.monotonic() - began)
    if options.dry_run:
        return report
    decided = await_decision(session, report, quiet=options.json)
    if not report.ok or not decided or _held_back(report):
        raise click.exceptions.Exit(1)
    return report


def _carried_out(site: Site, teller: _Teller, policy: Policy, anew: Callable[[], Wish] | None) -> Report:
    for _ in range(ANEW if anew is not None else 0):
        try:
            return carry_out(site, Stored(site.paths), teller.wish, policy, teller.hooks)
        except ProblemsError as error:
            if anew is None or OUTDATED not in {problem.code for problem in error.problems}:
                raise
            teller.wish = anew()
    return carry_out(site, Stored(site.paths), teller.wish, policy, teller.hooks)


def _held_back(report: Report) -> bool:
    """Whether manifests are wrong, or missing, and what they are about stays as it was."""
    return bool(errors(report.admitted.problems)) and not report.admitted.fresh


class _Teller:
    """Says what happens as it happens, and what came of it."""

    def __init__(self, session: Session, wish: Wish, options: Options) -> None:
        self.session, self.wish, self.options = session, wish, options
        self.wrote = options.begun
        self.said: tuple[Problem, ...] = ()
        self.on_step: OnStep | None = None

    @property
    def hooks(self) -> Hooks:
        return Hooks(
            tell=lambda problem: complain([problem], self.session.error_style),
            planned=self._planned,
            writing=self._writing,
            waits_for=self._waits_for,
            on_step=self._step,
        )

    def _planned(self, admitted: Admitted, planned: Planned) -> Fit | None:
        fitted = replace(planned, compiled=self.options.fit(planned.compiled, admitted.sight))
        self.said = said_of(admitted, fitted, unreadable(Paths(self.session.root)))
        if not self.options.dry_run:
            complain(self.said, self.session.error_style)
        return None if self.options.fit is as_it_is else self.options.fit

    def _writing(self, admitted: Admitted, planned: Planned) -> None:
        self.options.writing(admitted)
        self.wrote = True
        complain(noted(Paths(self.session.root), admitted, self.options.command), self.session.error_style)
        if self.options.json:
            return
        with unheard():
            _say_stored(admitted, self.wish)
            _announce(self.session, planned.plan)
        self.on_step = _progress(self.session, planned.plan)

    def _waits_for(self, text: str) -> None:
        with unheard():
            click.echo(f"{text[0].upper()}{text[1:]}.", err=self.options.json)

    def _step(self, step: Step, failure: Failure | None) -> None:
        if self.on_step is not None:
            self.on_step(step, failure)

    def tell_of(self, report: Report, took: float) -> None:
        session, said = self.session, self.said
        if session.verbose:
            _say_where(session, report)
        if self.options.dry_run:
            complain([p for p in said if not self.options.json], session.error_style)
            _show_dry_run(session, report, self.wish, said, as_json=self.options.json)
        elif self.options.json:
            print_json(_report_value(session, report, said, took))
        elif report.stage is not Stage.UNDONE or not report.ok:
            _conclude(session, report, took, said)
        # else it was as it should be, and is not any more: `say_decision` says why
        complain(_disk(report), session.error_style)


def _disk(report: Report) -> list[Problem]:
    return [
        Problem(code="not-written", message=f"{what} was not written: {error}", hint="make room on the disk")
        for what, error in report.troubles.items()
        if error is not None
    ]


def _progress(session: Session, plan: Plan) -> OnStep:
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


def _verbs(admitted: Admitted, wish: Wish) -> list[tuple[AnyObject, str]]:
    changed = {c.new.ref: c.old is None for c in admitted.changes if c.new is not None}
    found = [(o, {True: "created", False: "configured", None: "unchanged"}[changed.get(o.ref)]) for o in wish.put]
    return [*((o, "deleted") for o in wish.remove), *found]


def _say_stored(admitted: Admitted, wish: Wish, suffix: str = "") -> None:
    for found, verb in _verbs(admitted, wish):
        say(f"{full_name(found)} {verb}{suffix}")


def _say_where(session: Session, report: Report) -> None:
    paths, facts = Paths(session.root), report.sight.facts
    nics = ", ".join(sorted(facts.nics)) or "none"
    text = f"{paths.manifests}; node {facts.node}: {plural(len(facts.links), 'link')}, NICs: {nics}"
    click.echo(session.error_style.dim(text), err=True, color=True)
    if facts.protected:
        click.echo(session.error_style.dim(f"protected: {', '.join(sorted(facts.protected))}"), err=True, color=True)


def _show_dry_run(session: Session, report: Report, wish: Wish, said: Sequence[Problem], *, as_json: bool) -> None:
    plan, meaning = report.plan, means(report, wish)
    if as_json:
        value = plan_value(plan, node=session.node, problems=said)
        print_json({**value, "consequences": consequences_value(meaning)})
        return
    _say_stored(report.admitted, wish, " (dry run)")
    say(plan_text(plan, node=session.node, style=session.style, wrong=bool(errors(said))))
    if not meaning.none:
        say(f"\n{consequences_text(meaning, session.style)}")


def _conclude(session: Session, report: Report, took: float, said: Sequence[Problem]) -> None:
    plan, node = report.plan, session.node
    if not report.ok:
        refusals = located(report.left.plan.refusals, report.admitted.target.objects)
        _lament(session, report, [p for p in refusals if p not in said])
        return
    if _held_back(report):
        text = f"{node} is as it was where its manifests are wrong or missing, and in all else as they want it"
        click.echo(text, err=True, color=True)
    if plan.steps and report.converged is not None:
        steps = plural(sum(report.converged.outcome.done.values()), "step")
        done = "done" if _held_back(report) else session.style.green(f"{node} is as its manifests want it")
        say(f"{done}: {steps} in {took:.2f} s, worst impact {impact_mark(plan.impact, session.style)}.")
    elif not _held_back(report):
        say(summary(plan, node=node, style=session.style, wrong=bool(errors(said))))


def _lament(session: Session, report: Report, refusals: Sequence[Problem]) -> None:
    style, converged, plan = session.error_style, report.converged, report.plan
    failures = dict(converged.outcome.failures) if converged is not None else {}
    done = converged.outcome.done if converged is not None else {}
    lines: list[str] = []
    for number, failure in ((number, failure) for number, ones in sorted(failures.items()) for failure in ones):
        unit = plan.units[number] if number < len(plan.units) else None
        lines += failure_lines(failure, style)
        if unit is not None:
            lines.append(f"    {done.get(number, 0)} of {len(unit.steps)} steps of this unit were done")
        lines.append(f"    {style.cyan('hint:')} {advice(failure)}")
    for refusal in refusals:
        lines += problem_lines(refusal, style)
    rest = sum(len(unit.deltas) for unit in report.left.plan.units)
    if rest and converged is not None and not failures and report.left.plan.steps:
        lines.append(
            f"{style.red('error:')} {plural(rest, 'difference')} left after {plural(converged.rounds, 'round')}"
        )
        lines.append(f"    {style.cyan('hint:')} somebody else changes the same links; see: windrow diff")
    lines.append(f"{session.node} is not yet as its manifests want it; see: windrow diff")
    for line in lines:
        click.echo(line, err=True, color=True)


def _report_value(session: Session, report: Report, said: Sequence[Problem], took: float) -> Mapping[str, object]:
    safety = {"stage": str(report.stage), "decidedOn": report.said} if report.stage else None
    failures = report.converged.outcome.failed if report.converged is not None else ()
    return document(
        "Report",
        node=session.node,
        ok=report.ok and (report.kept or report.stage is Stage.WAITING),
        **({"safety": safety} if safety else {}),
        seconds=round(took, 4),
        rounds=report.converged.rounds if report.converged is not None else 0,
        plan=plan_value(report.plan, node=session.node),
        failures=[failure_value(f) for f in failures],
        left=plan_value(report.left.plan, node=session.node),
        problems=[problem_value(p) for p in said],
    )
