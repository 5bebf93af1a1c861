"""What becomes of machines: their state, and each NIC as KubeVirt reports it in `status.interfaces`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from windrow.apps.vm.addresses import AGENT, Known, known
from windrow.apps.vm.guests import QMP_S, Guests, listens
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, LinkState, VirtualMachine, VirtualMachineInstance
from windrow.model.problems import WindrowError
from windrow.model.wire import dump
from windrow.port.vm.guestagent import GuestInterface, own_of
from windrow.rules.placement import homes
from windrow.services import qemu
from windrow.services.errors import ServiceError
from windrow.store import attachments
from windrow.store.errors import StoreError
from windrow.store.machines import QMP, MachineRecord, NicRecord, Phase, machine_of

STOPPED, ENDED, PAUSED, UNKNOWN, ELSEWHERE = "Stopped", "Ended", "Paused", "Unknown", "Elsewhere"
"""Ended: QEMU is gone, and what was made for it is still there. Unknown: its record cannot be read. Elsewhere: it is
for other nodes, and whether it runs there is not seen from here."""
_PHASES = {
    Phase.STARTING: "Starting",
    Phase.CONNECTING: "Starting",
    Phase.ATTACHED: "Attached",
    Phase.RUNNING: "Running",
    Phase.STOPPING: "Stopping",
}


_INSTANCE_PHASES = {ENDED: "Succeeded", "Starting": "Scheduling", PAUSED: "Running", "Stopping": "Running"}
"""Our words for states -> KubeVirt's phases, where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One machine: of the store, of this host, or both."""

    namespace: str
    name: str
    state: str
    node: str = ""
    machine: AnyMachine | None = None
    record: MachineRecord | None = None
    interfaces: tuple[Mapping[str, Any], ...] = ()

    def document(self) -> dict[str, Any]:
        """The object, with what is known of it as its status."""
        found: dict[str, Any] = {"apiVersion": VirtualMachine.API_VERSION, "kind": VirtualMachine.KIND}
        found["metadata"] = {"name": self.name, "namespace": self.namespace}
        if self.machine is not None:
            found = dump(self.machine)
            found["metadata"].setdefault("namespace", self.namespace)
        return {**found, "status": self.status()}

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = {"printableStatus": self.state}
        record = self.record
        if record is None:
            return status
        since = datetime.datetime.fromtimestamp(record.since, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status |= {"created": True, "ready": self.state == "Running", "nodeName": record.node, "startTime": since}
        status |= {"accelerator": record.accelerator, "pid": record.pid} if record.pid else {}
        status |= {"containerID": record.container_id, "networkNamespace": f"/run/netns/{record.netns}"}
        return status | {"interfaces": [dict(one) for one in self.interfaces]}

    def instance(self) -> dict[str, Any]:
        """KubeVirt's VirtualMachineInstance: what runs, or is left of it. Only where there is a record."""
        document = dump(self.machine) if self.machine is not None else {}
        found = document["spec"]["template"] if isinstance(self.machine, VirtualMachine) else document
        meta = {**found.get("metadata", {}), "name": self.name, "namespace": self.namespace}
        status = self.status()
        kept = {key: status[key] for key in ("nodeName", "interfaces") if key in status}
        return {
            "apiVersion": VirtualMachineInstance.API_VERSION,
            "kind": VirtualMachineInstance.KIND,
            "metadata": meta,
            "spec": found.get("spec", {}),
            "status": {"phase": _INSTANCE_PHASES.get(self.state, self.state), **kept},
        }


def instances(site: Site) -> tuple[dict[str, Any], ...]:
    """The VirtualMachineInstances of this host: one for each machine of which there is a record. Raises StoreError."""
    return tuple(one.instance() for one in all_machines(site) if one.record is not None)


def all_machines(site: Site) -> tuple[Seen, ...]:
    """Those of the store and those that run here, by namespace and name. Raises StoreError."""
    records, failures = site.records.all()
    for failure in failures:
        site.warn(str(failure))
    by_key = {(r.namespace, r.name): r for r in records}
    machines = {(m.meta.namespace, m.name): m for m in site.machines()}
    unread = {machine_of(failure.path) for failure in failures}
    keys = sorted(by_key.keys() | machines.keys() | unread)
    asked = _Asked(site=site, addresses=known(site), guests=Guests())
    seen = {key: _seen(asked, key, machines.get(key), by_key.get(key)) for key in keys}
    return tuple(dataclasses.replace(one, state=UNKNOWN) if key in unread else one for key, one in seen.items())


def one_machine(site: Site, namespace: str, name: str) -> Seen:
    """Raises ProblemsError, StoreError."""
    record = site.records.get(namespace, name)
    machine = None
    try:
        machine = site.machine(namespace, name)
    except WindrowError:
        if record is None:
            raise
    asked = _Asked(site=site, addresses=known(site), guests=Guests())
    return _seen(asked, (namespace, name), machine, record)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who is asked about machines."""

    site: Site
    addresses: Known
    guests: Guests


def _seen(asked: _Asked, key: tuple[str, str], machine: AnyMachine | None, record: MachineRecord | None) -> Seen:
    namespace, name = key
    site = asked.site
    state, listening = _live(site, record) if record else (STOPPED, False)
    found = _interfaces(asked, record, listening=listening) if record else ()
    node = record.node if record else ""
    if record is None and machine is not None:
        found = tuple(_planned(machine))
        places = homes(machine, site.cluster, site.here)
        if places and site.here not in places:
            state, node = ELSEWHERE, ",".join(places)
    return Seen(
        namespace=namespace,
        name=name,
        state=state,
        node=node,
        machine=machine,
        record=record,
        interfaces=found,
    )


def _live(site: Site, record: MachineRecord) -> tuple[str, bool]:
    """(the machine's state, whether an agent in its guest listens). QEMU is asked, where it has time."""
    if record.phase is Phase.RUNNING and not runs(record):
        return ENDED, False
    if record.phase is not Phase.RUNNING:
        return _PHASES[record.phase], False
    monitor = site.records.directory(record.namespace, record.name) / QMP
    running, listening = True, False
    with contextlib.suppress(ServiceError), qemu.Qmp(monitor, timeout_s=QMP_S) as qmp:  # else somebody talks to it
        running = bool(qmp.command("query-status", timeout_s=QMP_S).get("running"))
        listening = running and listens(qmp)
    return _PHASES[record.phase] if running else PAUSED, listening


def _interfaces(asked: _Asked, record: MachineRecord, *, listening: bool) -> tuple[dict[str, Any], ...]:
    """Those of its manifest; then those that only the guest knows of, as KubeVirt lists them."""
    status = _network_status(asked.site, record)
    said = asked.guests.interfaces(asked.site, record) if listening else ()
    own = {nic.network: own_of(nic.mac, said) for nic in record.nics}
    found = (_interface(nic, status.get(nic.pod), own[nic.network], asked.addresses) for nic in record.nics)
    return (*found, *(_of_guest(one) for one in said if one not in own.values()))


def _network_status(site: Site, record: MachineRecord) -> dict[str, Mapping[str, Any]]:
    """Interface in the pod -> what the meta plugin reports of it."""
    try:
        entries = attachments.status(site.paths, record.container_id)
    except StoreError as error:
        site.warn(str(error))
        return {}
    return {str(entry.get("interface", "")): entry for entry in entries}


def _interface(
    nic: NicRecord, status: Mapping[str, Any] | None, guest: GuestInterface | None, elsewhere: Known
) -> dict[str, Any]:
    """KubeVirt's VirtualMachineInstanceNetworkInterface: its addresses are the pod's, by which others reach the guest;
    where the pod has none, the guest's own; and where the guest says none, those that are known from elsewhere.

    `guestAddresses` is not KubeVirt's: what a masqueraded guest itself has.
    """
    said = _bare(guest.addresses) if guest is not None else []
    own = said or _bare(nic.addresses)
    addresses = [str(ip) for ip in (status or {}).get("ips") or ()] or own
    sources = ["domain", *([AGENT] if guest is not None else []), *(["multus-status"] if status else [])]
    if not addresses:
        met, by = elsewhere.of(nic)
        addresses = list(met)
        sources += [by] if by else []
    found: dict[str, Any] = {"name": nic.network, "mac": nic.mac, "podInterfaceName": nic.pod}
    found |= {"interfaceName": guest.name} if guest is not None and guest.name else {}
    if addresses:
        found |= {"ipAddress": addresses[0], "ipAddresses": addresses}
    if own and own != addresses:
        found["guestAddresses"] = own
    found |= {"infoSource": ", ".join(sources), "linkState": "up" if nic.up else "down", "mtu": nic.mtu}
    return found | {"network": nic.nad or "pod", "binding": nic.binding, "model": nic.model}


def _of_guest(one: GuestInterface) -> dict[str, Any]:
    """One that the guest made itself: a bridge, a VLAN interface."""
    found: dict[str, Any] = {"interfaceName": one.name, "mac": one.mac, "infoSource": AGENT}
    addresses = _bare(one.addresses)
    return found | ({"ipAddress": addresses[0], "ipAddresses": addresses} if addresses else {})


def _bare(addresses: Iterable[str]) -> list[str]:
    return [address.partition("/")[0] for address in addresses]


def _planned(machine: AnyMachine) -> Iterable[dict[str, Any]]:
    """Of a machine that does not run: what its manifest says."""
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        state = "down" if nic.state is LinkState.DOWN else "up"
        found = {"name": nic.name, "mac": nic.mac or "", "network": (network and network.nad) or "pod"}
        yield {**found, "binding": nic.binding.value, "model": nic.model.value, "linkState": state}
