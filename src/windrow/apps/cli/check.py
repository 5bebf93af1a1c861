"""`windrow check`: what the network outside does not carry of what the manifests intend."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import click

from windrow.apps.check import alone
from windrow.apps.check.ask import ask
from windrow.apps.check.intent import intent_of
from windrow.apps.check.told import Told, exit_code, findings, rows
from windrow.apps.cli.door import control
from windrow.apps.cli.options import seconds, skip_vlans
from windrow.apps.cli.output import print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import survey
from windrow.model.cluster import Cluster
from windrow.model.problems import WindrowError
from windrow.model.values import VidSet
from windrow.model.wire.evidence import evidence_document
from windrow.netlink.errors import NoPermission
from windrow.render.text import plural, span
from windrow.render.vlanmatrix import Row, matrix_text, matrix_value
from windrow.store.checkkey import BYTES, write_key
from windrow.store.paths import Paths

EPERM = 1
POLL_S = 0.5
ASKED_S = 60.0
"""An agent's sweep, of thousands of VLANs, takes so long at most."""
_HOME, _CLEAR = "\x1b[H", "\x1b[J"

EXAMPLES = """\b
Examples:
  windrow check                        the table, and what is wrong; on one node, or on all at the same time
  windrow check --for 30s              let the others have more time to answer
  windrow check --vlan 100-120 --node node-2
  windrow check -o json | jq '.matrix[]'
  windrow check --new-key              then copy /etc/windrow/check.key to all nodes

Exit codes: 0 all is well, 1 something is found, 3 it cannot be known (no other node answered)."""


def _vids(ctx: click.Context, param: click.Parameter, value: str | None) -> VidSet | None:
    try:
        return None if value is None else VidSet.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no set of VLANs such as 100-120,200", ctx, param) from error


@click.command(epilog=EXAMPLES, short_help="Find out what the switches do not carry of what is intended")
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Show only this node. Repeatable.")
@click.option("--vlan", "vlans", callback=_vids, metavar="VLANS", help="Show only these: 100-120,200.")
@click.option("--for", "for_s", callback=seconds, metavar="TIME", help="Probe for so long (30s, 2m).")
@click.option("-w", "--watch", is_flag=True, help="Go on, and show it again and again, until Ctrl-C.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--new-key", is_flag=True, help="Make the key that the probes of this cluster are signed with.")
@skip_vlans
@click.pass_obj
def check(
    session: Session,
    nodes: tuple[str, ...],
    vlans: VidSet | None,
    for_s: float | None,
    watch: bool,
    output: str,
    new_key: bool,
    skipped: dict[str, VidSet],
) -> None:
    """Send small signed frames into every VLAN that is intended for this node's uplinks, listen to those of the other
    nodes, and show who passes in which VLAN, and what is wrong where somebody does not.

    Where an agent probes (`windrow agent --check TIME`), it is asked, and nothing is sent twice. Without one this
    command probes itself: then it has to run on the other nodes, too, or agents that probe. Guests see nothing of it.
    """
    if new_key:
        _new_key(session)
        return
    if watch and output == "json":
        raise click.UsageError("--watch is for people; programs ask again")
    shown = _Shown(session, nodes, vlans, output, watch)
    with ExitStack() as held:
        looks = _looks(session, for_s, watch, skipped, held)
        code = 0
        for told, cluster in looks:
            code = shown.show(told, cluster)
    raise click.exceptions.Exit(code)


def _new_key(session: Session) -> None:
    paths = Paths(session.root)
    write_key(paths, secrets.token_bytes(BYTES))
    say(f"{paths.check_key} written; copy it to every node of this cluster, and restart the agents there")


def _looks(
    session: Session, for_s: float | None, watch: bool, skipped: dict[str, VidSet], held: ExitStack
) -> Iterator[tuple[Told, Cluster]]:
    """What is known, once or again and again."""
    report = survey(session)
    cluster, socket = report.admitted.target, Paths(session.root).agent_socket
    told = ask(socket, now=for_s is not None or not watch)
    if told is not None:
        yield _settled(session, told, for_s or ASKED_S), cluster
        while watch:
            time.sleep(alone.PAUSE_S)
            if (told := ask(socket)) is None:
                raise WindrowError("the agent has ended")
            yield told, cluster
        return
    intent = intent_of(cluster, report.left.compiled, report.sight.observed, report.sight.facts, skipped)
    if not session.permitted():
        raise NoPermission(EPERM, "send and hear probes of this host")
    driver = held.enter_context(alone.probing(Paths(session.root), intent))
    yield alone.check(driver, intent, cluster, for_s), cluster
    while watch:
        yield alone.check(driver, intent, cluster, alone.PAUSE_S), cluster


def _settled(session: Session, told: Told, patience_s: float) -> Told:
    """The agent's answer once the sweep is done that it was asked for, and the others have told what they heard."""
    socket, wanted = Paths(session.root).agent_socket, told.sweeps + 1
    end = time.monotonic() + patience_s
    seen: float | None = None
    while time.monotonic() < end and (seen is None or time.monotonic() < seen + alone.PAUSE_S):
        time.sleep(min(POLL_S, max(0.0, end - time.monotonic())))
        if (found := ask(socket)) is None:
            break
        told = found
        if told.sweeps >= wanted and not told.under_way and seen is None:
            seen = time.monotonic()
    return told


class _Shown:
    """How it is shown, and of whom."""

    def __init__(
        self, session: Session, nodes: tuple[str, ...], vlans: VidSet | None, output: str, watch: bool
    ) -> None:
        self._session, self._nodes, self._vlans = session, nodes, vlans
        self._output, self._watch = output, watch

    def show(self, told: Told, cluster: Cluster) -> int:
        """Shows it; the exit code."""
        found, listed = findings(cluster, told.evidence), self._chosen(rows(told, cluster))
        code = exit_code(listed, found)
        if self._output == "json":
            print_json(_document(told, listed, found, code))
            return code
        lines = [matrix_text(listed, self._session.style), *_finding_lines(found), *_notes(told)]
        text = "\n".join(line for line in lines if line)
        if self._watch:
            control(f"{_HOME}{_CLEAR}")
        say(text)
        return code

    def _chosen(self, found: tuple[Row, ...]) -> tuple[Row, ...]:
        chosen: list[Row] = []
        for row in found:
            cells = {vid: s for vid, s in row.cells.items() if self._vlans is None or vid in self._vlans}
            if cells and (not self._nodes or row.node in self._nodes):
                chosen.append(replace(row, cells=cells))
        return tuple(chosen)


def _too_long(told: Told) -> Iterator[str]:
    """Pairs of legs between which the longest frames do not come through."""
    for node in told.evidence.nodes.values():
        for heard in node.heard:
            if heard.largest < heard.largest_sent:
                ways = f"from {heard.sender} to {heard.receiver}"
                yield f"{ways}: what fits into {heard.largest_sent} bytes does not arrive (VLAN {heard.vid})"


def _document(told: Told, listed: tuple[Row, ...], found: tuple[Any, ...] | None, code: int) -> dict[str, Any]:
    return {
        "node": told.node,
        "at": told.at,
        "result": {0: "healthy", 1: "findings", 3: "unknown"}[code],
        "authenticated": told.authenticated,
        "sweeps": told.sweeps,
        "framesSent": told.frames,
        "matrix": matrix_value(listed),
        "findings": None if found is None else [str(one) for one in found],
        "evidence": evidence_document(told.evidence),
    }


def _finding_lines(found: tuple[Any, ...] | None) -> list[str]:
    return [str(one) for one in found or ()]


def _notes(told: Told) -> Iterator[str]:
    own = told.evidence.nodes.get(told.node)
    if told.evidence.silent:
        silent = ", ".join(sorted(told.evidence.silent))
        yield f"nothing came from {silent}: does an agent with --check run there, or windrow check?"
    if not told.wanted or not any(told.wanted.values()):
        yield "no VLAN is intended for an uplink of this node: there is nothing to probe"
    for absent in own.absent if own is not None else ():
        yield f"{absent.nic or told.node}: {absent.reason}"
    for foreign in own.foreign if own is not None else ():
        where = f"VLAN {foreign.vid}" if foreign.vid else "the untagged VLAN"
        yield f"another cluster ({foreign.cluster}) is in {where}: {plural(foreign.frames, 'frame')}, not used"
    yield from _too_long(told)
    for reason, count in sorted(own.rejected.items()) if own is not None else ():
        yield f"{plural(count, 'frame')} not believed: {reason}"
    age = span(max(0.0, time.time() - told.at))
    signed = "signed with this cluster's key" if told.authenticated else "not authenticated: windrow check --new-key"
    yield f"{plural(told.sweeps, 'sweep')}, {plural(told.frames, 'frame')} sent, {signed}; {age} old"
