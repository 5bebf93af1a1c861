"""`windrow switch`: the switches' side of what the manifests want."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from windrow.apps.cli.options import files, root_of, skip_vlans
from windrow.apps.cli.output import aside, complain, complain_of, gate, print_json, print_yaml, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.switchside import Side, Sources, cabled, side_of
from windrow.model.problems import Problem, ProblemsError, WindrowError, errors
from windrow.model.values import VidSet
from windrow.render.tables import table
from windrow.store.named import read_named
from windrow.switches.cabling import Cabling, cabling_document
from windrow.switches.compare import Compared, Verdict, compare, seen_config
from windrow.switches.config import SwitchChange, SwitchConfig, change, configs_of, nothing, of_node
from windrow.switches.systems import SYSTEMS
from windrow.switches.text import beside, document_of, statements

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = """\b
Examples:
  windrow switch cabling > cabling.yaml                          what LLDP shows, as a file
  windrow switch config --cabling cabling.yaml                   the statements for all switches
  windrow switch config --switch tor-1 --format eos
  windrow switch config --template eos=mine.j2                   with a template of yours for one system
  windrow switch config -f vlan300.yaml --delta                  what this change needs on ports in use
  windrow switch config -f vlan300.yaml --delta --inverse        and how to take it back
  windrow switch diff                                            wanted against LLDP, LACP and probes
  windrow switch diff --evidence seen.json                       against what `windrow check -o json` printed"""


@click.group(epilog=EXAMPLES, short_help="Show what the switches must be told, and what differs")
def switch() -> None:
    """What the manifests want of the switches: the statements for each system, and what LLDP, LACP and probes show.

    Which NIC is in which port comes from a cabling file (/etc/windrow/cabling.yaml, or --cabling), and from LLDP. What
    LLDP and probes show is asked for where it is needed, as `windrow check` does, or read with --evidence. Nothing is
    sent to any switch.
    """


def _cabled(ctx: click.Context) -> Cabling:
    """The cabling file alone: nobody is asked while somebody types."""
    return cabled(root_of(ctx), ctx.params.get("cabling"))


def _complete_switch(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(s.name) for s in _cabled(ctx).switches if s.name.startswith(incomplete)]


def _complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    nodes = {leg.node for s in _cabled(ctx).switches for leg in s.ports.values()}
    return [CompletionItem(node) for node in sorted(nodes) if node.startswith(incomplete)]


def _templates(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """System -> file; the empty name is for all others."""
    found: dict[str, Path] = {}
    for value in values:
        system, _, path = value.partition("=")
        if system not in SYSTEMS:
            system, path = "", value
        if not path or system in found:
            reason = "two templates for one system" if path else "no file"
            raise click.BadParameter(f"{value!r}: {reason}", ctx, param)
        found[system] = Path(path)
    return found


_SYSTEM = click.Choice(list(SYSTEMS))


def known_from(function: F) -> F:
    """The options of all of them; the function gets `sources`."""

    @functools.wraps(function)
    def with_sources(
        *args: Any, cabling: Path | None, evidence: Path | None, skipped: dict[str, VidSet], **kwargs: Any
    ) -> Any:
        found = Sources(cabling=cabling, evidence=evidence, skipped=skipped)
        return function(*args, sources=found, **kwargs)

    path = click.Path(dir_okay=False, path_type=Path)
    decorated: Any = with_sources
    for option in (
        skip_vlans,
        click.option(
            "--switch", "only_switch", metavar="NAME", shell_complete=_complete_switch, help="Of this switch alone."
        ),
        click.option("--evidence", type=path, metavar="FILE", help="What `windrow check -o json` printed."),
        click.option("--cabling", type=path, metavar="FILE", help="Which NIC is in which port of which switch."),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


@switch.command(
    short_help="Print the statements for switches",
    epilog="\b\nExit codes: 0 fine, 1 something cannot be done on one of the switches.",
)
@files(required=False)
@known_from
@click.option("--node", metavar="NODE", shell_complete=_complete_node, help="For the ports of this node alone.")
@click.option("--format", "system", type=_SYSTEM, help="For this system, whatever the cabling file and LLDP say.")
@click.option("--delta", is_flag=True, help="Only what changes: by -f, or else from what LLDP shows now.")
@click.option("--inverse", is_flag=True, help="What takes it back.")
@click.option("--lldp", is_flag=True, help="Have the switch announce its VLANs, which makes `windrow check` exact.")
@click.option(
    "--template",
    "templates",
    multiple=True,
    callback=_templates,
    metavar="[SYSTEM=]FILE",
    help="A Jinja2 template of yours, for all switches or for those of one system (eos=mine.j2). Repeatable.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: what templates get.")
@click.pass_obj
def config(
    session: Session,
    places: tuple[str, ...],
    sources: Sources,
    only_switch: str | None,
    node: str | None,
    system: str | None,
    delta: bool,
    inverse: bool,
    lldp: bool,
    templates: dict[str, Path],
    output: str,
) -> None:
    """Print what each switch must be told for the stored manifests (with those of -f): VLANs, trunks with exactly
    their VLANs, channels that match the bond modes, MTU, edge ports.

    Without --delta: the whole configuration of the ports. With it: what has to be added and removed on ports in use,
    which loses nothing. A switch that cannot do it is named, with the reason, and gets no statements.
    """
    own = {name: _read(path) for name, path in templates.items()}
    side = side_of(session, places, sources, lately=delta and not places)
    if node is not None:
        _there_is(node, side)
    changes, problems = _changes(side, only_switch, node, system or "", delta=delta, changed=bool(places))
    if inverse:
        changes = [one.inverse() for one in changes]
    documents = [document_of(one, lldp=lldp) for one in changes]
    for name in sorted(own.keys() - {one.after.system for one in changes} - {""}):
        aside(f"--template {name}={templates[name]}: nothing is printed for {name} here")
    if output == "json":
        print_json({"switches": documents})
    else:
        for document, one in zip(documents, changes, strict=True):
            _print(document, one, own.get(one.after.system) or own.get(""))
    complain(problems, session.error_style)
    if errors(problems):
        raise click.exceptions.Exit(1)


def _changes(
    side: Side, only: str | None, node: str | None, system: str, *, delta: bool, changed: bool
) -> tuple[list[SwitchChange], tuple[Problem, ...]]:
    """Per switch what is to be printed; a switch with an error has nothing."""
    cabling = _picked(side.cabling, only)
    before = configs_of(side.needs_before, cabling, side.before, system, only=only)
    after = configs_of(side.needs, cabling, side.after, system, only=only, kept=before.switches if changed else ())
    problems = [*cabling.problems, *after.problems]
    changes: list[SwitchChange] = []
    for wanted in (of_node(one, node) if node is not None else one for one in after.switches):
        start = nothing(wanted)
        if delta and changed:
            start = next((c for c in before.switches if c.name == wanted.name), start)
            start = of_node(start, node) if node is not None else start
        elif delta:
            start, untold = seen_config(wanted, side.cabling, side.missing)
            if untold:
                problems.append(_untold(wanted, untold))
                continue
        changes.append(change(start, wanted))
    return changes, tuple(problems)


def _there_is(node: str, side: Side) -> None:
    """Raises WindrowError where no uplink is on that node."""
    there = sorted({w.node for w in (*side.needs.wanted, *side.needs_before.wanted)})
    if node not in there:
        known = f"there are {', '.join(there)}" if there else "no VlanConfig selects a node"
        raise WindrowError(f"no cluster network has an uplink on a node {node!r}\n    hint: {known}")


def _picked(cabling: Cabling, only: str | None) -> Cabling:
    """Raises WindrowError where there is no such switch, or none at all, or the file contradicts what is seen."""
    if not cabling.switches:
        raise WindrowError(
            "which NIC is plugged into which switch is not known\n    hint: write a cabling file: `windrow switch "
            "cabling --help`; where LLDP is heard, --evidence gives it"
        )
    if only is not None and cabling.switch(only) is None:
        names = ", ".join(s.name for s in cabling.switches)
        raise WindrowError(f"there is no switch {only!r} in the cabling\n    hint: there are {names}")
    if errors(cabling.problems):
        raise ProblemsError(cabling.problems)
    return cabling


def _untold(config: SwitchConfig, ports: tuple[str, ...]) -> Problem:
    return Problem(
        code="delta-unknown",
        message=f"what {', '.join(ports)} of {config.name} carry now is not known: neither LLDP nor probes tell it",
        hint="give the change with -f, or print the whole configuration without --delta",
    )


_Own = tuple[str, str]
"""A template of the user's: its name, its text."""


def _print(document: dict[str, Any], one: SwitchChange, own: _Own | None) -> None:
    if one.none:
        say(f"# {one.after.name}: nothing to change")
        return
    name, text = own or (f"{one.after.system}.j2", _built_in(one.after.system))
    say(statements(document, text, name))
    for line in beside(document) if own is None else ():
        aside(line)


def _built_in(system: str) -> str:
    return (package_files("windrow.switches") / "templates" / f"{system}.j2").read_text(encoding="utf-8")


def _read(path: Path) -> _Own:
    try:
        return str(path), read_named(path).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not UTF-8"
        raise WindrowError(f"cannot read {path}: {reason}") from error


@switch.command(short_help="Print a template, to change it and give it back with --template")
@click.argument("system", type=_SYSTEM)
def template(system: str) -> None:
    """Print the built-in template of a switch system."""
    click.echo(_built_in(system), nl=False)


@switch.command(
    short_help="Print a cabling file",
    epilog="""\b
A cabling file:
  switches:
  - name: tor-1                as LLDP calls it
    system: eos                windrow switch config --help lists them
    native: 50                 the VLAN of frames without a tag; 1 where nothing is said
    shared: tor-2              both are one LACP system (MLAG, vPC, VLT, MC-LAG, ESI), and name each other
    ports:
      Ethernet1: node-1/eth1
    channels:                  numbers of channels, where they matter
      node-1/oob: 10
  - name: tor-2
    shared: tor-1
    ports:
      Ethernet1: node-1/eth2""",
)
@files(required=False)
@known_from
@click.pass_obj
def cabling(session: Session, places: tuple[str, ...], sources: Sources, only_switch: str | None) -> None:
    """Print which NIC is plugged into which port: the cabling file, with what LLDP shows. Where they contradict each
    other it is an error."""
    side = side_of(session, places, sources)
    found = _picked(side.cabling, only_switch)
    gate(found.problems, session.error_style)
    kept = tuple(s for s in found.switches if only_switch in (None, s.name))
    print_yaml(cabling_document(Cabling(switches=kept)))


@switch.command(
    short_help="Show what differs on the switches",
    epilog="\b\nExit codes: 0 nothing differs, 1 something does or cannot be at all, 2 and more: it failed.",
)
@files(required=False)
@known_from
@click.option("-a", "--all", "everything", is_flag=True, help="Also what is as it should be, and what nobody tells.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def diff(
    session: Session,
    places: tuple[str, ...],
    sources: Sources,
    only_switch: str | None,
    everything: bool,
    output: str,
) -> None:
    """Compare what is wanted of each switch port with what LLDP, LACP and probes show of it. What nobody tells is no
    difference: a switch that names no VLANs says nothing about them."""
    try:
        side = side_of(session, places, sources, lately=True)
        picked = _picked(side.cabling, only_switch)
    except WindrowError as error:
        complain_of(error, session.error_style)
        raise click.exceptions.Exit(2) from error
    found = configs_of(side.needs, picked, side.after, "openconfig", only=only_switch)  # which can do everything
    compared = [row for one in found.switches for row in compare(one, picked, side.evidence)]
    rows = [row for row in compared if everything or row.verdict is Verdict.DIFFERS]
    if output == "json":
        print_json({"ports": [_row_value(row) for row in rows]})
    elif rows:
        say(table(("SWITCH", "PORT", "NIC", "WHAT", "WANTED", "SEEN", "BY", "VERDICT"), list(_cells(rows))))
    untold = sum(row.verdict is Verdict.UNTOLD for row in compared)
    if untold and not everything:
        aside(f"of {untold} things of {len(compared)} nobody tells: --all shows them")
    impossible = errors(found.problems)
    complain(impossible, session.error_style)
    if impossible or any(row.verdict is Verdict.DIFFERS for row in rows):
        raise click.exceptions.Exit(1)


def _cells(rows: list[Compared]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        source = row.source.value if row.source else ""
        yield row.switch, row.port, str(row.leg), row.what, row.wanted, row.seen, source, row.verdict.value


def _row_value(row: Compared) -> dict[str, Any]:
    return {
        "switch": row.switch,
        "port": row.port,
        "node": row.leg.node,
        "nic": row.leg.nic,
        "what": row.what,
        "wanted": row.wanted,
        "seen": row.seen,
        "source": row.source.value if row.source else None,
        "verdict": row.verdict.value,
    }
