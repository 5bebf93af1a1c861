"""`windrow topology`: this host's networks as a picture."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import click

from windrow.apps.cli.output import say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.apps.known import recorded
from windrow.model.cluster import Cluster
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.ports import PortRecord, endpoints
from windrow.model.problems import WindrowError
from windrow.render.topology import MachineView, NetworkName, Topology, node_view
from windrow.render.topology_svg import topology_svg
from windrow.render.topology_text import topology_text
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow topology
  windrow topology --svg host.svg"""


@click.command(epilog=EXAMPLES, short_help="Draw this host's networks")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG picture to FILE.")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", help="Of the SVG picture.")
@click.pass_obj
def topology(session: Session, svg: Path | None, theme: str) -> None:
    """Draw this host's networks: bridges, what hangs on them, bonds, NICs and their state. Needs no privileges."""
    cluster, _ = stored(session)
    with session.kernel() as kernel:
        observed = kernel.observe()
    ports = recorded(Paths(session.root))
    machines = _machines(Paths(session.root), ports)
    view = node_view(session.node, observed, endpoints=endpoints(ports), machines=machines)
    picture = Topology(nodes=(view,), networks=network_names(cluster))
    if svg is None:
        say(topology_text(picture, style=session.style, columns=shutil.get_terminal_size((120, 24)).columns))
        return
    try:
        svg.write_text(topology_svg(picture, theme=theme))
    except OSError as error:
        raise WindrowError(f"cannot write {svg}: {error.strerror}") from error


def _machines(paths: Paths, ports: Iterable[PortRecord]) -> tuple[MachineView, ...]:
    """Where there may be some: what knows of machines takes a while to load."""
    if not paths.machines.is_dir():
        return ()
    from windrow.apps.vm.picture import machine_views

    return machine_views(paths, ports)


def network_names(cluster: Cluster) -> tuple[NetworkName, ...]:
    """What the NADs call the VLANs."""
    return tuple(
        NetworkName(vid=nad.vid, name=nad.name, cluster_network=nad.cluster_network or "")
        for nad in cluster.all(NetworkAttachmentDefinition)
        if nad.type in (NetworkType.VLAN, NetworkType.UNTAGGED)
    )
