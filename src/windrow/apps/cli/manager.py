"""`windrow manager`."""

from __future__ import annotations

import secrets
import signal

import click

from windrow.apps.cli.options import namespaced
from windrow.apps.cli.output import aside
from windrow.apps.cli.session import Session, host_name

LEASE = "harvester-system/windrow-manager"
EXAMPLES = """\b
Examples:
  windrow --kubeconfig in-cluster manager
  windrow --kubeconfig admin.conf manager --lease kube-system/windrow-manager
  windrow --kubeconfig in-cluster manager --also-lease kube-system/harvester-network-controllers"""


def new_identity() -> str:
    """Whose a Lease is: two in pods of one name, or on one host, are two all the same."""
    return f"{host_name()}_{secrets.token_hex(4)}"


@click.command(epilog=EXAMPLES, short_help="Keep what Harvester's manager keeps in a cluster's objects")
@click.option(
    "--lease",
    metavar="NAMESPACE/NAME",
    default=LEASE,
    help="The Lease that says which replica writes.",
    show_default=True,
)
@click.option(
    "--also-lease",
    multiple=True,
    metavar="NAMESPACE/NAME",
    help="The Lease of another manager, which is held as well, so that it never leads: Harvester's is"
    " kube-system/harvester-network-controllers. Repeatable.",
)
@click.option(
    "--pools",
    is_flag=True,
    help="Give addresses of IPPools, in place of Harvester's DHCP add-on, which must not run.",
)
@click.pass_obj
def manager(session: Session, lease: str, also_lease: tuple[str, ...], pools: bool) -> None:
    """Keep the management network, labels, annotations and conditions of a cluster's objects as Harvester's manager
    does, and take away what nodes that are gone have left. Of several replicas the one that holds the lease writes.

    What it writes, and where: docs/user/kubernetes.md.
    """
    from windrow.apps.manager.serve import Manager, Settings
    from windrow.kube.access import Access

    settings = Settings(
        lease=namespaced(lease, "--lease"),
        also=[namespaced(one, "--also-lease") for one in also_lease],
        identity=new_identity(),
        pools=pools,
    )
    found = Manager(session.cluster or Access(), settings, aside)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: found.stop())
    found.run()
