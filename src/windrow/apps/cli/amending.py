"""Stored objects, changed by a function: what `label`, `annotate` and `patch` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import click

from windrow.apps.cli.change import Options, change, full_name
from windrow.apps.cli.output import say
from windrow.apps.cli.selection import Document, Selection, parse
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.apps.cli.stored import Which, chosen
from windrow.model.amend import assignments, faults, relabelled
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.wire import dump, load_value, without_doubles
from windrow.rules import Wish

WORDS = "KIND NAME... [KEY=VALUE...] [KEY-...]"
"""What `label` and `annotate` take."""


def of_store(session: Session, selection: Selection, which: Which) -> list[AnyObject]:
    """Raises ProblemsError for each that is not there, and for what cannot be read then: it may be in it."""
    cluster, problems = stored(session)
    found, missing = chosen(cluster, selection, which)
    if missing:
        raise ProblemsError([*missing, *errors(problems)])
    return found


def amended(found: Sequence[AnyObject], amend: Callable[[Document], Document]) -> Wish:
    """A wish for the objects as they are then. Kind and name stay."""
    problems: list[Problem] = []
    parts = []
    for one in found:
        loaded = load_value(amend(dump(one)))
        problems += [replace(p, about=p.about or one.ref) for p in loaded.problems]
        parts.append(replace(loaded, problems=()))
        if {o.ref for o in loaded.objects} - {one.ref} or loaded.unread - {one.ref}:
            problems.append(renamed(one))
    loaded = without_doubles(parts)
    seen = {one.ref: one for one in found}
    return Wish(put=loaded.objects, problems=(*problems, *loaded.problems), unread=loaded.unread, seen=seen)


def renamed(one: AnyObject) -> Problem:
    return Problem(
        code="renamed",
        message="its kind, name and namespace cannot be changed",
        hint="`windrow apply -f` makes another object, and `windrow delete` takes this one away",
        about=one.ref,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelling:
    """What `windrow label` and `windrow annotate` were asked for. `field`: `labels` or `annotations`; `words`: a kind,
    names, and what is to be set (`a=b`) or taken away (`a-`)."""

    field: str
    words: tuple[str, ...]
    which: Which
    overwrite: bool = False
    show: bool = False


def relabel(session: Session, asked: Relabelling, options: Options) -> None:
    """Raises click.UsageError, ProblemsError."""
    said = [word for word in asked.words if "=" in word or word.endswith("-")]
    try:
        changes = assignments(said)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if wrong := list(faults(asked.field, changes)):
        raise click.UsageError("; ".join(wrong))
    if not changes and not asked.show:
        raise click.UsageError("say what to set (KEY=VALUE) or to take away (KEY-)")
    selection = parse([word for word in asked.words if word not in said])

    def wish() -> Wish:
        found = of_store(session, selection, asked.which)
        if not asked.overwrite and (kept := list(_overwritten(found, asked.field, changes))):
            raise ProblemsError(kept)
        return amended(found, lambda document: relabelled(document, asked.field, changes))

    found = of_store(session, selection, asked.which)
    if not found:
        click.echo("No resources found", err=True)
        return
    if changes:
        change(session, wish(), options, anew=wish)
    if asked.show:
        cluster, _ = stored(session)
        for one in (cluster.objects.get(o.ref, o) for o in found):
            say("\n".join([f"{full_name(one)}:", *(f"  {k}={v}" for k, v in _texts(one, asked.field).items())]))


def _overwritten(found: Sequence[AnyObject], field: str, changes: Mapping[str, str | None]) -> Iterator[Problem]:
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


def _texts(one: AnyObject, field: str) -> Mapping[str, str]:
    return one.meta.labels if field == "labels" else one.meta.annotations
