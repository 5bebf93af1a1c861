"""The scenario: what a lab is made of, and what must be true of it.

    Scenario
    ├── nodes      Node ── NICs, labels, and the management network that "the operating system made"
    ├── switches   Switch ── Port (native VLAN, allowed VLANs), Group (link aggregation: lacp or static)
    ├── hosts      Host: outside the cluster; plain, router, DHCP server, or control plane ── HostNic (an address per
    │              VLAN)
    ├── kubernetes Kubernetes: whether nodes follow the API of a real control plane, and run pods
    ├── endpoints  Endpoint: stands in for a VM; on a node, in a network (NetworkAttachmentDefinition)
    ├── vms        Vm: a VirtualMachine of the manifests, which runs on a node, or one of a Pod ── VmNic
    ├── cables     Cable from End to End
    ├── manifests  file -> text; the same for every node
    ├── changes    file -> text; what the checks of the kinds Change, Closed and ApiOutage apply
    ├── pods       Pod: on a node ── PodNic; `pod_manifests` are their texts
    └── checks     Reach, Matrix, Isolated, Command, BondIs, CablePull, PlanEmpty, Lease, ForgedMac, Recreate, Steady,
                   Change, Closed, SwitchFault, ApiOutage

Values only; `scenario_file` reads them from YAML.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum

from windrow.model.bonding import BondMode
from windrow.model.host import PortVlans
from windrow.model.lazy import dataclass
from windrow.model.names import MGMT, bridge_of, subinterface_of
from windrow.model.steps import Impact
from windrow.model.values import Cidr, IfName, Mac, Ref, VidSet

UNTAGGED = 0
"""As a key of `addresses`: the frames without a tag."""


@dataclass(frozen=True, slots=True, order=True)
class End:
    """A socket that a cable fits: `node-0:eth2`, `sw-oob:p1`."""

    device: str
    port: str

    def __str__(self) -> str:
        return f"{self.device}:{self.port}"


def mac_of(end: End) -> Mac:
    """The same in every run; locally administered."""
    digits = f"{zlib.crc32(str(end).encode()):08x}"
    return Mac(":".join(["52", "54", *(digits[i : i + 2] for i in range(0, 8, 2))]))


@dataclass(frozen=True, slots=True)
class Cable:
    a: End
    b: End

    def __str__(self) -> str:
        return f"{self.a} – {self.b}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """What an installer makes before Windrow comes: mgmt-bo, mgmt-br, and the node's addresses.

    `addresses`: of one family or of both; others know the node by the first. `vid`: they are on `mgmt-br.<vid>`; None:
    on `mgmt-br` itself. `plain`: an installer that knows nothing of bonds and bridges; they are on the first NIC, and
    the others are free.
    """

    nics: tuple[IfName, ...]
    addresses: tuple[Cidr, ...]
    mode: BondMode = BondMode.ACTIVE_BACKUP
    vid: int | None = None
    gateway: str = ""
    plain: bool = False

    @property
    def address(self) -> Cidr:
        return self.addresses[0]

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses without their lengths."""
        return tuple(cidr.partition("/")[0] for cidr in self.addresses)

    @property
    def interface(self) -> IfName:
        """The one with the addresses."""
        if self.plain:
            return self.nics[0]
        return subinterface_of(MGMT, self.vid) if self.vid else bridge_of(MGMT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    nics: tuple[IfName, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    management: Management | None = None
    pod_cidrs: tuple[Cidr, ...] = ()
    """The addresses of its pods, and so of machines in the pod network: of one family, or of both."""

    @property
    def has_ipv6(self) -> bool:
        return self.management is not None and any(":" in address for address in self.management.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """`native` 0: untagged frames are dropped. `vlans`: those it lets through tagged."""

    name: IfName
    native: int = 1
    vlans: VidSet = VidSet()

    @property
    def port_vlans(self) -> PortVlans:
        """As a bridge port has it."""
        if not self.native:
            return PortVlans(tagged=self.vlans)
        native = VidSet.of([self.native])
        return PortVlans(pvid=self.native, untagged=native, tagged=self.vlans - native)


class GroupMode(StrEnum):
    LACP = "lacp"
    STATIC = "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A link aggregation group. Its VLANs are `port`'s, which has the group's name."""

    mode: GroupMode
    members: tuple[IfName, ...]
    port: Port

    @property
    def name(self) -> IfName:
        return self.port.name


class Announces(StrEnum):
    """What a switch tells of itself by LLDP, as real ones do."""

    NOTHING = "nothing"
    PVID = "pvid"
    """Its port's native VLAN, aggregate and frame size, and no VLAN by name: most do so unless they are told."""
    ALL = "all"
    """Every VLAN by name, too, as long as they fit into one frame."""
    TEN = "ten"
    """The first ten VLANs, however many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    name: str
    ports: tuple[Port, ...]
    groups: tuple[Group, ...] = ()
    announces: Announces = Announces.NOTHING

    def group_of(self, port: str) -> Group | None:
        return next((g for g in self.groups if port in g.members), None)


@dataclass(frozen=True, slots=True)
class Station:
    """One address that frames come from and go to: an endpoint, a node's own, or a host's in one VLAN (`name/vid`)."""

    place: str
    interface: IfName
    vid: int
    address: Cidr | None

    @property
    def name(self) -> str:
        return f"{self.place}/{self.vid}" if self.vid else self.place


class Role(StrEnum):
    HOST = "host"
    ROUTER = "router"
    """It forwards between its addresses."""
    DHCP = "dhcp"
    """It runs dnsmasq."""
    CONTROL_PLANE = "control-plane"
    """It runs etcd and an API server of Kubernetes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNic:
    """`addresses` by VID (UNTAGGED: without a tag). `leases` by VID: first and last address to give away."""

    name: IfName
    addresses: Mapping[int, Cidr]
    leases: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def interface(self, vid: int) -> IfName:
        return IfName(f"{self.name}.{vid}" if vid else self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    name: str
    nics: tuple[HostNic, ...]
    role: Role = Role.HOST
    gateway: str = ""

    @property
    def address(self) -> Cidr | None:
        """Its first one."""
        return next((address for nic in self.nics for address in nic.addresses.values()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """An API server on the host of role CONTROL_PLANE. Each node's agent follows it. `kubelets`: nodes run pods.
    `controllers`: Kubernetes' own run beside it, and the scheduler; pods have the tokens of their accounts.
    `conformance`: with what Kubernetes' own end-to-end suite needs besides, controllers, kube-proxy and images."""

    kubelets: bool = True
    agents: bool = True
    """Whether each node starts Windrow's agent. If not, somebody brings it as a pod, as the chart does."""
    controllers: bool = False
    conformance: bool = False
    flannel: tuple[str, ...] = ()
    """Nodes on which real flannel runs in place of Windrow's agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`network`: `name` or `namespace/name` of a NetworkAttachmentDefinition. `dhcp`: it asks for its address."""

    name: str
    node: str
    network: str
    addresses: Mapping[int, Cidr] = field(default_factory=dict)
    dhcp: bool = False
    gateway: str = ""

    @property
    def vids(self) -> tuple[int, ...]:
        return tuple(self.addresses) or (UNTAGGED,)

    def interface(self, vid: int) -> IfName:
        return IfName(f"eth0.{vid}" if vid else "eth0")


@dataclass(frozen=True, slots=True, kw_only=True)
class VmNic:
    """`network`: its name in the machine's manifest. `interface`: what the guest calls it."""

    network: str
    interface: IfName
    nad: str = ""
    """`namespace/name`; empty: the pod network."""
    checked: bool = False
    """`macspoofchk`: frames with another source address than its own go nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """A virtual machine of the manifests, started on `node`; or one that runs in a Pod of a cluster. Its addresses are
    what its guest says that they are."""

    name: str
    node: str
    machine: Ref
    nics: tuple[VmNic, ...] = ()
    memory: int = 0
    """Bytes."""
    pod: str = ""
    """`namespace/name` of the Pod in which its hypervisor runs; empty: Windrow starts it."""

    def nic(self, network: str) -> VmNic | None:
        return next((nic for nic in self.nics if nic.network == network), None)

    def station(self, nic: VmNic) -> str:
        return f"{self.name}/{nic.network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNic:
    interface: IfName
    nad: str = ""
    """`namespace/name`; empty: the pod network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod of the scenario's. Its addresses are whatever it has when it is looked at."""

    name: str
    namespace: str
    node: str
    nics: tuple[PodNic, ...]

    @property
    def reference(self) -> str:
        return f"{self.namespace}/{self.name}"

    def station(self, nic: PodNic) -> str:
        return f"{self.name}/{nic.interface}"


# What must be true ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Every one of `sources` gets an answer from every one of `targets`; itself does not count."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Every NIC of every machine asks every NIC, host and node: who answers is who should, by the manifests.

    `targets`: whom they ask; empty: everybody.
    """

    name: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """No frame of one group arrives at a member of another, seen by capture."""

    name: str
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`argv` in a node or host ends with `exit`, and prints `stdout` (blanks at the ends of lines do not count); `says`
    is somewhere in what it prints or complains, however the lines break."""

    name: str
    node: str
    argv: tuple[str, ...]
    exit: int = 0
    stdout: str | None = None
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondIs:
    """`/proc/net/bonding/<bond>` shows the mode and so many NICs that are up; 802.3ad: a partner, one aggregator."""

    name: str
    node: str
    bond: IfName
    mode: BondMode
    nics: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CablePull:
    """500 frames a second each way between two endpoints while a cable is pulled: it goes on within `within_ms`."""

    name: str
    cable: End
    between: tuple[str, str]
    within_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchFault:
    """A `fault` (as `windrow lab break` takes it) at a port of a switch: all nodes find `finds` and nothing else, and
    nothing more after the switch was told the statements that Windrow prints."""

    name: str
    end: End
    fault: str
    finds: str
    """`VlanMissing 100 at p3 of sw-oob`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEmpty:
    """After `apply` there is nothing left to do."""

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An endpoint or a machine's NIC has its address from a DHCP server (a host, `server`), and it is in `network`."""

    name: str
    endpoint: str
    network: str
    server: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedMac:
    """A machine's NIC that takes another source address is heard (`heard`) or not; with its own one it is."""

    name: str
    station: str
    listener: str
    heard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recreate:
    """A cluster network's bridge and bond are deleted under running machines; one apply brings their traffic back."""

    name: str
    node: str
    cluster_network: str
    between: tuple[str, str]
    within_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """500 frames a second each way between two endpoints, and nothing else done: none is lost in `seconds`."""

    name: str
    between: tuple[str, str]
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """500 frames a second each way between two endpoints while `node` gets other manifests.

    `manifests` are files of the scenario's `changes`, `delete` what goes. The plan must announce `impact`; at most
    `lost` frames each way are lost, and at most `within_ms` in a row. None: however many, and it is told.
    """

    name: str
    node: str
    between: tuple[str, str]
    impact: Impact
    manifests: tuple[str, ...] = ()
    delete: tuple[Ref, ...] = ()
    lost: int | None = None
    within_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """`manifests` (files of the scenario's `changes`), given to all nodes, close the way from `closed` to `target` and
    leave the one from `opened`; without them all get there again."""

    name: str
    manifests: tuple[str, ...]
    target: str
    opened: tuple[str, ...]
    closed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOutage:
    """While `node` has no power, `manifests` (files of the scenario's `changes`) are applied at the API; then the API
    server is stopped for `seconds`. The node boots without it: `between` two endpoints reach each other by its last
    good state. When the server is back, all nodes catch up."""

    name: str
    node: str
    between: tuple[str, str]
    seconds: int
    manifests: tuple[str, ...] = ()


Check = (
    Reach
    | Matrix
    | Isolated
    | Command
    | BondIs
    | CablePull
    | PlanEmpty
    | Lease
    | ForgedMac
    | Recreate
    | Steady
    | Change
    | SwitchFault
    | ApiOutage
    | Closed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    description: str = ""
    nodes: tuple[Node, ...]
    switches: tuple[Switch, ...] = ()
    hosts: tuple[Host, ...] = ()
    kubernetes: Kubernetes | None = None
    endpoints: tuple[Endpoint, ...] = ()
    vms: tuple[Vm, ...] = ()
    cables: tuple[Cable, ...] = ()
    manifests: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    pod_manifests: Mapping[str, str] = field(default_factory=dict)
    """Applied once the networks are there."""
    checks: tuple[Check, ...] = ()

    def node(self, name: str) -> Node | None:
        return next((n for n in self.nodes if n.name == name), None)

    @property
    def control_plane(self) -> Host | None:
        """The first host of that role."""
        return next((host for host in self.hosts if host.role is Role.CONTROL_PLANE), None)

    def vm(self, name: str) -> Vm | None:
        return next((vm for vm in self.vms if vm.name == name), None)

    def vm_nic(self, station: str) -> tuple[Vm, VmNic] | None:
        """`vm-a/vlan100`: whose it is, and which."""
        name, _, network = station.partition("/")
        vm = self.vm(name)
        nic = vm.nic(network) if vm else None
        return (vm, nic) if vm and nic else None

    def places(self) -> Iterator[str]:
        """The names of all that has a network namespace of its own. A machine has its pod's, by another name, and so
        have pods whose runtime is a kubelet's."""
        for group in (*self.placed, self.own_pods):
            yield from (one.name for one in group)

    @property
    def placed(self) -> tuple[tuple[Node, ...] | tuple[Switch, ...] | tuple[Host, ...] | tuple[Endpoint, ...], ...]:
        """What the scenario's file has that is in a namespace of its own."""
        return (self.nodes, self.switches, self.hosts, self.endpoints)

    @property
    def own_pods(self) -> tuple[Pod, ...]:
        """Those that the lab itself attaches, by Windrow's plugin: without a Kubernetes nobody else does."""
        return self.pods if self.kubernetes is None else ()

    def stations(self) -> Mapping[str, Station]:
        """Who sends and receives in checks, by name; of machines see `vm_stations`."""
        found = [Station(e.name, e.interface(vid), vid, e.addresses.get(vid)) for e in self.endpoints for vid in e.vids]
        found += [
            Station(n.name, n.management.interface, UNTAGGED, n.management.address) for n in self.nodes if n.management
        ]
        found += [
            Station(host.name, nic.interface(vid), vid, address)
            for host in self.hosts
            for nic in host.nics
            for vid, address in nic.addresses.items()
        ]
        return {station.name: station for station in found}

    def vm_stations(self) -> tuple[str, ...]:
        """The NICs of machines: they send and receive, too, by what their guests do."""
        return tuple(vm.station(nic) for vm in self.vms for nic in vm.nics)

    def pod_nics(self) -> Mapping[str, tuple[Pod, PodNic]]:
        """The NICs of pods, as stations of checks: `web-a/net1`."""
        return {pod.station(nic): (pod, nic) for pod in self.pods for nic in pod.nics}

    def peer(self, end: End) -> End | None:
        """The other end of the cable."""
        return next((c.b if c.a == end else c.a for c in self.cables if end in (c.a, c.b)), None)
