"""QEMU: the arguments that start a machine, and the QMP commands that change its NICs while it runs.

On q35 every NIC has a root port of its own, because nothing can be plugged into or out of the root bus itself
(QEMU, docs/pcie.txt §2); some more ports wait for NICs that come later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.machines import FIRST_PORT_SLOT, SPARE_PORTS, Disk, KernelBoot, LinkState, MachineSpec, NicModel
from windrow.port.vm.binding import NicPlan
from windrow.port.vm.guestagent import PORT
from windrow.port.vm.names import host_name

Place = str | int
Command = dict[str, Any]
"""One QMP command: `{"execute": …, "arguments": {…}}`."""

_DRIVERS = {
    NicModel.VIRTIO: "virtio-net-pci",
    NicModel.E1000: "e1000",
    NicModel.E1000E: "e1000e",
    NicModel.RTL8139: "rtl8139",
    NicModel.NE2K_PCI: "ne2k_pci",
    NicModel.PCNET: "pcnet",
}
SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""More arguments, for a QEMU that was built with seccomp: it starts no other program, becomes nobody
else, and calls nothing that no program of today does."""
_DISK_DRIVERS = {"virtio": "virtio-blk-pci", "sata": "ide-hd", "scsi": "scsi-hd"}
GUEST_AGENT = "guest-agent"
"""What QEMU calls the character device of the guest agent's port."""
_DRIVES = {"sata": "ide-cd", "scsi": "scsi-cd"}
"""Without a CD in it."""


@dataclass(frozen=True, slots=True)
class Queues:
    """A NIC's tap, open: a number (or on a monitor, a name) for each of its queues. `vhost`: as many of the device by
    which the kernel itself moves the frames; none: QEMU does it."""

    tap: Sequence[Place]
    vhost: Sequence[Place] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFiles:
    """Paths; or files that QEMU inherits open, by their number, so that it need not be allowed to open them.

    `qmp`, `console`, `agent`, `guest_agent`: sockets that are listened on. `agent`: a second serial line, for a program
    in the guest that answers questions; empty: there is none. `guest_agent`: the port of qemu-ga; the same. `seed`: a
    directory with cloud-init's files (`seed_files`); empty: there are none. `kernel`, `initrd`: copies that stand in
    for the machine's own.
    """

    qmp: Place
    console: Place
    console_log: Place
    seed: str = ""
    agent: Place = ""
    guest_agent: Place = ""
    kernel: str = ""
    initrd: str = ""
    disks: Mapping[int, int] = field(default_factory=dict)
    """Disk (0 is the first) -> its file; one that is not here is opened by its path."""
    taps: Mapping[str, Queues] = field(default_factory=dict)
    """By the NIC; one that is not here is opened by its name."""


def arguments(
    machine: MachineSpec,
    name: str,
    nics: Sequence[NicPlan],
    files: MachineFiles,
    *,
    kvm: bool,
    vhost: bool = False,
) -> list[str]:
    """All but the program's name. The guest stands still (`-S`) until QMP got the `first_commands`.

    `name`: `namespace/name`. `vhost`: there is a /dev/vhost-net, for NICs that QEMU opens by their names.
    """
    found = ["-name", f"guest={_escaped(name)}", "-no-user-config", "-nodefaults", "-display", "none", "-S"]
    found += _inherited(files)
    found += ["-machine", machine.machine, "-accel", "kvm" if kvm else "tcg", "-cpu", _cpu(machine, kvm=kvm)]
    found += ["-smp", _smp(machine), "-m", f"size={-(-machine.memory >> 20)}M"]
    found += _sockets(files)
    # Ports before everything that finds its slot itself, NICs with an address of their own too.
    found += [part for port in _ports(machine, nics) for part in ("-device", port)]
    for plan in sorted(nics, key=lambda plan: not plan.nic.pci_address):
        netdev = _netdev(plan, vhost=vhost, queues=files.taps.get(plan.nic.name))
        found += ["-netdev", _option(netdev), "-device", _option(_device(machine, plan))]
    found += _disks(machine, files.disks)
    if files.seed:
        found += _seed(files.seed)
    found += ["-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng"]
    found += _guest_agent(files)  # behind all that found its slot so far
    return [*found, *(_kernel(machine.kernel, files) if machine.kernel else ())]


def root_ports(machine: MachineSpec, nics: Sequence[NicPlan]) -> int:
    """How many a machine that started with these NICs has: a NIC's `index` must be below it. 0: no limit."""
    return max((plan.index + 1 for plan in nics), default=0) + SPARE_PORTS if _express(machine) else 0


def seed_files(machine: MachineSpec, name: str) -> dict[str, str]:
    """cloud-init's NoCloud seed, file name -> text; empty where the machine has none. `name`: `namespace/name`."""
    seed = machine.cloud_init
    if seed is None:
        return {}
    host = host_name(machine, name.rpartition("/")[2])
    # In quotes: a machine may be called 17, or off.
    found = {
        "meta-data": seed.meta_data or f'instance-id: "{name.replace("/", ".")}"\nlocal-hostname: "{host}"\n',
        "user-data": seed.user_data,
    }
    return found | ({"network-config": seed.network_data} if seed.network_data else {})


def first_commands(nics: Sequence[NicPlan]) -> tuple[Command, ...]:
    """The links that are down from the start; then the machine may run."""
    down = [plan.nic.name for plan in nics if plan.nic.state is LinkState.DOWN]
    return (*(set_link(name, up=False) for name in down), {"execute": "cont"})


def plug(
    machine: MachineSpec, plan: NicPlan, *, vhost: bool = False, queues: Queues | None = None
) -> tuple[Command, ...]:
    """A NIC for a machine that runs. Where the second command fails, `unplug`'s second one undoes the first.

    `queues`: the names under which QEMU was handed them; None: it opens the tap by its name.
    """
    found = [
        {"execute": "netdev_add", "arguments": _netdev(plan, vhost=vhost, queues=queues)},
        {"execute": "device_add", "arguments": _device(machine, plan)},
    ]
    return (*found, *([set_link(plan.nic.name, up=False)] if plan.nic.state is LinkState.DOWN else []))


def unplug(network: str) -> tuple[Command, Command]:
    """The guest is asked to let go of it; and after the event DEVICE_DELETED of `device_id`, the tap is closed."""
    return (
        {"execute": "device_del", "arguments": {"id": device_id(network)}},
        {"execute": "netdev_del", "arguments": {"id": netdev_id(network)}},
    )


def set_link(network: str, *, up: bool) -> Command:
    """What the guest sees as its cable."""
    return {"execute": "set_link", "arguments": {"name": device_id(network), "up": up}}


def device_id(network: str) -> str:
    """KubeVirt's alias of the device."""
    return f"ua-{network}"


def netdev_id(network: str) -> str:
    return f"host-{network}"


def nic_arguments(machine: MachineSpec, plan: NicPlan, *, vhost: bool = False) -> list[str]:
    """Of one NIC, for people who start QEMU themselves: on whatever bus QEMU finds for it."""
    device = _device(machine, plan)
    if not plan.nic.pci_address:
        device.pop("bus", None)
    return ["-netdev", _option(_netdev(plan, vhost=vhost)), "-device", _option(device)]


def _express(machine: MachineSpec) -> bool:
    return "q35" in machine.machine


def _cpu(machine: MachineSpec, *, kvm: bool) -> str:
    """KubeVirt's `host-model` and `host-passthrough` are what this host has."""
    if machine.cpu_model in ("", "host-model", "host-passthrough"):
        return "host" if kvm else "max"
    return _escaped(machine.cpu_model)


def _smp(machine: MachineSpec) -> str:
    return f"cpus={machine.vcpus},sockets={machine.sockets},cores={machine.cores},threads={machine.threads}"


def _sockets(files: MachineFiles) -> list[str]:
    listening = {"server": True, "wait": False}
    log = files.console_log if isinstance(files.console_log, str) else _set(files.console_log)
    console = {"backend": "socket", "id": "console", **_at(files.console), **listening, "logfile": log}
    agent = {"backend": "socket", "id": "agent", **_at(files.agent), **listening}
    return [
        *("-chardev", _option({**console, "logappend": True}), "-serial", "chardev:console"),
        *(("-chardev", _option(agent), "-serial", "chardev:agent") if files.agent else ()),
        *("-chardev", _option({"backend": "socket", "id": "qmp", **_at(files.qmp), **listening})),
        *("-mon", "chardev=qmp,mode=control"),
    ]


def _guest_agent(files: MachineFiles) -> list[str]:
    """As libvirt and KubeVirt make it."""
    if not files.guest_agent:
        return []
    chardev = {"backend": "socket", "id": GUEST_AGENT, **_at(files.guest_agent), "server": True, "wait": False}
    port = {"driver": "virtserialport", "bus": "serial.0", "chardev": GUEST_AGENT, "name": PORT}
    return ["-chardev", _option(chardev), "-device", "virtio-serial-pci,id=serial", "-device", _option(port)]


def _at(place: Place) -> dict[str, Any]:
    return {"path": place} if isinstance(place, str) else {"fd": place}


def _inherited(files: MachineFiles) -> Iterator[str]:
    """What QEMU opens by a name, and finds open: each in a set of its own (qemu-options.hx, -add-fd)."""
    for fd in [*([files.console_log] if isinstance(files.console_log, int) else []), *files.disks.values()]:
        yield from ("-add-fd", f"fd={fd},set={fd}")


def _set(fd: int) -> str:
    return f"/dev/fdset/{fd}"


def _ports(machine: MachineSpec, nics: Sequence[NicPlan]) -> Iterator[str]:
    """Eight in a slot, in rising order, so that firmware numbers their buses 1, 2, 3…"""
    for i in range(root_ports(machine, nics)):
        slot, function = divmod(i, 8)
        several = {"multifunction": True} if not function else {}
        place = {"bus": "pcie.0", "addr": f"{FIRST_PORT_SLOT + slot:#x}.{function:#x}", **several}
        yield _option({"driver": "pcie-root-port", "id": _port(i), "chassis": i + 1, "slot": i + 1, **place})


def _port(index: int) -> str:
    return f"port{index + 1}"


def _netdev(plan: NicPlan, *, vhost: bool, queues: Queues | None = None) -> dict[str, Any]:
    """The tap is there already; without `script=no` QEMU would run /etc/qemu-ifup with it."""
    found: dict[str, Any] = {"type": "tap", "id": netdev_id(plan.nic.name)}
    if queues:
        found |= {**_several("fd", queues.tap, plan), "vhost": bool(queues.vhost)}
        return found | (_several("vhostfd", queues.vhost, plan) if queues.vhost else {})
    found |= {"ifname": plan.tap.name, "script": "no", "downscript": "no"}
    found |= {"vhost": vhost and plan.nic.model is NicModel.VIRTIO}
    return found | ({"queues": plan.tap.queues} if plan.tap.queues else {})


def _several(key: str, numbers: Sequence[Place], plan: NicPlan) -> dict[str, Any]:
    """QEMU has another word where there are several, and takes it only there."""
    return {f"{key}s": ":".join(map(str, numbers))} if plan.tap.queues else {key: str(numbers[0])}


def _device(machine: MachineSpec, plan: NicPlan) -> dict[str, Any]:
    nic = plan.nic
    found: dict[str, Any] = {"driver": _DRIVERS[nic.model], "id": device_id(nic.name)}
    found |= {"netdev": netdev_id(nic.name), "mac": plan.guest_mac, **_place(machine, plan)}
    if nic.model is NicModel.VIRTIO:
        found["host_mtu"] = plan.mtu
        if plan.tap.queues:
            # Two interrupts for each pair of queues, one for the control queue, one for changes of the configuration.
            found |= {"mq": True, "vectors": 2 * plan.tap.queues + 2}
    found |= {"bootindex": nic.boot_order} if nic.boot_order else {"romfile": ""}
    return found | ({"acpi-index": nic.acpi_index} if nic.acpi_index else {})


def _place(machine: MachineSpec, plan: NicPlan) -> dict[str, Any]:
    """`pciAddress` is the guest's view: bus 0 is the root bus, bus n behind the nth root port."""
    if not plan.nic.pci_address:
        return {"bus": _port(plan.index) if _express(machine) else "pci.0"}
    _, bus, slot = plan.nic.pci_address.split(":")
    number = int(bus, 16)
    root = "pcie.0" if _express(machine) else "pci.0"
    device, _, function = slot.partition(".")
    return {"bus": _port(number - 1) if number else root, "addr": f"0x{device}.0x{function}"}


def _disks(machine: MachineSpec, opened: Mapping[int, int]) -> list[str]:
    found: list[str] = []
    if any(disk.bus == "sata" for disk in machine.disks):
        found += ["-device", "ich9-ahci,id=sata"]
    if any(disk.bus == "scsi" for disk in machine.disks):
        found += ["-device", "virtio-scsi-pci,id=scsi"]
    ordered = any(disk.boot_order for disk in machine.disks) or any(nic.boot_order for nic in machine.nics)
    boot = next((disk for disk in machine.disks if disk.path), None)
    for i, disk in enumerate(machine.disks):
        first = disk is boot and not ordered and machine.kernel is None
        file = _set(opened[i]) if i in opened else disk.path
        found += _disk(disk, file, i, 1 if first else disk.boot_order)
    return found


def _disk(disk: Disk, filename: str, number: int, boot_order: int | None) -> list[str]:
    """The format goes by the disk's own path, and is never guessed from what is in the image: a guest could write
    itself the header of another one."""
    node = f"disk{number}"
    if not disk.path:
        return ["-device", _option(_placed({"driver": _DRIVES[disk.bus], "id": node}, disk, number, boot_order))]
    only = {"read-only": disk.read_only}
    file = {"driver": "file", "node-name": f"{node}-file", "filename": filename, **only}
    image = {"driver": disk.image_format, "node-name": node, "file": f"{node}-file", **only}
    # ATA has no disk that cannot be written to, only CDs (hw/ide/qdev.c: ide_dev_initfn).
    driver = "ide-cd" if disk.bus == "sata" and disk.read_only else _DISK_DRIVERS[disk.bus]
    device = _placed({"driver": driver, "drive": node, "id": node}, disk, number, boot_order)
    return ["-blockdev", _block(file), "-blockdev", _block(image), "-device", _option(device)]


def _placed(device: dict[str, Any], disk: Disk, number: int, boot_order: int | None) -> dict[str, Any]:
    bus = {"scsi": "scsi.0", "sata": f"sata.{number}"}.get(disk.bus)
    return device | ({"bus": bus} if bus else {}) | ({"bootindex": boot_order} if boot_order else {})


def _seed(directory: str) -> list[str]:
    """A directory shown as a FAT disk: cloud-init looks for the label."""
    seed = {"driver": "vvfat", "node-name": "seed", "dir": directory, "label": "CIDATA", "read-only": True}
    return ["-blockdev", _block(seed), "-device", "virtio-blk-pci,drive=seed,id=seed"]


def _kernel(kernel: KernelBoot, files: MachineFiles) -> Iterator[str]:
    yield from ("-kernel", files.kernel or kernel.kernel)
    if kernel.initrd:
        yield from ("-initrd", files.initrd or kernel.initrd)
    if kernel.arguments:
        yield from ("-append", kernel.arguments)


def _option(fields: Mapping[str, Any]) -> str:
    """`tap,id=a,vhost=off`: of the first field only the value, as everybody writes it."""
    first, *rest = fields.items()
    return ",".join([_word(first[1]), *(f"{key}={_word(value)}" for key, value in rest)])


def _block(fields: Mapping[str, Any]) -> str:
    """`driver=file,node-name=a`: -blockdev has no implied first field."""
    return ",".join(f"{key}={_word(value)}" for key, value in fields.items())


def _word(value: Any) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case _:
            return _escaped(str(value))


def _escaped(text: str) -> str:
    """A comma ends a value, two are one (QEMU, util/keyval.c)."""
    return text.replace(",", ",,")
