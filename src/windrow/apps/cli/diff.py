"""`windrow diff`: what differs between the manifests and the kernel."""

from __future__ import annotations

import click

from windrow.apps.cli.leftout import tell, without_the_bad
from windrow.apps.cli.options import files, output
from windrow.apps.cli.output import complain, print_json, say
from windrow.apps.cli.preview import preview, wish_for
from windrow.apps.cli.session import Session
from windrow.model.problems import Severity
from windrow.model.steps import SetSysctl
from windrow.render.plan import diff_text
from windrow.render.values import delta_value, document, problem_value

EXAMPLES = """\b
Examples:
  windrow diff                 has anything drifted?
  windrow diff -f oob.yaml     what would these manifests change?
  windrow diff >/dev/null || echo "this host has drifted" """


@click.command(epilog=EXAMPLES, short_help="Show what differs between manifests and kernel")
@files(required=False)
@output
@click.pass_obj
def diff(session: Session, places: tuple[str, ...], output: str) -> None:
    """Show, link by link and attribute by attribute, what there is and what there should be.

    Exit code 0: no difference. 1: there are differences, or an error (as `kubectl diff`).
    """
    wish, left = without_the_bad(session, wish_for(places))
    with session.kernel() as kernel:
        seen = preview(session, kernel, wish)
    plan = seen.planned.plan
    held = [p for p in seen.problems if p.severity is Severity.ERROR]
    if output == "json":
        deltas = [delta_value(d) for unit in plan.units for d in unit.deltas]
        sysctls = [step.action for step in plan.steps if isinstance(step.action, SetSysctl)]
        problems = [problem_value(p) for p in (*left.problems, *seen.problems, *plan.refusals)]
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
        complain((*seen.problems, *plan.refusals), session.error_style)
        text = diff_text(plan, session.style)
        if text:
            say(text)
    if left or not plan.empty or held:
        raise click.exceptions.Exit(1)
