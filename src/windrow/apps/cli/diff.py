"""`windrow diff`: what differs between the manifests and the kernel."""

from __future__ import annotations

import click

from windrow.apps.cli.leftout import beside, tell, without_the_bad
from windrow.apps.cli.options import files, output
from windrow.apps.cli.output import complain, complain_of, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import said_of, survey, wish_for
from windrow.model.problems import WindrowError, errors
from windrow.model.steps import SetSysctl
from windrow.render.plan import diff_text
from windrow.render.values import delta_value, document, problem_value

DIFFERENT, FAILED = 1, 2

EXAMPLES = """\b
Examples:
  windrow diff                 has anything drifted?
  windrow diff -f oob.yaml     what would these manifests change?
  windrow diff >/dev/null; test $? = 1 && echo "this host has drifted" """


@click.command(epilog=EXAMPLES, short_help="Show what differs between manifests and kernel")
@files(required=False)
@output
@click.pass_obj
def diff(session: Session, places: tuple[str, ...], output: str) -> None:
    """Show, link by link and attribute by attribute, what there is and what there should be.

    Exit code 0: no difference. 1: there are differences. 2: an error (as `kubectl diff`).
    """
    try:
        code = _diff(session, places, output)
    except WindrowError as error:
        complain_of(error, session.error_style)
        code = FAILED
    if code:
        raise click.exceptions.Exit(code)


def _diff(session: Session, places: tuple[str, ...], output: str) -> int:
    """The exit code. Raises WindrowError."""
    wish, left = without_the_bad(session, wish_for(places))
    with beside(left):
        report = survey(session, wish)
    plan, said = report.plan, said_of(report.admitted, report.planned, report.problems)
    if output == "json":
        deltas = [delta_value(d) for unit in plan.units for d in unit.deltas]
        sysctls = [step.action for step in plan.steps if isinstance(step.action, SetSysctl) and not step.link]
        problems = [problem_value(p) for p in (*left.problems, *said, *plan.refusals)]
        print_json(
            document(
                "Diff",
                node=session.node,
                differences=deltas,
                sysctls=[{"key": a.key, "want": a.value} for a in sysctls],
                problems=problems,
            )
        )
    else:
        tell(session, left)
        complain((*said, *plan.refusals), session.error_style)
        text = diff_text(plan, session.style)
        if text:
            say(text)
    if left or errors(said):
        return FAILED
    return 0 if plan.empty else DIFFERENT
