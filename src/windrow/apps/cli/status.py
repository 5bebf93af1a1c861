"""`windrow status`: this host's networks on one screen."""

from __future__ import annotations

import click

from windrow.apps.cli.documents import report_of
from windrow.apps.cli.options import output
from windrow.apps.cli.output import complain, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import assess, stored
from windrow.render.overview import overview_text, overview_value
from windrow.status import overview

EXAMPLES = """\b
Examples:
  windrow status
  windrow status -o json | jq .well"""


@click.command(epilog=EXAMPLES, short_help="Show this host's networks on one screen")
@output
@click.pass_obj
def status(session: Session, output: str) -> None:
    """What is wrong first, with what to do; then each cluster network with its uplink, MTU, VLANs and addresses.

    Exit code 0 whatever it finds; scripts read `.well` of `-o json`. Needs no privileges.
    """
    cluster, problems = stored(session)
    with session.kernel() as kernel:
        sight, planned = assess(session, cluster, kernel)
    found = overview(cluster, report_of(sight, planned, session.node))
    if output == "json":
        print_json(overview_value(found))
    else:
        complain(problems, session.error_style)
        say(overview_text(found, session.style))
