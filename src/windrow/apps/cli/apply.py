"""`windrow apply`: manifests into the store, and the kernel to the store."""

from __future__ import annotations

import click

from windrow.apps.cli.change import Options, change, changing
from windrow.apps.cli.leftout import tell, without_the_bad
from windrow.apps.cli.options import files
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import wish_for
from windrow.apps.cli.validation import Validation, validating

EXAMPLES = """\b
Examples:
  windrow apply -f oob.yaml                     store and carry out
  windrow apply -f manifests/ --dry-run         everything but that
  cat oob.yaml | windrow apply -f -
  windrow apply -f oob.yaml --max-impact flap   not if it costs more than a fail-over
  windrow apply -f mgmt.yaml --confirm 60s      undone after a minute, unless somebody confirms it
  windrow apply -f oob.yaml --probe 10.0.0.9    undone unless this address answers afterwards
  windrow apply                                 repair: bring the kernel back to the store"""


@click.command(epilog=EXAMPLES, short_help="Store manifests and bring this host to them")
@files(required=False)
@validating
@changing("windrow apply")
@click.pass_obj
def apply(session: Session, places: tuple[str, ...], validation: Validation, options: Options) -> None:
    """Store manifests and bring this host's kernel to them.

    A document of which something is wrong is left out, with those that need it, and the others are applied; the
    exit code is 1 then. All of these are checked first, and the whole plan is made; if anything stands against it,
    nothing is changed, neither in the store nor in the kernel. Without -f nothing new is stored: whatever drifted in
    the kernel is repaired, and manifests that were edited are followed, just as the agent would: one that is wrong
    keeps its last good version, and the others go on.

    What changes the uplink or the address of the management network is kept only if the gateway, and one of each kind
    of the others who answered before, still answer afterwards. With --confirm or --probe any change has to prove
    itself.
    """
    wish, left = without_the_bad(session, wish_for(places, validation))
    tell(session, left)
    change(session, wish, options)
    if left:
        raise click.exceptions.Exit(1)
