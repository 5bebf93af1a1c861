"""`windrow get`: objects as tables, YAML, JSON or names."""

from __future__ import annotations

import copy
from typing import Any

import click

from windrow.apps.cli.documents import documents
from windrow.apps.cli.options import complete_kind, namespace
from windrow.apps.cli.output import print_json, print_yaml, say
from windrow.apps.cli.selection import Document, Selection, parse, select
from windrow.apps.cli.session import Session
from windrow.model.objects import KINDS
from windrow.render.tables import documents_table

EXAMPLES = """\b
Examples:
  windrow get vc                         VlanConfigs (short names: cn vc vs lm hnc nad vm vmi no)
  windrow get cn,vc,nad -o wide          several kinds, more columns
  windrow get all
  windrow get vs -o yaml                 with status, labels and annotations
  windrow get vlanconfig/oob -o json
  windrow get nad -n default -o name"""


@click.command(epilog=EXAMPLES, short_help="List objects")
@click.argument("words", nargs=-1, required=True, metavar="KIND[,KIND] [NAME]...", shell_complete=complete_kind)
@click.option("-o", "--output", type=click.Choice(["wide", "yaml", "json", "name"]), help="Format; else a table.")
@namespace
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces; so it is without -n too.")
@click.pass_obj
def get(
    session: Session, words: tuple[str, ...], output: str | None, namespace: str | None, all_namespaces: bool
) -> None:
    """List objects: those of the store, and those that Windrow derives from it (VlanStatus, LinkMonitor).

    Labels, annotations and status are shown as Harvester's manager would have written them; the stored
    manifests stay as they are. Needs no privileges.
    """
    selection = parse(words)
    found = select(documents(session), selection, None if all_namespaces else namespace)
    match output:
        case "json":
            print_json(_as_one(found, selection))
        case "yaml":
            print_yaml(_as_one(found, selection))
        case "name":
            say("\n".join(f"{_kind(d)}/{d['metadata']['name']}" for d in found))
        case _:
            _tables(session, found, selection, wide=output == "wide")


def _as_one(found: list[Document], selection: Selection) -> dict[str, Any]:
    """One document where one name was asked for, else a List; aliases are not written (YAML `&id001`)."""
    if len(selection.wanted) == 1 and len(found) == 1:
        return dict(copy.deepcopy(found[0]))
    return {"apiVersion": "v1", "kind": "List", "items": [dict(copy.deepcopy(d)) for d in found]}


def _kind(document: Document) -> str:
    group, slash, _ = str(document["apiVersion"]).rpartition("/")
    return f"{document['kind'].lower()}.{group}" if slash else str(document["kind"]).lower()


def _tables(session: Session, found: list[Document], selection: Selection, *, wide: bool) -> None:
    if not found:
        click.echo("No resources found", err=True)
        return
    kinds = [k for k in KINDS if any(d["kind"] == k.name for d in found)]
    several = len(kinds) > 1
    texts = []
    for kind in kinds:
        rows = [_prefixed(d) if several else d for d in found if d["kind"] == kind.name]
        texts.append(documents_table(kind.name, rows, wide=wide, style=session.style))
    say("\n".join(texts))


def _prefixed(document: Document) -> Document:
    """`vlanconfig/oob`, as kubectl prints names where the kinds are several."""
    meta = {**document["metadata"], "name": f"{document['kind'].lower()}/{document['metadata']['name']}"}
    return {**document, "metadata": meta}
