"""What a machine must pass before anything is made for it. All that is wrong is said at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator

from windrow.apps.vm import pod
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.cluster import matches_labels
from windrow.model.machines import AnyMachine, LinkState
from windrow.model.names import MGMT
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.ports import PortRecord
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.values import Ref
from windrow.netlink.sock import Rtnl
from windrow.port.errors import CniError
from windrow.store.machines import MachineRecord, Phase
from windrow.store.ports import PortRecords


def pass_all(site: Site, namespace: str, name: str) -> AnyMachine:
    """The machine, with a MAC address for each of its NICs, and without those that are to be absent.

    Raises ProblemsError, KernelError, StoreError.
    """
    machine = settled(site.machine(namespace, name))
    record = site.records.get(namespace, name)
    if record is not None:
        _refuse_running(record)
    with Rtnl() as rtnl:
        links = frozenset(rtnl.indexes())
    found = [
        *on_this_node(site, machine),
        *missing_files(machine),
        *missing_networks(site, machine, links),
        *used_macs(site, machine, record.container_id if record else ""),
    ]
    if errors(found):
        raise ProblemsError(found)
    for problem in found:
        site.warn(str(problem))
    return machine


def settled(machine: AnyMachine) -> AnyMachine:
    nics = tuple(
        dataclasses.replace(nic, mac=pod.mac_for(machine, nic))
        for nic in machine.spec.nics
        if nic.state is not LinkState.ABSENT
    )
    return dataclasses.replace(machine, spec=dataclasses.replace(machine.spec, nics=nics))


def _refuse_running(record: MachineRecord) -> None:
    about = Ref(record.kind, record.name, record.namespace)
    if record.phase is Phase.ATTACHED:
        message = "its NICs are attached for a hypervisor of your own"
        hint = f"`windrow vm stop {record.name}` takes them away"
        raise ProblemsError([Problem(code="already-attached", message=message, hint=hint, about=about)])
    if runs(record):
        message = f"it runs already: QEMU is process {record.pid}"
        hint = f"`windrow vm console {record.name}` shows it, `windrow vm stop {record.name}` ends it"
        raise ProblemsError([Problem(code="already-running", message=message, hint=hint, about=about)])


def on_this_node(site: Site, machine: AnyMachine) -> Iterator[Problem]:
    wanted = dict(machine.spec.node_selector)
    node = site.cluster.node(site.node)
    if not matches_labels(wanted, node.meta.labels):
        text = ", ".join(f"{key}={value}" for key, value in wanted.items())
        yield Problem(
            code="other-node",
            path="spec.template.spec.nodeSelector",
            message=f"it is for a node with {text}, and {site.node} is none",
            hint="start it on such a node, or change its nodeSelector",
            about=machine.ref,
        )


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


def missing_networks(site: Site, machine: AnyMachine, links: frozenset[str]) -> Iterator[Problem]:
    """A NIC on a bridge network needs its bridge on this host; nobody makes one for it."""
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        if network is None or not network.nad:
            continue
        namespace, _, name = network.nad.rpartition("/")
        nad = site.cluster.objects.get(Ref(NetworkAttachmentDefinition.KIND, name, namespace))
        if not isinstance(nad, NetworkAttachmentDefinition):
            hint = "`windrow get nad` lists those that there are"
            message = f"NIC {nic.name}: there is no NetworkAttachmentDefinition {network.nad}"
            yield Problem(code="network-missing", message=message, hint=hint, about=machine.ref)
        elif nad.type is not None and nad.bridge and nad.bridge not in links:
            yield _no_bridge(machine, nic.name, nad)


def _no_bridge(machine: AnyMachine, nic: str, nad: NetworkAttachmentDefinition) -> Problem:
    cn = nad.cluster_network
    if cn == MGMT:
        hint = "the operating system makes it; README tells how"
    else:
        hint = f"a VlanConfig of cluster network {cn} must select this node; then `windrow apply`"
    message = f"NIC {nic}: its cluster network {cn} is not on this node: there is no bridge {nad.bridge}"
    return Problem(code="network-not-here", message=message, hint=hint, about=machine.ref)


def used_macs(site: Site, machine: AnyMachine, own: str) -> Iterator[Problem]:
    """One that is on the same bridge of this host already, of whoever it is. `own`: our container id of before."""
    try:
        ports = PortRecords(site.paths).all()
    except (OSError, CniError):
        return
    yield from same_macs(site, machine, [port for port in ports if port.container_id != own])


def same_macs(site: Site, machine: AnyMachine, ports: Iterable[PortRecord]) -> Iterator[Problem]:
    used = {(port.bridge, port.mac): port for port in ports if port.mac}
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        namespace, _, name = network.nad.rpartition("/") if network else ("", "", "")
        nad = site.cluster.objects.get(Ref(NetworkAttachmentDefinition.KIND, name, namespace))
        bridge = nad.bridge if isinstance(nad, NetworkAttachmentDefinition) else ""
        if (port := used.get((bridge, nic.mac))) is not None:  # type: ignore[arg-type]
            message = f"NIC {nic.name}: {port.user} has the MAC address {nic.mac} on {bridge} already"
            yield Problem(code="mac-used", message=message, hint="give one of them another address", about=machine.ref)
