"""Objects of the store that a command is to change: by name, by label, or all of a kind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from windrow.apps.cli.formats import labelled, selector
from windrow.apps.cli.options import namespace as namespace_option
from windrow.apps.cli.selection import Selection, not_found, place_of
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject, Kind
from windrow.model.problems import Problem
from windrow.model.selectors import LabelSelector
from windrow.status import derive

DERIVED = ("VlanStatus", "LinkMonitor")
"""Kinds that Windrow derives; a LinkMonitor may be stored as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """`labels` and `every` stand where no name does."""

    namespace: str | None = None
    labels: LabelSelector | None = None
    every: bool = False

    @property
    def several(self) -> bool:
        return self.every or self.labels is not None


def choosing(function: Callable[..., None]) -> Callable[..., None]:
    """-n, -l and --all; the function gets them as `which`."""

    @namespace_option
    @click.option(
        "-l", "--selector", "labels", callback=selector, metavar="LABELS", help="Those with these: a=b,c!=d,e in (f,g)."
    )
    @click.option("--all", "every", is_flag=True, help="All of the kind.")
    @functools.wraps(function)
    def gathered(*args: Any, namespace: str | None, labels: LabelSelector | None, every: bool, **more: Any) -> None:
        function(*args, which=Which(namespace=namespace, labels=labels, every=every), **more)

    return gathered


def chosen(cluster: Cluster, selection: Selection, which: Which) -> tuple[list[AnyObject], list[Problem]]:
    """The objects, and what is said of those that are not there. Raises click.UsageError."""
    if selection.wanted and which.several:
        raise click.UsageError("names and -l or --all cannot be mixed")
    if which.several:
        return _several(cluster, selection.kinds, which), []
    if not selection.wanted:
        raise click.UsageError("give the names of the objects, -l LABELS, or --all")
    return _named(cluster, selection.wanted, which.namespace)


def _several(cluster: Cluster, kinds: Sequence[Kind], which: Which) -> list[AnyObject]:
    """Of what is stored: what is built in, or derived, is nobody's to change. Labels are those that `get` shows."""
    names = {kind.name for kind in kinds}
    labelled_so = set(map(place_of, labelled(derive(cluster, []), which.labels))) if which.labels is not None else None
    found = [
        one
        for ref, one in cluster.objects.items()
        if one.doc and ref.kind in names and which.namespace in (None, ref.namespace or which.namespace)
        if labelled_so is None or (ref.kind, ref.namespace, ref.name) in labelled_so
    ]
    spaces = sorted({one.meta.namespace for one in found if one.meta.namespace})
    if which.namespace is None and len(spaces) > 1:
        raise click.UsageError(f"they are in several namespaces: {', '.join(spaces)}; say which with -n")
    return found


def _named(
    cluster: Cluster, wanted: tuple[tuple[Kind, str], ...], namespace: str | None
) -> tuple[list[AnyObject], list[Problem]]:
    found: list[AnyObject] = []
    missing: list[Problem] = []
    for kind, name in wanted:
        matching = list(_matching(cluster, kind, name, namespace))
        if len(matching) > 1:
            where = ", ".join(o.meta.namespace for o in matching)
            raise click.UsageError(f"{kind.name} {name} is in several namespaces: {where}; say which with -n")
        found += matching
        if not matching:
            missing.append(_missing(cluster, kind, name, namespace))
    return found, missing


def _matching(cluster: Cluster, kind: Kind, name: str, namespace: str | None) -> Iterator[AnyObject]:
    for ref, found in cluster.objects.items():
        if ref.kind == kind.name and ref.name == name and namespace in (None, ref.namespace or namespace):
            yield found


def _missing(cluster: Cluster, kind: Kind, name: str, namespace: str | None) -> Problem:
    if kind.name in DERIVED:
        hint = "it is derived, and goes with what it came from"
        return Problem(code="not-found", message=f'{kind.plural} "{name}" is not stored', hint=hint)
    there = ((ref.kind, ref.namespace, ref.name) for ref in cluster.objects)
    return not_found(kind, name, namespace, there)
