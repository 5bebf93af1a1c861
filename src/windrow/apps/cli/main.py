"""`windrow`: the verbs, the options that all of them share, and what becomes of an error."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from windrow import __version__
from windrow.apps.cli.door import close_doors
from windrow.apps.cli.session import Session, style_for
from windrow.model.problems import WindrowError

if TYPE_CHECKING:
    from windrow.kube.access import Access

VERBS = {
    "adopt": "Make bonds and bridges of others Windrow's, without touching a frame",
    "agent": "Keep this host's networks as their manifests want them",
    "annotate": "Change annotations of objects",
    "apply": "Store manifests and bring this host to them",
    "check": "Find out what the switches do not carry of what is intended",
    "checkpoint": "Show the change that waits to be confirmed",
    "cni": "Plugins for container runtimes, and their server",
    "completion": "Print the completion script for a shell",
    "confirm": "Keep the change that waits to be confirmed",
    "crds": "Print what an API server must know of the kinds",
    "delete": "Remove objects, and what they made on this host",
    "describe": "Show one object in full, and what became of it",
    "dhcp": "Show address pools, and write them for other DHCP servers",
    "diff": "Show what differs between manifests and kernel",
    "edit": "Change objects in an editor",
    "events": "Show what happened on this host's networks",
    "explain": "Say what the fields of a manifest are for",
    "export": "Print this host's networks as manifests",
    "get": "List objects",
    "handover": "Take a cluster over from Harvester's network controller, and give it back",
    "history": "Show what was changed by hand, by whom",
    "init": "Make this host's network Windrow's, over the session you are in",
    "lab": "Run a whole cluster in one Linux kernel",
    "label": "Change labels of objects",
    "manager": "Keep what Harvester's manager keeps in a cluster's objects",
    "neighbors": "Show the switch ports that the NICs are plugged into",
    "overlay": "Give nodes their part of the overlay's network; take it over from flannel",
    "patch": "Change fields of an object",
    "plan": "Show the steps that apply would take",
    "rollback": "Bring objects back to what they were before a change",
    "status": "Show this host's networks on one screen",
    "switch": "Show what the switches must be told, and what differs",
    "topology": "Draw this host's networks",
    "undo": "Take back the change that waits to be confirmed",
    "version": "Print the version",
    "vm": "Run virtual machines on this host",
    "wait": "Wait until an object is as it should be",
    "webhook": "Judge objects for a Kubernetes API server",
}
"""Their help lines stand here, so that `windrow --help` loads no verb."""

OF_A_CLUSTER = (
    *("adopt", "agent", "cni", "completion", "crds", "describe", "diff", "events"),
    *("get", "handover", "manager", "overlay", "plan", "status", "version", "wait", "webhook"),
)
"""What works with a cluster's API, too. To change its objects there is kubectl."""

PLUGIN = "kubectl windrow"

HERE = {
    "create": "windrow apply -f FILE",
    "replace": "windrow apply -f FILE",
    "set": "windrow patch, or windrow edit",
    "run": "windrow vm start NAME",
    "logs": "windrow events, and windrow vm console NAME",
    "top": "windrow status",
    "exec": "windrow lab exec NODE COMMAND",
    "rollout": "windrow history, windrow rollback",
    "scale": "windrow vm start NAME, windrow vm stop NAME",
    "api-resources": "windrow explain",
    "cluster-info": "windrow status",
    "config": "windrow --kubeconfig FILE --context NAME",
    "show": "windrow get, windrow describe, or windrow status",
    "start": "windrow vm start NAME",
    "stop": "windrow vm stop NAME",
    "shutdown": "windrow vm stop NAME",
    "destroy": "windrow vm stop NAME --force",
    "reboot": "windrow vm restart NAME",
    "restart": "windrow vm restart NAME",
    "suspend": "windrow vm suspend NAME",
    "resume": "windrow vm resume NAME",
    "autostart": "windrow vm autostart NAME",
    "dumpxml": "windrow vm dumpxml NAME",
    "console": "windrow vm console NAME",
    "list": "windrow get KIND",
    "remove": "windrow delete KIND NAME",
}
"""What people of kubectl, nmstatectl and virsh say, and what it is called here."""

_DRY_RUNS = {"--dry-run=client": ["--dry-run"], "--dry-run=server": ["--dry-run"], "--dry-run=none": []}
"""As kubectl has them; here all checks are made, the host's own included, so there is no difference."""
_OF_OTHERS = ("lab",)
"""Verbs whose words may be another program's."""

EXAMPLES = """\b
Examples:
  windrow plan -f oob.yaml          what would be done, and what it would cost
  windrow apply -f oob.yaml         do it
  windrow apply                     repair whatever drifted
  windrow status                    is all well?
  windrow get cn,vc,nad             list objects
  windrow delete vlanconfig oob     take a network off its NICs

Exit codes: 0 fine, 1 refused or failed, 2 wrong usage, 130 ended by Ctrl-C."""


class Verbs(click.Group):
    """A group whose commands are modules: `windrow.apps.cli.<verb>:<verb>`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        try:
            module = importlib.import_module(f"windrow.apps.cli.{cmd_name}")
        except WindrowError as error:
            fail(error)
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0] if args else ""
        if word and word not in VERBS and not word.startswith("-"):
            near = [f"windrow {one}" for one in close_to(word)] if word not in HERE else [HERE[word]]
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {word!r}.{hint}")
        if word not in _OF_OTHERS:
            args = [new for arg in args for new in _DRY_RUNS.get(arg, [arg])]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WindrowError as error:
            fail(error, ctx.obj)
        except BrokenPipeError:
            # The reader of our output went away (`| head`); Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except KeyboardInterrupt:  # what was begun has been undone on the way here, and has said so
            click.echo(err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("WINDROW_DEBUG"):
                raise
            what = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0]
            click.echo(f"error: windrow itself failed: {what}", err=True)
            click.echo("    hint: WINDROW_DEBUG=1 shows where; please report it", err=True)
            ctx.exit(1)


def close_to(word: str) -> list[str]:
    import difflib

    return difflib.get_close_matches(word, VERBS, n=2, cutoff=0.5)


def fail(error: WindrowError, session: object = None) -> None:
    """Say what went wrong on standard error, and end with 1."""
    from windrow.apps.cli.output import complain_of

    complain_of(error, session.error_style if isinstance(session, Session) else None)
    raise click.exceptions.Exit(1)


@click.group(
    cls=Verbs, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    envvar="WINDROW_ROOT",
    help="Move every path of Windrow below DIR.  [env: WINDROW_ROOT]",
    metavar="DIR",
)
@click.option("--node", envvar="WINDROW_NODE", help="Which node this host is; else its host name.  [env: WINDROW_NODE]")
@click.option(
    "--kubeconfig",
    envvar="WINDROW_KUBECONFIG",
    help="Work with a cluster's objects: a kubeconfig file, or in-cluster.  [env: WINDROW_KUBECONFIG]",
    metavar="FILE",
)
@click.option("--context", help="The same, with this context of the kubeconfig.", metavar="NAME")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="auto: on a terminal.")
@click.option("-v", "--verbose", is_flag=True, help="Say more of what is done.")
@click.version_option(__version__, prog_name="windrow", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    root: Path | None,
    node: str | None,
    kubeconfig: str | None,
    context: str | None,
    color: str,
    verbose: bool,
) -> None:
    """The Harvester network for any Linux host: cluster networks, VLAN-aware bridges and bonds."""
    session = ctx.obj if isinstance(ctx.obj, Session) else Session()
    style, error_style = style_for(color, sys.stdout), style_for(color, sys.stderr)
    close_doors(output=style.colour, errors=error_style.colour)
    cluster = access(kubeconfig, context) if kubeconfig or context or ctx.info_name == PLUGIN else session.cluster
    verb = ctx.invoked_subcommand
    if cluster is not None and verb not in (None, *OF_A_CLUSTER):
        ctx.fail(f"{verb!r} works on this host's own manifests, not on a cluster's API: use kubectl there")
    ctx.obj = replace(
        session,
        root=root or session.root,
        node=node or session.node,
        cluster=cluster,
        style=style,
        error_style=error_style,
        verbose=verbose,
    )


def access(kubeconfig: str | None, context: str | None) -> Access:
    from windrow.kube.access import Access

    return Access(kubeconfig=kubeconfig or "", context=context or "")


def main() -> None:
    """The entry point of the command `windrow`."""
    close_doors()
    cli.main(prog_name="windrow")


def plugin() -> None:
    """The entry point of `kubectl windrow`, which works with a cluster as kubectl itself finds it."""
    close_doors()
    cli.main(prog_name=PLUGIN)


if __name__ == "__main__":
    main()
