"""`windrow history`: what was changed by hand."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from windrow.apps.cli.options import output
from windrow.apps.cli.output import complain, print_json, say
from windrow.apps.cli.session import Session
from windrow.model.history import Applied
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.values import Ref
from windrow.model.wire import yaml_text
from windrow.render.events import age
from windrow.render.tables import table
from windrow.render.values import document
from windrow.store.history import KEPT, History
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow history                  the last changes
  windrow history 12               what change 12 did, line by line
  windrow rollback 12              back to what was before it"""


@click.command(epilog=EXAMPLES, short_help="Show what was changed by hand, by whom")
@click.argument("number", type=int, required=False, metavar="[NUMBER]")
@output
@click.pass_obj
def history(session: Session, number: int | None, output: str) -> None:
    """The last changes of the manifests that were made with windrow, the newest last: when, by whom, from where, with
    which command. With a number: what changed, as a diff.

    A change that was undone is not in it, and neither is what somebody did with an editor. Needs root: manifests of
    machines may hold passwords.
    """
    kept = History(Paths(session.root))
    changes = kept.all()
    complain(map(_unreadable, kept.unreadable()), session.error_style)
    chosen = changes if number is None else (entry(changes, number),)
    if output == "json":
        print_json(document("ChangeList", items=[_value(one) for one in chosen]))
    elif number is not None:
        say("".join(_lines(chosen[0])).rstrip("\n"))
    elif not chosen:
        click.echo("No changes found", err=True)
    else:
        rows = [[str(c.number), age(time.time() - c.at), c.who, c.command, _names(c.after)] for c in chosen]
        say(table(["NUMBER", "AGE", "BY", "COMMAND", "OBJECTS"], rows, session.style))


def _unreadable(number: int) -> Problem:
    message = f"change {number} cannot be read, and is not shown"
    return Problem(code="history-broken", message=message, severity=Severity.WARNING)


def entry(changes: tuple[Applied, ...], number: int) -> Applied:
    """Raises ProblemsError."""
    for one in changes:
        if one.number == number:
            return one
    hint = f"there are {changes[0].number} to {changes[-1].number}" if changes else "nothing was changed by hand yet"
    problem = Problem(code="not-found", message=f"change {number} not found", hint=f"{hint}; the last {KEPT} are kept")
    raise ProblemsError([problem])


def _names(refs: Iterable[Ref]) -> str:
    names = ["/".join(filter(None, (ref.kind.lower(), ref.namespace, ref.name))) for ref in refs]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _lines(change: Applied) -> Iterator[str]:
    for ref, after in change.after.items():
        was, now = (_text(one) for one in (change.before.get(ref), after))
        yield from difflib.unified_diff(was, now, f"{ref} before", f"{ref} after")


def _text(one: Mapping[str, Any] | None) -> list[str]:
    return yaml_text(one).splitlines(keepends=True) if one is not None else []


def _value(change: Applied) -> dict[str, object]:
    return {
        "number": change.number,
        "at": change.at,
        "by": change.by,
        "from": change.origin,
        "command": change.command,
        "objects": [
            {"kind": r.kind, "namespace": r.namespace, "name": r.name, "before": change.before.get(r), "after": after}
            for r, after in change.after.items()
        ],
    }
