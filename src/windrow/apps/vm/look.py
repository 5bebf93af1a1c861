"""What becomes of machines: their state, and each NIC as KubeVirt reports it in `status.interfaces`."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from windrow.apps.vm.addresses import Known, known
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, LinkState, VirtualMachine, VirtualMachineInstance
from windrow.model.problems import WindrowError
from windrow.model.wire import dump
from windrow.rules.placement import homes
from windrow.services import qemu
from windrow.services.errors import ServiceError
from windrow.store import attachments
from windrow.store.errors import StoreError
from windrow.store.machines import QMP, MachineRecord, NicRecord, Phase, machine_of

QMP_S = 2.0
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
    addresses = known(site)
    seen = {key: _seen(site, key, machines.get(key), by_key.get(key), addresses) for key in keys}
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
    return _seen(site, (namespace, name), machine, record, known(site))


def _seen(
    site: Site, key: tuple[str, str], machine: AnyMachine | None, record: MachineRecord | None, addresses: Known
) -> Seen:
    namespace, name = key
    state, links = _live(site, record) if record else (STOPPED, {})
    status = _network_status(site, record) if record else {}
    nics = record.nics if record else ()
    found = tuple(_interface(nic, status.get(nic.pod), links.get(nic.network), addresses) for nic in nics)
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


def _live(site: Site, record: MachineRecord) -> tuple[str, dict[str, bool]]:
    """(the machine's state, network -> whether its link is up). QEMU is asked, where it has time."""
    links = {nic.network: nic.up for nic in record.nics}
    if record.phase is Phase.RUNNING and not runs(record):
        return ENDED, links
    if record.phase is not Phase.RUNNING:
        return _PHASES[record.phase], links
    monitor = site.records.directory(record.namespace, record.name) / QMP
    try:
        with qemu.Qmp(monitor, timeout_s=QMP_S) as qmp:
            running = bool(qmp.command("query-status", timeout_s=QMP_S).get("running"))
    except ServiceError:
        running = True  # somebody else is talking to it
    return _PHASES[record.phase] if running else PAUSED, links


def _network_status(site: Site, record: MachineRecord) -> dict[str, Mapping[str, Any]]:
    """Interface in the pod -> what the meta plugin reports of it."""
    try:
        entries = attachments.status(site.paths, record.container_id)
    except StoreError as error:
        site.warn(str(error))
        return {}
    return {str(entry.get("interface", "")): entry for entry in entries}


def _interface(nic: NicRecord, status: Mapping[str, Any] | None, up: bool | None, elsewhere: Known) -> dict[str, Any]:
    """KubeVirt's VirtualMachineInstanceNetworkInterface: its addresses are the pod's, by which others reach the guest;
    where the pod has none, those that are known from elsewhere.

    `guestAddresses` is not KubeVirt's: what a masqueraded guest itself has.
    """
    own = [address.partition("/")[0] for address in nic.addresses]
    addresses = [str(ip) for ip in (status or {}).get("ips") or ()] or own
    sources = ["domain", *(["multus-status"] if status else [])]
    if not addresses:
        met, by = elsewhere.of(nic)
        addresses = list(met)
        sources += [by] if by else []
    found: dict[str, Any] = {"name": nic.network, "mac": nic.mac, "podInterfaceName": nic.pod}
    if addresses:
        found |= {"ipAddress": addresses[0], "ipAddresses": addresses}
    if own and own != addresses:
        found["guestAddresses"] = own
    found |= {"infoSource": ", ".join(sources), "linkState": "up" if up else "down", "mtu": nic.mtu}
    return found | {"network": nic.nad or "pod", "binding": nic.binding, "model": nic.model}


def _planned(machine: AnyMachine) -> Iterable[dict[str, Any]]:
    """Of a machine that does not run: what its manifest says."""
    for nic in machine.spec.nics:
        network = machine.spec.network(nic.name)
        state = "down" if nic.state is LinkState.DOWN else "up"
        found = {"name": nic.name, "mac": nic.mac or "", "network": (network and network.nad) or "pod"}
        yield {**found, "binding": nic.binding.value, "model": nic.model.value, "linkState": state}
