"""What the commands of `windrow vm` have in common: whose machines, which ones, and what becomes of errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from windrow.apps.cli.options import complete_namespace, root_of
from windrow.apps.cli.output import complain_of
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.apps.vm.site import Site
from windrow.model.lazy import dataclass
from windrow.model.problems import ProblemsError, WindrowError
from windrow.store.machines import machine_of
from windrow.store.paths import Paths

F = TypeVar("F", bound=Callable[..., Any])
Key = tuple[str, str]
"""A machine: its namespace, its name."""

DEFAULT_NAMESPACE = "default"


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The machines of the store, and those that run."""
    namespace = ctx.params.get("namespace") or DEFAULT_NAMESPACE
    site = Site(paths=Paths(root_of(ctx)), node="")
    try:
        names = {m.name for m in site.machines() if m.meta.namespace == namespace}
        names |= {r.name for r in site.records.all()[0] if r.namespace == namespace}
    except WindrowError:
        return []  # a shell that completes is no place for an error
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def _complete_nic(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    site = Site(paths=Paths(root_of(ctx)), node="")
    try:
        machine = site.machine(ctx.params.get("namespace") or DEFAULT_NAMESPACE, str(ctx.params.get("name")))
    except WindrowError:
        return []
    return [CompletionItem(nic.name) for nic in machine.spec.nics if nic.name.startswith(incomplete)]


of_namespace = click.option(
    "-n",
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    metavar="NS",
    help="Of the machine.",
    shell_complete=complete_namespace,
)
named = click.argument("name", shell_complete=_complete)
nic_named = click.argument("nic", shell_complete=_complete_nic)
patience = click.option(
    "--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds a guest may take."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which machines are meant: `names` of one namespace; or with `every` all of it, or of all namespaces."""

    names: tuple[str, ...]
    namespace: str
    every: bool
    all_namespaces: bool

    def keys(self, known: Callable[[], Sequence[Key]]) -> Sequence[Key]:
        """`known`: the machines that `--all` means. Raises click.UsageError."""
        if self.every and self.names:
            raise click.UsageError("give names or --all, not both")
        if not self.every and not self.names:
            raise click.UsageError("Which machine? Give its name, or --all.")
        if self.all_namespaces and not self.every:
            raise click.UsageError("-A is for --all")
        if self.names:
            return [(self.namespace, name) for name in dict.fromkeys(self.names)]
        return [(there, name) for there, name in known() if self.all_namespaces or there == self.namespace]


def several(function: F) -> F:
    """NAME…, -n, --all and -A; the function gets them as `asked`, an `Asked`."""

    @functools.wraps(function)
    def gathered(
        *args: Any, names: tuple[str, ...], namespace: str, every: bool, all_namespaces: bool, **more: Any
    ) -> Any:
        asked = Asked(names=names, namespace=namespace, every=every, all_namespaces=all_namespaces)
        return function(*args, asked=asked, **more)

    options = (
        click.argument("names", nargs=-1, shell_complete=_complete, metavar="NAME..."),
        click.option("-A", "--all-namespaces", is_flag=True, help="With --all: of all namespaces."),
        click.option("--all", "every", is_flag=True, help="All machines of the namespace, on this node."),
        of_namespace,
    )
    for option in options:
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


def site_of(session: Session) -> Site:
    style = session.error_style

    def progress(line: str) -> None:
        click.echo(style.dim(f"  {line}"), err=True, color=True)

    def warning(line: str) -> None:
        click.echo(f"{style.yellow('warning:')} {line}", err=True, color=True)

    return Site(paths=Paths(session.root), node=session.node, say=progress, warn=warning)


def recorded(site: Site) -> list[Key]:
    """The machines of which there is a record here, also of one that cannot be read."""
    records, failures = site.records.all()
    found = {(r.namespace, r.name) for r in records}
    return sorted(found | {machine_of(failure.path) for failure in failures})


def each(session: Session, keys: Sequence[Key], do: Callable[[str, str], None]) -> None:
    """All of them, whatever happens to one; the exit code is 1 if anything did."""
    failed = 0
    if not keys:
        click.echo("No virtual machines found", err=True)
    with interruptible():
        for namespace, name in keys:
            try:
                do(namespace, name)
            except ProblemsError as error:  # each of them says of what it is
                complain_of(error, session.error_style)
                failed += 1
            except WindrowError as error:
                red = session.error_style.red("error:")
                click.echo(f"{red} virtualmachine/{name}: {error}", err=True, color=True)
                failed += 1
    if failed and len(keys) > 1:
        click.echo(f"{failed} of {len(keys)} machines failed", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def open_console(site: Site, namespace: str, name: str, linger: float = 1.0) -> None:
    from windrow.apps.vm.console import Terminal, connect

    with interruptible():
        there = connect(site, namespace, name, Terminal(quiet_s=linger))
    if not there:
        click.echo("the guest has ended", err=True)
