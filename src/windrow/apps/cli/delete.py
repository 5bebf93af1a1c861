"""`windrow delete`: objects out of the store, and what they made out of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click

from windrow.apps.cli.change import Options, change, changing
from windrow.apps.cli.chosen import Which, choosing, chosen
from windrow.apps.cli.manifests import read
from windrow.apps.cli.options import complete_kind, files
from windrow.apps.cli.output import complain, gate
from windrow.apps.cli.selection import parse
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.model.cluster import Cluster
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, ProblemsError, Severity, errors
from windrow.model.values import Ref
from windrow.rules import Wish
from windrow.store.machines import RECORD, Machines

EXAMPLES = """\b
Examples:
  windrow delete vc oob
  windrow delete nad/vlan100 nad/vlan200
  windrow delete nad -n team-a --all
  windrow delete nad -l network.harvesterhci.io/clusternetwork=oob
  windrow delete -f oob.yaml --dry-run
  windrow delete hnc storage --ignore-not-found"""


@click.command(epilog=EXAMPLES, short_help="Remove objects, and what they made on this host")
@click.argument("words", nargs=-1, metavar="[KIND NAME...]", shell_complete=complete_kind)
@files(required=False)
@choosing
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@changing("windrow delete")
@click.pass_obj
def delete(
    session: Session,
    words: tuple[str, ...],
    places: tuple[str, ...],
    which: Which,
    ignore_not_found: bool,
    options: Options,
) -> None:
    """Remove objects from the store, and what they made from this host's kernel.

    The same checks as for `windrow apply`: what others still need is not deleted, and `mgmt` is built in.
    """
    if bool(words) == bool(places):
        raise click.UsageError("give KIND and NAME, or -f FILE")
    if places and which.several:
        raise click.UsageError("-f and -l or --all cannot be mixed")
    cluster, problems = stored(session)
    if places:
        loaded = read(places)
        named = dict.fromkeys((*(o.ref for o in loaded.objects), *sorted(loaded.unread)))
        # Whatever else is wrong with a document, its name says what is to go.
        gate([p for p in loaded.problems if p.about not in named], session.error_style)
        gone, missing = _stored_ones(cluster, list(named))
    else:
        gone, missing = chosen(cluster, parse(words), which)
    if which.several:
        complain(errors(problems), session.error_style)  # an object that cannot be read may be one of them
    if missing and (not ignore_not_found or errors(problems)):
        # What is not found may be in a file, or a document, that cannot be read: then nobody knows that it is gone.
        raise ProblemsError([*missing, *errors(problems)])
    if session.verbose:
        complain((replace(p, severity=Severity.WARNING) for p in missing), session.error_style)
    if not gone and not missing:
        click.echo("No resources found", err=True)
    if gone:
        complain(_running(session, gone), session.error_style)
        change(session, Wish(remove=tuple(gone)), options)
        if not options.dry_run:
            _forget(session, gone)


def _stored_ones(cluster: Cluster, refs: list[Ref]) -> tuple[list[AnyObject], list[Problem]]:
    found = [cluster.objects[ref] for ref in refs if ref in cluster.objects]
    missing = [Problem(code="not-found", message=f"{ref} not found") for ref in refs if ref not in cluster.objects]
    return found, missing


def _forget(session: Session, gone: list[AnyObject]) -> None:
    """The pod addresses of machines that are gone: another one of the same name is another machine."""
    keys = {(one.meta.namespace, one.name) for one in gone if isinstance(one, VirtualMachine | VirtualMachineInstance)}
    if keys:
        Machines(session.root).forget_addresses(lambda namespace, name: (namespace, name) in keys)


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
