"""What is true of a node before any manifest: its NICs, what must not be touched, what its kernel can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.host import Details, HostState
from windrow.model.lazy import dataclass
from windrow.model.leases import Asking, Lease
from windrow.model.pools import Record
from windrow.model.ports import PortRecord
from windrow.model.reach import Reach
from windrow.model.values import Cidr, IfName, Mac, VidSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A network card. `pci` is its address (`0000:3b:00.1`), None for a virtual one."""

    name: IfName
    mac: Mac
    """The permanent address, which a bond does not change (IFLA_PERM_ADDRESS, ethtool -P)."""
    pci: str | None = None
    driver: str | None = None
    master: IfName | None = None
    """The bond or bridge it is in now."""
    altnames: tuple[str, ...] = ()
    """Other names by which the kernel knows it (IFLA_ALT_IFNAME): systemd gives a card one for each of its places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFeatures:
    """Probed on the running kernel, never guessed from its version."""

    bonding: bool = True
    vlan_filtering: bool = True
    vlan_interfaces: bool = True
    bridge_netfilter: bool = False
    vlan_snooping: bool = True
    """A bridge may snoop for multicast groups VLAN by VLAN (BR_BOOLOPT_MCAST_VLAN_SNOOPING, Linux 5.16)."""
    ipv6: bool = True
    """It has IPv6: it was not started with `ipv6.disable=1`."""
    ipv6_on: bool = True
    """A new link begins with it switched on (`net.ipv6.conf.default.disable_ipv6`)."""
    vxlan: bool = True
    wireguard: bool = True
    bridge_rules: bool = True
    """It has nftables of the family bridge, and nft is installed."""
    bridge_conntrack: bool = True
    """And there it knows connections, which network policies need (nf_conntrack_bridge)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What this node was last time, where neither its kernel nor its manifests can say it."""

    nics: Mapping[str, Mac] = field(default_factory=dict)
    """Name of a NIC in a manifest -> the permanent MAC of the card that bore it: a card keeps its place when the
    kernel gives it another name."""
    given: Mapping[IfName, frozenset[Cidr]] = field(default_factory=dict)
    """The addresses that Windrow put on bridges and VLAN interfaces. Others there are not its business: a virtual IP,
    a hand's."""
    had: Mapping[IfName, frozenset[Cidr]] = field(default_factory=dict)
    """Those of them that were there at the last look since this start of the host: to put one back, nobody need be
    asked whether he has it."""
    policed: bool = False
    """Whether there may be rules of network policies, or of the overlay, which are in the same table. On a host that
    never had any, nobody looks for them."""
    judges: bool = False
    """Whether they may close a port that no round has judged: a CNI call waits for that."""
    of_cluster: bool = False
    """Whether the objects that it was brought to are a cluster's (`Known.of_cluster`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a node, beside the manifests: by its disk, and by whoever is logged in. Each look at the kernel
    goes with what is known then."""

    ports: tuple[PortRecord, ...] = ()
    leases: Mapping[IfName, Lease] = field(default_factory=dict)
    asking: Mapping[IfName, Asking] = field(default_factory=dict)
    """By the link whose DHCP client no server has answered yet."""
    agent: bool = False
    """Whether the agent runs here: it keeps the DHCP clients."""
    memory: Memory = Memory()
    record: Record = field(default_factory=dict)
    """Which addresses of pools were given, and to whom."""
    active: frozenset[str] = frozenset()
    """The pools (`namespace/name`) whose server's address is this node's turn to have."""
    origin: HostState | None = None
    """The NICs of the management network as `windrow init` found them, with all that no manifest says of them."""
    ways: frozenset[IfName] = frozenset()
    """The links by which this host sends to those who are logged in on it."""
    peers: frozenset[str] = frozenset()
    """The addresses of those."""
    of_cluster: bool = False
    """Whether a cluster's API says what there is: a pod that it does not name is not known yet."""
    wireguard_key: str = ""
    """The public key of this host's encrypted tunnel devices; empty: it has none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    node: str
    wireguard_key: str = ""
    """As `Known` has it."""
    nics: Mapping[IfName, Nic] = field(default_factory=dict)
    features: KernelFeatures = KernelFeatures()
    links: frozenset[IfName] = frozenset()
    """The names of all links there are."""
    unreadable: Mapping[IfName, str] = field(default_factory=dict)
    """Links of which the kernel said what could not be read, and why."""
    made: frozenset[IfName] = frozenset()
    """Those of them that Windrow made."""
    macs: Mapping[IfName, Mac] = field(default_factory=dict)
    """The present MAC of every link, so that a pinned one stays pinned when a NIC leaves."""
    foreign_vids: Mapping[IfName, VidSet] = field(default_factory=dict)
    """Per bridge: the VIDs that VLAN interfaces need which others made on it."""
    protected: frozenset[IfName] = frozenset()
    """The link with the node's address or default route, and everything below it."""
    reach: Reach = field(default_factory=Reach)
    """What this host is reached by: nothing may take it over."""
    management_vids: VidSet = VidSet()
    """VIDs that carry a protected address on `mgmt-br`."""
    ports: tuple[PortRecord, ...] = ()
    """What CNI calls attached to bridges of this node, as they recorded it."""
    port_links: frozenset[IfName] = frozenset()
    """The links there are that such a call made (`model.ports.PORT_GROUP`)."""
    leases: Mapping[IfName, Lease] = field(default_factory=dict)
    """By the link that they were given to."""
    asking: Mapping[IfName, Asking] = field(default_factory=dict)
    """By the link whose DHCP client no server has answered yet."""
    agent: bool = False
    """Whether the agent runs here: it keeps the DHCP clients."""
    memory: Memory = Memory()
    record: Record = field(default_factory=dict)
    """Which addresses of pools were given, and to whom."""
    active: frozenset[str] = frozenset()
    """The pools (`namespace/name`) whose server's address is this node's turn to have."""
    filters_unread: str = ""
    """Why the packet filter's rules of some ports could not be looked at."""
    policies_unread: str = ""
    """Why those of network policies could not."""
    policies_there: bool = False
    """Whether there is a table of network policies; where it cannot be looked at, whether there was one."""
    judges_ports: bool = False
    """Whether it closes ports that no round has judged."""
    of_cluster: bool = False
    """As in `Known`."""
    origin: HostState | None = None
    """The NICs of the management network as `windrow init` found them."""
    without_ipv6: frozenset[IfName] = frozenset()
    """Of the links whose settings are known (`Link.settings`), those on which IPv6 is switched off (`disable_ipv6`)."""
    addrs: Mapping[IfName, frozenset[Cidr]] = field(default_factory=dict)
    """The addresses that links have now; those without one are left out."""
    fleeting: frozenset[str] = frozenset()
    """Those of the host that are not among them, without lengths: with an end, as a DHCP client gives them, link-local,
    SLAAC's."""
    mtus: Mapping[IfName, int] = field(default_factory=dict)
    """Of the links with an address."""
    duplicates: Mapping[IfName, Mapping[Cidr, Details]] = field(default_factory=dict)
    """Those of them that the kernel found to be somebody else's, too (IFA_F_DADFAILED): it does not use them."""
    routed: frozenset[IfName] = frozenset()
    """The links to which the kernel itself routes an IPv4 network: those with an address that runs out are among
    them, too, as another hand's DHCP client sets it."""
