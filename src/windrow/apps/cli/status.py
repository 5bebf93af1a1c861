"""`windrow status`: this host's networks on one screen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from windrow.apps.cli.documents import claims, report_of
from windrow.apps.cli.door import control
from windrow.apps.cli.options import output
from windrow.apps.cli.output import complain, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import survey
from windrow.apps.known import agent_status, pending_change
from windrow.model.cluster import Cluster
from windrow.model.events import Event
from windrow.model.located import located
from windrow.model.problems import Problem, WindrowError
from windrow.render.overview import COLUMNS, Clock, Overview, overview_text, overview_value
from windrow.render.plan import problems_lines
from windrow.render.text import Style, shown
from windrow.status import overview
from windrow.status.overview import Told
from windrow.store.errors import StoreError
from windrow.store.events import Events
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.kube.access import Access

REFRESH_S = 2.0
DAY_S = 86_400
_HOME, _CLEAR = "\x1b[H", "\x1b[J"

EXAMPLES = """\b
Examples:
  windrow status
  windrow status -w                    refreshed every two seconds
  windrow status --exit-code >/dev/null || echo "look at this host"
  windrow status -o json | jq .well"""


@click.command(epilog=EXAMPLES, short_help="Show this host's networks on one screen")
@click.option("-w", "--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--exit-code", "telling", is_flag=True, help="End with 1 where something is wrong.")
@output
@click.pass_obj
def status(session: Session, watch: bool, telling: bool, output: str) -> None:
    """What is wrong first, since when, on which object, and what to do; then each cluster network with its uplink,
    MTU, VLANs and addresses; then what happened of late.

    Exit code 0 whatever it finds, or with --exit-code 1 where something is wrong; `.well` of `-o json` says it, too.
    Needs no privileges, and no agent: but only an agent knows since when.
    """
    if watch and telling:
        raise click.UsageError("--watch does not end, so it has no exit code")
    if session.cluster is not None:
        well = _of_cluster(session, session.cluster, watch=watch, output=output)
    else:
        well = _of_host(session, watch=watch, output=output)
    if telling and not well:
        raise click.exceptions.Exit(1)


def _of_host(session: Session, *, watch: bool, output: str) -> bool:
    """Whether all is well. A watch does not return."""
    if watch and output == "json":
        raise click.UsageError("--watch is for people; `windrow events -w -o json` is for programs")
    found, problems = look(session)
    if output == "json":
        print_json(overview_value(found))
    elif watch:
        _watch(session, found, problems)
    else:
        complain(problems, session.error_style)
        say(overview_text(found, session.style, columns=columns(), clock=clock(found.now)))
    return found.well


def _watch(session: Session, found: Overview, problems: tuple[Problem, ...]) -> None:
    """What cannot be seen for a moment is said, over what was there, and ends nothing."""
    control(_HOME + _CLEAR)
    while True:
        text = overview_text(found, session.style, columns=columns(), clock=clock(found.now))
        _refresh(text, problems, session.style)
        try:
            found, problems = look(session)
        except WindrowError as error:
            problems = (Problem(code="not-seen", message=str(error)),)


def _of_cluster(session: Session, access: Access, *, watch: bool, output: str) -> bool:
    """What its agents said, of all nodes; whether all is well."""
    from windrow.apps.incluster import loaded
    from windrow.kube.snapshot import listed
    from windrow.render.clusterwide import clusterwide_text, clusterwide_value
    from windrow.status.clusterwide import clusterwide

    if watch:
        raise click.UsageError("--watch is for this host; of a cluster, see: kubectl get vlanstatuses -w")
    documents = listed(access)
    read = loaded(documents)
    view = clusterwide(Cluster.of(read.objects), documents)
    if output == "json":
        print_json(clusterwide_value(view))
    else:
        complain(read.problems, session.error_style)
        say(clusterwide_text(view, session.style))
    return view.well


def look(session: Session) -> tuple[Overview, tuple[Problem, ...]]:
    """What there is to show, and what is wrong with the store."""
    paths = Paths(session.root)
    agent = agent_status(paths)
    report = survey(session)
    # An agent says what is wrong with manifests, and since when; both work with the versions that were good.
    admitted = report.admitted
    problems = () if agent is not None or admitted.fresh else (*admitted.problems, *admitted.warnings)
    told = Told(now=time.time(), agent=agent, pending=pending_change(paths), events=_events(paths))
    cluster = admitted.before if admitted.fresh else admitted.target
    seen = report_of(report) if agent is not None else replace(report_of(report), claims=claims(session, report))
    return overview(cluster, seen, told), located(problems, admitted.before.objects)


def _events(paths: Paths) -> tuple[Event, ...]:
    """None where they cannot be read: they are no reason to show nothing."""
    try:
        return Events(paths).all()
    except StoreError:
        return ()


def columns() -> int:
    """Of the terminal, but lines longer than 120 are hard to read; of a pipe, 80."""
    return max(40, min(shutil.get_terminal_size((COLUMNS, 24)).columns, 120))


def clock(now: float) -> Clock:
    """Local time; with the date where that is another day's."""

    def words(at: float) -> str:
        today = abs(now - at) < DAY_S and time.localtime(at).tm_yday == time.localtime(now).tm_yday
        return time.strftime("%H:%M:%S" if today else "%b %d %H:%M", time.localtime(at))

    return words


def _refresh(text: str, problems: Iterable[Problem], style: Style) -> None:
    """Over what was there, so that nothing flickers: each line clears the rest of its own."""
    lines = [*problems_lines(problems), *text.splitlines()]
    at = time.strftime("%H:%M:%S")
    frame = "".join(f"{shown(line, colour=style.colour)}\x1b[K\n" for line in lines)
    control(f"{_HOME}{frame}{at}  Ctrl-C ends this{_CLEAR}")
    time.sleep(REFRESH_S)
