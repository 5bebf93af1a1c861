"""`windrow patch`: fields of one object."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from windrow.apps.cli.amending import amended, of_store
from windrow.apps.cli.change import Options, change, changing
from windrow.apps.cli.chosen import Which
from windrow.apps.cli.options import complete_kind, namespace
from windrow.apps.cli.selection import parse
from windrow.apps.cli.session import Session
from windrow.model.amend import merged
from windrow.model.objects import AnyObject
from windrow.model.wire.text import Complaint, plain, trees
from windrow.rules import Wish
from windrow.store.named import read_named

EXAMPLES = """\b
Examples:
  windrow patch vc oob -p '{"spec": {"uplink": {"linkAttributes": {"mtu": 9000}}}}'
  windrow patch vc/oob -p 'spec: {description: null}'          null takes a field away
  windrow patch hnc storage --patch-file more.yaml --dry-run"""


@click.command(epilog=EXAMPLES, short_help="Change fields of an object")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME", shell_complete=complete_kind)
@click.option("-p", "--patch", "text", metavar="YAML", help="The patch, as YAML or JSON.")
@click.option("--patch-file", "file", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE|-")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["merge", "strategic", "json"]),
    default="merge",
    show_default=True,
    help="Only merge (RFC 7386): mappings are merged, lists are replaced.",
)
@namespace
@changing("windrow patch")
@click.pass_obj
def patch(
    session: Session,
    words: tuple[str, ...],
    text: str | None,
    file: Path | None,
    kind: str,
    namespace: str | None,
    options: Options,
) -> None:
    """Change fields of stored objects, and leave the others as they are. The plan is checked and carried out as by
    `windrow apply`."""
    if kind != "merge":
        hint = "`windrow edit` changes one entry of a list"
        raise click.UsageError(f"--type {kind} is not there, only merge, in which a list is given as a whole; {hint}")
    if (text is None) == (file is None):
        raise click.UsageError("give -p PATCH or --patch-file FILE")
    selection, which = parse(words), Which(namespace=namespace)
    if not selection.wanted:
        raise click.UsageError("give the name of the object")
    found = of_store(session, selection, which)  # before standard input is waited for
    value = _read(text if text is not None else _text_of(file))

    def wish(found: Sequence[AnyObject]) -> Wish:
        return amended(found, lambda document: merged(document, value))

    change(session, wish(found), options, anew=lambda: wish(of_store(session, selection, which)))


def _text_of(file: Path | None) -> str:
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return read_named(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} cannot be read: it is not UTF-8") from error
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}") from error


def _read(text: str) -> Any:
    """Raises click.UsageError: it is to be one mapping."""
    found, complaints = trees(text)
    more: list[Complaint] = []
    values = [plain(tree.root, more).value for tree in found]
    for complaint in (*complaints, *more):
        raise click.UsageError(f"the patch, line {complaint.line}: {complaint.message}")
    if len(values) != 1 or not isinstance(values[0], dict):
        raise click.UsageError('the patch is not one mapping, such as {"spec": {"description": "new"}}')
    return values[0]
