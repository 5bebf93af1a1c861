"""NICs of a machine that runs: plugged in, pulled out, and their cables.

The manifest in the store says the same afterwards, so the machine has them at its next start, too. A machine that does
not run has only its manifest changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from windrow.apps.vm import bind, gates, launch, manifest, pod
from windrow.apps.vm.site import Site
from windrow.apps.vm.start import bound, planned, words
from windrow.apps.vm.stop import runs
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, Binding, GuestNetwork, GuestNic, LinkState, NicModel
from windrow.model.problems import Problem, ProblemsError, WindrowError
from windrow.model.values import Mac, parse_mac
from windrow.netlink.sock import Rtnl
from windrow.port.vm import qemu as commands
from windrow.port.vm.binding import NicPlan
from windrow.port.vm.names import names_of, pod_ifname
from windrow.rules.virtualmachine import nic_path
from windrow.services import qemu
from windrow.services.errors import QmpError
from windrow.store.machines import QMP, MachineRecord, NicRecord, Phase

UNPLUG_S = 30.0
"""The guest has to let go of the device: on PCI Express it powers the slot off 5 s after it was asked to."""
_GONE = "DeviceNotFound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A NIC to be. `nad`: `namespace/name`."""

    nad: str
    name: str
    mac: str = ""
    model: NicModel = NicModel.VIRTIO
    binding: Binding = Binding.BRIDGE
    down: bool = False


# Plugging in --------------------------------------------------------------------------------------


def add_nic(site: Site, namespace: str, name: str, wanted: Wanted) -> bool:
    """Whether the guest has it now: False where the machine does not run.

    Raises ProblemsError, CniError, KernelError, ServiceError, StoreError; then all is as it was.
    """
    with site.locked(namespace, name):
        machine = site.machine(namespace, name)
        if machine.spec.network(wanted.name) is not None or any(n.name == wanted.name for n in machine.spec.nics):
            raise refused(machine, "nic-there", f"it has a NIC {wanted.name} already", "choose another --name")
        network, nic = GuestNetwork(name=wanted.name, nad=wanted.nad), _guest_nic(machine, wanted)
        changed = manifest.with_nic(site, machine, network, nic)
        record = running(site, namespace, name)
        if record is not None:
            _plug(site, gates.settled(changed), record, nic.name)
        site.store.put([changed])
        return record is not None


def _guest_nic(machine: AnyMachine, wanted: Wanted) -> GuestNic:
    try:
        mac: Mac | None = parse_mac(wanted.mac) if wanted.mac else None
    except ValueError as error:
        raise refused(machine, "mac-malformed", str(error)) from error
    state = LinkState.DOWN if wanted.down else LinkState.UP
    return GuestNic(name=wanted.name, binding=wanted.binding, model=wanted.model, mac=mac, state=state)


def refused(machine: AnyMachine, code: str, message: str, hint: str = "") -> ProblemsError:
    return ProblemsError([Problem(code=code, message=message, hint=hint, about=machine.ref)])


def running(site: Site, namespace: str, name: str) -> MachineRecord | None:
    record = site.records.get(namespace, name)
    return record if record is not None and record.phase is Phase.RUNNING and runs(record) else None


def _plug(site: Site, machine: AnyMachine, record: MachineRecord, network: str) -> None:
    nic = _nic_record(machine, record, network)
    check_place(site, machine, nic)
    monitor = site.records.directory(record.namespace, record.name) / QMP
    with qemu.Qmp(monitor) as qmp, _undone(site, record, nic, qmp):
        site.records.put(record.with_nic(nic))
        pod.add_nic(site, record, nic)
        with pod.entered(record.netns) as (kernel, fd):
            plan = planned(machine, nic, bind.look(kernel, nic.pod))
            bind.bind(kernel, fd, plan, site.records.directory(record.namespace, record.name))
        nic = bound(nic, plan)
        site.records.put(record.with_nic(nic))
        site.say(words(plan, nic))
        with _handed(record, plan, qmp) as queues:
            for command in commands.plug(machine.spec, plan, queues=queues):
                do(qmp, command)


@contextlib.contextmanager
def _handed(record: MachineRecord, plan: NicPlan, qmp: qemu.Qmp) -> Iterator[commands.Queues]:
    """QEMU is handed the tap open, under names for the block."""
    with pod.entered(record.netns) as (_, namespace):
        found = launch.opened(namespace, plan)
    names = {fd: f"nic-{plan.nic.name}-{number}" for number, fd in enumerate(launch.numbers(found))}
    try:
        for fd, name in names.items():
            qmp.hand(name, fd)
        every = list(names.values())
        yield commands.Queues(every[: len(found.tap)], every[len(found.tap) :])
    finally:
        for fd in names:
            os.close(fd)


def _nic_record(machine: AnyMachine, record: MachineRecord, network: str) -> NicRecord:
    """Raises ProblemsError: there is no free slot."""
    found = machine.spec.network(network)
    nic = next(n for n in machine.spec.nics if n.name == network)
    assert found is not None
    names = names_of(pod_ifname(found))
    used = {one.index for one in record.nics}
    index = next(i for i in range(len(used) + 1) if i not in used)
    if record.places and index >= record.places:
        hint = "restart the machine: it gets as many as it has NICs then, and some more"
        raise refused(machine, "no-slot", f"all its {record.places} places for NICs are taken", hint)
    return NicRecord(
        network=network,
        nad=found.nad,
        binding=nic.binding.value,
        pod=names.pod,
        bridge=names.bridge,
        tap=names.tap,
        renamed=names.renamed,
        mac=nic.mac or "",
        model=nic.model.value,
        up=nic.state is not LinkState.DOWN,
        index=index,
        later=True,
    )


def check_place(site: Site, machine: AnyMachine, nic: NicRecord, own: Collection[str] = ()) -> None:
    """`own`: the container whose NIC this already is. Raises ProblemsError: what a start would be refused for."""
    only = [(i, one) for i, one in enumerate(machine.spec.nics) if one.name == nic.network]
    its = tuple(f"{nic_path(machine, i)}." for i, _ in only)
    spec = dataclasses.replace(
        machine.spec,
        nics=tuple(one for _, one in only),
        lacks=tuple(lack for lack in machine.spec.lacks if lack.path.startswith(its)),
    )
    alone = dataclasses.replace(machine, spec=spec)
    with Rtnl() as rtnl:
        links = frozenset(rtnl.indexes())
    found = (*gates.obstacles(site, alone, links), *gates.used_macs(site, alone, own))
    if found:
        raise ProblemsError(found)


@contextlib.contextmanager
def _undone(site: Site, record: MachineRecord, nic: NicRecord, qmp: qemu.Qmp) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        site.say("undoing what was done")
        try:
            for command in reversed(commands.unplug(nic.network)):
                with contextlib.suppress(QmpError):
                    do(qmp, command)
            _release(site, record, nic)
            site.records.put(record)
        except WindrowError as second:
            site.warn(f"not everything could be undone: {second}")
        raise error


def do(qmp: qemu.Qmp, command: Mapping[str, Any]) -> None:
    qmp.command(command["execute"], command.get("arguments"))


# Pulling out --------------------------------------------------------------------------------------


def remove_nic(site: Site, namespace: str, name: str, nic: str, *, patience_s: float = UNPLUG_S) -> bool:
    """Whether the machine runs, and the guest has let go of it. Raises as `add_nic`; also where the guest keeps it."""
    with site.locked(namespace, name):
        machine = site.machine(namespace, name)
        record = running(site, namespace, name)
        known = record.nic(nic) if record else None
        if known is None and all(one.name != nic for one in machine.spec.nics):
            raise unknown(machine, nic)
        changed = manifest.without_nic(site, machine, nic) if machine.spec.network(nic) else None
        if record is not None and known is not None:
            _unplug(site, machine, record, known, patience_s)
        if changed is not None:
            site.store.put([changed])
        return record is not None


def unknown(machine: AnyMachine, nic: str) -> ProblemsError:
    there = ", ".join(one.name for one in machine.spec.nics)
    hint = f"there is: {there}" if there else "it has none"
    return refused(machine, "not-found", f"it has no NIC {nic}", hint)


def _unplug(site: Site, machine: AnyMachine, record: MachineRecord, nic: NicRecord, patience_s: float) -> None:
    monitor = site.records.directory(record.namespace, record.name) / QMP
    with qemu.Qmp(monitor) as qmp:
        ask, forget = commands.unplug(nic.network)
        _let_go(site, machine, nic, qmp, ask, patience_s)
        with contextlib.suppress(QmpError):  # gone already, with a machine that was half way out
            do(qmp, forget)
    _release(site, record, nic)
    site.records.put(record.without_nic(nic.network))


def _let_go(
    site: Site, machine: AnyMachine, nic: NicRecord, qmp: qemu.Qmp, ask: Mapping[str, Any], patience_s: float
) -> None:
    device = commands.device_id(nic.network)

    def about_it(event: qemu.Event) -> bool:
        return (
            event["event"] in ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR") and event["data"].get("device") == device
        )

    refusal = ""
    try:
        do(qmp, ask)
        site.say(f"the guest was asked to let go of {nic.network}")
    except QmpError as error:
        if error.kind == _GONE:
            return
        refusal = error.reason  # above all: it was asked before, and has not answered yet
    event = qmp.event(about_it, timeout_s=patience_s)
    if event is None or event["event"] != "DEVICE_DELETED":
        why = f"did not let go of it within {patience_s:g} s" if event is None else "refused to let go of it"
        hint = "does it support hot plug? Try again, or stop the machine and remove it then"
        message = f"NIC {nic.network}: the guest {why}" + (f" ({refusal})" if refusal else "")
        raise refused(machine, "unplug-refused", message, hint)


def _release(site: Site, record: MachineRecord, nic: NicRecord) -> None:
    """What is between the pod and the guest, then what the CNI plugins made."""
    with pod.entered(record.netns) as (kernel, _):
        bind.unbind(kernel, names_of(nic.pod), site.records.directory(record.namespace, record.name))
    pod.delete_nic(site, record, nic)


# Cables -------------------------------------------------------------------------------------------


def set_link(site: Site, namespace: str, name: str, nic: str, *, up: bool) -> bool:
    """Whether the guest has seen it: False where the machine does not run.

    Raises ProblemsError, QmpError, StoreError.
    """
    with site.locked(namespace, name):
        machine = site.machine(namespace, name)
        record = running(site, namespace, name)
        known = record.nic(nic) if record else None
        if all(one.name != nic for one in machine.spec.nics):
            raise unknown(machine, nic)
        state = LinkState.UP if up else LinkState.DOWN
        changed = manifest.with_link_state(site, machine, nic, state.value)
        if record is not None and known is not None:
            with qemu.Qmp(site.records.directory(namespace, name) / QMP) as qmp:
                do(qmp, commands.set_link(nic, up=up))
            site.records.put(record.with_nic(dataclasses.replace(known, up=up)))
        site.store.put([changed])
        return record is not None
