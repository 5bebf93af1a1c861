"""`windrow get`: objects as tables, YAML, JSON, names, or what a template makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click

from windrow.apps.cli.documents import documents, with_running
from windrow.apps.cli.formats import Printer, complete_form, form, labelled, selector, sorting
from windrow.apps.cli.options import complete_kind, namespace
from windrow.apps.cli.output import Again, say
from windrow.apps.cli.selection import Document, parse, select
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.objects import KINDS
from windrow.model.problems import ProblemsError
from windrow.model.selectors import LabelSelector
from windrow.render.tables import documents_table

WATCH_S = 1.0
"""So often a watch looks."""

EXAMPLES = """\b
Examples:
  windrow get vc                         VlanConfigs (short names: cn vc vs lm hnc nad vm vmi no)
  windrow get cn,vc,nad -o wide          several kinds, more columns
  windrow get all
  windrow get vs -o yaml                 with status, labels and annotations
  windrow get vlanconfig/oob -o json
  windrow get nad -n default -o name
  windrow get nad -l network.harvesterhci.io/clusternetwork=oob --sort-by .metadata.name
  windrow get nodes -o jsonpath='{.items[*].metadata.name}'
  windrow get nad -o custom-columns=NAME:.metadata.name,TYPE:.metadata.labels.network\\.harvesterhci\\.io/type"""


@click.command(epilog=EXAMPLES, short_help="List objects")
@click.argument("words", nargs=-1, required=True, metavar="KIND[,KIND] [NAME]...", shell_complete=complete_kind)
@click.option(
    "-o",
    "--output",
    "how",
    callback=form,
    shell_complete=complete_form,
    metavar="FORMAT",
    help="wide, yaml, json, name, jsonpath=TEMPLATE, jsonpath-as-json=PATH, custom-columns=HEADING:PATH; else a table.",
)
@namespace
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces; so it is without -n too.")
@click.option("-l", "--selector", "wanted", callback=selector, metavar="LABELS", help="a=b,c!=d,e in (f,g),h,!i")
@click.option("--sort-by", "key", callback=sorting, metavar="PATH", help="Such as .metadata.name.")
@click.option("--show-labels", is_flag=True, help="One more column.")
@click.option("--no-headers", is_flag=True, help="No headings over the columns.")
@click.option("--ignore-not-found", is_flag=True, help="Say nothing of names that are not there.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and show what changes, until Ctrl-C.")
@click.pass_obj
def get(
    session: Session,
    words: tuple[str, ...],
    how: str | Printer | None,
    namespace: str | None,
    all_namespaces: bool,
    wanted: LabelSelector | None,
    key: Callable[[Document], Any] | None,
    show_labels: bool,
    no_headers: bool,
    ignore_not_found: bool,
    watch: bool,
) -> None:
    """List objects: those of the store, and those that Windrow derives from it (VlanStatus, LinkMonitor).

    Labels, annotations and status are shown as Harvester's manager would have written them; the stored
    manifests stay as they are. Needs no privileges.
    """
    selection = parse(words)
    if wanted is not None and selection.wanted:
        raise click.UsageError("names and -l cannot be mixed")

    def look() -> list[Document]:
        space = None if all_namespaces else namespace
        every = with_running(session, documents(session), {kind.name for kind in selection.all_kinds})
        those = select(every, selection, space, lambda: stored(session)[1], some=ignore_not_found)
        found = labelled(those, wanted)
        return sorted(found, key=key) if key else found

    def show(found: list[Document], *, headed: bool) -> None:
        if ignore_not_found and not found:
            return
        if callable(how):
            how(found, len(selection.wanted) == 1, headed)
        else:
            _tables(session, found, wide=how == "wide", labels=show_labels, headed=headed)

    found = look()
    show(found, headed=not no_headers)
    for changed in _changes(Again(partial(_or_gone, look), session.error_style), found) if watch else ():
        show(changed, headed=False)


def _or_gone(look: Callable[[], list[Document]]) -> list[Document]:
    """What was asked for by name may be gone, and come back."""
    try:
        return look()
    except ProblemsError:
        return []


def _changes(again: Again[list[Document]], before: list[Document]) -> Iterator[list[Document]]:
    """What has changed or come since, whenever there is some. An object that is gone is not there to be shown."""
    while True:
        time.sleep(WATCH_S)
        if (after := again.look()) is None:
            continue
        if new := [document for document in after if document not in before]:
            yield new
        before = after


def _tables(session: Session, found: list[Document], *, wide: bool, labels: bool, headed: bool) -> None:
    if not found:
        click.echo("No resources found", err=True)
        return
    kinds = [k for k in KINDS if any(d["kind"] == k.name for d in found)]
    several = len(kinds) > 1
    texts = []
    for kind in kinds:
        rows = [_prefixed(d) if several else d for d in found if d["kind"] == kind.name]
        texts.append(documents_table(kind.name, rows, wide=wide, labels=labels, headed=headed, style=session.style))
    say("\n".join(texts))


def _prefixed(document: Document) -> Document:
    """`vlanconfig/oob`, as kubectl prints names where the kinds are several."""
    meta = {**document["metadata"], "name": f"{document['kind'].lower()}/{document['metadata']['name']}"}
    return {**document, "metadata": meta}
