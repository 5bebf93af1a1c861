"""`windrow label` and `windrow annotate`, which differ in the field that they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import click

from windrow.apps.cli.amending import amended, of_store
from windrow.apps.cli.change import Options, change, changing, full_name
from windrow.apps.cli.chosen import Which, choosing
from windrow.apps.cli.options import complete_kind
from windrow.apps.cli.output import say
from windrow.apps.cli.selection import parse
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.amend import assignments, faults, relabelled
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError
from windrow.rules import Wish

Field = Literal["labels", "annotations"]
WORDS = "KIND NAME... [KEY=VALUE...] [KEY-...]"


def relabelling(verb: str, field: Field, meaning: str, examples: str) -> click.Command:
    """`meaning`: what such a change may do to a network."""
    text = f"Set {field} of stored objects (KEY=VALUE), or take them away (KEY-).\n\n{meaning}"

    @click.command(name=verb, epilog=examples, short_help=f"Change {field} of objects", help=text)
    @click.argument("words", nargs=-1, required=True, metavar=WORDS, shell_complete=complete_kind)
    @choosing
    @click.option("--overwrite", is_flag=True, help="Also where it has another value now.")
    @click.option("--list", "show", is_flag=True, help="Show them, afterwards.")
    @changing(f"windrow {verb}")
    @click.pass_obj
    def command(
        session: Session, words: tuple[str, ...], which: Which, overwrite: bool, show: bool, options: Options
    ) -> None:
        changes = _changes(words, field)
        if not changes and not show:
            raise click.UsageError("say what to set (KEY=VALUE) or to take away (KEY-)")
        selection = parse([word for word in words if not _assigns(word)])
        found = of_store(session, selection, which)
        if not found:
            click.echo("No resources found", err=True)
            return

        def wish() -> Wish:
            found = of_store(session, selection, which)
            if not overwrite and (kept := list(_overwritten(found, field, changes))):
                raise ProblemsError(kept)
            return amended(found, lambda document: relabelled(document, field, changes))

        if changes:
            change(session, wish(), options, anew=wish)
        if show:
            _show(session, found, field)

    return command


def _assigns(word: str) -> bool:
    """No name of an object has an equals sign, or ends in a hyphen (RFC 1123)."""
    return "=" in word or word.endswith("-")


def _changes(words: Sequence[str], field: Field) -> Mapping[str, str | None]:
    try:
        found = assignments(filter(_assigns, words))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if wrong := [f"{what}: {hint}" for what, hint in faults(field, found)]:
        raise click.UsageError("; ".join(wrong))
    return found


def _show(session: Session, found: Sequence[AnyObject], field: Field) -> None:
    cluster, _ = stored(session)
    for one in (cluster.objects.get(o.ref, o) for o in found):
        say("\n".join([f"{full_name(one)}:", *(f"  {key}={value}" for key, value in _texts(one, field).items())]))


def _overwritten(found: Sequence[AnyObject], field: Field, changes: Mapping[str, str | None]) -> Iterator[Problem]:
    for one in found:
        there = _texts(one, field)
        for key, value in changes.items():
            if value is not None and there.get(key, value) != value:
                yield Problem(
                    code="not-overwritten",
                    message=f"it is {there[key]!r} already",
                    hint="--overwrite changes it",
                    path=f"metadata.{field}[{key}]",
                    about=one.ref,
                )


def _texts(one: AnyObject, field: Field) -> Mapping[str, str]:
    return one.meta.labels if field == "labels" else one.meta.annotations
