"""`windrow agent`: keeps this host's networks as their manifests want them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from windrow.apps.cli.options import probing, unit_dir
from windrow.apps.cli.output import say
from windrow.apps.cli.session import Session
from windrow.model.problems import WindrowError
from windrow.model.values import VidSet
from windrow.netlink.errors import NoPermission
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow agent                       until it is told to end (SIGTERM, Ctrl-C)
  windrow agent --once                put everything right, once
  windrow agent --listen 127.0.0.1:9441 --log-format json
  windrow agent --check 5m            and find out what the switches do not carry
  windrow agent install               a systemd unit for it
  windrow agent uninstall
  windrow events -w                   what it finds and does"""


@click.group(
    epilog=EXAMPLES, short_help="Keep this host's networks as their manifests want them", invoke_without_command=True
)
@click.option("--once", is_flag=True, help="One round, then end: 0 if all is well, 1 if something is left undone.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Answer /metrics and /healthz there too, beside the Unix socket. Repeatable.",
)
@click.option(
    "--pools",
    is_flag=True,
    help="Serve the cluster's IPPools, with the addresses that `windrow manager --pools` gives.",
)
@probing
@click.pass_context
def agent(
    ctx: click.Context,
    once: bool,
    log_format: str,
    listen: tuple[str, ...],
    pools: bool,
    check_s: float | None,
    skipped: Mapping[str, VidSet],
) -> None:
    """Bring this host to its manifests, and keep it so.

    It comes up from the last good state, whatever has become of the manifests; then it follows them. What others
    change on Windrow's networks is repaired, and told (`windrow events`). A manifest that is wrong changes nothing:
    its object keeps the last version that was good.
    """
    if ctx.invoked_subcommand is not None:
        if once or listen or pools or log_format != "text" or check_s or skipped:
            raise click.UsageError(f"the options go with the agent, not with `{ctx.invoked_subcommand}`")
        return
    session: Session = ctx.obj
    if not session.permitted():
        raise NoPermission(1, "keep the network of this host")
    from windrow.apps.agent import main
    from windrow.apps.agent.log import Log
    from windrow.apps.check.settings import Settings

    if once and session.cluster is not None:
        raise click.UsageError("--once is for a directory of manifests; a cluster is followed")
    if pools and session.cluster is None:
        raise click.UsageError("--pools is for a cluster; those of a directory of manifests are always served")
    log = Log(sys.stderr, log_format, journal="JOURNAL_STREAM" in os.environ)
    paths = Paths(session.root)
    check = Settings(interval_s=check_s, skipped=skipped) if check_s is not None else None
    options = main.Options(
        paths=paths,
        node=session.node,
        open_kernel=session.kernel,
        log=log,
        check=check,
        cluster=session.cluster,
        pools=pools,
        listen=listen,
    )
    if not once:
        main.run(options)
    elif not main.once(options):
        raise click.exceptions.Exit(1)


@agent.command(
    short_help="Write a systemd unit for it",
    epilog="""\b
Examples:
  windrow agent install
  windrow agent install --check 5m
  windrow agent install --unit-dir /usr/lib/systemd/system""",
)
@unit_dir
@probing
@click.pass_obj
def install(session: Session, directory: Path | None, check_s: float | None, skipped: Mapping[str, VidSet]) -> None:
    """Write the systemd unit of the agent, with the few privileges that it needs. Nothing is started.

    It starts the Windrow that wrote it; after Windrow has moved, install it again. A Windrow below /home, /root or
    /tmp is refused: the unit sees nothing of them.
    """
    from windrow.apps.agent.unit import NAME, unit_text
    from windrow.apps.cli import unitwords

    command = [*unitwords.command(session, "agent"), *_probing_words(check_s, skipped)]
    _refuse_what_is_hidden(session, Path(command[0]))
    for line in unitwords.put(unitwords.place(session, directory) / NAME, unit_text(command, Paths(session.root))):
        say(line)


@agent.command(
    short_help="Take its systemd unit away",
    epilog="""\b
Examples:
  systemctl disable --now windrow-agent.service
  windrow agent uninstall""",
)
@unit_dir
@click.pass_obj
def uninstall(session: Session, directory: Path | None) -> None:
    """Take away the systemd unit that `install` wrote. The network stays as it is, and nobody keeps it so any more.

    Refused while systemd starts it at boot, and where somebody else wrote it.
    """
    from windrow.apps.agent.unit import MARK, NAME
    from windrow.apps.cli import unitwords

    for line in unitwords.taken(session, unitwords.place(session, directory) / NAME, MARK):
        say(line)


def _refuse_what_is_hidden(session: Session, program: Path) -> None:
    """Raises WindrowError, with all that the unit needs and does not see."""
    from windrow.apps.agent.unit import hidden
    from windrow.apps.cli import unitwords
    from windrow.kube.access import IN_CLUSTER

    move = "install Windrow where services see it: python3 -m venv /opt/windrow, then pip install windrow there"
    todo = dict.fromkeys((program, *unitwords.parts()), move)
    todo[session.root] = "choose another place with --root"
    if session.cluster is not None and session.cluster.kubeconfig != IN_CLUSTER:
        file = Path(session.cluster.kubeconfig or Path.home() / ".kube/config")
        todo[file] = "copy it to /etc/windrow/kubeconfig, and name that with --kubeconfig"
    found = hidden(todo)
    if found:
        lines = [f"{path}: the unit does not see it ({line})" for path, line in found.items()]
        hints = dict.fromkeys(todo[path] for path in found)
        raise WindrowError("\n".join([*lines, *(f"    hint: {hint}" for hint in hints)]))


def _probing_words(check_s: float | None, skipped: Mapping[str, VidSet]) -> list[str]:
    """As they were given to `install`."""
    words = ["--check", f"{check_s:g}s"] if check_s is not None else []
    for network, vids in skipped.items():
        words += ["--skip-vlans", f"{network}:{vids}" if network else str(vids)]
    return words
