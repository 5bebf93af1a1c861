"""What becomes of machines: their state, and each NIC as KubeVirt reports it in `status.interfaces`."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, LinkState, VirtualMachine
from windrow.model.problems import WindrowError
from windrow.model.wire import dump
from windrow.services import qemu
from windrow.services.errors import ServiceError
from windrow.store import attachments
from windrow.store.errors import StoreError
from windrow.store.machines import QMP, MachineRecord, NicRecord, Phase

QMP_S = 2.0
STOPPED, ENDED, PAUSED, UNKNOWN = "Stopped", "Ended", "Paused", "Unknown"
"""Ended: QEMU is gone, and what was made for it is still there. Unknown: its record cannot be read."""
_PHASES = {
    Phase.STARTING: "Starting",
    Phase.CONNECTING: "Starting",
    Phase.ATTACHED: "Attached",
    Phase.RUNNING: "Running",
    Phase.STOPPING: "Stopping",
}


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


def all_machines(site: Site) -> tuple[Seen, ...]:
    """Those of the store and those that run here, by namespace and name. Raises StoreError."""
    records, failures = site.records.all()
    for failure in failures:
        site.warn(str(failure))
    by_key = {(r.namespace, r.name): r for r in records}
    machines = {(m.meta.namespace, m.name): m for m in site.machines()}
    unread = {(f.path.parent.parent.name, f.path.parent.name) for f in failures}
    keys = sorted(by_key.keys() | machines.keys() | unread)
    seen = {key: _seen(site, key, machines.get(key), by_key.get(key)) for key in keys}
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
    return _seen(site, (namespace, name), machine, record)


def _seen(site: Site, key: tuple[str, str], machine: AnyMachine | None, record: MachineRecord | None) -> Seen:
    namespace, name = key
    state, links = _live(site, record) if record else (STOPPED, {})
    status = _network_status(site, record) if record else {}
    nics = record.nics if record else ()
    found = tuple(_interface(nic, status.get(nic.pod), links.get(nic.network)) for nic in nics)
    if record is None and machine is not None:
        found = tuple(_planned(machine))
    return Seen(
        namespace=namespace,
        name=name,
        state=state,
        node=record.node if record else "",
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


def _interface(nic: NicRecord, status: Mapping[str, Any] | None, up: bool | None) -> dict[str, Any]:
    """KubeVirt's VirtualMachineInstanceNetworkInterface: its addresses are the pod's, by which others reach the guest.

    `guestAddresses` is not KubeVirt's: what a masqueraded guest itself has.
    """
    own = [address.partition("/")[0] for address in nic.addresses]
    addresses = [str(ip) for ip in (status or {}).get("ips") or ()] or own
    sources = ["domain", *(["multus-status"] if status else [])]
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
