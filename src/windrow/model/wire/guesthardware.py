"""What a virtual machine is made of besides its NICs: CPU, memory, what it boots, disks, cloud-init's seed."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from windrow.model.lazy import dataclass
from windrow.model.machines import CloudInit, Disk, KernelBoot, MachineSpec
from windrow.model.wire.quantity import parse_quantity, write_bytes
from windrow.model.wire.reader import Field, Table
from windrow.model.wire.text import quoted, shown

if TYPE_CHECKING:
    from fractions import Fraction

VCPUS_MAX = 255
"""Of q35 without interrupt remapping (QEMU, hw/i386/x86.c: x2APIC ids above 254)."""
_UINT32_MAX = 0xFFFF_FFFF
MEMORY_MIN, MEMORY_MAX = 16 << 20, 4 << 40

_CPU = (
    "cores", "sockets", "maxSockets", "threads", "model", "features", "dedicatedCpuPlacement", "numa",
    "isolateEmulatorThread", "realtime",
)  # fmt: skip
_MEMORY = ("guest", "maxGuest", "hugepages", "reservedOverhead")
_FIRMWARE = ("uuid", "bootloader", "serial", "kernelBoot", "acpi")
_DISK = (
    "name", "disk", "lun", "cdrom", "bootOrder", "serial", "dedicatedIOThread", "cache", "io", "tag", "blockSize",
    "shareable", "errorPolicy", "changedBlockTracking",
)  # fmt: skip
_SEED = (
    "userData", "userDataBase64", "networkData", "networkDataBase64", "secretRef", "networkDataSecretRef", "metaData",
)  # fmt: skip
_BUSES = ("virtio", "sata", "scsi")
_BUSES_ELSEWHERE = ("usb", "fdc")
_DEFAULT_BUS = "sata"
"""KubeVirt's, for a disk that names none."""

_ELSEWHERE = {
    "containerDisk": "it is an image in a container registry",
    "dataVolume": "it is imported by Kubernetes",
    "persistentVolumeClaim": "it is a volume of Kubernetes",
    "ephemeral": "it is a layer above a volume of Kubernetes",
    "emptyDisk": "disks are not made here",
    "cloudInitConfigDrive": "the seed is given as NoCloud",
    "configMap": "it is an object of Kubernetes",
    "secret": "it is an object of Kubernetes",
    "downwardAPI": "it is made by Kubernetes",
    "serviceAccount": "it is an object of Kubernetes",
    "sysprep": "it is an object of Kubernetes",
    "downwardMetrics": "it is made by KubeVirt",
    "memoryDump": "it is a volume of Kubernetes",
}
_INSTEAD = {"cloudInitConfigDrive": "cloudInitNoCloud"}
_CPU_MODEL = re.compile(r"(?!help$)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MACHINE = re.compile(r"q35|pc|pc-(?:q35|i440fx)-[a-z0-9.]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The part of a MachineSpec that is read here."""

    cores: int
    sockets: int
    threads: int
    memory: int
    machine: str
    cpu_model: str
    kernel: KernelBoot | None
    disks: tuple[Disk, ...]
    cloud_init: CloudInit | None
    multiqueue: bool


def read_hardware(spec: Table, domain: Table, devices: Table) -> Hardware:
    cpu = domain.table("cpu", _CPU)
    cores, sockets, threads = (cpu.integer(key, 1, _UINT32_MAX) for key in ("cores", "sockets", "threads"))
    if cores is None and sockets is None and threads is None:
        cores = _requested_cpus(domain)
    vcpus = math.prod(n or 1 for n in (cores, sockets, threads))
    if vcpus > VCPUS_MAX:
        domain["cpu"].lack("out-of-range", f"makes {vcpus} CPUs, {VCPUS_MAX} is the most here")
    firmware = domain.table("firmware", _FIRMWARE)
    disks, seed = _storage(spec, devices)
    return Hardware(
        cores=cores or 1,
        sockets=sockets or 1,
        threads=threads or 1,
        memory=_memory(domain),
        machine=_machine(domain.table("machine", ("type",))),
        cpu_model=_cpu_model(cpu),
        kernel=_kernel(firmware.table("kernelBoot", ("container", "kernelArgs"))),
        disks=disks,
        cloud_init=seed,
        multiqueue=devices.flag("networkInterfaceMultiqueue"),
    )


def _requested(domain: Table, resource: str) -> Field | None:
    """`resources.requests`, else `resources.limits`: KubeVirt goes by them where the guest's own are not given."""
    resources = domain.table("resources", ("requests", "limits", "overcommitGuestOverhead"))
    for kind in ("requests", "limits"):
        field = resources.table(kind).get(resource)
        if field is not None:
            return field
    return None


def _requested_cpus(domain: Table) -> int | None:
    field = _requested(domain, "cpu")
    wanted = _quantity(field) if field else None
    if field is None or wanted is None:
        return None
    return max(math.ceil(wanted), 1)


def _memory(domain: Table) -> int:
    """Of the guest, in bytes; whole pages of a mebibyte, as QEMU takes it."""
    field = domain.table("memory", _MEMORY).get("guest") or _requested(domain, "memory")
    size = _quantity(field) if field else None
    if field is None or size is None:
        return MachineSpec().memory
    if not MEMORY_MIN <= size <= MEMORY_MAX:
        limits = f"{write_bytes(MEMORY_MIN)}..{write_bytes(MEMORY_MAX)}"
        field.lack("out-of-range", f"{shown(field.value)} is outside {limits}", "for example 512Mi")
    return math.ceil(size)


def _quantity(field: Field) -> Fraction | int | None:
    """A text, or a number, which Kubernetes takes too."""
    if isinstance(field.value, int | float) and not isinstance(field.value, bool):
        field = Field(str(field.value), field.path, field.report)
    return field.parsed(parse_quantity, "quantity-invalid", "for example 512Mi or 2")


def _machine(table: Table) -> str:
    kind = table.text("type")
    if kind and not _MACHINE.fullmatch(kind):
        table["type"].lack("machine-type", f"there is no machine type {quoted(kind)} here", "use q35, or leave it out")
    return kind or MachineSpec().machine


def _cpu_model(cpu: Table) -> str:
    model = cpu.text("model")
    if model and not _CPU_MODEL.fullmatch(model):
        hint = "one of `qemu-system-x86_64 -cpu help`, host-model, or leave it out"
        cpu["model"].lack("cpu-model", f"{quoted(model)} is not the name of a CPU model", hint)
    return model


def _kernel(table: Table) -> KernelBoot | None:
    container = table.table("container", ("image", "imagePullSecret", "imagePullPolicy", "kernelPath", "initrdPath"))
    if "image" in container:
        message = "the kernel is in a container image, and nobody here can unpack it"
        hint = "leave image out: the paths are files of this host then"
        container["image"].lack("container-image", message, hint)
        return None  # its paths are those of the image
    kernel = _path(container, "kernelPath")
    initrd = _path(container, "initrdPath")
    arguments = table.text("kernelArgs")
    if any(ord(c) < 0x20 and c not in "\t\n" for c in arguments):
        message = f"{quoted(arguments)} has control characters"
        table["kernelArgs"].wrong("kernel-args", message, "a kernel's command line is one line of text")
    if not kernel and (arguments or initrd):
        path = "kernelArgs" if arguments else "container"
        table[path].wrong("kernel-missing", "means nothing without container.kernelPath", "give the path of a kernel")
    return KernelBoot(kernel=kernel, initrd=initrd, arguments=arguments) if kernel else None


def _path(table: Table, key: str) -> str:
    path = table.text(key)
    if path and (not path.startswith("/") or "\0" in path):
        table[key].wrong("path-invalid", f"{quoted(path)} is not an absolute path")
    return path


def _storage(spec: Table, devices: Table) -> tuple[tuple[Disk, ...], CloudInit | None]:
    """Disks and volumes find each other by name. A volume that neither a disk nor a file system names gets a disk, as
    from KubeVirt."""
    given = spec.get("volumes")
    volumes = dict(_volumes(given)) if given else {}
    disks: dict[str, Table] = {}
    for item in _entries(devices, "disks", "a list of disks"):
        table = item.table(_DISK)
        name = table.text("name", required=True) if table else ""
        if table is None or not name:
            continue
        if name in disks:
            table["name"].wrong("duplicate", f"{shown(name)} stands here twice")
        elif name not in volumes and "cdrom" not in table:
            there = f"the volumes are {', '.join(volumes)}" if volumes else "there are no volumes"
            item.wrong("volume-missing", f"no volume has the name {shown(name)}", there)
        disks.setdefault(name, table)
    shared = _shared(devices)
    bare = Table({}, devices["disks"].path, devices.report)
    wanted = [*disks.items(), *((name, bare) for name in volumes if name not in disks and name not in shared)]
    contents = {name: _content(name, disk, volumes.get(name)) for name, disk in wanted}
    seeds = [(name, made) for name, made in contents.items() if isinstance(made, CloudInit)]
    for name, _ in seeds[1:]:
        volumes[name].report.add("duplicate", volumes[name].path, f"is the second seed, {seeds[0][0]} is one already")
    return tuple(made for made in contents.values() if isinstance(made, Disk)), seeds[0][1] if seeds else None


def _entries(table: Table, key: str, what: str) -> Iterator[Field]:
    listed = table.get(key)
    yield from listed.items(what) if listed else ()


def _shared(devices: Table) -> set[str]:
    """The volumes that the guest sees as a file system, and not as a disk."""
    tables = [item.table() for item in _entries(devices, "filesystems", "a list of file systems")]
    return {table.text("name") for table in tables if table is not None}


def _volumes(field: Field) -> Iterator[tuple[str, Table]]:
    taken: set[str] = set()
    for item in field.items("a list of volumes"):
        table = item.table()
        name = table.text("name", required=True) if table else ""
        if table is None or not name:
            continue
        if name in taken:
            table["name"].wrong("duplicate", f"{shown(name)} stands here twice")
            continue
        taken.add(name)
        yield name, table


def _content(name: str, disk: Table, volume: Table | None) -> Disk | CloudInit | None:
    """What is in a disk; None where that was complained about, or cannot be had here. No volume: an empty drive."""
    bus, read_only = _how(disk)
    order = disk.integer("bootOrder", 1, 1 << 16)
    if volume is None:
        if "cdrom" not in disk:
            return None
        if bus == "virtio":
            disk["cdrom"].wrong("disk-kind", "there is no CD-ROM drive on the bus virtio", "bus: sata, or scsi")
        return Disk(name=name, path="", bus=bus, read_only=True, boot_order=order)
    kinds = [key for key, _ in volume.fields() if key != "name"]
    match kinds:
        case ["cloudInitNoCloud"]:
            return _seed(volume.table("cloudInitNoCloud", _SEED))
        case ["hostDisk"]:
            host = volume.table("hostDisk", ("path", "type", "capacity", "shared"))
            host.required("path", "the path of an image on this host")
            return Disk(name=name, path=_path(host, "path"), bus=bus, read_only=read_only, boot_order=order)
        case [kind]:
            reason = _ELSEWHERE.get(kind, "Windrow knows no such volume")
            instead = _INSTEAD.get(kind, "hostDisk: {path: …, type: Disk}, an image of this host")
            volume[kind].lack("volume-unsupported", f"{kind} is not to be had here: {reason}", f"use {instead}")
        case _:
            said = f"has {' and '.join(map(shown, kinds))}" if kinds else "has no content"
            volume.report.add("volume-kind", volume.path, said, "exactly one, such as hostDisk or cloudInitNoCloud")
    return None


def _how(disk: Table) -> tuple[str, bool]:
    """(bus, read only). Of `disk`, `lun` and `cdrom` one at most; neither is a disk."""
    kinds = [key for key in ("disk", "cdrom", "lun") if key in disk]
    if len(kinds) > 1:
        disk.report.add("disk-kind", disk.path, f"has {' and '.join(kinds)}", "exactly one of them")
    kind = kinds[0] if kinds else "disk"
    if kind == "lun":
        disk["lun"].lack("disk-kind", "SCSI commands are not passed through to this host's devices", "use disk: {…}")
    how = disk.table(kind, ("bus", "readonly", "pciAddress", "tray", "reservation"))
    bus = how.text("bus") or _DEFAULT_BUS
    if bus in _BUSES_ELSEWHERE:
        how["bus"].lack("disk-bus", f"there are no disks on the bus {bus} here", f"use one of {', '.join(_BUSES)}")
    elif bus not in _BUSES:
        how["bus"].wrong("not-a-choice", f"{quoted(bus)} is not one of {', '.join((*_BUSES, *_BUSES_ELSEWHERE))}")
    return bus if bus in _BUSES else _DEFAULT_BUS, kind == "cdrom" or how.flag("readonly")


def _seed(table: Table) -> CloudInit:
    for key in ("secretRef", "networkDataSecretRef"):
        if key in table:
            instead = "userData" if key == "secretRef" else "networkData"
            message = f"{key} is not to be had here: it is an object of Kubernetes"
            table[key].lack("volume-unsupported", message, f"write the text as {instead}")
    user, network = _text(table, "userData"), _text(table, "networkData")
    return CloudInit(user_data=user, network_data=network, meta_data=table.text("metaData"))


def _text(table: Table, key: str) -> str:
    """Plain, or in base64; not both."""
    plain, coded = table.get(key), table.get(f"{key}Base64")
    if coded is None:
        return (plain.text() if plain else None) or ""
    if plain is not None:
        coded.wrong("cloud-init", f"stands beside {key}", "remove one of them")
    if (text := coded.text()) is None:
        return ""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):  # UnicodeDecodeError is one
        coded.wrong("cloud-init", "is not base64 of a UTF-8 text", f"write the text itself as {key}")
        return ""


def write_domain(machine: MachineSpec) -> dict[str, Any]:
    """All but the NICs."""
    cpu = {"cores": machine.cores, "sockets": machine.sockets, "threads": machine.threads}
    cpu = {key: value for key, value in cpu.items() if value != 1}
    devices: dict[str, Any] = {"disks": _write_disks(machine)} if machine.disks or machine.cloud_init else {}
    devices |= {"networkInterfaceMultiqueue": True} if machine.multiqueue else {}
    found: dict[str, Any] = {
        "cpu": cpu | ({"model": machine.cpu_model} if machine.cpu_model else {}),
        "memory": {"guest": write_bytes(machine.memory)},
        "machine": {"type": machine.machine} if machine.machine != MachineSpec().machine else {},
        "firmware": {"kernelBoot": _write_kernel(machine.kernel)} if machine.kernel else {},
    }
    return {**{key: value for key, value in found.items() if value}, "devices": devices}


def _write_kernel(kernel: KernelBoot) -> dict[str, Any]:
    container = {"kernelPath": kernel.kernel} | ({"initrdPath": kernel.initrd} if kernel.initrd else {})
    return {"container": container} | ({"kernelArgs": kernel.arguments} if kernel.arguments else {})


_SEED_NAME = "cloudinitdisk"


def _write_disks(machine: MachineSpec) -> list[dict[str, Any]]:
    found = []
    for disk in machine.disks:
        how = {"bus": disk.bus} | ({"readonly": True} if disk.read_only and disk.path else {})
        order = {"bootOrder": disk.boot_order} if disk.boot_order else {}
        found.append({"name": disk.name, ("disk" if disk.path else "cdrom"): how, **order})
    return found + ([{"name": _SEED_NAME, "disk": {"bus": "virtio"}}] if machine.cloud_init else [])


def write_volumes(machine: MachineSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": d.name, "hostDisk": {"path": d.path, "type": "Disk"}} for d in machine.disks if d.path
    ]
    seed = machine.cloud_init
    return found + ([{"name": _SEED_NAME, "cloudInitNoCloud": _write_seed(seed)}] if seed else [])


def _write_seed(seed: CloudInit) -> Mapping[str, str]:
    given = {"userData": seed.user_data, "networkData": seed.network_data, "metaData": seed.meta_data}
    return {key: text for key, text in given.items() if text}
