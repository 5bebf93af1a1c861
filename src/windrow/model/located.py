"""Where the object stands that a problem is about: its file and line, for problems that were found without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from windrow.model.objects import AnyObject
from windrow.model.problems import Problem
from windrow.model.values import Ref


def located(problems: Iterable[Problem], objects: Mapping[Ref, AnyObject]) -> tuple[Problem, ...]:
    """With file and line, where the object that a problem is about came from a file."""
    return tuple(_located(p, objects) for p in problems)


def _located(problem: Problem, objects: Mapping[Ref, AnyObject]) -> Problem:
    about = objects.get(problem.about) if problem.about else None
    if about is None or problem.file or not about.source.file:
        return problem
    return replace(problem, file=about.source.file, line=about.source.line(problem.path or "kind"))
