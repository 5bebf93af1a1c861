"""`windrow wait`: until objects are as they should be."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from windrow.apps.cli.documents import documents
from windrow.apps.cli.formats import labelled, selector
from windrow.apps.cli.options import complete_kind, duration, namespace
from windrow.apps.cli.output import say
from windrow.apps.cli.selection import Document, Selection, parse, select
from windrow.apps.cli.session import Session
from windrow.model.problems import Problem, ProblemsError
from windrow.model.selectors import LabelSelector
from windrow.render import jsonpath

LOOK_S, LOOK_AT_CLUSTER_S = 0.5, 2.0
WEEK_S = 7 * 86_400.0

Holds = Callable[[Document], bool]

EXAMPLES = """\b
Examples:
  windrow wait vlanstatus --all --for=condition=ready --timeout 60s
  windrow wait vc/oob --for=delete
  windrow wait vm web --for=jsonpath='{.status.printableStatus}'=Running"""


def _patience(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """`0`: look once. Negative: a week, as kubectl has it."""
    number = duration(value)
    if number is None:
        raise click.BadParameter(f"{value!r} is not a time, such as 30s or 5m", ctx, param)
    return number if number >= 0 else WEEK_S


def _goal(ctx: click.Context, param: click.Parameter, value: str) -> str:
    head = value.partition("=")[0]
    if value not in ("delete", "create") and (head not in ("condition", "jsonpath") or not value.partition("=")[2]):
        known = "delete, create, condition=NAME[=VALUE] and jsonpath='{PATH}'[=VALUE]"
        raise click.BadParameter(f"{value!r} is not one of {known}", ctx, param)
    if head == "jsonpath":
        try:
            jsonpath.path(_split(value.partition("=")[2])[0])
        except jsonpath.BadPath as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


@click.command(epilog=EXAMPLES, short_help="Wait until an object is as it should be")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME...", shell_complete=complete_kind)
@namespace
@click.option("-l", "--selector", "labels", callback=selector, metavar="LABELS", help="a=b,c!=d,e in (f,g),h,!i")
@click.option("--all", "every", is_flag=True, help="All of the kind that there are at the start.")
@click.option("--for", "goal", required=True, callback=_goal, metavar="WHAT", help="condition=ready, delete, create, …")
@click.option("--timeout", "patience_s", default="30s", show_default=True, callback=_patience, metavar="TIME")
@click.pass_obj
def wait(
    session: Session,
    words: tuple[str, ...],
    namespace: str | None,
    labels: LabelSelector | None,
    every: bool,
    goal: str,
    patience_s: float,
) -> None:
    """Wait until objects have a condition or a value, are there, or are gone.

    Exit code 1 where they are not in time.
    What is gone already counts as deleted.
    """
    selection = parse(words)
    if bool(selection.wanted) == (every or labels is not None):
        raise click.UsageError("give names, or -l LABELS, or --all")
    if not selection.wanted:
        selection = _those_there(session, selection, namespace, labels)
        if not selection.wanted and goal != "delete":
            raise ProblemsError([Problem(code="not-found", message="no resources found to wait for")])
    end = time.monotonic() + patience_s
    left = list(selection.wanted)
    while True:
        found = documents(session)
        for kind, name in list(left):
            if _reached(found, Selection((), (), ((kind, name),)), namespace, goal):
                left.remove((kind, name))
                say(f"{kind.full}/{name} {_told(goal)}")
        if not left:
            return
        if time.monotonic() >= end:
            break
        time.sleep(min(LOOK_S if session.cluster is None else LOOK_AT_CLUSTER_S, max(0.0, end - time.monotonic())))
    for kind, name in left:
        click.echo(f"error: timed out waiting for {goal} of {kind.cls.KIND.lower()}/{name}", err=True)
    raise click.exceptions.Exit(1)


def _those_there(
    session: Session, selection: Selection, namespace: str | None, labels: LabelSelector | None
) -> Selection:
    found = labelled(select(documents(session), selection, namespace), labels)
    names = {kind.name: kind for kind in selection.kinds}
    return Selection((), (), tuple((names[d["kind"]], d["metadata"]["name"]) for d in found))


def _reached(found: tuple[Document, ...], one: Selection, namespace: str | None, goal: str) -> bool:
    try:
        those = select(found, one, namespace)
    except ProblemsError:
        return goal == "delete"
    return goal == "create" or (goal != "delete" and all(map(_holds(goal), those)))


def _holds(goal: str) -> Holds:
    what, _, rest = goal.partition("=")
    if what == "condition":
        name, _, value = rest.partition("=")
        return lambda document: _condition(document, name) == (value or "true").lower()
    template, wanted = _split(rest)
    path = jsonpath.path(template)

    def holds(document: Document) -> bool:
        values = jsonpath.values(path, document)
        return bool(values) if wanted is None else [jsonpath.shown(v) for v in values] == [wanted]

    return holds


def _split(text: str) -> tuple[str, str | None]:
    """`{.a.b}=c`: the path, and the value; None: any value."""
    path, brace, value = text.rpartition("}=")
    return (f"{path}}}", value) if brace else (text, None)


def _condition(document: Document, name: str) -> str:
    for condition in (document.get("status") or {}).get("conditions") or ():
        if str(condition.get("type", "")).lower() == name.lower():
            return str(condition.get("status", "")).lower()
    return ""


def _told(goal: str) -> str:
    what = goal.partition("=")[0]
    return {"delete": "deleted", "create": "created"}.get(what, "condition met")
