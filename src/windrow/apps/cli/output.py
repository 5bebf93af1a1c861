"""Printing: text, documents, and what is wrong (on standard error)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import click

from windrow.model.problems import Problem, ProblemsError, Severity, WindrowError, errors
from windrow.render.text import PLAIN, Style, json_shown, plural

if TYPE_CHECKING:
    from windrow.model.steps import Failure

T = TypeVar("T")


def say(text: str) -> None:
    """A line, or several; the style has decided on colours already."""
    click.echo(text.rstrip("\n"), color=True)


def aside(text: str) -> None:
    """A line about what goes on, which is no part of the output."""
    click.echo(text, err=True, color=True)


def complain(problems: Iterable[Problem], style: Style = PLAIN) -> None:
    """Each with its place, its object, the reason and what to do."""
    from windrow.render.plan import problems_lines  # it loads all that a plan is made of

    for line in problems_lines(problems, style):
        click.echo(line, err=True, color=True)


def complain_of(error: WindrowError, style: Style | None = None) -> None:
    style = style or PLAIN
    if isinstance(error, ProblemsError):
        complain(error.problems, style)
    else:
        click.echo(f"{style.red('error:')} {error}", err=True, color=True)


class Again(Generic[T]):
    """A look that is repeated: what stands in its way (an API server that is started anew, a file that somebody is
    writing) is said once, and ends nothing."""

    def __init__(self, look: Callable[[], T], style: Style = PLAIN) -> None:
        self._look, self._style, self._said = look, style, ""

    def look(self) -> T | None:
        """None: nothing can be seen now."""
        try:
            found = self._look()
        except WindrowError as error:
            if str(error) != self._said:
                complain_of(error, self._style)
            self._said = str(error)
            return None
        self._said = ""
        return found


@contextmanager
def nothing_changed(style: Style = PLAIN, changed: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Where the block refuses, say so, and that everything is as it was, unless it has `changed`; then end with 1."""
    try:
        yield
    except WindrowError as error:
        complain_of(error, style)
        count = len(errors(error.problems)) if isinstance(error, ProblemsError) else 1
        if not changed():
            click.echo(f"{plural(count, 'error')}; nothing was changed", err=True)
        raise click.exceptions.Exit(1) from error


def end_with(failure: Failure, style: Style = PLAIN, *more: str) -> NoReturn:
    """The step that the kernel refused, and why; `more`: what is to be done. Ends with 1."""
    from windrow.render.plan import failure_lines

    for line in (*failure_lines(failure, style), *more):
        click.echo(line, err=True, color=True)
    raise click.exceptions.Exit(1)


def gate(problems: Sequence[Problem], style: Style = PLAIN) -> None:
    """Stops at errors, after showing all there is; warnings pass. Raises ProblemsError."""
    if errors(problems):
        raise ProblemsError(problems)
    complain((p for p in problems if p.severity is Severity.WARNING), style)


def print_json(document: Any) -> None:
    """The same document, whatever is in it: JSON has a way to write control characters."""
    click.echo(json_shown(json.dumps(document, indent=2, ensure_ascii=False)))


def print_yaml(document: Mapping[str, Any]) -> None:
    from windrow.model.wire import yaml_text

    click.echo(yaml_text(dict(document)), nl=False)
