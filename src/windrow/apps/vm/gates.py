"""What a machine must pass before anything is made for it. All that is wrong is said at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator

from windrow.apps.vm import pod
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.located import located
from windrow.model.machines import AnyMachine, LinkState
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.values import IfName
from windrow.netlink.sock import Rtnl
from windrow.rules.start import machine_obstacles
from windrow.rules.virtualmachine import find_nad
from windrow.store.machines import MachineRecord, Phase
from windrow.store.ports import PortRecords


def pass_all(site: Site, namespace: str, name: str, *, hypervisor: bool = True) -> AnyMachine:
    """The machine, with a MAC address for each of its NICs, and without those that are to be absent. `hypervisor`: it
    is to run here; else only its NICs are made, and its CPUs and disks are somebody else's.

    Raises ProblemsError, KernelError, StoreError.
    """
    machine = settled(site.machine(namespace, name))
    record = site.records.get(namespace, name)
    if record is not None:
        _refuse_running(record)
    else:
        pod.refuse_lost(site, machine.ref)
    earlier = {record.container_id} if record else {old for old, _ in pod.attached(site, namespace, name)}
    with Rtnl() as rtnl:
        links = frozenset(rtnl.indexes())
    found = located(
        (
            *in_two_places(site, machine),
            *obstacles(site, machine, links, hypervisor=hypervisor),
            *(missing_files(machine) if hypervisor else ()),
            *used_macs(site, machine, earlier),
        ),
        site.cluster.objects,
    )
    if errors(found):
        raise ProblemsError(found)
    for problem in found:
        site.warn(str(problem))
    return machine


def in_two_places(site: Site, machine: AnyMachine) -> tuple[Problem, ...]:
    """Which of two manifests counts would hang on the names of their files."""
    return tuple(p for p in errors(site.loaded.problems) if p.about == machine.ref)


def obstacles(
    site: Site, machine: AnyMachine, links: frozenset[str], *, hypervisor: bool = True
) -> tuple[Problem, ...]:
    """What the rules have against it on this node. `links`: the names of those that there are."""
    return machine_obstacles(
        machine,
        site.cluster,
        node=site.here,
        links=links,
        default_network=pod.names_default_network(site),
        hypervisor=hypervisor,
    )


def settled(machine: AnyMachine) -> AnyMachine:
    nics = tuple(
        dataclasses.replace(nic, mac=pod.mac_for(machine, nic))
        for nic in machine.spec.nics
        if nic.state is not LinkState.ABSENT
    )
    return dataclasses.replace(machine, spec=dataclasses.replace(machine.spec, nics=nics))


def _refuse_running(record: MachineRecord) -> None:
    if record.phase is Phase.ATTACHED:
        message = "its NICs are attached for a hypervisor of your own"
        hint = f"`windrow vm stop {record.name}` takes them away"
        raise ProblemsError([Problem(code="already-attached", message=message, hint=hint, about=record.ref)])
    if runs(record):
        message = f"it runs already: QEMU is process {record.pid}"
        hint = f"`windrow vm console {record.name}` shows it, `windrow vm stop {record.name}` ends it"
        raise ProblemsError([Problem(code="already-running", message=message, hint=hint, about=record.ref)])


def missing_files(machine: AnyMachine) -> Iterator[Problem]:
    spec = machine.spec
    files = [("kernel", spec.kernel.kernel), ("initrd", spec.kernel.initrd)] if spec.kernel else []
    files += [(f"disk {disk.name}", disk.path) for disk in spec.disks]
    for what, path in files:
        if path and not os.path.isfile(path) and not os.path.exists(path):
            hint = "the paths of kernels and disks are paths of this host"
            yield Problem(code="file-missing", message=f"{what}: there is no {path}", hint=hint, about=machine.ref)
        elif path and not os.access(path, os.R_OK):
            yield Problem(code="file-unreadable", message=f"{what}: {path} cannot be read", about=machine.ref)


def used_macs(site: Site, machine: AnyMachine, own: Collection[str]) -> Iterator[Problem]:
    """One that is on the same bridge of this host already, of whoever it is. `own`: our container ids of before."""
    try:
        ports = PortRecords(site.paths).all()
    except OSError as error:
        site.warn(f"the records of ports cannot be read: {error}")
        return
    used = {(port.bridge, port.mac): port for port in ports if port.mac and port.container_id not in own}
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        nad = find_nad(site.cluster, network.nad) if network else None
        port = used.get((IfName(nad.bridge), nic.mac)) if nad and nic.mac else None
        if port is not None:
            message = f"NIC {nic.name}: {port.user} has the MAC address {nic.mac} on {port.bridge} already"
            yield Problem(code="mac-used", message=message, hint="give one of them another address", about=machine.ref)
