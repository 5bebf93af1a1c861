"""`windrow agent`: keeps this host's networks as their manifests want them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from windrow.apps.cli.options import probing
from windrow.apps.cli.session import Session, host_name
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
@probing
@click.pass_context
def agent(
    ctx: click.Context,
    once: bool,
    log_format: str,
    listen: tuple[str, ...],
    check_s: float | None,
    skipped: Mapping[str, VidSet],
) -> None:
    """Bring this host to its manifests, and keep it so.

    It comes up from the last good state, whatever has become of the manifests; then it follows them. What others
    change on Windrow's networks is repaired, and told (`windrow events`). A manifest that is wrong changes nothing:
    its object keeps the last version that was good.
    """
    if ctx.invoked_subcommand is not None:
        if once or listen or log_format != "text" or check_s or skipped:
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
@click.option(
    "--unit-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write it.  [default: /etc/systemd/system]",
    metavar="DIR",
)
@probing
@click.pass_obj
def install(session: Session, unit_dir: Path | None, check_s: float | None, skipped: Mapping[str, VidSet]) -> None:
    """Write the systemd unit of the agent, with the few privileges that it needs. Nothing is started.

    It starts the Windrow that wrote it; after Windrow has moved, install it again.
    """
    from windrow.apps.agent.unit import NAME, unit_text
    from windrow.apps.cli.output import say
    from windrow.store import records
    from windrow.store.errors import explained

    directory = unit_dir or session.root / "etc/systemd/system"
    path = directory / NAME
    with explained(path, "write the unit"):
        records.make_place(directory)
        command = [*command_words(session, "agent"), *_probing_words(check_s, skipped)]
        text = unit_text(command, Paths(session.root))
        records.write(path, text.encode(), mode=records.SHARED)
    say(f"{path} written; start it, now and at each boot:")
    say(f"  systemctl daemon-reload\n  systemctl enable --now {NAME}")


def _probing_words(check_s: float | None, skipped: Mapping[str, VidSet]) -> list[str]:
    """As they were given to `install`."""
    words = ["--check", f"{check_s:g}s"] if check_s is not None else []
    for network, vids in skipped.items():
        words += ["--skip-vlans", f"{network}:{vids}" if network else str(vids)]
    return words


def command_words(session: Session, *words: str) -> list[str]:
    """The `windrow` beside this Python, what a command line would say to find the same place, and the words."""
    beside = Path(sys.executable).with_name("windrow")
    command = [str(beside)] if beside.exists() else [sys.executable, "-m", "windrow.apps.cli.main"]
    if session.root != Path("/"):
        command += ["--root", str(session.root.absolute())]
    if session.node != host_name():
        command += ["--node", session.node]
    if session.cluster is not None:
        command += ["--kubeconfig", session.cluster.kubeconfig] if session.cluster.kubeconfig else []
        command += ["--context", session.cluster.context] if session.cluster.context else []
    return [*command, *words]
