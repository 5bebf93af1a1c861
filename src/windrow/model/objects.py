"""The objects: Harvester's kinds as immutable values, with the fields that Windrow reads.

Every object keeps the document it came from (`doc`), so that fields Windrow does not know are
never lost. Field names in the documents are Harvester's; the ones beyond Harvester are marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, ClassVar

from windrow.model import names
from windrow.model.host import Bond
from windrow.model.kubeovn import Subnet, Vpc
from windrow.model.lazy import dataclass
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.meta import Object
from windrow.model.policies import MultiNetworkPolicy, Namespace, NetworkPolicy, Pod
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.selectors import LabelSelector
from windrow.model.values import Cidr, IfName, Mac, VidSet


def ready_of(doc: Mapping[str, Any]) -> bool | None:
    """The condition `ready` of a document's status; None where there is none, or it is unknown."""
    match doc.get("status"):
        case {"conditions": list(conditions)}:
            said = (c.get("status") for c in conditions if isinstance(c, dict) and c.get("type") == "ready")
            return next((status == "True" for status in said if status in ("True", "False")), None)
        case _:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNetwork(Object):
    """A name for a layer-2 network; its devices on a node are `<name>-br` and `<name>-bo`."""

    KIND: ClassVar[str] = "ClusterNetwork"

    @property
    def ready(self) -> bool:
        """As its status says; it is the manager's, and the same text decides nothing else."""
        return ready_of(self.doc) is True


class NicIdentity(StrEnum):
    NAME = "name"
    MAC = "mac"
    PCI = "pci"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicSelector:
    """One entry of `spec.uplink.nics`: `eth1` (Harvester), or `{mac: …}`, `{pci: …}` (beyond it),
    which find the card by its permanent address, whatever the kernel calls it."""

    by: NicIdentity
    value: str

    def __str__(self) -> str:
        return self.value if self.by is NicIdentity.NAME else f"{self.by}={self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """`mtu` 0 and absent both mean 1500. `mac` is the bond's own address (`hardwareAddr`)."""

    nics: tuple[NicSelector, ...]
    bond: Bond
    """Only what the manifest says; the defaults are the compiler's (active-backup, miimon 100)."""
    mtu: int = 0
    txqlen: int | None = None
    mac: Mac | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanConfig(Object):
    """Which NICs carry a cluster network on the nodes that `node_selector` matches (equality; empty: all)."""

    KIND: ClassVar[str] = "VlanConfig"
    cluster_network: str
    uplink: Uplink
    node_selector: Mapping[str, str] = field(default_factory=dict)
    description: str = ""

    @property
    def effective(self) -> bool:
        """Whether Windrow makes its uplink: that of the management network only where it was asked to."""
        return self.cluster_network != names.MGMT or self.meta.annotations.get(names.ANNOTATION_MANAGED) == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanStatus(Object):
    """What became of a VlanConfig on one node. Windrow writes it; in a manifest it is accepted and left alone."""

    KIND: ClassVar[str] = "VlanStatus"
    cluster_network: str = field(default="", compare=False)
    vlan_config: str = field(default="", compare=False)
    node: str = field(default="", compare=False)
    ready: bool | None = field(default=None, compare=False)
    """None: it has no condition that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMonitor(Object):
    """Regular expressions (Go's syntax, unanchored) over a link's type and name; empty: every link."""

    KIND: ClassVar[str] = "LinkMonitor"
    type_rule: str = ""
    name_rule: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)


class AddressMode(StrEnum):
    STATIC = "static"
    DHCP = "dhcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """`metric` None: the kernel's own, 0 for IPv4 and 1024 for IPv6."""

    to: str
    """A prefix; one of length 0 is a default route."""
    via: str = ""
    """Empty: the destination is on the link itself."""
    metric: int | None = None
    on_link: bool = False
    """The router is on the link, though no network of its addresses has it (`onlink` of ip-route(8))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRouting:
    """What leads out of a host's VLAN; all of it is beyond Harvester."""

    gateways: tuple[str, ...] = ()
    """The routers of the default routes, at most one of each family."""
    gateway_on_link: bool = False
    """As `HostRoute.on_link`, of all gateways."""
    metric: int | None = None
    """Of the default routes. None: 0 on the management network and 1024 elsewhere, so that a second default route
    never wins over the management's."""
    routes: tuple[HostRoute, ...] = ()
    from_server: bool | None = None
    """With DHCP: take the routes that the server names. None: on the management network only."""
    advertised: bool | None = None
    """Take the routers, networks and addresses that router advertisements bring. None: with `from_server`; and on the
    management network if the NIC did before `windrow init`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetworkConfig(Object):
    """Addresses of the host itself in a VLAN of a cluster network: on the interface `<cn>-br.<vid>`; `vid` 0, beyond
    Harvester: untagged, on `<cn>-br` itself."""

    KIND: ClassVar[str] = "HostNetworkConfig"
    cluster_network: str
    vid: int
    mode: AddressMode
    ips: Mapping[str, tuple[Cidr, ...]] = field(default_factory=dict)
    """Node name -> its addresses with prefix length, at most one of each family."""
    node_selector: LabelSelector | None = None
    underlay: bool = False
    description: str = ""
    routing: HostRouting = HostRouting()
    mtu: int = 0
    """0: that of the cluster network."""

    @property
    def interface(self) -> IfName:
        return names.interface_of(self.cluster_network, self.vid)


class NetworkType(StrEnum):
    """The value of the label `network.harvesterhci.io/type`."""

    VLAN = "L2VlanNetwork"
    UNTAGGED = "UntaggedNetwork"
    TRUNK = "L2VlanTrunkNetwork"
    OVERLAY = "OverlayNetwork"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachmentDefinition(Object):
    """A network that pods and VMs attach to. `config` is the CNI configuration, decoded, all keys kept."""

    KIND: ClassVar[str] = "NetworkAttachmentDefinition"
    API_VERSION: ClassVar[str] = names.NAD_API_VERSION
    NAMESPACED: ClassVar[bool] = True
    config: Mapping[str, Any]
    type: NetworkType | None
    """None for a CNI type that is not a bridge network: Windrow keeps it and compiles nothing from it."""
    bridge: str = ""
    vid: int = 0
    trunk: VidSet = VidSet()
    mtu: int = 0
    place: str = field(default="spec.config", compare=False, repr=False)
    """Of the bridge's configuration in the document: in a list of plugins it is one of them."""

    @property
    def cluster_network(self) -> str | None:
        """None: its bridge, if it has one, is of no cluster network, and no uplink carries it."""
        return names.cluster_network_of_bridge(self.bridge)

    @property
    def vids(self) -> VidSet:
        """The VIDs that its frames carry on the uplink. Untagged: none."""
        match self.type:
            case NetworkType.VLAN:
                return VidSet.of([self.vid])
            case NetworkType.TRUNK:
                return self.trunk
            case _:
                return VidSet()

    @property
    def snooped(self) -> bool:
        """Whether its VLAN is to be snooped for multicast groups."""
        return self.type is NetworkType.VLAN and self.meta.annotations.get(names.ANNOTATION_SNOOPING) == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Object):
    """A host. Its name is the host name unless the operator says otherwise."""

    KIND: ClassVar[str] = "Node"
    API_VERSION: ClassVar[str] = "v1"
    pod_cidrs: tuple[Cidr, ...] = ()
    """`spec.podCIDRs` (or `podCIDR`): the addresses of the pods on it, one for each family."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What selectors see: every node is called by its name, as a kubelet says it, also where a manifest that says
        something else of it leaves that out."""
        said = self.meta.labels
        return said if names.LABEL_HOSTNAME in said else {names.LABEL_HOSTNAME: self.name, **said}

    @property
    def witness(self) -> bool:
        """A witness node carries no custom cluster network."""
        return self.meta.labels.get(names.LABEL_WITNESS) == "true"


AnyObject = (
    ClusterNetwork
    | VlanConfig
    | VlanStatus
    | LinkMonitor
    | HostNetworkConfig
    | NetworkAttachmentDefinition
    | VirtualMachine
    | VirtualMachineInstance
    | IPPool
    | VirtualMachineNetworkConfig
    | Node
    | Namespace
    | Pod
    | NetworkPolicy
    | MultiNetworkPolicy
    | Subnet
    | Vpc
)


@dataclass(frozen=True, slots=True)
class Kind:
    """How the command line and the store call a kind."""

    cls: type[AnyObject]
    plural: str
    short: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.cls.KIND

    @property
    def full(self) -> str:
        """As kubectl says it: `vlanconfig.network.harvesterhci.io`, `node`."""
        group = self.cls.API_VERSION.rpartition("/")[0]
        return f"{self.name.lower()}.{group}" if group else self.name.lower()


KINDS: tuple[Kind, ...] = (
    Kind(ClusterNetwork, "clusternetworks", ("cn", "cns")),
    Kind(VlanConfig, "vlanconfigs", ("vc", "vcs")),
    Kind(VlanStatus, "vlanstatuses", ("vs", "vss")),
    Kind(LinkMonitor, "linkmonitors", ("lm", "lms")),
    Kind(HostNetworkConfig, "hostnetworkconfigs", ("hnc", "hncs")),
    Kind(NetworkAttachmentDefinition, "network-attachment-definitions", ("nad", "nads", "net-attach-def")),
    Kind(VirtualMachine, "virtualmachines", ("vm", "vms")),
    Kind(VirtualMachineInstance, "virtualmachineinstances", ("vmi", "vmis")),
    Kind(IPPool, "ippools", ("ippl", "ippls")),
    Kind(VirtualMachineNetworkConfig, "virtualmachinenetworkconfigs", ("vmnetcfg", "vmnetcfgs")),
    Kind(Node, "nodes", ("no",)),
    Kind(Namespace, "namespaces", ("ns",)),
    Kind(Pod, "pods", ("po",)),
    Kind(NetworkPolicy, "networkpolicies", ("netpol",)),
    Kind(MultiNetworkPolicy, "multi-networkpolicies", ("multi-policy",)),
)


KUBEOVN_KINDS: tuple[Kind, ...] = (Kind(Subnet, "subnets", ()), Kind(Vpc, "vpcs", ()))
"""Of an API server alone, whose requests are judged by them: no host keeps them, and no command shows them."""
PER_NODE = {LinkMonitor.KIND: "linkStatus", HostNetworkConfig.KIND: "nodeStatus"}
"""Kind -> the field of its status that has an entry for each node."""


def find_kind(word: str) -> Kind | None:
    """`vc`, `vlanconfig`, `VlanConfig` and `vlanconfigs` all find VlanConfig."""
    word = word.lower()
    return next((k for k in KINDS if word in (k.name.lower(), k.plural, *k.short)), None)
