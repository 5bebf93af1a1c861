"""What a machine must pass before anything is made for it. All that is wrong is said at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

from windrow.apps.vm import pod
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.cluster import matches_labels
from windrow.model.machines import AnyMachine, LinkState
from windrow.model.names import MGMT
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.values import IfName, Ref
from windrow.netlink.sock import Rtnl
from windrow.rules.virtualmachine import duplicate_macs, find_nad, mac_twice, no_nad
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
    for index, network in enumerate(machine.spec.networks):
        nad = find_nad(site.cluster, network.nad)
        if network.nad and nad is None:
            yield no_nad(machine, index, network.nad, site.cluster)
        elif nad is not None and nad.type is not None and nad.bridge and nad.bridge not in links:
            yield _no_bridge(machine, network.name, nad)


def _no_bridge(machine: AnyMachine, nic: str, nad: NetworkAttachmentDefinition) -> Problem:
    cn = nad.cluster_network
    if cn == MGMT:
        hint = "the operating system makes it; README tells how"
    else:
        hint = f"a VlanConfig of cluster network {cn} must select this node; then `windrow apply`"
    message = f"NIC {nic}: its cluster network {cn} is not on this node: there is no bridge {nad.bridge}"
    return Problem(code="network-not-here", message=message, hint=hint, about=machine.ref)


def used_macs(site: Site, machine: AnyMachine, own: str) -> Iterator[Problem]:
    """One that another machine of the store has in the same cluster network, or that is on the same bridge of this
    host already, of whoever it is. `own`: our container id of before."""
    for index, other, where in duplicate_macs(machine, site.cluster):
        yield mac_twice(machine, index, other, where)
    try:
        ports = PortRecords(site.paths).all()
    except OSError as error:
        site.warn(f"the records of ports cannot be read: {error}")
        return
    used = {(port.bridge, port.mac): port for port in ports if port.mac and port.container_id != own}
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        nad = find_nad(site.cluster, network.nad) if network else None
        port = used.get((IfName(nad.bridge), nic.mac)) if nad and nic.mac else None
        if port is not None:
            message = f"NIC {nic.name}: {port.user} has the MAC address {nic.mac} on {port.bridge} already"
            yield Problem(code="mac-used", message=message, hint="give one of them another address", about=machine.ref)
