"""Start a machine: its pod's namespace, the CNI calls, the binding of each NIC, QEMU.

The record says what is about to be made before it is made; so whatever a killed start leaves, `stop` finds.
Whatever fails is undone in reverse, and the reason is the one that is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

from windrow.apps.vm import bind, gates, launch, pod
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import clean
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, GuestNic, LinkState
from windrow.model.problems import WindrowError
from windrow.netlink import netns
from windrow.netlink.errors import KernelError
from windrow.port.vm import qemu as arguments
from windrow.port.vm.binding import NicPlan, PodNic, plan_nic
from windrow.port.vm.names import names_of, pod_ifname
from windrow.services import process, qemu
from windrow.services.errors import ServiceError
from windrow.store.errors import explained
from windrow.store.machines import QMP, MachineRecord, NicRecord, Phase

READ, CHECK = "read the manifests", "check them against this host"
NAMESPACE, CNI, BIND = "network namespace", "CNI plugins", "devices between pod and guest"
SERVE, QEMU = "NAT and DHCP in the pod", "QEMU, until its monitor answers"
"""The parts of a start, as they are told to `Site.spent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    record: MachineRecord
    plans: tuple[NicPlan, ...]
    machine: AnyMachine


def start(site: Site, namespace: str, name: str, *, accelerator: str = "") -> Started:
    """Start a machine of the store. `accelerator`: kvm or tcg; empty: kvm where it works.

    Raises ProblemsError (it must not, or need not, be started), CniError, KernelError, ServiceError, StoreError; then
    nothing of it is left.
    """
    return _make(site, namespace, name, lambda started: _run(site, started, accelerator), hypervisor=True)


def attach(site: Site, namespace: str, name: str) -> Started:
    """All but QEMU: for a hypervisor of somebody else. `stop` takes it away. Raises as `start` does."""

    def leave(started: Started) -> Started:
        record = dataclasses.replace(started.record, phase=Phase.ATTACHED)
        site.records.put(record)
        return dataclasses.replace(started, record=record)

    return _make(site, namespace, name, leave, hypervisor=False)


def _make(site: Site, namespace: str, name: str, last: Callable[[Started], Started], *, hypervisor: bool) -> Started:
    with site.timed(READ):
        site.machine(namespace, name)
    with site.locked(namespace, name):
        with site.timed(CHECK):
            machine = gates.pass_all(site, namespace, name, hypervisor=hypervisor)
        if (left := site.records.get(namespace, name)) is not None:
            site.say(f"removing what is left of {namespace}/{name}")
            clean(site, left)
        pod.forget(site, namespace, name)
        record = _begun(site, machine)
        with _undone(site, record):
            started = _connect(site, machine, record)
            return last(started)


def _begun(site: Site, machine: AnyMachine) -> MachineRecord:
    record = MachineRecord(
        namespace=machine.meta.namespace,
        name=machine.name,
        node=site.here,
        kind=machine.KIND,
        container_id=pod.new_container_id(),
        netns=pod.netns_name(site, machine.meta.namespace, machine.name),
        since=time.time(),
        nics=tuple(nic_record(machine, nic, index) for index, nic in enumerate(machine.spec.nics)),
    )
    site.records.put(record)
    return record


def nic_record(machine: AnyMachine, nic: GuestNic, index: int) -> NicRecord:
    network = machine.spec.network(nic.name)
    assert network is not None  # admission
    names = names_of(pod_ifname(network))
    return NicRecord(
        network=nic.name,
        nad=network.nad,
        binding=nic.binding.value,
        pod=names.pod,
        bridge=names.bridge,
        tap=names.tap,
        renamed=names.renamed,
        mac=pod.mac_for(machine, nic),
        model=nic.model.value,
        up=nic.state is not LinkState.DOWN,
        index=index,
    )


@contextlib.contextmanager
def _undone(site: Site, record: MachineRecord) -> Iterator[None]:
    """Whatever ends the block early, Ctrl-C too, takes with it all that was made for the machine."""
    try:
        yield
    except BaseException as error:
        site.say("undoing what was done")
        try:
            clean(site, site.records.get(record.namespace, record.name) or record)
        except WindrowError as second:
            site.warn(f"not everything could be undone: {second}; `windrow vm stop {record.name}` tries again")
        raise error


# Phase 1 ------------------------------------------------------------------------------------------


def _connect(site: Site, machine: AnyMachine, record: MachineRecord) -> Started:
    """The pod, its networks, and what is between them and the guest."""
    with contextlib.suppress(KernelError):
        netns.delete(record.netns)  # a name without a record; what made it died before it could write one
    with site.timed(NAMESPACE):
        pod.open_namespace(record.netns)
    site.say(f"network namespace {record.netns}")
    path = pod.manifest_path(site, record.namespace, record.name)
    with explained(path, "write the pod's manifest"):
        pod.write_manifest(site, machine)
    with site.timed(CNI):
        pod.add(site, record)
    record = dataclasses.replace(record, phase=Phase.CONNECTING)
    site.records.put(record)
    plans: list[NicPlan] = []
    with pod.entered(record.netns) as (kernel, fd):
        for nic in record.nics:
            with site.timed(BIND):
                plan = planned(machine, nic, bind.look(kernel, nic.pod))
                bind.connect(kernel, fd, plan)
            with site.timed(SERVE):
                bind.serve(fd, plan, site.records.directory(record.namespace, record.name))
            record = record.with_nic(bound(nic, plan))
            site.records.put(record)
            site.say(words(plan, nic))
            plans.append(plan)
    record = dataclasses.replace(record, places=arguments.root_ports(machine.spec, plans))
    return Started(record=record, plans=tuple(plans), machine=machine)


def planned(machine: AnyMachine, nic: NicRecord, seen: PodNic) -> NicPlan:
    found = pod.identity(machine.spec, machine.name)
    return plan_nic(machine.spec, nic.network, seen, found, index=nic.index)


def bound(nic: NicRecord, plan: NicPlan) -> NicRecord:
    """What is known once the pod's interface was seen."""
    given = plan.dhcp
    addresses = tuple(a for a in (given.address, given.address6) if a) if given else ()
    return dataclasses.replace(
        nic,
        renamed=plan.moved.name if plan.moved else "",
        mac=plan.guest_mac,
        mtu=plan.mtu,
        addresses=addresses,
        bound=True,
    )


def words(plan: NicPlan, nic: NicRecord) -> str:
    """`vlan100 (default/vlan100, bridge): pod1dba23260aa - k6t-1dba23260aa - tap1dba23260aa, 02:…, MTU 1500`"""
    way = " - ".join([plan.moved.name if plan.moved else plan.pod, plan.bridge.name, plan.tap.name])
    given = f", its server gives {plan.dhcp.address}" if plan.dhcp else ""
    network = nic.nad or "pod network"
    return f"{nic.network} ({network}, {nic.binding}): {way}, {plan.guest_mac}, MTU {plan.mtu}{given}"


# Phase 2 ------------------------------------------------------------------------------------------


def _run(site: Site, started: Started, accelerator: str) -> Started:
    refusal = "" if accelerator == "tcg" else qemu.kvm_refusal(launch.account(started.record))
    if refusal and accelerator == "kvm":
        raise ServiceError("KVM", refusal, "--accel tcg runs the guest in software")
    if accelerator != "tcg" and not refusal:
        try:
            return _run_with(site, started, "kvm")
        except ServiceError as error:
            if accelerator == "kvm" or isinstance(error.__cause__, FileNotFoundError | PermissionError):
                raise  # the second: there is no QEMU at all
            # One that is there need not work: a guest of a guest may have half of it. Or it was something else.
            site.say(f"QEMU did not start with KVM ({error.reason}): once more in software, which is slow")
    if refusal:
        site.say(f"no KVM ({refusal}): the guest runs in software, which is slow")
    return _run_with(site, started, "tcg")


def _run_with(site: Site, started: Started, accelerator: str) -> Started:
    with site.timed(QEMU), pod.entered(started.record.netns) as (_, fd):
        job = launch.Job(
            machine=started.machine,
            record=started.record,
            plans=started.plans,
            namespace=fd,
            kvm=accelerator == "kvm",
        )
        try:
            return _await(site, started, launch.begin(site, job), accelerator)
        except ServiceError as error:
            return _await(site, started, launch.unsandboxed(site, job, error), accelerator)


def _await(site: Site, started: Started, program: process.Program, accelerator: str) -> Started:
    """Until QEMU's monitor answers, which is when it has its memory, devices and files."""
    one = program.process
    record = dataclasses.replace(started.record, accelerator=accelerator, pid=one.pid, started=one.started)
    site.records.put(record)
    monitor_path = site.records.directory(record.namespace, record.name) / QMP
    try:
        with qemu.ready(program, monitor_path) as monitor:
            for command in arguments.first_commands(started.plans):
                monitor.command(command["execute"], command.get("arguments"))
    except BaseException as error:
        process.end(one, patience_s=0)
        if isinstance(error, ServiceError):
            raise launch.explained_by_qemu(record, error) from error.__cause__
        raise
    record = dataclasses.replace(record, phase=Phase.RUNNING)
    site.records.put(record)
    user = launch.account(record).number
    site.say(f"running: QEMU is process {record.pid} ({record.accelerator}) of user {user}")
    return dataclasses.replace(started, record=record)
