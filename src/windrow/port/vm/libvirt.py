"""libvirt's `<interface>` of a NIC whose tap is there already, for people who run their own hypervisor.

The elements and their order are those that KubeVirt's launcher puts into a domain.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from windrow.model.machines import LinkState, NicModel
from windrow.port.vm.binding import NicPlan
from windrow.port.vm.qemu import device_id


def interface_xml(plan: NicPlan) -> str:
    """`managed='no'`: libvirt opens the tap and leaves its name, its MTU and its bridge alone."""
    nic = plan.nic
    root = Element("interface", type="ethernet")
    SubElement(root, "source")
    SubElement(root, "target", dev=plan.tap.name, managed="no")
    virtio = nic.model is NicModel.VIRTIO
    SubElement(root, "model", type="virtio-non-transitional" if virtio else nic.model.value)
    SubElement(root, "mac", address=plan.guest_mac)
    SubElement(root, "mtu", size=str(plan.mtu))
    if plan.tap.queues:
        SubElement(root, "driver", name="vhost", queues=str(plan.tap.queues))
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
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


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
