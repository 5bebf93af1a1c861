"""`windrow apply`: manifests into the store, and the kernel to the store."""

from __future__ import annotations

import click

from windrow.apps.cli.change import Options, carry_out
from windrow.apps.cli.options import dry_run, files, max_impact, output
from windrow.apps.cli.preview import wish_for
from windrow.apps.cli.session import Session
from windrow.model.steps import Impact

EXAMPLES = """\b
Examples:
  windrow apply -f oob.yaml                     store and carry out
  windrow apply -f manifests/ --dry-run         everything but that
  cat oob.yaml | windrow apply -f -
  windrow apply -f oob.yaml --max-impact flap   not if it costs more than a fail-over
  windrow apply                                 repair: bring the kernel back to the store"""


@click.command(epilog=EXAMPLES, short_help="Store manifests and bring this host to them")
@files(required=False)
@dry_run
@max_impact
@output
@click.pass_obj
def apply(session: Session, places: tuple[str, ...], dry_run: bool, max_impact: str, output: str) -> None:
    """Store manifests and bring this host's kernel to them.

    All manifests are checked first, and the whole plan is made; if anything stands against it, nothing is
    changed, neither in the store nor in the kernel. Without -f nothing new is stored: whatever drifted in the
    kernel is repaired.
    """
    options = Options(dry_run=dry_run, max_impact=Impact(max_impact), json=output == "json")
    carry_out(session, wish_for(places), options)
