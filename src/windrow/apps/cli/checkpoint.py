"""`windrow checkpoint`: what waits to be confirmed, or what became of the last change."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from windrow.apps.cli.options import output
from windrow.apps.cli.output import print_json, say
from windrow.apps.cli.session import Session
from windrow.model.checkpoint import Checkpoint
from windrow.render.values import document
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow checkpoint
  windrow checkpoint -o json    for scripts: checkpoint.pending, checkpoint.secondsLeft"""


@click.command(epilog=EXAMPLES, short_help="Show the change that waits to be confirmed")
@output
@click.pass_obj
def checkpoint(session: Session, output: str) -> None:
    """Show the change that waits to be confirmed, or what the last one was decided on."""
    found = Checkpoints(Paths(session.root)).get()
    if output == "json":
        print_json(document("Checkpoint", node=session.node, checkpoint=_value(found) if found else None))
    elif found is None:
        say("No change waits to be confirmed.")
    else:
        say("\n".join(_lines(session, found)))


def _left(found: Checkpoint) -> float:
    return found.deadline - boot.seconds()


def _lines(session: Session, found: Checkpoint) -> list[str]:
    when = datetime.fromtimestamp(found.made, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    bold = session.style.bold
    lines = [f"{bold('Change')}    {found.made_by}, {when}, {found.stage}"]
    if found.stage.pending:
        same = found.boot == boot.identity(Paths(session.root))
        lines += [
            f"{bold('Links')}     {', '.join(found.links) or 'none'}",
            f"{bold('Objects')}   {', '.join(map(str, found.documents)) or 'none'}",
            f"{bold('Probes')}    {', '.join(map(str, found.probes))}",
            f"{bold('Undone')}    in {max(0, _left(found)):.0f} s"
            if same
            else f"{bold('Undone')}    with the next change: the host was started anew",
            f"{bold('Watchdog')}  {_watchdog(found)}",
        ]
    if found.said:
        lines.append(f"{bold('Because')}   {found.said}")
    if found.left:
        lines.append(f"{bold('Left')}      {found.left}; it is tried again")
    if found.stage.pending:
        lines.append("Keep it with `windrow confirm`, take it back with `windrow undo`.")
    return lines


def _watchdog(found: Checkpoint) -> str:
    if found.watchdog is None:
        return "none: it does not touch the way to this host"
    return f"process {found.watchdog.pid}" if process.alive(found.watchdog) else "gone"


def _value(found: Checkpoint) -> dict[str, object]:
    return {
        "stage": str(found.stage),
        "pending": found.stage.pending,
        "madeBy": found.made_by,
        "age": round(time.time() - found.made, 1),
        "secondsLeft": round(_left(found), 1) if found.stage.pending else None,
        "links": list(found.links),
        "objects": [str(ref) for ref in found.documents],
        "probes": [str(probe) for probe in found.probes],
        "said": found.said,
        "left": found.left,
    }
