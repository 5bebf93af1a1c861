"""Manifests of which some are wrong: these are left out, with what needs them, and the others count (as kubectl's)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace

import click

from windrow.apps.cli.output import complain
from windrow.apps.cli.session import Session
from windrow.apps.engine import look
from windrow.apps.known import known
from windrow.apps.round import Stored
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.lazy import dataclass
from windrow.model.located import located
from windrow.model.problems import Problem, ProblemsError, Severity, errors
from windrow.model.values import Ref
from windrow.rules import Change, Wish, admit, check
from windrow.rules.admit import named

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
    """The wish of the manifests that are right. Where none is, all of it: then there is nothing to go on with. Raises
    KernelError."""
    wrong = errors(wish.problems)
    if any(p.code in _OF_THE_COMMAND for p in wrong) or (not wrong and len(wish.put) < 2):
        return wish, LeftOut()
    with session.site() as site:
        store = Stored(site.paths)
        found, sight = store.found(site.clock()), look(site.kernel, site.node, known(site.paths))
        admitted = admit(found, store.good(), sight, was=store.was)
    facts = named(admitted.sight, wish.after(admitted.beside)).facts
    unread = wish.unread | {p.about for p in wrong if p.about is not None}
    rules = _Rules(before=admitted.beside, facts=facts, unread=found.loaded.unread)
    refused = located(_refused(rules, wish, unread), {o.ref: o for o in wish.put})
    refs = unread | {p.about for p in refused if p.about is not None}
    put = tuple(o for o in wish.put if o.ref not in refs)
    problems = (*wrong, *refused)
    if not put or not problems:
        return wish, LeftOut()
    said = tuple(p for p in wish.problems if p.severity is not Severity.ERROR and p.about not in refs)
    return replace(wish, put=put, problems=said), LeftOut(refs=frozenset(refs), problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What changes are judged by. `unread`: what is in the store and cannot be read."""

    before: Cluster
    facts: NodeFacts
    unread: frozenset[Ref]

    def against(self, changes: Sequence[Change], unread: Set[Ref] = frozenset()) -> tuple[Problem, ...]:
        return errors(check(self.before, changes, facts=self.facts, unread=self.unread | unread))


def _refused(rules: _Rules, wish: Wish, out: frozenset[Ref]) -> list[Problem]:
    """What the rules say against single documents, as if each came alone; then what stands on one that is left out and
    is not in the store either, and so on. What two documents of a wish say against each other is not in it: which of
    them should give way is nobody's guess."""
    found: list[Problem] = []
    while True:
        changes = replace(wish, put=tuple(o for o in wish.put if o.ref not in out)).changes(rules.before)
        anyway = rules.against(changes, out)
        lacking = [p for p in rules.against(changes) if p not in anyway]
        more = [replace(p, message=f"{p.message} while that is left out", hint="") for p in lacking]
        more += _alone(rules, changes, anyway, out)
        refs = {p.about for p in more if p.about is not None}
        if not refs:
            return found
        found += more
        out |= refs


def _alone(rules: _Rules, changes: Sequence[Change], said: Sequence[Problem], out: frozenset[Ref]) -> Iterator[Problem]:
    """Those of `said` that are said against a document as well where no other one comes with it."""
    changed = {change.ref: change for change in changes}
    for ref in dict.fromkeys(p.about for p in said if p.about in changed):
        others = out | (changed.keys() - {ref})
        places = {(p.code, p.path) for p in rules.against([changed[ref]], others)}
        yield from (p for p in said if p.about == ref and (p.code, p.path) in places)


@contextmanager
def beside(left: LeftOut) -> Iterator[None]:
    """Whatever refuses the rest is told together with what is left out. Raises ProblemsError."""
    try:
        yield
    except ProblemsError as error:
        raise ProblemsError((*left.problems, *error.problems)) from error


def tell(session: Session, left: LeftOut) -> None:
    """Why, and which."""
    if not left:
        return
    complain(left.problems, session.error_style)
    names = ", ".join(map(str, sorted(left.refs))) or "what could not be read"
    click.echo(f"left out: {names}; the others count", err=True)
