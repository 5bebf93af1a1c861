"""Stored objects, changed by a function: what `label`, `annotate`, `patch` and `edit` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from windrow.apps.cli.chosen import Which, chosen
from windrow.apps.cli.selection import Document, Selection
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.apps.cli.validation import Validation, validated
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.wire import dump, load_value, without_doubles
from windrow.rules import Wish


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
        loaded = validated(load_value(amend(dump(one))), Validation.WARN, {one.ref: one})
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
