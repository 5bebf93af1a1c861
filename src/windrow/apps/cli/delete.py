"""`windrow delete`: objects out of the store, and what they made out of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click

from windrow.apps.cli.change import Options, change
from windrow.apps.cli.manifests import read
from windrow.apps.cli.options import complete_kind, confirm, dry_run, files, max_impact, namespace, output
from windrow.apps.cli.output import complain, gate
from windrow.apps.cli.selection import not_found, parse
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.checkpoint import Probe
from windrow.model.cluster import Cluster
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.objects import AnyObject, Kind
from windrow.model.problems import Problem, ProblemsError, Severity, errors
from windrow.model.steps import Impact
from windrow.model.values import Ref
from windrow.rules import Wish
from windrow.store.machines import RECORD, Machines

DERIVED = ("VlanStatus", "LinkMonitor")
"""Kinds that Windrow derives; a LinkMonitor may be stored as well."""

EXAMPLES = """\b
Examples:
  windrow delete vc oob
  windrow delete nad/vlan100 nad/vlan200
  windrow delete -f oob.yaml --dry-run
  windrow delete hnc storage --ignore-not-found"""


@click.command(epilog=EXAMPLES, short_help="Remove objects, and what they made on this host")
@click.argument("words", nargs=-1, metavar="[KIND NAME...]", shell_complete=complete_kind)
@files(required=False)
@namespace
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@dry_run
@max_impact
@confirm
@output
@click.pass_obj
def delete(
    session: Session,
    words: tuple[str, ...],
    places: tuple[str, ...],
    namespace: str | None,
    ignore_not_found: bool,
    dry_run: bool,
    max_impact: str,
    confirm_s: float | None,
    probes: tuple[Probe, ...],
    output: str,
) -> None:
    """Remove objects from the store, and what they made from this host's kernel.

    The same checks as for `windrow apply`: what others still need is not deleted, and `mgmt` is built in.
    """
    if bool(words) == bool(places):
        raise click.UsageError("give KIND and NAME, or -f FILE")
    cluster, problems = stored(session)
    if places:
        loaded = read(places)
        named = dict.fromkeys((*(o.ref for o in loaded.objects), *sorted(loaded.unread)))
        # Whatever else is wrong with a document, its name says what is to go.
        gate([p for p in loaded.problems if p.about not in named], session.error_style)
        gone, missing = _stored_ones(cluster, list(named))
    else:
        selection = parse(words)
        if not selection.wanted:
            raise click.UsageError("give the names of the objects to delete")
        gone, missing = _named(cluster, selection.wanted, namespace)
    if missing and (not ignore_not_found or errors(problems)):
        # What is not found may be in a file, or a document, that cannot be read: then nobody knows that it is gone.
        raise ProblemsError([*missing, *errors(problems)])
    if session.verbose:
        complain((replace(p, severity=Severity.WARNING) for p in missing), session.error_style)
    if gone:
        complain(_running(session, gone), session.error_style)
        options = Options(
            dry_run=dry_run,
            max_impact=Impact(max_impact),
            json=output == "json",
            confirm_s=confirm_s,
            probes=probes,
            command="windrow delete",
        )
        change(session, Wish(remove=tuple(gone)), options)


def _stored_ones(cluster: Cluster, refs: list[Ref]) -> tuple[list[AnyObject], list[Problem]]:
    found = [cluster.objects[ref] for ref in refs if ref in cluster.objects]
    missing = [Problem(code="not-found", message=f"{ref} not found") for ref in refs if ref not in cluster.objects]
    return found, missing


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


def _running(session: Session, gone: list[AnyObject]) -> Iterator[Problem]:
    """Machines of which there is something on this host: that does not go with their manifest."""
    for one in gone:
        if isinstance(one, VirtualMachine | VirtualMachineInstance):
            if not (Machines(session.root).directory(one.meta.namespace, one.name) / RECORD).exists():
                continue
            where = "" if one.meta.namespace == "default" else f" -n {one.meta.namespace}"
            yield Problem(
                code="still-runs",
                message="it is still there on this host, as it was started",
                hint=f"`windrow vm stop {one.name}{where}` ends it",
                about=one.ref,
                severity=Severity.WARNING,
            )


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
