"""`windrow vm start|stop|restart|suspend|resume|autostart|install|uninstall`: from off to on and back, by hand and with
the host. What is so already is no error."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import click

from windrow.apps.cli.options import unit_dir
from windrow.apps.cli.output import say
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.apps.cli.vmshared import Asked, Key, each, open_console, patience, recorded, several, site_of
from windrow.apps.vm.site import Site
from windrow.model.machines import AnyMachine
from windrow.model.problems import ProblemsError
from windrow.rules.placement import homes, starts_with_host

_force = click.option("--force", is_flag=True, help="Do not ask the guest, and remove records whatever fails.")


@click.command(short_help="Start machines")
@several
@click.option("--autostart", is_flag=True, help="As at boot: this node's of all namespaces that start with the host.")
@click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="auto: KVM where it works, else in software.",
)
@click.option("--console", is_flag=True, help="Show the console of the (one) machine at once.")
@click.option("--timings", is_flag=True, help="Say what took how long.")
@click.pass_obj
def start(
    session: Session,
    asked: Asked,
    autostart: bool,
    accel: str,
    console: bool,
    timings: bool,
) -> None:
    """Start machines. What is left of one that ended by itself is removed first; one that runs is left alone.

    Refused, with all the reasons, where a machine cannot run here; where a step fails, everything is undone.
    With --all: those that may run on this node and on no other. With --autostart: those of them whose runStrategy is
    Always or RerunOnFailure.
    """
    from windrow.apps.vm.start import start as start_one

    parts: dict[str, float] = {}

    def spent(part: str, seconds: float) -> None:
        parts[part] = parts.get(part, 0.0) + seconds

    site = replace(site_of(session), spent=spent)
    if autostart and asked.names:
        raise click.UsageError("give names or --autostart, not both")
    if autostart:
        asked = replace(asked, every=True, all_namespaces=True)
    keys = asked.keys(lambda: _of_this_node(site, starts_with_host if autostart else lambda _: True))
    if console and len(keys) != 1:
        raise click.UsageError("--console is for one machine")
    accelerator = "" if accel == "auto" else accel

    def one(namespace: str, name: str) -> None:
        parts.clear()
        done = _done(lambda: start_one(site, namespace, name, accelerator=accelerator), {"already-running"})
        say(f"virtualmachine/{name} {'started' if done else 'runs already'}")
        if timings:
            click.echo("\n".join(f"  {1000 * seconds:8.1f} ms  {part}" for part, seconds in parts.items()), err=True)

    each(session, keys, one)
    if console:
        open_console(site, *keys[0])


def _of_this_node(site: Site, wanted: Callable[[AnyMachine], bool]) -> list[Key]:
    """The machines of the store that are for this node and no other. One that is for several would be started on each
    of them by the same command: it is named, and left to whoever decides."""
    found = []
    for machine in filter(wanted, site.machines()):
        places = homes(machine, site.cluster, site.here)
        if places == (site.here,):
            found.append((machine.meta.namespace, machine.name))
        elif site.here in places:
            others = ", ".join(name for name in places if name != site.here)
            hint = f"`windrow vm start {machine.name} -n {machine.meta.namespace}` starts it here"
            site.warn(f"virtualmachine/{machine.name} is left alone: it may run on {others}, too; {hint}")
    return found


def _done(work: Callable[[], object], already: Collection[str]) -> bool:
    """Whether there was anything to do. `already`: the codes of problems which say that it is so already."""
    try:
        work()
    except ProblemsError as error:
        if {problem.code for problem in error.problems} <= set(already):
            return False
        raise
    return True


@click.command(short_help="Stop machines")
@several
@patience
@_force
@click.pass_obj
def stop(session: Session, asked: Asked, timeout: float, force: bool) -> None:
    """Stop machines, and remove what was made for them. One that does not run is left as it is.

    The guest is asked to shut down (ACPI), and switched off where it does not; of several all are asked first, and then
    waited for. Also for a machine whose start was killed, whose QEMU is gone, or whose NICs are attached for another
    hypervisor.
    """
    from windrow.apps.vm.stop import ask
    from windrow.apps.vm.stop import stop as stop_one

    site = site_of(session)
    keys = asked.keys(lambda: recorded(site))
    together = len(keys) > 1 and timeout > 0 and not force
    with interruptible():
        until = ask(site, keys, patience_s=timeout) if together else {}

    def one(namespace: str, name: str) -> None:
        def work() -> None:
            stop_one(site, namespace, name, force=force, patience_s=timeout, until=until.get((namespace, name)))

        say(f"virtualmachine/{name} {'stopped' if _done(work, {'not-running'}) else 'does not run'}")

    each(session, keys, one)


@click.command(short_help="Stop machines and start them again")
@several
@patience
@_force
@click.pass_obj
def restart(session: Session, asked: Asked, timeout: float, force: bool) -> None:
    """Stop machines and start them again, with their manifests as they are now."""
    from windrow.apps.vm.start import start as start_one
    from windrow.apps.vm.stop import stop as stop_one

    site = site_of(session)

    def one(namespace: str, name: str) -> None:
        stop_one(site, namespace, name, force=force, patience_s=timeout)
        start_one(site, namespace, name)
        say(f"virtualmachine/{name} restarted")

    each(session, asked.keys(lambda: recorded(site)), one)


@click.command(short_help="Let guests stand still")
@several
@click.pass_obj
def suspend(session: Session, asked: Asked) -> None:
    """Let guests stand still, with all that they have in memory, until `windrow vm resume`. `stop` wakes them first."""
    from windrow.apps.vm.pause import suspend as suspend_one

    site = site_of(session)

    def one(namespace: str, name: str) -> None:
        done = suspend_one(site, namespace, name)
        say(f"virtualmachine/{name} {'suspended' if done else 'is suspended already'}")

    each(session, asked.keys(lambda: recorded(site)), one)


@click.command(short_help="Let suspended guests go on")
@several
@click.pass_obj
def resume(session: Session, asked: Asked) -> None:
    """Let guests go on that `windrow vm suspend` has stopped."""
    from windrow.apps.vm.pause import resume as resume_one

    site = site_of(session)

    def one(namespace: str, name: str) -> None:
        say(f"virtualmachine/{name} {'resumed' if resume_one(site, namespace, name) else 'goes on already'}")

    each(session, asked.keys(lambda: recorded(site)), one)


# With the host -------------------------------------------------------------------------------------


@click.command(short_help="Have machines start with the host, or not")
@several
@click.option("--disable", is_flag=True, help="They no longer start with the host.")
@click.pass_obj
def autostart(session: Session, asked: Asked, disable: bool) -> None:
    """Have machines start with the host: runStrategy Always in their manifests, or (--disable) Manual.

    What starts them at boot is the unit that `windrow vm install` writes. Nothing is started or stopped now.
    """
    from windrow.apps.vm.manifest import with_autostart

    site = site_of(session)
    when = "does not start with the host" if disable else "starts with the host"

    def one(namespace: str, name: str) -> None:
        say(f"virtualmachine/{name} {when}{'' if with_autostart(site, namespace, name, not disable) else ' already'}")
        if not disable:
            _warn_of_no_boot(site, site.machine(namespace, name))

    def stored() -> list[Key]:
        here = (m for m in site.machines() if site.here in homes(m, site.cluster, site.here))
        return [(m.meta.namespace, m.name) for m in here]

    each(session, asked.keys(stored), one)


def _warn_of_no_boot(site: Site, machine: AnyMachine) -> None:
    places = homes(machine, site.cluster, site.here)
    if places == (site.here,):
        return
    what = f"virtualmachine/{machine.name} may run on {' and '.join(places) or 'no node that is known'}"
    if site.here in places:
        site.warn(f"{what}: no boot starts it until a nodeSelector names its node")
    else:
        site.warn(f"{what}: this host's boot does not start it")


@click.command(short_help="Write a systemd unit that starts machines with the host")
@unit_dir
@click.pass_obj
def install(session: Session, directory: Path | None) -> None:
    """Write the systemd unit that starts this node's machines with the host (`windrow vm start --autostart`), and asks
    all that run to shut down before it goes down. Nothing is started.

    It starts the Windrow that wrote it; after Windrow has moved, install it again.
    """
    from windrow.apps.cli import unitwords
    from windrow.apps.vm.unit import NAME, START, STOP, unit_text

    text = unit_text(start=unitwords.command(session, *START), stop=unitwords.command(session, *STOP))
    for line in unitwords.put(unitwords.place(session, directory) / NAME, text):
        say(line)


@click.command(short_help="Take its systemd unit away")
@unit_dir
@click.pass_obj
def uninstall(session: Session, directory: Path | None) -> None:
    """Take away the systemd unit that `install` wrote. What runs goes on; nobody starts or stops it with the host.

    Refused while systemd starts it at boot, and where somebody else wrote it.
    """
    from windrow.apps.cli import unitwords
    from windrow.apps.vm.unit import MARK, NAME

    for line in unitwords.taken(session, unitwords.place(session, directory) / NAME, MARK):
        say(line)


COMMANDS = (start, stop, restart, suspend, resume, autostart, install, uninstall)
