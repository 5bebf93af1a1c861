"""`windrow handover`: a cluster goes from Harvester's network controller to Windrow, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from windrow.apps.cli.manager import LEASE, new_identity
from windrow.apps.cli.options import namespaced
from windrow.apps.cli.output import gate, say
from windrow.apps.cli.session import Session

if TYPE_CHECKING:
    from windrow.apps.manager.handover import Handing

T = TypeVar("T")
EXAMPLES = """\b
Examples:
  windrow --kubeconfig admin.conf handover check     can it begin?
  windrow --kubeconfig admin.conf handover begin     Harvester's controllers end; then install Windrow
  windrow --kubeconfig admin.conf handover finish    is all of it Windrow's?
  windrow --kubeconfig admin.conf handover back      after helm uninstall: Harvester's controllers go on"""


@click.group(epilog=EXAMPLES, short_help="Take a cluster over from Harvester's network controller, and give it back")
@click.option(
    "--lease",
    metavar="NAMESPACE/NAME",
    default=LEASE,
    help="The Lease of Windrow's manager, which is held beside Harvester's meanwhile.",
    show_default=True,
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.0, min_open=True),
    metavar="SECONDS",
    default=180.0,
    help="How long pods may take to end, and a lock to be let go.",
    show_default=True,
)
@click.pass_context
def handover(ctx: click.Context, lease: str, timeout: float) -> None:
    """Take a cluster over from Harvester's network controller, and give it back. No frame is lost on either way, and
    the two never work at the same time.

    What to do, step by step: docs/user/handover.md.
    """
    ctx.meta[__name__] = namespaced(lease, "--lease"), timeout


@handover.command(short_help="Say whether it can begin")
@click.pass_context
def check(ctx: click.Context) -> None:
    """Say what stands in the way of the handover, and what to know before it. Nothing is changed."""
    session: Session = ctx.obj
    gate(_with(ctx, lambda handing: handing.check()), session.error_style)
    say("nothing stands in the way; go on with: windrow handover begin")


@handover.command(short_help="End Harvester's controllers, and nothing else")
@click.pass_context
def begin(ctx: click.Context) -> None:
    """Keep the kinds and their objects whatever becomes of Harvester's chart, end its manager, agents and webhook, and
    take its registrations at the API server away. Networks stay as they are; nobody looks after them until Windrow is
    installed. Cut off anywhere, it may be begun again."""
    _with(ctx, lambda handing: handing.begin())
    say("now install Windrow: helm install windrow … --set handover.enabled=true --set crds.create=false")


@handover.command(short_help="Say whether all of it is Windrow's")
@click.pass_context
def finish(ctx: click.Context) -> None:
    """Say whether all of it is Windrow's now. Nothing is changed."""
    session: Session = ctx.obj
    gate(_with(ctx, lambda handing: handing.finish()), session.error_style)
    say("all of it is Windrow's; you may remove Harvester's chart now: harvester-network-controller.enabled=false")


@handover.command(short_help="Start Harvester's controllers again, after Windrow was uninstalled")
@click.pass_context
def back(ctx: click.Context) -> None:
    """Take Windrow's registrations at the API server away and start Harvester's webhook, agents and manager again.
    Windrow must be uninstalled before."""
    _with(ctx, lambda handing: handing.back())
    say("all of it is Harvester's again")


def _with(ctx: click.Context, work: Callable[[Handing], Awaitable[T]]) -> T:
    """Raises KubeError, ProblemsError."""
    from windrow.apps.manager.handover import Handing, Settings
    from windrow.kube.access import Access
    from windrow.kube.api import Api

    session: Session = ctx.obj
    lease, timeout_s = ctx.meta[__name__]
    settings = Settings(lease=lease, identity=new_identity(), patience_s=timeout_s)

    async def run() -> T:
        api = Api(session.cluster or Access())
        try:
            return await work(Handing(api, settings, say))
        finally:
            await api.close()

    return asyncio.run(run())
