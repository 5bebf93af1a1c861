"""Virtual machines: the part of KubeVirt's objects (`kubevirt.io/v1`) that makes and connects one on this host."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import ClassVar

from windrow.model.lazy import dataclass
from windrow.model.meta import Meta, Object
from windrow.model.selectors import NodeTerm
from windrow.model.values import Cidr, Mac

SPARE_PORTS = 4
"""PCIe root ports beyond those of its NICs that a machine starts with: for NICs that come while it runs."""
FIRST_PORT_SLOT = 0x10
"""Where they begin on the root bus, eight in a slot; below it there is room for everything else."""
NICS_MAX = 32

KUBEVIRT_API_VERSION = "kubevirt.io/v1"
KUBEVIRT_OLDER_VERSIONS = ("kubevirt.io/v1alpha3",)
VM_NETWORK_CIDR, VM_NETWORK_CIDR6 = Cidr("10.0.2.0/24"), Cidr("fd10:0:2::/120")
"""KubeVirt's defaults for the network between a masqueraded guest and its pod."""


class Binding(StrEnum):
    """How a NIC of the pod becomes one of the guest; the value is the field's name in the manifest."""

    BRIDGE = "bridge"
    MASQUERADE = "masquerade"
    MANAGED_TAP = "managedTap"
    """Harvester's plugin (`binding: {name: managedtap}`): a bridge binding that leaves DHCP to the network."""


class NicModel(StrEnum):
    VIRTIO = "virtio"
    E1000 = "e1000"
    E1000E = "e1000e"
    RTL8139 = "rtl8139"
    NE2K_PCI = "ne2k_pci"
    PCNET = "pcnet"


class LinkState(StrEnum):
    UP = "up"
    DOWN = "down"
    ABSENT = "absent"
    """To be unplugged."""


class RunStrategy(StrEnum):
    """KubeVirt's. With the first two a machine is to run whenever its host does."""

    ALWAYS = "Always"
    RERUN_ON_FAILURE = "RerunOnFailure"
    MANUAL = "Manual"
    HALTED = "Halted"
    ONCE = "Once"
    WAIT_AS_RECEIVER = "WaitAsReceiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedPort:
    """Of a masqueraded NIC: only these ports lead to the guest, once one is named."""

    port: int
    protocol: str = "TCP"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpOptions:
    boot_file: str = ""
    tftp_server: str = ""
    ntp_servers: tuple[str, ...] = ()
    private: tuple[tuple[int, str], ...] = ()
    """(option 224..254, value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestNic:
    """One of `spec.domain.devices.interfaces`; `name` is its network's."""

    name: str
    binding: Binding
    model: NicModel = NicModel.VIRTIO
    mac: Mac | None = None
    state: LinkState = LinkState.UP
    boot_order: int | None = None
    pci_address: str = ""
    acpi_index: int | None = None
    tag: str = ""
    ports: tuple[ForwardedPort, ...] = ()
    dhcp: DhcpOptions = DhcpOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestNetwork:
    """One of `spec.networks`: the pod's own network, or (`nad`) one that a NetworkAttachmentDefinition describes."""

    name: str
    nad: str = ""
    """`namespace/name`, the VM's own namespace where the manifest says none; empty: the pod network."""
    default: bool = False
    """Of a NAD: it takes the place of the pod network."""
    claim: str = ""
    """A device that Kubernetes gives out, by the name of its claim; then it is neither of the two."""
    cidr: Cidr = VM_NETWORK_CIDR
    cidr6: Cidr = VM_NETWORK_CIDR6

    @property
    def on_pod(self) -> bool:
        """Whether it is the pod network."""
        return not self.nad and not self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBoot:
    """Files of this host. `arguments`: the kernel's command line."""

    kernel: str
    initrd: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk image of this host; `bus` is virtio, sata or scsi."""

    name: str
    path: str
    """Empty: a CD-ROM drive without a CD."""
    bus: str = "virtio"
    format: str = ""
    """raw or qcow2; empty: as the file's name says."""
    read_only: bool = False
    boot_order: int | None = None

    @property
    def image_format(self) -> str:
        return self.format or ("qcow2" if self.path.endswith(".qcow2") else "raw")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudInit:
    """cloud-init's NoCloud seed; texts."""

    user_data: str = ""
    network_data: str = ""
    meta_data: str = ""
    """Beyond KubeVirt; empty: instance-id and local-hostname are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Something that a machine needs and that is not made here: it is read, its networks count, and it is not
    started. `path`: the place in the document."""

    code: str
    path: str
    message: str
    hint: str = ""
    hypervisor: bool = True
    """It matters to the hypervisor only, and not to what lies between the pod and the guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """`spec` of a VirtualMachineInstance, or of a VirtualMachine's template."""

    networks: tuple[GuestNetwork, ...] = ()
    nics: tuple[GuestNic, ...] = ()
    cores: int = 1
    sockets: int = 1
    threads: int = 1
    memory: int = 256 << 20
    """Bytes."""
    machine: str = "q35"
    cpu_model: str = ""
    """Empty: `host` with KVM, `max` without."""
    kernel: KernelBoot | None = None
    disks: tuple[Disk, ...] = ()
    cloud_init: CloudInit | None = None
    multiqueue: bool = False
    hostname: str = ""
    subdomain: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    node_terms: tuple[NodeTerm, ...] | None = None
    """Required node affinity: one of them must hold. None: it is not asked for."""
    lacks: tuple[Lack, ...] = ()

    @property
    def vcpus(self) -> int:
        return self.cores * self.sockets * self.threads

    def network(self, name: str) -> GuestNetwork | None:
        return next((n for n in self.networks if n.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachineInstance(Object):
    """A machine that runs as long as it is there."""

    KIND: ClassVar[str] = "VirtualMachineInstance"
    API_VERSION: ClassVar[str] = KUBEVIRT_API_VERSION
    OLDER_VERSIONS: ClassVar[tuple[str, ...]] = KUBEVIRT_OLDER_VERSIONS
    NAMESPACED: ClassVar[bool] = True
    spec: MachineSpec
    node: str = field(default="", compare=False)
    """Where it runs, as its status says; empty: nowhere yet, or nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachine(Object):
    """A machine that is started and stopped. `template`: labels and annotations of its instance."""

    KIND: ClassVar[str] = "VirtualMachine"
    API_VERSION: ClassVar[str] = KUBEVIRT_API_VERSION
    OLDER_VERSIONS: ClassVar[tuple[str, ...]] = KUBEVIRT_OLDER_VERSIONS
    NAMESPACED: ClassVar[bool] = True
    spec: MachineSpec
    run_strategy: str = ""
    template: Meta | None = None


AnyMachine = VirtualMachine | VirtualMachineInstance
