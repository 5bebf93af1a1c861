"""`windrow check`: what the network outside does not carry of what the manifests intend."""

from __future__ import annotations

import secrets
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import click

from windrow.apps.check.told import UNKNOWN, Told, exit_code, rows
from windrow.apps.cli.door import control
from windrow.apps.cli.hearing import look_again
from windrow.apps.cli.options import complete_node, seconds, skip_vlans
from windrow.apps.cli.output import complain_of, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.apps.cli.switchside import cabling_of, statement_lines
from windrow.diagnose import diagnose
from windrow.model.cluster import Cluster
from windrow.model.evidence import Absent, Kind
from windrow.model.findings import Finding
from windrow.model.problems import WindrowError
from windrow.model.values import VidSet
from windrow.model.wire.evidence import evidence_document
from windrow.render.findings import checked_text, finding_value
from windrow.render.text import plural, span
from windrow.render.vlanmatrix import Row, matrix_value
from windrow.store.checkkey import BYTES, write_key
from windrow.store.paths import Paths

_HOME, _CLEAR = "\x1b[H", "\x1b[J"

EXAMPLES = """\b
Examples:
  windrow check                        the table, and what is wrong; on one node, or on all at the same time
  windrow check --for 30s              let the others have more time to answer
  windrow check --vlan 100-120 --node node-2
  windrow check -o json | jq '.matrix[]'
  windrow check --new-key              then copy /etc/windrow/check.key to all nodes

Exit codes: 0 all is well, 1 something is found, 3 it cannot be known (no other node answered, or the check failed)."""


def _vids(ctx: click.Context, param: click.Parameter, value: str | None) -> VidSet | None:
    if value is None:
        return None
    found = VidSet()
    with suppress(ValueError):
        found = VidSet.parse(value)
    if not found:
        raise click.BadParameter(f"{value!r} is no set of VLANs such as 100-120,200", ctx, param)
    return found


@click.command(epilog=EXAMPLES, short_help="Find out what the switches do not carry of what is intended")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NODE",
    shell_complete=complete_node,
    help="Show only this node. Repeatable.",
)
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
    code = UNKNOWN
    try:
        with interruptible(), ExitStack() as held:
            for told, cluster in look_again(session, skipped, held, for_s, watch=watch):
                code = shown.show(told, cluster)
    except WindrowError as error:  # 1 would say that something was found
        complain_of(error, session.error_style)
        code = UNKNOWN
    except KeyboardInterrupt:  # the way to end --watch; else it is no answer
        code = code if watch else 128 + signal.SIGINT
    raise click.exceptions.Exit(code)


def _new_key(session: Session) -> None:
    paths = Paths(session.root)
    write_key(paths, secrets.token_bytes(BYTES))
    say(f"{paths.check_key} written; copy it to every node of this cluster, and restart the agents there")


class _Shown:
    """How it is shown, and of whom."""

    def __init__(
        self, session: Session, nodes: tuple[str, ...], vlans: VidSet | None, output: str, watch: bool
    ) -> None:
        self._session, self._nodes, self._vlans = session, nodes, vlans
        self._output, self._watch = output, watch

    def show(self, told: Told, cluster: Cluster) -> int:
        """Shows it; the exit code."""
        found = tuple(one for one in diagnose(cluster, told.evidence) if self._is_asked_for(one))
        listed = self._chosen(rows(told, cluster))
        code = exit_code(listed, found)
        if self._output == "json":
            print_json(_document(told, listed, found, code))
            return code
        notes = [*self._unmet(listed, told, cluster), *_notes(told)]
        notes += statement_lines(found, cabling_of(self._session, told.evidence))
        columns = shutil.get_terminal_size((120, 24)).columns
        text = checked_text(listed, found, notes, style=self._session.style, columns=columns)
        if self._watch:
            control(f"{_HOME}{_CLEAR}")
        say(text)
        return code

    def _unmet(self, listed: tuple[Row, ...], told: Told, cluster: Cluster) -> Iterator[str]:
        """What was asked for by a name that nobody has."""
        everything = rows(told, cluster)
        known = sorted({row.node for row in everything})
        for node in self._nodes:
            if node not in known:
                yield f"no node {node} is known here: there are {', '.join(known) or 'none'}"
        if self._vlans is not None and everything and not listed and set(self._nodes) <= set(known):
            yield f"VLAN {self._vlans} is intended for no uplink"

    def _is_asked_for(self, one: Finding) -> bool:
        """Also what is about no node or no VLAN in particular."""
        of_node = not self._nodes or not one.legs or any(leg.node in self._nodes for leg in one.legs)
        return of_node and (self._vlans is None or not one.vids or bool(self._vlans & one.vids))

    def _chosen(self, found: tuple[Row, ...]) -> tuple[Row, ...]:
        chosen: list[Row] = []
        for row in found:
            cells = {vid: s for vid, s in row.cells.items() if self._vlans is None or vid in self._vlans}
            if cells and (not self._nodes or row.node in self._nodes):
                chosen.append(replace(row, cells=cells))
        return tuple(chosen)


def _document(told: Told, listed: tuple[Row, ...], found: tuple[Finding, ...], code: int) -> dict[str, Any]:
    return {
        "node": told.node,
        "at": told.at,
        "result": {0: "healthy", 1: "findings", 3: "unknown"}[code],
        "authenticated": told.authenticated,
        "sweeps": told.sweeps,
        "framesSent": told.frames,
        "matrix": matrix_value(listed),
        "findings": [finding_value(one) for one in found],
        "evidence": evidence_document(told.evidence),
    }


def absent_lines(absent: Iterable[Absent]) -> Iterator[str]:
    """What could not be had: of probes all, of each other kind one and how many more. Switches that send no LLDP are
    many, and counters are not missed by anybody."""
    others: dict[Kind, list[Absent]] = {}
    for one in absent:
        if one.kind is Kind.PROBE:
            yield f"{one.nic or one.kind}: {one.reason}"
        elif one.kind is not Kind.COUNTERS:
            others.setdefault(one.kind, []).append(one)
    for kind, them in others.items():
        if kind is Kind.LLDP and all(one.nic for one in them):
            nics = ", ".join(str(one.nic) for one in them)
            yield f"no switch tells of itself by LLDP on {nics}: windrow neighbors says why"
        else:
            more = f" (and {len(them) - 1} more: -o json)" if len(them) > 1 else ""
            yield f"{kind}: {them[0].reason}{more}"


def _notes(told: Told) -> Iterator[str]:
    own = told.evidence.nodes.get(told.node)
    if told.evidence.silent:
        silent = ", ".join(sorted(told.evidence.silent))
        yield f"nothing came from {silent}: does an agent with --check run there, or windrow check?"
    for node, relay in sorted(told.evidence.relayed.items()):
        yield f"{node} is not heard here: {relay.by} passed on what it told, {span(relay.age_s)} old"
    if not told.wanted or not any(told.wanted.values()):
        yield "no VLAN is intended for an uplink of this node: there is nothing to probe"
    yield from absent_lines(own.absent if own is not None else ())
    for foreign in own.foreign if own is not None else ():
        where = f"VLAN {foreign.vid}" if foreign.vid else "the untagged VLAN"
        yield f"another cluster ({foreign.cluster}) is in {where}: {plural(foreign.frames, 'frame')}, not used"
    for reason, count in sorted(own.rejected.items()) if own is not None else ():
        yield f"{plural(count, 'frame')} not believed: {reason}"
    age = span(max(0.0, time.time() - told.at))
    signed = "signed with this cluster's key" if told.authenticated else "not authenticated: windrow check --new-key"
    yield f"{plural(told.sweeps, 'sweep')}, {plural(told.frames, 'frame')} sent, {signed}; {age} old"
