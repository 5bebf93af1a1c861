"""Manifests of which some are wrong: these are left out, with what needs them, and the others count (as kubectl's)."""

from __future__ import annotations

from dataclasses import replace

import click

from windrow.apps.cli.output import complain
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, Severity, errors
from windrow.model.values import Ref
from windrow.rules import Wish, check

_OF_THE_COMMAND = ("file-unreadable", "file-empty")
"""A place that was named and is not there is a slip on the command line, and no bad document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """`refs`: objects that keep what the store says of them, if it says anything. `problems`: why, and what else cannot
    be read."""

    refs: frozenset[Ref] = frozenset()
    problems: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.problems)


def without_the_bad(session: Session, wish: Wish) -> tuple[Wish, LeftOut]:
    """The wish of the manifests that are right. Where none is, all of it: then there is nothing to go on with."""
    wrong = errors(wish.problems)
    if not wrong or any(p.code in _OF_THE_COMMAND for p in wrong):
        return wish, LeftOut()
    out = wish.unread | {p.about for p in wrong if p.about is not None}
    before, _ = stored(session)
    needing = _needing(before, wish, out)
    refs = out | {p.about for p in needing if p.about is not None}
    put = tuple(o for o in wish.put if o.ref not in refs)
    if not put:
        return wish, LeftOut()
    said = tuple(p for p in wish.problems if p.severity is not Severity.ERROR and p.about not in refs)
    return replace(wish, put=put, problems=said), LeftOut(refs=frozenset(refs), problems=(*wrong, *needing))


def _needing(before: Cluster, wish: Wish, out: frozenset[Ref]) -> list[Problem]:
    """What stands on something that is left out and is not in the store either, and so on."""
    found: list[Problem] = []
    while True:
        left = replace(wish, put=tuple(o for o in wish.put if o.ref not in out))
        changes = left.changes(before)
        anyway = set(errors(check(before, changes, unread=out)))
        more = [p for p in errors(check(before, changes)) if p not in anyway and p.about is not None]
        if not more:
            return found
        found += [replace(p, message=f"{p.message} while that is left out", hint="") for p in more]
        out |= {p.about for p in more if p.about is not None}


def tell(session: Session, left: LeftOut) -> None:
    """Why, and which."""
    if not left:
        return
    complain(left.problems, session.error_style)
    names = ", ".join(map(str, sorted(left.refs))) or "what could not be read"
    click.echo(f"left out: {names}; the others count", err=True)
