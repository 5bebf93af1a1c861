"""`-o` of `windrow get`: what it takes, and the documents in that form. `--sort-by`, `-l` and their errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import click

from windrow.apps.cli.output import print_json, print_yaml, say
from windrow.apps.cli.selection import Document
from windrow.model.cluster import matches_selector
from windrow.model.selectors import LabelSelector

PLAIN_FORMATS = ("wide", "yaml", "json", "name")
WITH_TEXT = ("jsonpath", "jsonpath-as-json", "custom-columns")
"""`-o jsonpath='{.items[*].metadata.name}'`."""

Printer = Callable[[list[Document], bool, bool], None]
"""Is given the documents, whether one was asked for by its name, and whether columns have headings."""


def form(ctx: click.Context, param: click.Parameter, value: str | None) -> str | Printer | None:
    """A word for the tables (`wide`), or what prints."""
    if value is None or value == "wide":
        return value
    name, equals, text = value.partition("=")
    simple = {"yaml": _yaml, "json": _json, "name": _names}
    if not equals and name in simple:
        return simple[name]
    if name not in WITH_TEXT or not text:
        known = ", ".join((*PLAIN_FORMATS, *(f"{word}=…" for word in WITH_TEXT)))
        raise click.BadParameter(f"{value!r} is not one of {known}", ctx, param)
    from windrow.render.jsonpath import BadPath

    try:
        return _columns(text) if name == "custom-columns" else _template(text, as_json=name == "jsonpath-as-json")
    except BadPath as error:
        raise click.BadParameter(str(error), ctx, param) from error


def complete_form(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [word for word in (*PLAIN_FORMATS, *(f"{word}=" for word in WITH_TEXT)) if word.startswith(incomplete)]


def sorting(ctx: click.Context, param: click.Parameter, value: str | None) -> Callable[[Document], Any] | None:
    """The key of `--sort-by`: numbers before texts, what is not there last."""
    if value is None:
        return None
    from windrow.render import jsonpath

    try:
        path = jsonpath.path(value)
    except jsonpath.BadPath as error:
        raise click.BadParameter(str(error), ctx, param) from error

    def key(document: Document) -> tuple[int, float, str]:
        found = jsonpath.values(path, document)
        if not found:
            return 2, 0.0, ""
        number = isinstance(found[0], int | float) and not isinstance(found[0], bool)
        return (0, float(found[0]), "") if number else (1, 0.0, jsonpath.shown(found[0]))

    return key


def selector(ctx: click.Context, param: click.Parameter, value: str | None) -> LabelSelector | None:
    if value is None:
        return None
    from windrow.model.wire.selectors import parse_selector

    try:
        return parse_selector(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def labelled(documents: Sequence[Document], wanted: LabelSelector | None) -> list[Document]:
    return [d for d in documents if wanted is None or matches_selector(wanted, d["metadata"].get("labels") or {})]


def as_one(found: list[Document], alone: bool) -> dict[str, Any]:
    """One document where one name was asked for, else a List; aliases are not written (YAML `&id001`)."""
    if alone and len(found) == 1:
        return dict(copy.deepcopy(found[0]))
    return {"apiVersion": "v1", "kind": "List", "items": [dict(copy.deepcopy(d)) for d in found]}


# Pieces -------------------------------------------------------------------------------------------


def _yaml(found: list[Document], alone: bool, headed: bool) -> None:
    print_yaml(as_one(found, alone))


def _json(found: list[Document], alone: bool, headed: bool) -> None:
    print_json(as_one(found, alone))


def _names(found: list[Document], alone: bool, headed: bool) -> None:
    for one in found:
        say(f"{_kind(one)}/{one['metadata']['name']}")


def _kind(document: Document) -> str:
    group, slash, _ = str(document["apiVersion"]).rpartition("/")
    return f"{document['kind'].lower()}.{group}" if slash else str(document["kind"]).lower()


def _template(text: str, *, as_json: bool) -> Printer:
    from windrow.render import jsonpath

    if as_json:
        path = jsonpath.path(text)
        return lambda found, alone, _: print_json(jsonpath.values(path, as_one(found, alone)))
    pieces = jsonpath.template(text)
    return lambda found, alone, _: click.echo(jsonpath.rendered(pieces, as_one(found, alone)), nl=False)


def _columns(text: str) -> Printer:
    """`NAME:.metadata.name,VLAN:.metadata.labels.network\\.harvesterhci\\.io/vlan-id`."""
    from windrow.render import jsonpath
    from windrow.render.tables import table

    pairs = [one.partition(":") for one in text.split(",")]
    if bad := next((one for one, colon, path in pairs if not (one and colon and path)), None):
        raise jsonpath.BadPath(f"{bad!r} is no column: write HEADING:.path,HEADING:.path")
    paths = [jsonpath.path(path) for _, _, path in pairs]

    def show(found: list[Document], alone: bool, headed: bool) -> None:
        rows = [[",".join(map(jsonpath.shown, jsonpath.values(path, d))) for path in paths] for d in found]
        say(table([heading for heading, _, _ in pairs], rows, headed=headed))

    return show
