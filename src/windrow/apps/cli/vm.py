"""`windrow vm`: virtual machines on this host."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

import click

from windrow.apps.cli import vmlife
from windrow.apps.cli.options import complete_network
from windrow.apps.cli.output import print_json, print_yaml, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.apps.cli.vmshared import named, nic_named, of_namespace, open_console, patience, site_of
from windrow.model.machines import Binding, NicModel

MODELS = [model.value for model in NicModel]
BINDINGS = {"bridge": Binding.BRIDGE, "managedtap": Binding.MANAGED_TAP}

EXAMPLES = """\b
Examples:
  windrow apply -f web.yaml                      store the machine first
  windrow vm start web
  windrow vm start --all                         all that are for this node alone
  windrow vm list -o wide
  windrow vm addresses web                       where it is met, and who says so
  windrow vm console web                         Ctrl-] leaves it
  windrow vm add-nic web --network default/vlan200
  windrow vm set-network web vlan200 vlan300
  windrow vm set-link web vlan200 down
  windrow vm remove-nic web vlan200
  windrow vm suspend web                         its guest stands still until windrow vm resume web
  windrow vm stop web
  windrow vm autostart web                       start it with the host, once windrow vm install has written the unit
  windrow vm attach web --output libvirt         NICs for a hypervisor of your own"""


@click.group(epilog=EXAMPLES, short_help="Run virtual machines on this host")
def vm() -> None:
    """Virtual machines on this host: objects of kind VirtualMachine and VirtualMachineInstance, run by QEMU.

    A machine lives in a network namespace of its own, as in a pod: the CNI plugins make its NICs there, and each
    is bound to the guest. It goes on when this command ends.
    """


for command in vmlife.COMMANDS:
    vm.add_command(command)


# NICs for others ----------------------------------------------------------------------------------


@vm.command(short_help="Make the NICs for a hypervisor of your own")
@named
@of_namespace
@click.option("--output", type=click.Choice(["libvirt", "qemu"]), required=True, help="What to print.")
@click.pass_obj
def attach(session: Session, name: str, namespace: str, output: str) -> None:
    """Make everything but the hypervisor: the namespace, the NICs, their taps. Print how yours gets them.

    libvirt: an <interface> for each NIC. qemu: arguments. It must run in the network namespace that is told on
    standard error; `windrow vm stop NAME` takes everything away.
    """
    from windrow.apps.vm.start import attach as attach_all
    from windrow.apps.vm.words import libvirt, qemu

    site = site_of(session)
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

    found = [s for s in all_machines(site_of(session)) if namespace in (None, s.namespace)]
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
@named
@of_namespace
@click.pass_obj
def describe(session: Session, name: str, namespace: str) -> None:
    """Show a machine in full, and what is known of it on this host."""
    from windrow.apps.vm.look import one_machine
    from windrow.render.describe import describe_text
    from windrow.rules.virtualmachine import lacks

    seen = one_machine(site_of(session), namespace, name)
    file = seen.machine.source.file if seen.machine else ""
    problems = lacks(seen.machine) if seen.machine else ()
    say(describe_text(seen.document(), problems=problems, file=file, style=session.style))


@vm.command(short_help="Show a guest's addresses")
@named
@of_namespace
@click.option(
    "--source",
    type=click.Choice(["lease", "agent", "arp"]),
    help="lease: what DHCP gave; agent: what qemu-ga in the guest says; arp: how this host has met it. Else all three.",
)
@click.option("-o", "--output", type=click.Choice(["json"]), help="Format; else a table.")
@click.pass_obj
def addresses(session: Session, name: str, namespace: str, source: str | None, output: str | None) -> None:
    """Show the addresses of a guest that runs, and who says that it has them (as `virsh domifaddr` does).

    What the agent says, the guest says of itself: nobody has checked it.
    """
    from windrow.apps.vm.addresses import Source, told
    from windrow.apps.vm.words import addresses_table

    site = site_of(session)
    found = told(site, site.record(namespace, name), Source(source) if source else None)
    match output:
        case "json":
            print_json([dataclasses.asdict(one) for one in found])
        case _ if not found:
            click.echo("No addresses found", err=True)
        case _:
            say(addresses_table(found, session.style))


@vm.command(short_help="Print a machine as virsh does")
@named
@of_namespace
@click.option(
    "--output", type=click.Choice(["libvirt", "qemu"]), default="libvirt", show_default=True, help="What to print."
)
@click.pass_obj
def dumpxml(session: Session, name: str, namespace: str, output: str) -> None:
    """Print a machine as libvirt's <domain>: what its manifest says, with taps, MAC addresses and MTUs as they are.

    With --output qemu: the command line of the QEMU that runs. Open files in it are numbers that it inherited.
    """
    from windrow.apps.vm import domain

    site = site_of(session)
    shown = domain.domain if output == "libvirt" else domain.command_line
    say(shown(site, namespace, name).rstrip("\n"))


@vm.command(short_help="Connect to a guest's serial line")
@named
@of_namespace
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
    site = site_of(session)
    if log:
        from windrow.apps.vm.console import read_log

        sys.stdout.buffer.write(read_log(site, namespace, name))
        return
    open_console(site, namespace, name, linger)


# NICs of a running machine ------------------------------------------------------------------------


@vm.command("add-nic", short_help="Plug a NIC into a machine, running or not")
@named
@of_namespace
@click.option(
    "--network",
    required=True,
    metavar="[NS/]NAD",
    help="The NetworkAttachmentDefinition it is on.",
    shell_complete=complete_network,
)
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
        live = add(site_of(session), namespace, name, wanted)
    say(f"virtualmachine/{name}: NIC {wanted.name} added{_when(live)}")


@vm.command("remove-nic", short_help="Take a NIC out of a machine")
@named
@nic_named
@of_namespace
@patience
@click.pass_obj
def remove_nic(session: Session, name: str, nic: str, namespace: str, timeout: float) -> None:
    """Remove a NIC from a machine: from the guest if it runs, which must let go of it, and from its manifest."""
    from windrow.apps.vm.hotplug import remove_nic as remove

    with interruptible():
        live = remove(site_of(session), namespace, name, nic, patience_s=timeout)
    say(f"virtualmachine/{name}: NIC {nic} removed{_when(live)}")


@vm.command("set-link", short_help="Plug a NIC's cable in or out")
@named
@nic_named
@click.argument("state", type=click.Choice(["up", "down"]))
@of_namespace
@click.pass_obj
def set_link(session: Session, name: str, nic: str, state: str, namespace: str) -> None:
    """Plug the cable of a NIC in or out, as the guest sees it; its manifest says so afterwards."""
    from windrow.apps.vm.hotplug import set_link as set_one

    live = set_one(site_of(session), namespace, name, nic, up=state == "up")
    say(f"virtualmachine/{name}: NIC {nic} is {state}{_when(live)}")


@vm.command("set-network", short_help="Put a NIC into another network")
@named
@nic_named
@click.argument("network", metavar="[NS/]NAD", shell_complete=complete_network)
@of_namespace
@click.pass_obj
def set_network(session: Session, name: str, nic: str, network: str, namespace: str) -> None:
    """Put a NIC of a machine into the network of another NetworkAttachmentDefinition, in the guest that runs and in its
    manifest. The guest keeps its card and sees its cable out for a moment, so that it asks for an address anew."""
    from windrow.apps.vm.rewire import set_network as set_one

    nad = network if "/" in network else f"{namespace}/{network}"
    with interruptible():
        live = set_one(site_of(session), namespace, name, nic, nad)
    say(f"virtualmachine/{name}: NIC {nic} is in {nad}{_when(live)}")


def _when(live: bool) -> str:
    return "" if live else " (the machine does not run: it counts from its next start)"
