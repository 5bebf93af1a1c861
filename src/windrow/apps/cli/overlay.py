"""`windrow overlay`: the addresses of pods, where nobody else gives them to nodes."""

from __future__ import annotations

from dataclasses import replace

import click

from windrow.apps.cli.output import aside, complain, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.compile.podcidrs import free_networks
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.objects import Node
from windrow.model.overlay import PLACE, NetConf, net_conf
from windrow.model.problems import WindrowError
from windrow.model.values import Cidr
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
        raise WindrowError(f"there is no overlay\n    hint: {hint}")
    given = [(node, with_networks(node, conf, cluster)) for node in cluster.nodes()]
    fresh = [now for node, now in given if now is not node]
    if fresh:
        documents = [dump(node) for node in fresh]
        said = [{**d, "spec": {**d.get("spec", {}), **write(n)}} for d, n in zip(documents, fresh, strict=True)]
        say("---\n".join(map(yaml_text, said)))
    else:
        aside("every Node has its podCIDR")


def with_networks(node: Node, conf: NetConf, cluster: Cluster) -> Node:
    """The node with a network of each family that it lacks, where one is free."""
    found = (free_networks(conf, cluster.nodes(), family).get(node.name) for family in conf.families)
    more = tuple(Cidr(str(network)) for network in found if network is not None)
    return replace(node, pod_cidrs=(*node.pod_cidrs, *more)) if more else node
