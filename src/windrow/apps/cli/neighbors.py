"""`windrow neighbors`: who is at the other end of each NIC."""

from __future__ import annotations

import sys

import click

from windrow.apps.cli.output import print_json, say
from windrow.apps.cli.session import Session

EXAMPLES = """\b
Examples:
  windrow neighbors                 switch, port and VLANs at each NIC, as switches tell by LLDP or CDP
  windrow neighbors -o wide         speed, LACP partner, frame size and addresses, too
  windrow neighbors -s 65           listen for longer: some tell of themselves once a minute
  windrow neighbors --announce      how to have this host tell of itself"""


@click.command(epilog=EXAMPLES, short_help="Show the switch ports that the NICs are plugged into")
@click.option("-o", "--output", type=click.Choice(["wide", "json"]), help="Format; else a table.")
@click.option(
    "-s",
    "--seconds",
    type=click.FloatRange(0.0, 600.0),
    default=32.0,
    show_default=True,
    help="For how long to listen; less where each NIC has heard its neighbor before.",
)
@click.option("--announce", is_flag=True, help="Say how to have this host tell of itself, and end.")
@click.pass_obj
def neighbors(session: Session, output: str | None, seconds: float, announce: bool) -> None:
    """Show the switch port that each NIC is plugged into.

    Listens on every NIC, below bonds and bridges, and sends nothing. Where lldpd runs, it is asked, too. Needs root
    (CAP_NET_RAW).
    """
    from windrow.netlink.packets import opened
    from windrow.render.neighbours import neighbours_text, neighbours_value
    from windrow.sense import lldpd
    from windrow.sense.gather import gather

    if announce:
        say(lldpd.how_to_announce())
        return
    opened("listen to the neighbors").close()  # where one may not listen, that is all there is to say
    if sys.stderr.isatty():
        click.echo(f"listening for up to {seconds:g} s …", err=True)
    found = gather(session.node, seconds)
    if output == "json":
        print_json(neighbours_value(found))
    else:
        say(neighbours_text(found, wide=output == "wide", style=session.style))
