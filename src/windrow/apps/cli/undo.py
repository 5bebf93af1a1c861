"""`windrow undo`: take back the change that waits to be confirmed, now."""

from __future__ import annotations

import click

from windrow.apps.cli.confirm import nothing_pending
from windrow.apps.cli.output import say
from windrow.apps.cli.safety import say_decision, take_back
from windrow.apps.cli.session import Session
from windrow.model.checkpoint import Stage
from windrow.model.problems import ProblemsError
from windrow.render.text import plural
from windrow.store.checkpoints import Checkpoints
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow checkpoint            what would be undone
  windrow undo"""


@click.command(epilog=EXAMPLES, short_help="Take back the change that waits to be confirmed")
@click.pass_obj
def undo(session: Session) -> None:
    """Take back the change that is not confirmed yet: the network and the manifests are as they were before it.

    A change that was kept is no longer undone: edit the manifests, or see `windrow init --undo`.
    """
    file = Checkpoints(Paths(session.root))
    found = file.pending()
    if found is None:
        raise ProblemsError([nothing_pending(file)])
    said = "it was taken back with `windrow undo`"
    done = take_back(session, found, said)
    now = file.get()
    if done is None:
        last = (now.stage, now.said) if now else (Stage.UNDONE, "its checkpoint is gone")
        say_decision(session, *last)
        raise click.exceptions.Exit(0 if last[0] is Stage.UNDONE else 1)
    if not done.ok:
        say_decision(session, now.stage if now else Stage.UNDONE, said, done)
        raise click.exceptions.Exit(1)
    say(f"{session.style.green('Undone')}: the change by `{found.made_by}`, in {plural(done.steps, 'step')}.")
