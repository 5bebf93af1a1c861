"""`windrow events`: what happened on this host's networks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from windrow.apps.cli.output import Again, print_json, say
from windrow.apps.cli.session import Session
from windrow.model.events import Event, EventType
from windrow.model.wire.happenings import event_document
from windrow.render.events import events_table
from windrow.render.values import document
from windrow.store.events import Events
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.kube.access import Access

POLL_S = 0.5

EXAMPLES = """\b
Examples:
  windrow events
  windrow events -w                    and what happens from now on
  windrow events --type Warning
  windrow events -o json | jq '.items[].message'"""


@click.command(epilog=EXAMPLES, short_help="Show what happened on this host's networks")
@click.option("-w", "--watch", is_flag=True, help="Go on, and show what happens.")
@click.option("--type", "type_", type=click.Choice([t.value for t in EventType]), help="Only these.")
@click.option("-o", "--output", type=click.Choice(["json"]), help="Format; else a table.")
@click.pass_obj
def events(session: Session, watch: bool, type_: str | None, output: str | None) -> None:
    """What the agent found and did, the newest last: what drifted and was repaired, what failed, who fights over what.

    The last 1,000; what happened again within ten minutes stands in one line. Needs no privileges.
    """
    if session.cluster is not None:
        _of_cluster(session, session.cluster, type_, output, watch=watch)
        return
    store = Events(Paths(session.root))

    def wanted() -> list[Event]:
        return [e for e in store.all() if type_ in (None, e.type.value)]

    found = wanted()
    if output == "json" and not watch:
        print_json(document("EventList", items=[event_document(e) for e in found]))
        return
    if not found and not watch:
        click.echo("No events found", err=True)
    _show(session, found, output)
    seen, again, late = set(found), Again(wanted, session.error_style), False
    while watch:
        time.sleep(POLL_S)
        if not late and not store.changed():
            continue
        now = again.look()
        late = now is None
        if now is not None:
            _show(session, [e for e in now if e not in seen], output, header=not seen)
            seen = set(now)


def _of_cluster(session: Session, access: Access, type_: str | None, output: str | None, *, watch: bool) -> None:
    """What the agents of all nodes told."""
    from windrow.kube.snapshot import events as told
    from windrow.status.published import event_in

    if watch:
        raise click.UsageError("--watch is for this host; of a cluster, see: kubectl get events -w")
    every = sorted(map(event_in, told(access)), key=lambda event: event.last)
    found = [event for event in every if type_ in (None, event.type.value)]
    if output == "json":
        print_json(document("EventList", items=[event_document(e) for e in found]))
    elif not found:
        click.echo("No events found", err=True)
    else:
        _show(session, found, output)


def _show(session: Session, found: Iterable[Event], output: str | None, *, header: bool = True) -> None:
    listed = list(found)
    if output == "json":
        for event in listed:
            print_json(event_document(event))
    elif listed:
        say(events_table(listed, time.time(), header=header, style=session.style))
