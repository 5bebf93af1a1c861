"""`windrow describe`: one object in full, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from windrow.apps.cli.documents import documents, node_report
from windrow.apps.cli.options import complete_kind, namespace
from windrow.apps.cli.output import complain, say
from windrow.apps.cli.selection import Document, parse, select
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.cluster import Cluster
from windrow.model.located import located
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.problems import WITHOUT_EFFECT, Problem, lasting
from windrow.model.values import Ref
from windrow.render.describe import describe_text
from windrow.rules.virtualmachine import lacks
from windrow.status import NodeReport, derive
from windrow.status.conditions import READY, is_bad

EXAMPLES = """\b
Examples:
  windrow describe vc oob
  windrow describe clusternetwork/mgmt
  windrow describe nad vlan100 -n default"""


@click.command(epilog=EXAMPLES, short_help="Show one object in full, and what became of it")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME...", shell_complete=complete_kind)
@namespace
@click.pass_obj
def describe(session: Session, words: tuple[str, ...], namespace: str | None) -> None:
    """Show objects in full: fields, labels, status, the problems there are with them, and what is still to do
    on this host because of them."""
    selection = parse(words)
    cluster, problems = stored(session)
    complain(lasting(problems), session.error_style)
    if session.cluster is not None:
        report, every = None, documents(session)
    else:
        report = node_report(session)
        every = derive(cluster, [report] if report else [])
    found = select(every, selection, namespace, lambda: problems)
    say("\n\n".join(_text(session, cluster, report, d, problems).rstrip("\n") for d in found))


def _watched(report: NodeReport) -> Iterator[Problem]:
    """What only the agent knows: a manifest that it does not follow, a fight that it has given up."""
    for found in report.agent.conditions if report.agent is not None else ():
        if is_bad(found) and found.type != READY:
            yield Problem(code=found.type, message=found.message, hint=found.hint, about=found.about)


def _text(
    session: Session, cluster: Cluster, report: NodeReport | None, document: Document, problems: Sequence[Problem]
) -> str:
    meta = document["metadata"]
    ref = Ref(document["kind"], meta["name"], meta.get("namespace", ""))
    stored_one = cluster.objects.get(ref)
    said = (*report.problems, *report.plan.refusals, *_watched(report)) if report else ()
    if isinstance(stored_one, VirtualMachine | VirtualMachineInstance):
        said += tuple(lacks(stored_one))
    said += tuple(p for p in problems if p.code == WITHOUT_EFFECT)
    return describe_text(
        document,
        problems=located([p for p in said if p.about == ref], cluster.objects),
        steps=[s for s in report.plan.steps if s.why == ref] if report else (),
        file=stored_one.source.file if stored_one else "",
        style=session.style,
    )
