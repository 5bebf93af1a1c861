"""Names: which devices, labels and status objects belong to a cluster network.

All of them are Harvester's, exactly, so that its manifests, its dashboards and its users'
habits keep working. Windrow adds one of its own: `<cn>-bn`, the bond that takes over while a
bond's mode changes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from functools import lru_cache

from windrow.model.values import IfName, Vid

MGMT = "mgmt"
"""The built-in cluster network; the operating system makes its devices, Windrow protects them."""
POD_BRIDGE = IfName("wn-pods")
"""The bridge of the pods' default network. Not `…-br`: that is what the bridge of a cluster network is called."""

CLUSTER_NETWORK_MAX = 12
LABEL_VALUE_MAX = 63
FIELD_MANAGER_MAX = 128
"""Characters of a fieldManager (apimachinery, metav1 validation)."""
API_GROUP = "network.harvesterhci.io"
API_VERSION = f"{API_GROUP}/v1beta1"
POOL_API_VERSION = f"{API_GROUP}/v1alpha1"
NAD_API_VERSION = "k8s.cni.cncf.io/v1"

LABEL_VLAN_ID = f"{API_GROUP}/vlan-id"
LABEL_VLANCONFIG = f"{API_GROUP}/vlanconfig"
LABEL_CLUSTERNETWORK = f"{API_GROUP}/clusternetwork"
LABEL_NODE = f"{API_GROUP}/node"
LABEL_TYPE = f"{API_GROUP}/type"
LABEL_READY = f"{API_GROUP}/ready"
LABEL_WITNESS = "node-role.harvesterhci.io/witness"
LABEL_EXCLUSIVE_VLAN = "storage-network.settings.harvesterhci.io/exclusivevlan"
"""On a NetworkAttachmentDefinition: "true" keeps its VLAN to itself."""
LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_OS = "kubernetes.io/os"
LABELS_OF_KUBERNETES = ("kubernetes.io/arch", "beta.kubernetes.io/arch", "kubevirt.io/schedulable")
"""What the kubelet and KubeVirt say of every node of theirs. Without them nobody says it, and it is no reason against a
node."""
LABEL_POOL_NAMESPACE = f"{API_GROUP}/ippool-namespace"
LABEL_POOL_NAME = f"{API_GROUP}/ippool-name"
ANNOTATION_VM_MACS = "harvesterhci.io/mac-address"
"""On a VirtualMachine: the MAC addresses of NICs that say none, as JSON."""
ANNOTATIONS_SYSTEM_NETWORK = ("storage-network.settings.harvesterhci.io", "rwx-network.settings.harvesterhci.io")
SYSTEM_NETWORK_PREFIXES = ("storagenetwork-", "rwx-network-")
SYSTEM_NAMESPACE = "harvester-system"
"""Networks of Harvester itself: in this namespace, with one of these annotations or name prefixes."""
HARVESTER_WEBHOOK = "harvester-network-webhook"
"""Both registrations at the API server are called so. Its webhook makes them itself, so they outlive its chart."""
HARVESTER_LOCK = ("kube-system", "harvester-network-controllers")
"""The Lease by which Harvester's managers agree on who leads."""
ANNOTATION_ROUTE = f"{API_GROUP}/route"
ANNOTATION_MTU_SOURCE = f"{API_GROUP}/mtu-source-vc"
ANNOTATION_UPLINK_MTU = f"{API_GROUP}/uplink-mtu"
ANNOTATION_VID_SET = f"{API_GROUP}/vlan-id-set-str"
ANNOTATION_VID_SET_HASH = f"{API_GROUP}/vlan-id-set-str-hash"
ANNOTATION_MATCHED_NODES = f"{API_GROUP}/matched-nodes"
ANNOTATION_TUNNEL = "ovn.kubernetes.io/tunnel_interface"
"""On a Node: the interface that kube-ovn sends its overlay through."""

ANNOTATION_ROUTES_HEARD = "windrow.io/routes-heard"
"""On a Node: what DHCP servers told its agent of the VLANs whose networks wait for that (`status.routes`)."""

ANNOTATION_MANAGED = "windrow.io/managed"
"""On a VlanConfig of `mgmt`: "true" makes the uplink of the management network Windrow's. Harvester keeps a VlanConfig
there that only mirrors what the installer made (`mgmt-vlanconfig-<node>`); without this annotation it has no effect."""

ANNOTATION_BOND_MAC = "windrow.io/bond-hardware-address"
"""On a VlanConfig: the bond's own MAC address, where it is not the bridge's (`linkAttributes.hardwareAddr` is both).
systemd-networkd gives each link that it makes an address of its own; LACP partners know the bond by it."""

ANNOTATION_OVERLAY = "windrow.io/overlay"
"""On the ClusterNetwork `mgmt`: flannel's net-conf.json, to the letter. With it each node has a tunnel to every other
one, and pods of different nodes reach each other (`model.overlay`)."""
TUNNEL_4, TUNNEL_6 = "flannel.", "flannel-v6."
"""Its devices, before their VNI: as flannel calls them."""

ANNOTATION_SNOOPING = "windrow.io/multicast-snooping"
"""On a NetworkAttachmentDefinition with a VLAN: "true" has the bridge of its cluster network snoop in that VLAN, and
ask for groups there. Without it multicast goes to all ports of the VLAN."""

ANNOTATION_CLIENT_ID = "windrow.io/dhcp-client-id"
"""On a HostNetworkConfig with mode dhcp: what servers know the host by (`model.leases.ClientOptions.client_id`). Two
hosts with the same one get the same address, so it belongs on one that selects a single node."""

RESERVED_CLUSTER_NETWORKS = frozenset(
    {"clusternetwork", "last-type", "nic", "node", "ready", "route", "type", "vlan-id", "vlanconfig"}
)
"""A node carries the label `network.harvesterhci.io/<cn>`, and LinkMonitor `nic` exists: a cluster
network of one of these names would overwrite them (Harvester has no such rule, and breaks)."""

_SUBINTERFACE = re.compile(r"(?P<bridge>.+-br)\.(?P<vid>[0-9]{1,4})")


def label_of(cluster_network: str) -> str:
    """The label of a node on which a cluster network is set up."""
    return f"{API_GROUP}/{cluster_network}"


def bridge_of(cluster_network: str) -> IfName:
    return IfName(f"{cluster_network}-br")


def bond_of(cluster_network: str) -> IfName:
    return IfName(f"{cluster_network}-bo")


def next_bond_of(cluster_network: str) -> IfName:
    """The bond that takes over NIC by NIC while the mode changes; it exists only meanwhile."""
    return IfName(f"{cluster_network}-bn")


def successor_of(bond: str) -> IfName:
    """`oob-bo` -> `oob-bn`."""
    return next_bond_of(bond.removesuffix("-bo"))


def node_name(host: str, nodes: Iterable[str] = ()) -> str:
    """Which of these Node objects the host `host` is (`uname -n`, or what somebody said): the one of its name in lower
    case, as a kubelet registers it (`nodeutil.GetHostname`); else the only one that differs from it in the domain
    alone. Where there is none, the name in lower case."""
    name, known = host.strip().lower(), frozenset(nodes)
    if name in known or not name:
        return name
    short = name.partition(".")[0]
    if short in known:
        return short
    full = [node for node in known if node.partition(".")[0] == name]
    return full[0] if len(full) == 1 else name


MGMT_DEVICES = frozenset({bridge_of(MGMT), bond_of(MGMT)})
"""The bridge and the bond that the operating system made."""


def subinterface_of(cluster_network: str, vid: int) -> IfName:
    return IfName(f"{cluster_network}-br.{vid}")


@lru_cache(maxsize=4096)
def interface_of(cluster_network: str, vid: int) -> IfName:
    """Where the host itself takes part in a VLAN; untagged (0), that is the bridge."""
    return subinterface_of(cluster_network, vid) if vid else bridge_of(cluster_network)


def cluster_network_of_bridge(bridge: str) -> str | None:
    """`oob-br` -> `oob`; None where the name has no `-br` at its end."""
    return bridge.removesuffix("-br") if bridge.endswith("-br") and len(bridge) > 3 else None


def vid_of_subinterface(name: str) -> tuple[str, Vid] | None:
    """`oob-br.300` -> (`oob-br`, 300)."""
    found = _SUBINTERFACE.fullmatch(name)
    return (found["bridge"], Vid(int(found["vid"]))) if found else None


def hashed(*parts: str) -> str:
    """Harvester's name for an object that stands for several: `parts-crc32`, at most 63 characters."""
    text = "-".join(parts)
    return f"{text[:54]}-{zlib.crc32(text.encode()):08x}"


def label_value(text: str) -> str:
    """A name as the value of a label: at most 63 characters, of a name that has up to 253 (Kubernetes)."""
    return text if len(text) <= LABEL_VALUE_MAX else hashed(text)


AGENT, AGENTS = "windrow-agent", "windrow-agents"
"""How what an agent calls itself begins; and what all of a large cluster call themselves where each writes its own
entry of one object, and applies nothing: else the server notes a thousand writers in it."""


def field_manager(node: str) -> str:
    """What the agent of a node calls itself where it applies something. One for all nodes would not do: applying means
    to take back what one applied before, and the nodes share objects."""
    name = f"{AGENT}.{node}"
    return name if len(name) <= FIELD_MANAGER_MAX else hashed(AGENT, node)


def vlan_status_name(cluster_network: str, node: str) -> str:
    """`("test-cn", "node1")` -> `test-cn-node1-53066b39`."""
    return hashed(cluster_network, node)
