"""`windrow label`: labels of stored objects."""

from __future__ import annotations

import click

from windrow.apps.cli.amending import Relabelling, relabel
from windrow.apps.cli.change import Options, changing
from windrow.apps.cli.options import complete_kind, namespace
from windrow.apps.cli.session import Session
from windrow.apps.cli.stored import Which, several
from windrow.model.selectors import LabelSelector

EXAMPLES = """\b
Examples:
  windrow label node node-1 rack=b
  windrow label nad v100 v200 team=a --overwrite
  windrow label nad --all -n team-a old-
  windrow label vc oob --list"""


@click.command(epilog=EXAMPLES, short_help="Change labels of objects")
@click.argument(
    "words", nargs=-1, required=True, metavar="KIND NAME... KEY=VALUE... KEY-...", shell_complete=complete_kind
)
@namespace
@several
@click.option("--overwrite", is_flag=True, help="Also where it has another value now.")
@click.option("--list", "show", is_flag=True, help="Show them, afterwards.")
@changing("windrow label")
@click.pass_obj
def label(
    session: Session,
    words: tuple[str, ...],
    namespace: str | None,
    labels: LabelSelector | None,
    every: bool,
    overwrite: bool,
    show: bool,
    options: Options,
) -> None:
    """Set labels of stored objects (KEY=VALUE), or take them away (KEY-).

    Nodes are chosen by their labels (`nodeSelector` of a VlanConfig), so this may change a network: the plan is
    checked and carried out as by `windrow apply`.
    """
    which = Which(namespace=namespace, labels=labels, every=every)
    asked = Relabelling(field="labels", words=words, which=which, overwrite=overwrite, show=show)
    relabel(session, asked, options)
