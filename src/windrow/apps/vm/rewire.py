"""Another network for a NIC of a machine that runs. The guest keeps its card; its cable is out for that moment, so that
it asks for an address anew.

Between the pod's interface and the guest's there is a bridge in the pod: the interface is taken out from under it, the
CNI plugins unmake it and make one in the other network, and that takes its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from windrow.apps.vm import bind, gates, hotplug, manifest, pod
from windrow.apps.vm.site import Site
from windrow.apps.vm.start import bound, planned, words
from windrow.model.machines import AnyMachine, Binding
from windrow.model.problems import WindrowError
from windrow.port.vm import qemu as commands
from windrow.port.vm.names import names_of
from windrow.services import qemu
from windrow.services.errors import QmpError
from windrow.store.machines import QMP, MachineRecord, NicRecord


def set_network(site: Site, namespace: str, name: str, nic: str, nad: str) -> bool:
    """Whether the guest is there now: False where the machine does not run. `nad`: `namespace/name`.

    Raises ProblemsError, CniError, KernelError, ServiceError, StoreError; then it is in the network of before.
    """
    with site.locked(namespace, name):
        machine = site.machine(namespace, name)
        _refuse(machine, nic)
        changed = manifest.with_network(site, machine, nic, nad)
        record = hotplug.running(site, namespace, name)
        known = record.nic(nic) if record else None
        # One that is not bound was left out by a call that was killed.
        if record is not None and known is not None and not (known.nad == nad and known.bound):
            _move(site, machine, gates.settled(changed), record, known)
        site.store.put([changed])
        return record is not None


def _refuse(machine: AnyMachine, nic: str) -> None:
    found = next((one for one in machine.spec.nics if one.name == nic), None)
    network = machine.spec.network(nic)
    if found is None or network is None:
        raise hotplug.unknown(machine, nic)
    if found.binding is Binding.MASQUERADE or not network.nad or network.default:
        message = f"NIC {nic} is on the pod network, or on the network in its place: it gets that one at its start"
        hint = "change its manifest, then restart the machine; or `windrow vm add-nic` adds one on another network"
        raise hotplug.refused(machine, "network-fixed", message, hint)


def _move(site: Site, before: AnyMachine, after: AnyMachine, record: MachineRecord, nic: NicRecord) -> None:
    """`before`, `after`: the machine on the one network, and on the other one."""
    network = after.spec.network(nic.network)
    assert network is not None
    there = dataclasses.replace(nic, nad=network.nad, later=True, addresses=())
    hotplug.check_place(site, after, there, {record.container_id})
    with qemu.Qmp(site.records.directory(record.namespace, record.name) / QMP) as qmp, _cable_out(site, qmp, nic):
        try:
            _leave(site, record, nic)
            _enter(site, after, record, there)
        except BaseException:
            site.say(f"undoing: {nic.network} goes back to {nic.nad}")
            back = dataclasses.replace(nic, later=True)
            with _told(site):
                _leave(site, record, there)
            with _told(site):
                _enter(site, before, record, back)
            raise


@contextlib.contextmanager
def _cable_out(site: Site, qmp: qemu.Qmp, nic: NicRecord) -> Iterator[None]:
    """A guest that sees its carrier come back asks for an address, and announces the one it has. That its QEMU has
    ended meanwhile is no reason to leave the manifest as it was, nor what an error is about."""
    hotplug.do(qmp, commands.set_link(nic.network, up=False))
    try:
        yield
    finally:
        if nic.up:
            try:
                hotplug.do(qmp, commands.set_link(nic.network, up=True))
            except QmpError as error:
                hint = "`windrow vm set-link` does it where the guest still runs"
                site.warn(f"the cable of {nic.network} could not be put in again: {error}; {hint}")


@contextlib.contextmanager
def _told(site: Site) -> Iterator[None]:
    try:
        yield
    except WindrowError as error:
        site.warn(f"not everything could be undone: {error}")


def _leave(site: Site, record: MachineRecord, nic: NicRecord) -> None:
    with pod.entered(record.netns) as (kernel, _):
        bind.unplug(kernel, names_of(nic.pod), site.records.directory(record.namespace, record.name))
    pod.delete_nic(site, record, nic)


def _enter(site: Site, machine: AnyMachine, record: MachineRecord, nic: NicRecord) -> None:
    """The record says what is about to be made before it is made."""
    site.records.put(record.with_nic(dataclasses.replace(nic, bound=False)))
    pod.add_nic(site, record, nic)
    with pod.entered(record.netns) as (kernel, fd):
        plan = planned(machine, nic, bind.look(kernel, nic.pod))
        if plan.mtu < nic.mtu:
            message = f"{nic.nad} has MTU {plan.mtu}, and the guest's card was made with {nic.mtu}"
            raise hotplug.refused(machine, "mtu-smaller", message, "change its manifest, then restart the machine")
        bind.plug(kernel, fd, plan, site.records.directory(record.namespace, record.name))
    found = dataclasses.replace(bound(nic, plan), mtu=nic.mtu)
    site.records.put(record.with_nic(found))
    site.say(words(plan, found))
