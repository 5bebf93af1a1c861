"""VirtualMachine and VirtualMachineInstance: the fields of KubeVirt's objects that make and connect a machine.

What KubeVirt takes is no error, whatever is made of it here: its networks count on every host that reads it. The rest
of KubeVirt's fields is kept; one that asks for something which a machine here would silently do without is a warning.
What it cannot start without and is not made here is one of its `lacks`, with what to use instead: that is for
`rules.start` to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from windrow.model.machines import (
    FIRST_PORT_SLOT,
    SPARE_PORTS,
    MachineSpec,
    RunStrategy,
    VirtualMachine,
    VirtualMachineInstance,
)
from windrow.model.meta import Meta
from windrow.model.problems import WITHOUT_EFFECT
from windrow.model.wire.guesthardware import read_hardware, write_domain, write_volumes
from windrow.model.wire.guestnics import LABEL, read_nics, write_networks, write_nics
from windrow.model.wire.reader import Envelope, Field, Table
from windrow.model.wire.selectors import read_node_terms, write_node_terms
from windrow.model.wire.text import quoted

FIELDS = (
    "running", "runStrategy", "template", "dataVolumeTemplates", "instancetype", "preference", "updateVolumesStrategy",
)  # fmt: skip
INSTANCE_FIELDS = (
    "domain", "nodeSelector", "affinity", "schedulerName", "tolerations", "topologySpreadConstraints",
    "priorityClassName", "evictionStrategy", "startStrategy", "terminationGracePeriodSeconds", "volumes",
    "livenessProbe", "readinessProbe", "hostname", "subdomain", "networks", "dnsPolicy", "dnsConfig",
    "accessCredentials", "architecture", "resourceClaims", "utilityVolumes",
)  # fmt: skip
_DOMAIN = (
    "resources", "cpu", "memory", "machine", "firmware", "clock", "features", "devices", "ioThreadsPolicy",
    "ioThreads", "chassis", "launchSecurity", "rebootPolicy",
)  # fmt: skip
_DEVICES = (
    "disks", "interfaces", "inputs", "watchdog", "rng", "tpm", "video", "sound", "gpus", "hostDevices", "filesystems",
    "clientPassthrough", "downwardMetrics", "panicDevices", "disableHotplug", "useVirtioTransitional",
    "blockMultiQueue", "networkInterfaceMultiqueue", "autoattachPodInterface", "autoattachGraphicsDevice",
    "autoattachSerialConsole", "logSerialConsole", "autoattachMemBalloon", "autoattachInputDevice",
    "autoattachVSOCK",
)  # fmt: skip


NAME_MAX = 180
"""Of a machine: with its namespace it is part of the names of files, which have 255 bytes (NAME_MAX of limits.h)."""


def read(spec: Table, envelope: Envelope) -> VirtualMachine:
    hint = "template: {spec: {domain: …, networks: …}}"
    template = spec.table("template", ("metadata", "spec"), required=True, hint=hint)
    for key in ("instancetype", "preference"):
        if key in spec:
            message = "is not looked up here: the machine is as its template says by itself"
            spec.report.warn(WITHOUT_EFFECT, f"{spec.path}.{key}", message, "give domain.cpu and domain.memory")
    meta = template.table("metadata")
    words = Meta(name="", labels=meta.texts("labels"), annotations=meta.texts("annotations"))
    return VirtualMachine(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        spec=_machine(template.table("spec", INSTANCE_FIELDS, required=True), envelope.meta),
        run_strategy=_run_strategy(spec),
        template=words if "metadata" in template else None,
    )


def read_instance(spec: Table, envelope: Envelope) -> VirtualMachineInstance:
    machine = _machine(spec, envelope.meta)
    return VirtualMachineInstance(
        meta=envelope.meta, doc=envelope.doc, source=envelope.source, spec=machine, node=_node(envelope)
    )


def _node(envelope: Envelope) -> str:
    match envelope.doc.get("status"):
        case {"nodeName": str(name)}:
            return name
        case _:
            return ""


def _run_strategy(spec: Table) -> str:
    running, given = spec.get("running"), spec.get("runStrategy")
    flag = running.flag() if running else None
    strategy = given.choice(RunStrategy) if given else None
    if running and given:
        message = "stands beside runStrategy, and one of them says when the machine runs"
        running.wrong("run-strategy", message, "remove running")
    if strategy is not None:
        return str(strategy)
    return "" if flag is None else str(RunStrategy.ALWAYS if flag else RunStrategy.HALTED)


def _machine(spec: Table, meta: Meta) -> MachineSpec:
    if len(meta.name) > NAME_MAX:
        message = f"has {len(meta.name)} characters, {NAME_MAX} is the most here"
        name = Field(meta.name, "metadata.name", spec.report)
        name.lack("name-too-long", message, "a shorter one: files are called after the machine")
    domain = spec.table("domain", _DOMAIN, required=True, hint="domain: {devices: {…}}")
    devices = domain.table("devices", _DEVICES)
    networks, nics = read_nics(spec, devices, meta.namespace)
    lacks = [replace(lack, hypervisor=False) for lack in spec.report.lacks]
    hardware = read_hardware(spec, domain, devices)
    _warn(domain, devices)
    machine = MachineSpec(
        networks=networks,
        nics=nics,
        cores=hardware.cores,
        sockets=hardware.sockets,
        threads=hardware.threads,
        memory=hardware.memory,
        machine=hardware.machine,
        cpu_model=hardware.cpu_model,
        kernel=hardware.kernel,
        disks=hardware.disks,
        cloud_init=hardware.cloud_init,
        multiqueue=hardware.multiqueue,
        hostname=_label(spec, "hostname"),
        subdomain=_label(spec, "subdomain"),
        node_selector=tuple(sorted(spec.texts("nodeSelector").items())),
        node_terms=read_node_terms(spec),
    )
    _check_boot_order(machine, devices)
    _check_pci(machine, devices)
    return replace(machine, lacks=(*lacks, *spec.report.lacks[len(lacks) :]))


def _label(spec: Table, key: str) -> str:
    text = spec.text(key)
    if text and not LABEL.fullmatch(text):
        hint = "lower-case letters, digits, and - between them, at most 63"
        spec[key].wrong("name-invalid", f"{quoted(text)} is not a DNS label", hint)
    return text


def _warn(domain: Table, devices: Table) -> None:
    """What a machine would have by its manifest, and here it has not."""
    if "efi" in domain.table("firmware").table("bootloader"):
        place = domain.table("firmware")["bootloader"].path
        domain.report.warn(WITHOUT_EFFECT, place, "machines here start with a BIOS", "boot a kernel directly")
    for key in ("gpus", "hostDevices", "filesystems", "tpm"):
        if key in devices and devices[key].value != []:
            place = devices[key].path
            devices.report.warn(WITHOUT_EFFECT, place, "is kept, and the machine here does not get it")


def _check_boot_order(machine: MachineSpec, devices: Table) -> None:
    """NICs and disks stand in one order."""
    first: dict[int, tuple[str, str]] = {}
    ordered = [("disks", disk.name, disk.boot_order) for disk in machine.disks]
    ordered += [("interfaces", nic.name, nic.boot_order) for nic in machine.nics]
    for kind, name, order in ordered:
        if order is None:
            continue
        other = first.setdefault(order, (kind, name))
        if other != (kind, name):
            message = f"{name} has bootOrder {order}, and so has {other[1]} of {other[0]}"
            devices[kind].wrong("duplicate", message, "give each its own number")


def _check_pci(machine: MachineSpec, devices: Table) -> None:
    """A guest's PCI addresses: of the root bus, or (q35) of the bus behind the nth root port, which has one slot."""
    express = "q35" in machine.machine
    taken: dict[str, str] = {}
    for nic in machine.nics:
        if not nic.pci_address:
            continue
        _, bus, place = nic.pci_address.split(":")
        number, slot = int(bus, 16), int(place[:2], 16)
        ports = len(machine.nics) + SPARE_PORTS if express else 0
        last = FIRST_PORT_SLOT - 1 if express else 0x1E
        other = taken.setdefault(nic.pci_address, nic.name)
        if 0 < number <= ports:
            sibling = machine.nics[number - 1] if number <= len(machine.nics) else nic
            other = other if sibling.pci_address else sibling.name
        message = ""
        if other != nic.name:
            message = f"{nic.pci_address} is the address of {other} too"
        elif number > ports:
            message = f"{nic.pci_address}: this machine has no bus {number:02x}"
        elif number and place != "00.0":
            message = f"{nic.pci_address}: behind a root port there is 00.0 only"
        elif not number and not 0x03 <= slot <= last:
            message = f"{nic.pci_address}: the slots 03..{last:02x} of bus 00 are free to choose"
        if message:
            devices["interfaces"].lack("pci-invalid", message, "leave pciAddress out: then each gets its own")


def write(vm: VirtualMachine) -> dict[str, Any]:
    strategy = {"runStrategy": vm.run_strategy} if vm.run_strategy else {}
    template: dict[str, Any] = {"spec": _write_machine(vm.spec)}
    if vm.template is not None:
        words = {"labels": dict(vm.template.labels), "annotations": dict(vm.template.annotations)}
        meta = {key: value for key, value in words.items() if value}
        template = ({"metadata": meta} if meta else {}) | template
    return {**strategy, "template": template}


def write_instance(vmi: VirtualMachineInstance) -> dict[str, Any]:
    return _write_machine(vmi.spec)


def _write_machine(machine: MachineSpec) -> dict[str, Any]:
    domain = write_domain(machine)
    if machine.nics:
        domain["devices"]["interfaces"] = write_nics(machine)
    else:
        domain["devices"]["autoattachPodInterface"] = False
    found: dict[str, Any] = {
        "nodeSelector": dict(machine.node_selector),
        "affinity": write_node_terms(machine.node_terms) if machine.node_terms is not None else {},
        "hostname": machine.hostname,
        "subdomain": machine.subdomain,
        "domain": domain,
        "networks": write_networks(machine),
        "volumes": write_volumes(machine),
    }
    return {key: value for key, value in found.items() if value}
