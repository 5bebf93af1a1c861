"""`windrow webhook`."""

from __future__ import annotations

import signal

import click

from windrow.apps.cli.options import namespaced
from windrow.apps.cli.output import aside
from windrow.apps.cli.session import Session

EXAMPLES = """\b
Examples:
  windrow webhook --service harvester-system/windrow-network-webhook
  windrow --kubeconfig admin.conf webhook --url https://192.0.2.10:8443"""
PORT = 8443


@click.command(epilog=EXAMPLES, short_help="Judge objects for a Kubernetes API server")
@click.option("--service", metavar="NAMESPACE/NAME", help="The Service that leads to this webhook.")
@click.option("--url", metavar="URL", help="Where the API server reaches it instead, such as https://192.0.2.10:8443.")
@click.option("--listen", metavar="ADDRESS:PORT", help=f"Where it listens; without it, on every address and {PORT}.")
@click.option(
    "--secret",
    metavar="NAMESPACE/NAME",
    default="harvester-system/windrow-network-webhook",
    help="The Secret with its certificate; it is made where there is none.",
    show_default=True,
)
@click.option(
    "--controller",
    "controllers",
    multiple=True,
    metavar="ACCOUNT",
    help="An account that may write the management network, besides Harvester's controller.",
)
@click.option("--relaxed", is_flag=True, help="Let in what Windrow changes in place under running machines.")
@click.pass_obj
def webhook(
    session: Session,
    service: str | None,
    url: str | None,
    listen: str | None,
    secret: str,
    controllers: tuple[str, ...],
    relaxed: bool,
) -> None:
    """Answer the API server of a cluster, which asks before it stores ClusterNetworks, VlanConfigs, HostNetworkConfigs
    and NetworkAttachmentDefinitions. It registers itself, and makes its certificate.

    What is refused, and what Harvester says of it: docs/user/admission.md.
    """
    from windrow.apps.webhook.configurations import Address
    from windrow.apps.webhook.serve import Settings, Webhook
    from windrow.rules.terms import HARVESTER_CONTROLLER, Terms

    if (service is None) is (url is None):
        raise click.UsageError("say where the API server finds it: either --service or --url")
    namespace, name = namespaced(service, "--service") if service else ("", "")
    settings = Settings(
        address=Address(url=url or "", namespace=namespace, service=name),
        listen=_address(listen or f"[::]:{PORT}"),
        secret=namespaced(secret, "--secret"),
        terms=Terms(served=True, controllers=frozenset({HARVESTER_CONTROLLER, *controllers}), strict=not relaxed),
    )
    from windrow.kube.access import Access

    found = Webhook(session.cluster or Access(), settings, aside)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: found.stop())
    found.run()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise click.BadParameter(f"{text!r} is not ADDRESS:PORT", param_hint="--listen")
    return host.strip("[]") or "::", int(port)
