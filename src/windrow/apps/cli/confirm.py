"""`windrow confirm`: keep the change that waits for it."""

from __future__ import annotations

import time

import click

from windrow.apps.cli.output import say
from windrow.apps.cli.session import Session
from windrow.apps.round.remember import confirmed
from windrow.apps.safe.incoming import Incoming
from windrow.apps.safe.peers import session_of
from windrow.apps.safe.telling import tell
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.problems import Problem, ProblemsError
from windrow.services import process
from windrow.store.checkpoints import Checkpoints
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow apply -f mgmt.yaml --confirm 60s
  windrow confirm               from a new session: that it can be opened is the proof"""


@click.command(epilog=EXAMPLES, short_help="Keep the change that waits to be confirmed")
@click.pass_obj
def confirm(session: Session) -> None:
    """Keep the change that waits to be confirmed, before its time is over. From any terminal of this host: that one
    can be reached at all is the best proof of a change there is. Whether its session was opened after the change is
    told with the event.

    Of a change that could not be undone entirely, the rest stays as it is."""
    file = Checkpoints(Paths(session.root))
    found = file.pending()
    if found is None:
        raise ProblemsError([nothing_pending(file)])
    said = "it was confirmed with `windrow confirm`"
    since = (Stage.WAITING, Stage.UNDOING) if found.left else (Stage.WAITING,)
    if found.stage is Stage.WAITING:
        said += _session(session, found)
    if found.left:
        said = f"{said}, as far as it could not be undone"
    if file.move(found.id, Stage.CONFIRMED, since=since, said=said, left="") is None:
        now = file.get()
        stage = now.stage if now else Stage.UNDONE
        hint = {
            Stage.CHANGING: "it is still being made, or probed: wait until it asks",
            Stage.UNDOING: "it is being undone: see `windrow checkpoint`",
        }.get(stage, "see `windrow checkpoint`")
        text = f"the change by `{found.made_by}` cannot be confirmed: it is {stage}"
        raise ProblemsError([Problem(code="not-waiting", message=text, hint=hint)])
    text = f"the change by `{found.made_by}` was kept: {said}"
    tell(file.paths, session.node, "ChangeKept", text, now=time.time(), well=True)
    if not found.left:
        confirmed(file.paths, found, time.time())
    say(f"{session.style.green('Kept')}: the change by `{found.made_by}`.")


def _session(session: Session, found: Checkpoint) -> str:
    """What the session in which it was typed proves, as the end of a sentence."""
    own = session_of(process.inherited("SSH_CONNECTION"))
    if own is None:
        return ""
    if own in found.connections:
        return f", in a session that {own.peer} had opened before the change"
    with session.site() as site:
        new = Incoming(site, found.links, found.connections).holds(own)
    return f", in a session that {own.peer} opened after the change, over the links that it changed" if new else ""


def nothing_pending(file: Checkpoints) -> Problem:
    """And what became of the last one."""
    last = file.get()
    hint = f"the last one, by `{last.made_by}`, is {last.stage}: {last.said}" if last else "none was ever made here"
    return Problem(code="no-checkpoint", message="no change waits to be confirmed", hint=hint)
