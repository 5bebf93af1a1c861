"""`KIND[,KIND] [NAME…]` and `KIND/NAME`: which objects the words on a command line mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from windrow.model.lazy import dataclass
from windrow.model.objects import KINDS, Kind, find_kind
from windrow.model.problems import Problem, ProblemsError, errors

EVENTS = ("events", "event", "ev")


@dataclass(frozen=True, slots=True)
class Selection:
    """`names` empty: all objects of the kinds. `pairs`: the `KIND/NAME` ones."""

    kinds: tuple[Kind, ...]
    names: tuple[str, ...]
    pairs: tuple[tuple[Kind, str], ...] = ()

    @property
    def wanted(self) -> tuple[tuple[Kind, str], ...]:
        return self.pairs or tuple((kind, name) for kind in self.kinds for name in self.names)

    @property
    def all_kinds(self) -> tuple[Kind, ...]:
        return (*self.kinds, *(kind for kind, _ in self.pairs))


def parse(words: Sequence[str]) -> Selection:
    """Raises click.UsageError for a kind that does not exist, or where there is none at all."""
    if not words:
        raise click.UsageError(f"Which kind of object? One of: {known_kinds()}")
    if any("/" in word for word in words):
        if not all("/" in word for word in words):
            raise click.UsageError("KIND/NAME and KIND NAME cannot be mixed")
        return Selection((), (), tuple(_pair(word) for word in words))
    kinds = KINDS if words[0] == "all" else tuple(dict.fromkeys(kind_of(word) for word in words[0].split(",")))
    return Selection(kinds, tuple(words[1:]))


def _pair(word: str) -> tuple[Kind, str]:
    kind, _, name = word.partition("/")
    if not name:
        raise click.UsageError(f"{word!r} has no name after the slash")
    return kind_of(kind), name


def kind_of(word: str) -> Kind:
    """`vc`, `vlanconfigs` and `vlanconfig.network.harvesterhci.io` all mean VlanConfig. Raises click.UsageError."""
    found = find_kind(word) or find_kind(word.partition(".")[0])
    if found is None and word in EVENTS:
        raise click.UsageError("events are no objects here: `windrow events` shows them")
    if found is None:
        raise click.UsageError(f"there is no kind {word!r}. The kinds are: {known_kinds()}")
    return found


def known_kinds() -> str:
    return ", ".join(f"{k.plural} ({k.short[0]})" for k in KINDS)


Document = Mapping[str, Any]


def select(
    documents: Sequence[Document],
    selection: Selection,
    namespace: str | None,
    wrong: Callable[[], Iterable[Problem]] = tuple,
    *,
    some: bool = False,
) -> list[Document]:
    """In the order of the words. Raises ProblemsError naming each object that is not there. `wrong`: what is wrong with
    the manifests; of an object that is in one of them nobody says that it does not exist. `some`: those that there
    are will do."""
    found = [d for d in documents if namespace is None or d["metadata"].get("namespace") in (None, "", namespace)]
    if not selection.wanted:
        return [d for kind in selection.kinds for d in found if d["kind"] == kind.name]
    chosen: list[Document] = []
    missing: list[Problem] = []
    for kind, name in selection.wanted:
        matching = [d for d in found if d["kind"] == kind.name and d["metadata"]["name"] == name]
        chosen += matching
        if matching:
            continue
        if unread := _unread(kind, name, namespace, wrong()):
            missing.append(unread)
        elif not some:
            missing.append(not_found(kind, name, namespace, map(place_of, documents)))
    if missing:
        raise ProblemsError(missing)
    return chosen


def _unread(kind: Kind, name: str, namespace: str | None, wrong: Iterable[Problem]) -> Problem | None:
    for problem in errors(wrong):
        about = problem.about
        if about is None or (about.kind, about.name) != (kind.name, name) or namespace not in (None, about.namespace):
            continue
        text = f'{kind.plural} "{name}" is there, and something is wrong with it: {problem.path}: {problem.message}'
        return replace(problem, message=text, path="", about=None)
    return None


Place = tuple[str, str, str]
"""Kind, namespace (empty where the kind has none) and name of an object."""


def place_of(document: Document) -> Place:
    meta = document["metadata"]
    return document["kind"], meta.get("namespace", ""), meta["name"]


def not_found(kind: Kind, name: str, namespace: str | None, there: Iterable[Place]) -> Problem:
    """Nothing of this kind and name; the hint says where there is one, or what else there is."""
    ours = [(space, other) for what, space, other in there if what == kind.name]
    elsewhere = sorted({space for space, other in ours if other == name})
    near = sorted({other for space, other in ours if namespace in (None, space or namespace)})
    if elsewhere:
        hint = f"there is one in namespace {' and '.join(elsewhere)}: say it with -n"
    elif near:
        hint = f"there is: {', '.join(near)}"
    elif ours:
        hint = f"all {kind.plural} are in namespace {', '.join(sorted({space for space, _ in ours}))}"
    else:
        hint = f"there are no {kind.plural}"
    return Problem(code="not-found", message=f'{kind.plural} "{name}" not found', hint=hint)
