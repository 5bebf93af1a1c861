"""`windrow overlay`: the addresses of pods, where nobody else gives them to nodes."""

from __future__ import annotations

import click

from windrow.apps.cli.output import aside, complain, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.compile.podcidrs import allotted
from windrow.model import names
from windrow.model.amend import merged
from windrow.model.overlay import PLACE, net_conf
from windrow.model.problems import Problem, ProblemsError
from windrow.model.wire import dump, yaml_text
from windrow.model.wire.node import write

EXAMPLES = """\b
Examples:
  windrow overlay podcidrs                         the Nodes without one, each with a part that is free
  windrow overlay podcidrs | windrow apply -f -    write it down"""


@click.group(epilog=EXAMPLES, short_help="Give nodes their part of the overlay's network")
def overlay() -> None:
    """The overlay carries pods' packets from node to node, in VXLAN (docs/user/overlay.md).

    Each node needs a part of its network, `spec.podCIDRs`. Kubernetes gives it where it runs.
    """


@overlay.command(
    short_help="Print the Nodes without a podCIDR, each with one",
    epilog="\b\nExit codes: 0 fine, 1 refused.",
)
@click.pass_obj
def podcidrs(session: Session) -> None:
    """Print, as manifests, the Nodes that have no podCIDR, each with the first part that is free, in the order of their
    names. Nothing is written down before it is applied; then it stays.
    """
    cluster, problems = stored(session)
    complain(problems, session.error_style)
    conf = net_conf(cluster.cluster_network(names.MGMT))
    if conf is None:
        hint = f"say its network first: ClusterNetwork {names.MGMT}, {PLACE}"
        raise ProblemsError([Problem(code="no-overlay", message="there is no overlay", hint=hint)])
    fresh = allotted(conf, cluster.nodes())
    if fresh:
        say("---\n".join(yaml_text(merged(dump(node), {"spec": write(node)})) for node in fresh))
    else:
        aside("every Node has its podCIDR")
