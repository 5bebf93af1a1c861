"""`windrow rollback`: objects back to what they were before a change."""

from __future__ import annotations

import click

from windrow.apps.cli.change import Options, change, changing
from windrow.apps.cli.history import entry
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.cluster import builtin
from windrow.model.history import Documents, back_to_before
from windrow.model.problems import Problem, ProblemsError
from windrow.model.wire import dump, load_value, without_doubles
from windrow.rules import Wish
from windrow.store.history import History
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow rollback                   take back the last change
  windrow rollback 12 --dry-run      back to what was before change 12, and all that came after it
  windrow history                    the numbers"""


@click.command(epilog=EXAMPLES, short_help="Bring objects back to what they were before a change")
@click.argument("number", type=int, required=False, metavar="[NUMBER]")
@changing("windrow rollback")
@click.pass_obj
def rollback(session: Session, number: int | None, options: Options) -> None:
    """Bring the objects that a change, and those after it, have touched back to what they were before it; without a
    number the last one. Other objects stay as they are.

    It is a change like others: planned, checked, carried out, and in the history.
    """
    kept = History(Paths(session.root))
    changes, broken = kept.all(), kept.unreadable()
    if not changes and not broken:
        raise ProblemsError([Problem(code="not-found", message="nothing was changed by hand yet")])
    last = max((*(one.number for one in changes), *broken))
    first = last if number is None else number
    if unknown := [one for one in broken if one >= first]:
        raise ProblemsError([_unknown(max(unknown), last)])
    change(session, _wish(session, back_to_before(changes, entry(changes, first).number)), options)


def _unknown(number: int, last: int) -> Problem:
    """To go back past a change of which nobody knows what it has changed would leave that as it is, in silence."""
    hint = "change the objects by hand: `windrow edit`"
    if number < last:
        hint = f"`windrow rollback {number + 1}` goes back as far as it can be known; for more {hint}"
    message = f"change {number} cannot be read, so nothing before it can be brought back"
    return Problem(code="history-broken", message=message, hint=hint)


def _wish(session: Session, documents: Documents) -> Wish:
    """What is built in and had no manifest gets the one that says no more than that: it cannot be deleted."""
    plain = {one.ref: dump(one) for one in builtin()}
    documents = {ref: plain.get(ref) if document is None else document for ref, document in documents.items()}
    loaded = without_doubles(load_value(document) for document in documents.values() if document is not None)
    cluster, _ = stored(session)
    gone = [cluster.objects[ref] for ref, document in documents.items() if document is None and ref in cluster.objects]
    seen = {ref: cluster.objects.get(ref) for ref in documents}
    return Wish(put=loaded.objects, remove=tuple(gone), problems=loaded.problems, unread=loaded.unread, seen=seen)
