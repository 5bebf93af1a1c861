"""`windrow edit`: objects in an editor."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

from windrow.apps.cli.amending import of_store, renamed
from windrow.apps.cli.change import Options, change, changing
from windrow.apps.cli.chosen import Which
from windrow.apps.cli.options import complete_kind, namespace
from windrow.apps.cli.selection import parse
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import survey
from windrow.apps.cli.validation import Validation, validated, validating
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.wire import dump, load_documents, yaml_text
from windrow.render.plan import problems_lines
from windrow.rules import Wish

EDITORS = ("WINDROW_EDITOR", "KUBE_EDITOR", "VISUAL", "EDITOR")
"""The first that is set; else what click finds (vi, nano)."""
HEAD = """\
# What you change and save is planned, checked and carried out, as by `windrow apply`.
# Leave it as it is, or empty, and nothing is done.
"""

EXAMPLES = """\b
Examples:
  windrow edit vc oob
  windrow edit nad v100 v200 -n default --dry-run
  EDITOR=nano windrow edit hnc storage"""


@click.command(epilog=EXAMPLES, short_help="Change objects in an editor")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME...", shell_complete=complete_kind)
@namespace
@validating
@changing("windrow edit")
@click.pass_obj
def edit(
    session: Session, words: tuple[str, ...], namespace: str | None, validation: Validation, options: Options
) -> None:
    """Open stored objects in an editor ($WINDROW_EDITOR, $KUBE_EDITOR, $VISUAL, $EDITOR), and carry out what you saved.

    Where something is wrong with it, the editor opens again, with what is wrong above the text.
    """
    found = of_store(session, parse(words), Which(namespace=namespace))
    before = "---\n".join(yaml_text(dump(one)) for one in found)
    text = before
    problems: tuple[Problem, ...] = ()
    while True:
        try:
            edited = _opened(text, problems)
        except ProblemsError:
            if text != before:
                _keep(text)
            raise
        if edited is None or not edited.strip() or edited == before:
            click.echo("nothing was changed: it was left as it is", err=True)
            return
        if problems and edited == text:
            _keep(edited)
            raise ProblemsError(problems)
        text = edited
        wish, problems = _wish(found, text, validation)
        if not problems:
            problems = _refusals(session, wish)
        if not problems:
            with _kept(edited):
                change(session, wish, options)
            return


def _opened(text: str, problems: Iterable[Problem]) -> str | None:
    """What the editor leaves, without the comment above it; None where nothing was saved, or the file was taken away.
    Raises ProblemsError where it cannot be edited."""
    above = "".join(f"# {line}\n" for line in problems_lines(problems))
    editor = next((os.environ[name] for name in EDITORS if os.environ.get(name)), None)
    try:
        edited = click.edit(HEAD + above + text, editor=editor, extension=".yaml")
    except (click.ClickException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) and error.filename is not None:
            return None
        raise ProblemsError([_uneditable(editor, error)]) from error
    if edited is None:
        return None
    lines = edited.splitlines(keepends=True)
    return "".join(itertools.dropwhile(lambda line: line.startswith("#"), lines))


def _uneditable(editor: str | None, error: Exception) -> Problem:
    hint = f"name an editor that is here, in ${EDITORS[0]}; or `windrow patch` changes fields without one"
    if isinstance(error, UnicodeDecodeError):
        message, hint = "what the editor saved is not UTF-8", "save it as UTF-8"
    elif isinstance(error, OSError):
        message, hint = f"no file can be made for the editor: {error.strerror}", "make room, or name a place in $TMPDIR"
    elif isinstance(cause := error.__cause__, OSError):
        message = f"the editor {editor or 'vi'} cannot be started: {cause.strerror}"
    else:
        message = f"the editor {editor or 'vi'} ended with an error, so what it saved does not count"
    return Problem(code="not-edited", message=message, hint=hint)


def _wish(found: Sequence[AnyObject], text: str, validation: Validation) -> tuple[Wish, tuple[Problem, ...]]:
    """The wish, and why it cannot be one."""
    loaded = validated(load_documents(text), validation, {one.ref: one for one in found})
    refs = {one.ref for one in loaded.objects} | loaded.unread
    strangers = [one for one in loaded.objects if one.ref not in {o.ref for o in found}]
    gone = [one for one in found if one.ref not in refs]
    problems = (*errors(loaded.problems), *map(renamed, strangers or gone))
    seen = {one.ref: one for one in found}
    return Wish(put=loaded.objects, problems=loaded.problems, unread=loaded.unread, seen=seen), problems


def _refusals(session: Session, wish: Wish) -> tuple[Problem, ...]:
    try:
        survey(session, wish)
    except ProblemsError as error:
        return tuple(error.problems)
    return ()


@contextmanager
def _kept(text: str) -> Iterator[None]:
    """Also where the host itself refuses it, or somebody else was first."""
    try:
        yield
    except click.exceptions.Exit as end:
        if end.exit_code:
            _keep(text)
        raise


def _keep(text: str) -> None:
    """Nobody's work is lost because a rule stands against it."""
    with tempfile.NamedTemporaryFile("w", prefix="windrow-edit-", suffix=".yaml", delete=False) as file:
        file.write(text)
    click.echo(f"your text is in {file.name}", err=True)
