"""`--validate`: what becomes of fields that a manifest has and its kind does not, as kubectl has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

import click

from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, Severity
from windrow.model.values import Ref
from windrow.model.wire import Loaded, dump
from windrow.model.wire.reader import IS_KEPT

F = TypeVar("F", bound=Callable[..., Any])
UNKNOWN = "unknown-field"


class Validation(StrEnum):
    STRICT = "strict"
    """The document is not taken."""
    WARN = "warn"
    IGNORE = "ignore"


_WORDS = {**{str(one): one for one in Validation}, "true": Validation.STRICT, "false": Validation.IGNORE}


def validating(function: F) -> F:
    """--validate; the function gets it as `validation`."""
    return click.option(
        "--validate",
        "validation",
        type=click.Choice(list(_WORDS)),
        is_flag=False,
        flag_value="strict",
        default="strict",
        show_default=True,
        callback=lambda _ctx, _param, word: _WORDS[word],
        help="What becomes of a document with a field that its kind does not have: strict leaves it out; warn and "
        "ignore store the field, which means nothing.",
    )(function)


def validated(loaded: Loaded, how: Validation, stored: Mapping[Ref, AnyObject] | None = None) -> Loaded:
    """`stored`: what the objects were; a field that was there already is no slip of now."""
    every, stored = (*loaded.objects, *loaded.doubtful), stored or {}
    # Of a policy an unknown field is an error in any case: what it means, nobody can say.
    said = [p for p in loaded.problems if p.code == UNKNOWN and p.severity is Severity.WARNING]
    others = tuple(p for p in loaded.problems if p not in said)
    if how is Validation.IGNORE:
        return replace(loaded, problems=others)
    found = [replace(p, about=p.about or _owner(p, every)) for p in said]
    told = {(p.about, p.path) for p in (*others, *found)}
    found += [p for o in every for p in _found(o, told, stored.get(o.ref))]
    if how is Validation.WARN or not found:
        return replace(loaded, problems=(*others, *found))
    found = [_as_error(p) for p in found]
    wrong = {p.about for p in found}
    doubtful = tuple(
        replace(obj, doubts=(*obj.doubts, *(p.path for p in found if p.about == obj.ref)))
        for obj in (*(o for o in loaded.objects if o.ref in wrong), *loaded.doubtful)
    )
    return Loaded(
        objects=tuple(o for o in loaded.objects if o.ref not in wrong),
        problems=(*others, *found),
        unread=loaded.unread | {ref for ref in wrong if ref is not None},
        doubtful=doubtful,
    )


def _owner(problem: Problem, objects: Iterable[AnyObject]) -> Ref | None:
    """What is said of an object before its name is known has a place only."""
    here = (o for o in objects if o.source.file == problem.file and o.source.line(problem.path) == problem.line)
    return next((o.ref for o in here), None)


def _as_error(problem: Problem) -> Problem:
    hint = f"{problem.hint or 'take it out'} (`--validate=warn` keeps it, and it means nothing)"
    return replace(problem, severity=Severity.ERROR, message=problem.message.removesuffix(IS_KEPT), hint=hint)


def _found(obj: AnyObject, told: Collection[tuple[Ref | None, str]], before: AnyObject | None) -> Iterator[Problem]:
    """Of one document, by its schema. `told`: (object, path) of which its reader has said something already."""
    from windrow.kube.strict import is_described, unknown_fields

    if not is_described(obj.KIND):
        return
    was = dict(unknown_fields(dump(before))) if before is not None else {}
    for path, hint in unknown_fields(dump(obj)):
        if path in was or (obj.ref, path) in told:
            continue
        yield Problem(
            code=UNKNOWN,
            message=f"there is no such field in a {obj.KIND}",
            hint=hint,
            path=path,
            about=obj.ref,
            file=obj.source.file,
            line=obj.source.line(path) or obj.source.line(""),
            severity=Severity.WARNING,
        )
