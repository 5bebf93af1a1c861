"""A machine in libvirt's words: the `<interface>` of a NIC whose tap is there already, for people who run their own
hypervisor, and the whole `<domain>` of one that is Windrow's, for those who know `virsh dumpxml`.

The elements of an interface and their order are those that KubeVirt's launcher puts into a domain.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from windrow.model.lazy import dataclass
from windrow.model.machines import Disk, GuestNic, LinkState, MachineSpec, NicModel
from windrow.port.vm.binding import NicPlan
from windrow.port.vm.guestagent import PORT
from windrow.port.vm.qemu import device_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """A NIC and its tap. `mtu` None: it is not made yet, and the network says it."""

    nic: GuestNic
    tap: str
    mac: str
    mtu: int | None = None
    queues: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor:
    """`emulator`: QEMU's path. `console`: the socket of the serial line. `pid` 0: it does not run."""

    emulator: str
    console: str
    kvm: bool = False
    pid: int = 0


def domain_xml(name: str, spec: MachineSpec, cables: Iterable[Cable], hypervisor: Hypervisor) -> str:
    """What `virsh dumpxml` would print of it. `name`: the domain's, `<namespace>_<name>` as KubeVirt calls it."""
    root = Element("domain", type="kvm" if hypervisor.kvm else "qemu")
    if hypervisor.pid:
        root.set("id", str(hypervisor.pid))
    SubElement(root, "name").text = name
    SubElement(root, "memory", unit="b").text = str(spec.memory)
    SubElement(root, "vcpu").text = str(spec.vcpus)
    _boot(SubElement(root, "os"), spec)
    SubElement(SubElement(root, "features"), "acpi")
    cpu = SubElement(root, "cpu")
    SubElement(cpu, "topology", sockets=str(spec.sockets), cores=str(spec.cores), threads=str(spec.threads))
    devices = SubElement(root, "devices")
    SubElement(devices, "emulator").text = hypervisor.emulator
    for number, disk in enumerate(spec.disks):
        devices.append(_disk(disk, number))
    devices.extend(map(_interface, cables))
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=hypervisor.console)
    SubElement(serial, "target", port="0")
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name=PORT)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _boot(os: Element, spec: MachineSpec) -> None:
    SubElement(os, "type", machine=spec.machine).text = "hvm"
    if spec.kernel is not None:
        parts = {"kernel": spec.kernel.kernel, "initrd": spec.kernel.initrd, "cmdline": spec.kernel.arguments}
        for tag, text in parts.items():
            if text:
                SubElement(os, tag).text = text


def _disk(disk: Disk, number: int) -> Element:
    """An empty path is a drive without a CD."""
    found = Element("disk", type="file", device="disk" if disk.path else "cdrom")
    SubElement(found, "driver", name="qemu", type=disk.image_format)
    if disk.path:
        SubElement(found, "source", file=disk.path)
    letter = chr(ord("a") + number)
    SubElement(found, "target", dev=f"{'vd' if disk.bus == 'virtio' else 'sd'}{letter}", bus=disk.bus)
    if disk.read_only:
        SubElement(found, "readonly")
    if disk.boot_order is not None:
        SubElement(found, "boot", order=str(disk.boot_order))
    return found


def interface_xml(plan: NicPlan) -> str:
    """`managed='no'`: libvirt opens the tap and leaves its name, its MTU and its bridge alone."""
    cable = Cable(nic=plan.nic, tap=plan.tap.name, mac=plan.guest_mac, mtu=plan.mtu, queues=plan.tap.queues)
    root = _interface(cable)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _interface(cable: Cable) -> Element:
    nic = cable.nic
    root = Element("interface", type="ethernet")
    SubElement(root, "source")
    SubElement(root, "target", dev=cable.tap, managed="no")
    virtio = nic.model is NicModel.VIRTIO
    SubElement(root, "model", type="virtio-non-transitional" if virtio else nic.model.value)
    SubElement(root, "mac", address=cable.mac)
    if cable.mtu is not None:
        SubElement(root, "mtu", size=str(cable.mtu))
    if cable.queues:
        SubElement(root, "driver", name="vhost", queues=str(cable.queues))
    if nic.state is LinkState.DOWN:
        SubElement(root, "link", state="down")
    SubElement(root, "alias", name=device_id(nic.name))
    if nic.boot_order is None:
        SubElement(root, "rom", enabled="no")
    else:
        SubElement(root, "boot", order=str(nic.boot_order))
    if nic.acpi_index is not None:
        SubElement(root, "acpi", index=str(nic.acpi_index))
    if nic.pci_address:
        SubElement(root, "address", _address(nic.pci_address))
    return root


def _address(text: str) -> dict[str, str]:
    """`0000:01:00.0`."""
    domain, bus, place = text.split(":")
    slot, _, function = place.partition(".")
    return {
        "type": "pci",
        "domain": f"0x{domain}",
        "bus": f"0x{bus}",
        "slot": f"0x{slot}",
        "function": f"0x{function}",
    }
