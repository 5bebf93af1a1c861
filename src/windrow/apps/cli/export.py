"""`windrow export`: this host's networks, as the kernel has them now, in Harvester's manifests."""

from __future__ import annotations

import click

from windrow.adopt import Ask
from windrow.apps.cli.adopt import designed
from windrow.apps.cli.output import complain, nothing_changed, print_json, print_yaml, say
from windrow.apps.cli.session import Session
from windrow.model.cluster import Cluster
from windrow.model.problems import ProblemsError, errors
from windrow.model.values import IfName
from windrow.model.wire import dump

EXAMPLES = """\b
Examples:
  windrow export                       every bridge with a bond, whoever made it
  windrow export br0 > br0.yaml
  windrow export | windrow diff -f -   what the kernel has and no object says"""


@click.command(epilog=EXAMPLES, short_help="Print this host's networks as manifests")
@click.argument("links", nargs=-1, metavar="[LINK...]")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.pass_obj
def export(session: Session, links: tuple[str, ...], output: str) -> None:
    """Print the cluster networks that the kernel of this host has now, as manifests: what Windrow made and what others
    did. What no object can say is told on standard error. Nothing is changed."""
    with nothing_changed(session.error_style), session.site() as site:
        ask = Ask(links={IfName(link): "" for link in links}, ours=True)
        _, adoption = designed(site, ask, Cluster.of(()))
        if found := errors(adoption.problems):
            raise ProblemsError(found)
    complain(adoption.problems, session.error_style)
    documents = [dump(obj) for obj in adoption.objects]
    if output == "json":
        print_json({"apiVersion": "v1", "kind": "List", "items": documents})
        return
    for document in documents:
        say("---")
        print_yaml(document)
