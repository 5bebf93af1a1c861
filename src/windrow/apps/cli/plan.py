"""`windrow plan`: the steps that apply would take."""

from __future__ import annotations

import click

from windrow.apps.cli.leftout import beside, tell, without_the_bad
from windrow.apps.cli.options import files, output
from windrow.apps.cli.output import complain, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import means, said_of, stored, survey, wish_for
from windrow.apps.cli.validation import Validation, validating
from windrow.model.host import HostState, Observed
from windrow.model.located import located
from windrow.model.problems import errors
from windrow.model.steps import Plan
from windrow.render.consequences import consequences_text, consequences_value
from windrow.render.plan import plan_text
from windrow.render.values import document, plan_value, problem_value
from windrow.rules import Wish, check
from windrow.status.consequences import Here, consequences

EXAMPLES = """\b
Examples:
  windrow plan                       what would repair this host
  windrow plan -f oob.yaml           what these manifests would change, and what it costs
  windrow plan -f node.yaml          what another label of a node would change
  windrow plan -f new/ -o json | jq .consequences.interruptions"""


@click.command(epilog=EXAMPLES, short_help="Show the steps that apply would take")
@files(required=False)
@validating
@output
@click.pass_obj
def plan(session: Session, places: tuple[str, ...], validation: Validation, output: str) -> None:
    """Show the steps that `windrow apply` with the same arguments would take: in order, each with the object
    that wants it and what it costs the running traffic. Then what the change means: which nodes gain, lose or
    change a network, for which machines, pods and addresses, and for how many seconds traffic stops at most.

    Changes nothing, and needs no privileges. Exit code 1 where something is refused, or left out because
    something is wrong with its manifest.
    """
    if session.cluster is not None:
        _of_cluster(session, wish_for(places, validation), output)
        return
    wish, left = without_the_bad(session, wish_for(places, validation))
    with beside(left):
        report = survey(session, wish)
    plan, said = report.plan, said_of(report.admitted, report.planned, report.problems)
    meaning = means(report, wish)
    if output == "json":
        value = plan_value(plan, node=session.node, problems=(*left.problems, *said))
        print_json({**value, "consequences": consequences_value(meaning)})
    else:
        tell(session, left)
        complain(said, session.error_style)
        say(plan_text(plan, node=session.node, style=session.style, wrong=bool(left or errors(said))))
        if not meaning.none:
            say(f"\n{consequences_text(meaning, session.style)}")
    if left or plan.refusals or errors(said):
        raise click.exceptions.Exit(1)


def _of_cluster(session: Session, wanted: Wish, output: str) -> None:
    """What the manifests would mean for each of its nodes, by their objects: no other node's kernel can be seen from
    here."""
    wish, left = without_the_bad(session, wanted)
    before, problems = stored(session)
    said = (*problems, *located(check(before, wish.changes(before), unread=wish.unread), before.objects))
    node = next((node.name for node in before.nodes()), session.node)
    meaning = consequences(
        before, wish.after(before), Here(node=node, observed=Observed(state=HostState(), runtime={}), plan=Plan())
    )
    if output == "json":
        found = [problem_value(problem) for problem in (*left.problems, *said)]
        print_json(document("ClusterPlan", problems=found, consequences=consequences_value(meaning)))
    else:
        tell(session, left)
        complain(said, session.error_style)
        text = consequences_text(meaning, session.style) if not meaning.none else "nothing changes on any node"
        say(text)
    if left or errors(said):
        raise click.exceptions.Exit(1)
