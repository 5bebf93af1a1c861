"""`windrow vm`: virtual machines on this host."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from windrow.apps.cli.output import complain_of, print_json, print_yaml, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.apps.vm.site import Site
from windrow.model.machines import Binding, NicModel
from windrow.model.problems import ProblemsError, WindrowError
from windrow.store.paths import Paths

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_NAMESPACE = "default"
MODELS = [model.value for model in NicModel]
BINDINGS = {"bridge": Binding.BRIDGE, "managedtap": Binding.MANAGED_TAP}

EXAMPLES = """\b
Examples:
  windrow apply -f web.yaml                      store the machine first
  windrow vm start web
  windrow vm list -o wide
  windrow vm console web                         Ctrl-] leaves it
  windrow vm add-nic web --network default/vlan200
  windrow vm set-link web vlan200 down
  windrow vm remove-nic web vlan200
  windrow vm stop web
  windrow vm attach web --output libvirt         NICs for a hypervisor of your own"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The machines of the store, and those that run."""
    root = ctx.find_root().params.get("root") or Path("/")
    namespace = ctx.params.get("namespace") or DEFAULT_NAMESPACE
    site = Site(paths=Paths(Path(root)), node="")
    try:
        names = {m.name for m in site.machines() if m.meta.namespace == namespace}
        names |= {r.name for r in site.records.all()[0] if r.namespace == namespace}
    except WindrowError:
        return []  # a shell that completes is no place for an error
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def _complete_nic(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    root = ctx.find_root().params.get("root") or Path("/")
    site = Site(paths=Paths(Path(root)), node="")
    try:
        machine = site.machine(ctx.params.get("namespace") or DEFAULT_NAMESPACE, str(ctx.params.get("name")))
    except WindrowError:
        return []
    return [CompletionItem(nic.name) for nic in machine.spec.nics if nic.name.startswith(incomplete)]


_namespace = click.option(
    "-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, metavar="NS", help="Of the machine."
)
_name = click.argument("name", shell_complete=_complete)
_nic = click.argument("nic", shell_complete=_complete_nic)


def _several(function: F) -> F:
    """Names, or all of a namespace."""
    function = click.argument("names", nargs=-1, shell_complete=_complete, metavar="NAME...")(function)
    return click.option("--all", "every", is_flag=True, help="All machines of the namespace.")(function)


@click.group(epilog=EXAMPLES, short_help="Run virtual machines on this host")
def vm() -> None:
    """Virtual machines on this host: objects of kind VirtualMachine and VirtualMachineInstance, run by QEMU.

    A machine lives in a network namespace of its own, as in a pod: the CNI plugins make its NICs there, and each
    is bound to the guest. It goes on when this command ends.
    """


# Starting and stopping ----------------------------------------------------------------------------


@vm.command()
@_several
@_namespace
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True)
@click.option("--console", is_flag=True, help="Show the console of the (one) machine at once.")
@click.option("--timings", is_flag=True, help="Say what took how long.")
@click.pass_obj
def start(
    session: Session,
    names: tuple[str, ...],
    every: bool,
    namespace: str,
    accel: str,
    console: bool,
    timings: bool,
) -> None:
    """Start machines. What is left of one that ended by itself is removed first.

    Refused, with all the reasons, where a machine cannot run here; where a step fails, everything is undone.
    """
    from windrow.apps.vm.start import start as start_one

    parts: dict[str, float] = {}

    def spent(part: str, seconds: float) -> None:
        parts[part] = parts.get(part, 0.0) + seconds

    site = replace(_site(session), spent=spent)
    wanted = _names(names, every, lambda: [m.name for m in site.machines() if m.meta.namespace == namespace])
    if console and len(wanted) != 1:
        raise click.UsageError("--console is for one machine")
    accelerator = "" if accel == "auto" else accel

    def one(name: str) -> None:
        parts.clear()
        start_one(site, namespace, name, accelerator=accelerator)
        say(f"virtualmachine/{name} started")
        if timings:
            click.echo("\n".join(f"  {1000 * seconds:8.1f} ms  {part}" for part, seconds in parts.items()), err=True)

    _each(session, wanted, one)
    if console:
        _open_console(site, namespace, wanted[0])


_timeout = click.option(
    "--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds a guest may take."
)
_force = click.option("--force", is_flag=True, help="Do not ask the guest, and remove records whatever fails.")


@vm.command()
@_several
@_namespace
@_timeout
@_force
@click.pass_obj
def stop(session: Session, names: tuple[str, ...], every: bool, namespace: str, timeout: float, force: bool) -> None:
    """Stop machines, and remove what was made for them.

    The guest is asked to shut down (ACPI), and switched off where it does not. Also for a machine whose start was
    killed, whose QEMU is gone, or whose NICs are attached for another hypervisor.
    """
    from windrow.apps.vm.stop import stop as stop_one

    site = _site(session)
    wanted = _names(names, every, lambda: _recorded(site, namespace))

    def one(name: str) -> None:
        stop_one(site, namespace, name, force=force, patience_s=timeout)
        say(f"virtualmachine/{name} stopped")

    _each(session, wanted, one)


@vm.command(short_help="Stop machines and start them again")
@_several
@_namespace
@_timeout
@click.pass_obj
def restart(session: Session, names: tuple[str, ...], every: bool, namespace: str, timeout: float) -> None:
    """Stop machines and start them again, with their manifests as they are now."""
    from windrow.apps.vm.start import start as start_one
    from windrow.apps.vm.stop import stop as stop_one

    site = _site(session)
    wanted = _names(names, every, lambda: _recorded(site, namespace))

    def one(name: str) -> None:
        stop_one(site, namespace, name, patience_s=timeout)
        start_one(site, namespace, name)
        say(f"virtualmachine/{name} restarted")

    _each(session, wanted, one)


@vm.command(short_help="Make the NICs for a hypervisor of your own")
@_name
@_namespace
@click.option("--output", type=click.Choice(["libvirt", "qemu"]), required=True, help="What to print.")
@click.pass_obj
def attach(session: Session, name: str, namespace: str, output: str) -> None:
    """Make everything but the hypervisor: the namespace, the NICs, their taps. Print how yours gets them.

    libvirt: an <interface> for each NIC. qemu: arguments. It must run in the network namespace that is told on
    standard error; `windrow vm stop NAME` takes everything away.
    """
    from windrow.apps.vm.start import attach as attach_all
    from windrow.apps.vm.words import libvirt, qemu

    site = _site(session)
    with interruptible():
        started = attach_all(site, namespace, name)
    click.echo(f"network namespace: /run/netns/{started.record.netns}", err=True)
    say(libvirt(started) if output == "libvirt" else qemu(started))


# Looking ------------------------------------------------------------------------------------------


@vm.command("list", short_help="List machines")
@click.option("-n", "--namespace", metavar="NS", help="Only machines of this namespace.")
@click.option("-o", "--output", type=click.Choice(["wide", "json", "yaml", "name"]), help="Format; else a table.")
@click.pass_obj
def list_(session: Session, namespace: str | None, output: str | None) -> None:
    """List machines: those of the store, and those that run on this host."""
    from windrow.apps.vm.look import all_machines
    from windrow.apps.vm.words import machines_table

    found = [s for s in all_machines(_site(session)) if namespace in (None, s.namespace)]
    match output:
        case "json":
            print_json(_as_list(s.document() for s in found))
        case "yaml":
            print_yaml(_as_list(s.document() for s in found))
        case "name":
            say("\n".join(f"virtualmachine/{s.name}" for s in found))
        case _ if not found:
            click.echo("No virtual machines found", err=True)
        case _:
            say(machines_table(found, wide=output == "wide", style=session.style))


def _as_list(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(documents)}


@vm.command(short_help="Show a machine in full")
@_name
@_namespace
@click.pass_obj
def describe(session: Session, name: str, namespace: str) -> None:
    """Show a machine in full, and what is known of it on this host."""
    from windrow.apps.vm.look import one_machine
    from windrow.render.describe import describe_text
    from windrow.rules.virtualmachine import lacks

    seen = one_machine(_site(session), namespace, name)
    file = seen.machine.source.file if seen.machine else ""
    problems = lacks(seen.machine) if seen.machine else ()
    say(describe_text(seen.document(), problems=problems, file=file, style=session.style))


@vm.command(short_help="Connect to a guest's serial line")
@_name
@_namespace
@click.option("--log", is_flag=True, help="Print what was said on it since the start, and end.")
@click.option(
    "--linger",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="After the end of an input that is no terminal: for how long the guest may say nothing.",
)
@click.pass_obj
def console(session: Session, name: str, namespace: str, log: bool, linger: float) -> None:
    """Connect this terminal to a guest's serial line; Ctrl-] leaves it.

    Without a terminal, standard input is sent to the guest and what it answers is printed.
    """
    site = _site(session)
    if log:
        from windrow.apps.vm.console import read_log

        sys.stdout.buffer.write(read_log(site, namespace, name))
        return
    _open_console(site, namespace, name, linger)


def _open_console(site: Site, namespace: str, name: str, linger: float = 1.0) -> None:
    from windrow.apps.vm.console import Terminal, connect

    with interruptible():
        there = connect(site, namespace, name, Terminal(quiet_s=linger))
    if not there:
        click.echo("the guest has ended", err=True)


# NICs of a running machine ------------------------------------------------------------------------


@vm.command("add-nic", short_help="Plug a NIC into a machine, running or not")
@_name
@_namespace
@click.option("--network", required=True, metavar="[NS/]NAD", help="The NetworkAttachmentDefinition it is on.")
@click.option("--name", "nic", metavar="NIC", help="Of the NIC; else the network's.")
@click.option("--mac", help="Else one is made from the names.")
@click.option("--model", type=click.Choice(MODELS), default="virtio", show_default=True)
@click.option("--binding", type=click.Choice(list(BINDINGS)), default="bridge", show_default=True)
@click.option("--down", is_flag=True, help="Without its cable plugged in.")
@click.pass_obj
def add_nic(
    session: Session,
    name: str,
    namespace: str,
    network: str,
    nic: str | None,
    mac: str | None,
    model: str,
    binding: str,
    down: bool,
) -> None:
    """Add a NIC to a machine: to its manifest in the store, and to the guest if it runs."""
    from windrow.apps.vm.hotplug import Wanted
    from windrow.apps.vm.hotplug import add_nic as add

    wanted = Wanted(
        nad=network if "/" in network else f"{namespace}/{network}",
        name=nic or network.rpartition("/")[2],
        mac=mac or "",
        model=NicModel(model),
        binding=BINDINGS[binding],
        down=down,
    )
    with interruptible():
        live = add(_site(session), namespace, name, wanted)
    say(f"virtualmachine/{name}: NIC {wanted.name} added{_when(live)}")


@vm.command("remove-nic", short_help="Take a NIC out of a machine")
@_name
@_nic
@_namespace
@_timeout
@click.pass_obj
def remove_nic(session: Session, name: str, nic: str, namespace: str, timeout: float) -> None:
    """Remove a NIC from a machine: from the guest if it runs, which must let go of it, and from its manifest."""
    from windrow.apps.vm.hotplug import remove_nic as remove

    with interruptible():
        live = remove(_site(session), namespace, name, nic, patience_s=timeout)
    say(f"virtualmachine/{name}: NIC {nic} removed{_when(live)}")


@vm.command("set-link", short_help="Plug a NIC's cable in or out")
@_name
@_nic
@click.argument("state", type=click.Choice(["up", "down"]))
@_namespace
@click.pass_obj
def set_link(session: Session, name: str, nic: str, state: str, namespace: str) -> None:
    """Plug the cable of a NIC in or out, as the guest sees it; its manifest says so afterwards."""
    from windrow.apps.vm.hotplug import set_link as set_one

    live = set_one(_site(session), namespace, name, nic, up=state == "up")
    say(f"virtualmachine/{name}: NIC {nic} is {state}{_when(live)}")


def _when(live: bool) -> str:
    return "" if live else " (the machine does not run: it counts from its next start)"


# Pieces -------------------------------------------------------------------------------------------


def _site(session: Session) -> Site:
    style = session.error_style

    def progress(line: str) -> None:
        click.echo(style.dim(f"  {line}"), err=True, color=True)

    def warning(line: str) -> None:
        click.echo(f"{style.yellow('warning:')} {line}", err=True, color=True)

    return Site(paths=Paths(session.root), node=session.node, say=progress, warn=warning)


def _names(names: tuple[str, ...], every: bool, known: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Raises click.UsageError."""
    if every and names:
        raise click.UsageError("give names or --all, not both")
    if not every and not names:
        raise click.UsageError("Which machine? Give its name, or --all.")
    return tuple(dict.fromkeys(names)) if names else known()


def _recorded(site: Site, namespace: str) -> list[str]:
    """The names of the machines of which there is a record here, also of one that cannot be read."""
    records, failures = site.records.all()
    found = {(r.namespace, r.name) for r in records} | {
        (f.path.parent.parent.name, f.path.parent.name) for f in failures
    }
    return sorted(name for there, name in found if there == namespace)


def _each(session: Session, names: Sequence[str], do: Callable[[str], None]) -> None:
    """All of them, whatever happens to one; the exit code is 1 if anything did."""
    failed = 0
    if not names:
        click.echo("No virtual machines found", err=True)
    with interruptible():
        for name in names:
            try:
                do(name)
            except ProblemsError as error:  # each of them says of what it is
                complain_of(error, session.error_style)
                failed += 1
            except WindrowError as error:
                red = session.error_style.red("error:")
                click.echo(f"{red} virtualmachine/{name}: {error}", err=True, color=True)
                failed += 1
    if failed and len(names) > 1:
        click.echo(f"{failed} of {len(names)} machines failed", err=True)
    if failed:
        raise click.exceptions.Exit(1)
