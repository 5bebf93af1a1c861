"""The network of one host as a value: links, their VLANs and addresses, and the routes.

One type, `HostState`, says what is wanted and what is there; so a diff, an undo, a path trace and
a picture need no translation. In a *wanted* state `None` means "not managed: leave it as it is".
In an *observed* state every attribute that the kernel reports is filled in. What moves by itself
(carrier, the active slave, LACP) is runtime and stays beside it, in `Observed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from windrow.model.bonding import OPTIONS, BondMode
from windrow.model.bridging import Bridge as Bridge
from windrow.model.bridging import BridgePort as BridgePort
from windrow.model.bridging import Snooping as Snooping
from windrow.model.filters import Filters as Filters
from windrow.model.filters import PortFilter as PortFilter
from windrow.model.lazy import dataclass
from windrow.model.marks import marked_names
from windrow.model.ruletable import RuleTable
from windrow.model.values import OWNER_GROUP as OWNER_GROUP
from windrow.model.values import OWNER_PROTOCOL as OWNER_PROTOCOL
from windrow.model.values import Cidr, IfName, Mac, Ref
from windrow.model.values import PortVlans as PortVlans


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """Options of a bond, under the kernel's names (`model.bonding.OPTIONS`)."""

    mode: BondMode | None = None
    miimon: int | None = None
    updelay: int | None = None
    downdelay: int | None = None
    peer_notif_delay: int | None = None
    use_carrier: str | None = None
    arp_interval: int | None = None
    arp_ip_target: tuple[str, ...] | None = None
    ns_ip6_target: tuple[str, ...] | None = None
    arp_validate: str | None = None
    arp_all_targets: str | None = None
    missed_max: int | None = None
    primary: str | None = None
    """Interface name; `""` in an observed or wanted state means: no primary."""
    primary_reselect: str | None = None
    fail_over_mac: str | None = None
    xmit_hash_policy: str | None = None
    resend_igmp: int | None = None
    num_peer_notif: int | None = None
    all_slaves_active: str | None = None
    min_links: int | None = None
    lp_interval: int | None = None
    packets_per_slave: int | None = None
    tlb_dynamic_lb: str | None = None
    lacp_rate: str | None = None
    lacp_active: str | None = None
    ad_select: str | None = None
    ad_actor_sys_prio: int | None = None
    ad_user_port_key: int | None = None
    ad_actor_system: str | None = None
    """MAC address; `""` means: none set (00:00:00:00:00:00)."""

    def applicable(self) -> Bond:
        """Without the options that the kernel refuses in this mode, or that hang on one which is off.

        Dumps report them all, whatever the mode (`bond_fill_info`).
        """
        mode = self.mode or BondMode.BALANCE_RR
        off = {
            name: None
            for name, option in OPTIONS.items()
            if mode not in option.modes or (option.needs and not getattr(self, option.needs))
        }
        return replace(self, **off)

    @property
    def follows_slave(self) -> bool:
        """Whether its MAC address is a slave's, which the kernel moves (`bond_do_fail_over_mac`): whoever sets another
        one is told that it worked, and nothing happens (`bond_set_mac_address`)."""
        return self.mode is BondMode.ACTIVE_BACKUP and self.fail_over_mac in ("active", "follow")


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanIf:
    """An 802.1Q interface on `parent`. The kernel accepts a new id for it, and ignores it
    (`vlan_changelink` knows no IFLA_VLAN_ID): both are RECREATE."""

    parent: IfName
    vid: int
    flags: frozenset[str] | None = None
    """VLAN_FLAG_*: `reorder_hdr`, with which the kernel makes one, and `gvrp`, `mvrp`, `loose_binding`,
    `bridge_binding` (carrier follows the VLAN's ports instead of the bridge)."""


VLAN_FLAGS = {"reorder_hdr": 1, "gvrp": 2, "loose_binding": 4, "mvrp": 8, "bridge_binding": 16}
"""VLAN_FLAG_* (include/uapi/linux/if_vlan.h)."""
FRESH_VLAN_FLAGS = frozenset({"reorder_hdr"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """A tunnel device that Windrow made (RFC 7348); one of others is `Other`.

    It stands on no link: the kernel finds the way to the far ends by its routes, so nothing below it can take it along.
    Its VNI and port are RECREATE (`vxlan_nl2conf`: "Cannot change VNI", "Cannot change port").
    """

    vni: int
    port: int
    local: str
    """The address that its packets come from; its family is that of the far ends."""
    learning: bool = False
    """Whether it learns behind which far end a MAC address is; whatever comes in by a forged packet, too."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FdbEntry:
    """Behind which far end of a tunnel device a MAC address is: `bridge fdb … dst … self permanent`."""

    mac: Mac
    dst: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wireguard:
    """An encrypted tunnel device that Windrow made (WireGuard); one of others is `Other`."""

    port: int
    """UDP, at which it listens, and from which it sends."""
    key: str | None = None
    """Its public key, in base64. The private one is on the disk (`store.keys`) and in the kernel, and in no value."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Peer:
    """Another node, as a `Wireguard` device knows it: where its packets go, and which addresses are behind it."""

    key: str
    """Its public key, in base64."""
    address: str
    port: int
    allowed: tuple[Cidr, ...]
    """Sorted. Packets to these go to it, and only packets from these are taken of it."""
    keepalive: int = 0
    """Seconds; 0: none is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A link of a kind that Windrow neither makes nor changes (`veth`, `tun`, `wireguard`, …), or a NIC.

    `parent` is the link it stands on (IFLA_LINK), where that is in this namespace.
    """

    kind: str
    """IFLA_INFO_KIND, or `device` for a NIC, which has none."""
    parent: IfName | None = None


LinkSpec = Bond | Bridge | VlanIf | Vxlan | Wireguard | Other


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What an address is beyond its `Cidr`: given back as it was, it is the same in every attribute.

    Times are CLOCK_BOOTTIME, in seconds; None: without end.
    """

    attributes: bytes = b""
    """IFA_* as the kernel tells them, but for flags, times and label."""
    scope: int = 0
    flags: int = 0
    """IFA_F_* that one may set (`noprefixroute`, `home`, `mngtmpaddr`, `nodad`, …)."""
    label: str = ""
    """`eth0:1`; empty where it is the link's name, and for IPv6."""
    valid_until: float | None = None
    preferred_until: float | None = None
    rank: int = 0
    """Its place among the link's addresses: of several in one network the first is the primary one."""
    static: bool = True
    """Permanent, and so among `Link.addrs`. The others somebody gave for a time, or they are link-local."""
    duplicate: bool = False
    """The kernel asked for it and somebody else has it (IFA_F_DADFAILED, IPv6): it is there and not used. Wanted so:
    let it be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticNeighbour:
    """Of whom somebody told a link by hand: `ip neigh … nud permanent`; or `… proxy`, for whom this host answers.

    `message` is a struct ndmsg and its attributes without link and protocol, opaque to all but `netlink.neighbours`.
    Ours have OWNER_PROTOCOL.
    """

    message: bytes
    address: str
    mac: Mac | None = None
    """None: a proxy entry, which has none."""
    protocol: int = 0

    @property
    def entry(self) -> tuple[str, bool]:
        """What two of a link differ in: proxy entries are a table of their own (`pneigh_lookup`)."""
        return self.address, self.mac is None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFlags:
    """What a hand can switch off on a link that stays up: small things, each of which makes it deaf or mute."""

    arp: bool | None = None
    """Not IFF_NOARP: with that flag it neither asks for neighbours nor answers."""
    multicast: bool | None = None
    """IFF_MULTICAST: without it there are no groups, and so no IPv6."""
    allmulti: bool | None = None
    """IFF_ALLMULTI as the administrator set it, not what multicast routing adds."""
    dormant: bool | None = None
    """IFLA_LINKMODE: it waits for a supplicant's word, `oper` stays dormant, and IPv6 does not begin."""
    broadcast: Mac | None = None


FRESH_FLAGS = LinkFlags(arp=True, multicast=True, allmulti=False, dormant=False, broadcast=Mac("ff:ff:ff:ff:ff:ff"))
"""Of every Ethernet link that the kernel has just made (`ether_setup`)."""
TXQLEN_DEFAULT = 1000
"""DEFAULT_TX_QUEUE_LEN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link. `master` and `vlans` and `addrs`: None = not managed; `master=""` = must have none."""

    name: IfName
    spec: LinkSpec
    up: bool | None = None
    mtu: int | None = None
    mac: Mac | None = None
    txqlen: int | None = None
    promisc: bool | None = None
    """The administrator's flag (IFF_PROMISC in `ifi_flags`), not what captures add to it."""
    master: str | None = None
    vlans: PortVlans | None = None
    """VLANs of this link as a port of its bridge."""
    self_vlans: PortVlans | None = None
    """VLANs of this bridge itself (`bridge vlan … self`)."""
    snooping: Snooping | None = None
    """Of a bridge: in which VLANs it snoops, where it does so VLAN by VLAN."""
    port: BridgePort | None = None
    """How its bridge treats it as a port."""
    flags: LinkFlags | None = None
    slave_prio: int | None = None
    """As a slave of its bond: which one is chosen among equals (IFLA_BOND_SLAVE_PRIO); None: the kernel has no such."""
    mark: bool | None = None
    """Whether it bears both marks of what Windrow made, and for this name (`model.marks`). Wanted: True or None."""
    addrs: frozenset[Cidr] | None = None
    """Static addresses (IFA_F_PERMANENT), IPv6 link-local ones left out."""
    details: Mapping[Cidr, Details] = field(default_factory=dict, compare=False)
    """Of the addresses that somebody gave the link, those for a time among them. What the kernel gives by itself
    (SLAAC, link-local) has none: it gives it again."""
    settled: frozenset[Cidr] = field(default=frozenset(), compare=False)
    """Of the wanted addresses those that this host had a moment ago: nobody need be asked whether he has them."""
    neighbours: frozenset[StaticNeighbour] = frozenset()
    """Wanted: all of ours; in an undo also those of others that it had. Observed: all of them."""
    fdb: frozenset[FdbEntry] | None = None
    """Of a `Vxlan`: the permanent entries of its forwarding table; None: no such device, or not managed."""
    peers: frozenset[Peer] | None = None
    """Of a `Wireguard`; None: no such device, or not managed."""
    settings: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Its sysctls, as `ipv6/accept_ra` -> `2`. Observed of links with addresses and of our bridges and VLAN
    interfaces; wanted, the ones that are to be so."""
    origin: tuple[Ref, ...] = field(default=(), compare=False)
    """The objects that want it so, most important first."""

    @property
    def kind(self) -> str:
        match self.spec:
            case Bond():
                return "bond"
            case Bridge():
                return "bridge"
            case VlanIf():
                return "vlan"
            case Vxlan():
                return "vxlan"
            case Wireguard():
                return "wireguard"
            case Other(kind=kind):
                return kind

    @property
    def parent(self) -> IfName | None:
        """The link this one stands on: a VLAN interface's bridge or NIC."""
        return self.spec.parent if isinstance(self.spec, VlanIf | Other) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """A route as the kernel tells it, where the fields of `Route` do not say all: source, MTU, type, next hops, ….

    `message` is a struct rtmsg and its attributes, opaque to all but `netlink.routes`. What moves by itself is left
    out; the protocol and every link's index are 0 there, and stand in `Route.protocol` and, in their order, in `links`.
    """

    message: bytes
    links: tuple[IfName, ...] = ()
    source: str = ""
    """The preferred source address."""
    reached: bool = False
    """Its router needs no network of the link: `onlink`, link-local, or of the other family."""
    stays: str = ""
    """Why it cannot be carried to another link, or made again: what it hangs on is another's (a nexthop object)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of any table; `dst` is `default` or a prefix. Ours have `protocol` OWNER_PROTOCOL.

    Without `exact` it is unicast, over one link, and the fields say all of it. With several next hops `dev` and
    `gateway` are of the first one.
    """

    dst: str
    dev: IfName | None
    gateway: str | None = None
    table: int = 254
    metric: int = 0
    protocol: int = 0
    exact: Exact | None = None
    until: float | None = field(default=None, compare=False)
    """When it ends, CLOCK_BOOTTIME; None: never."""
    source: str = field(default="", compare=False)
    """Of one that the kernel made for an address (RTPROT_KERNEL), and is to be again: that address."""
    order: int = field(default=0, compare=False)
    """Its place in the dump: IPv6 routes of one metric are used, and told, in the order in which they came."""

    @property
    def links(self) -> tuple[IfName, ...]:
        """All the links that it leads over."""
        if self.exact is not None:
            return self.exact.links
        return () if self.dev is None else (self.dev,)

    @property
    def version(self) -> int:
        """Of IP."""
        if self.exact is not None:
            return 6 if self.exact.message[:1] == bytes([AF_INET6]) else 4
        return 6 if ":" in f"{self.dst}{self.gateway}" else 4

    def moved(self, to: Mapping[IfName, IfName], protocol: int | None = None) -> Route:
        """The same over other links."""
        dev = to.get(self.dev, self.dev) if self.dev is not None else None
        exact = self.exact and replace(self.exact, links=tuple(to.get(name, name) for name in self.exact.links))
        return replace(self, dev=dev, exact=exact, protocol=self.protocol if protocol is None else protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule (`ip rule`) for what comes in by a link, or goes out by one. `message` is a struct fib_rule_hdr and its
    attributes without names and protocol, opaque to all but `netlink.routes`. Ours have OWNER_PROTOCOL."""

    message: bytes
    iif: str = ""
    oif: str = ""
    protocol: int = 0

    @property
    def link(self) -> IfName:
        return IfName(self.iif or self.oif)

    def moved(self, to: Mapping[IfName, IfName], protocol: int) -> Rule:
        iif, oif = (str(to.get(IfName(name), IfName(name))) for name in (self.iif, self.oif))
        return replace(self, iif=iif, oif=oif, protocol=protocol)


MAIN_TABLE = 254
AF_INET6 = 10
RTPROT_REDIRECT = 1
RTPROT_KERNEL = 2
"""`Route.protocol` of what the kernel makes by itself, for addresses (include/uapi/linux/rtnetlink.h)."""
IP6_RT_PRIO_ADDRCONF = 256
"""The metric of those in IPv6 (include/net/addrconf.h); in IPv4 it is 0."""
IFA_F_NOPREFIXROUTE = 0x200
"""In `Details.flags`: for this address the kernel makes none."""
RTPROT_RA = 9
ACCEPT_RA = "ipv6/accept_ra"
"""In `Link.settings`: whether it takes the routers, networks and addresses that router advertisements bring. 0: no; 1:
as long as this host is no router itself; 2: yes."""
COMES_BY_ITSELF = frozenset({RTPROT_REDIRECT, RTPROT_KERNEL, RTPROT_RA})
"""Routes that come again with the address, or with the next router advertisement. Made by hand they would be others:
the kernel renews and ends only what it made (`rt6_get_dflt_router`: RTF_ADDRCONF)."""
IP6_RT_PRIO_USER = 1024
"""What the kernel makes of metric 0 in an IPv6 route (include/net/ip6_fib.h)."""


def settled_metric(route: Route) -> int:
    """The metric that the kernel will report."""
    return route.metric or (IP6_RT_PRIO_USER if route.version == 6 else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """Wanted: complete for what Windrow owns, silent on the rest. Observed: everything."""

    links: Mapping[IfName, Link] = field(default_factory=dict)
    routes: frozenset[Route] = frozenset()
    """Wanted: all of ours; in an undo also those of others that a link had. Observed: of all tables, those over
    links."""
    rules: frozenset[Rule] = frozenset()
    """Those that name a link. Wanted: all of ours."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """`net.bridge.bridge-nf-call-iptables` -> `0`. In an observed state only the ones that were asked for
    and exist."""
    filters: Filters = field(default_factory=dict)
    """What the packet filter does about ports. Wanted: of those whose records ask for it, and the others are left as
    they are. Observed: of the wanted ones that could be looked at (`Observed.stale_filters` are left over)."""
    policies: RuleTable | None = None
    """The packet filter's table of network policies. None: not managed, or it could not be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LacpState:
    """One slave of an 802.3ad bond (IEEE 802.1AX §6.4; IFLA_BOND_SLAVE_AD_*)."""

    aggregator: int
    partner_mac: Mac | None = None
    actor_state: int = 0
    partner_state: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the kernel says of a link that nobody configured just so."""

    ifindex: int
    group: int = 0
    carrier: bool = False
    oper: str = "unknown"
    """IF_OPER_*: unknown, notpresent, down, lowerlayerdown, testing, dormant, up."""
    permanent_mac: Mac | None = None
    alias: str = ""
    altnames: tuple[str, ...] = ()
    own_name: str = ""
    """The kernel's name for it, where it was adopted and is called otherwise here (`model.marks.called`)."""
    min_mtu: int = 0
    max_mtu: int = 0
    speed: int | None = None
    """Mbit/s, of NICs, bonds and their slaves where the driver says it; None: not known."""
    duplex: str | None = None
    """`full` or `half`."""
    carrier_downs: int | None = None
    """How often it has lost its carrier since it was made (IFLA_CARRIER_DOWN_COUNT)."""
    slave_active: bool | None = None
    """A bond's slave: True active, False backup (IFLA_BOND_SLAVE_STATE)."""
    slave_mii_up: bool | None = None
    link_failures: int | None = None
    lacp: LacpState | None = None
    active_slave: IfName | None = None
    """Of a bond: the active slave, in the modes that have one."""
    aggregator: int | None = None
    """Of an 802.3ad bond: the active aggregator's id (IFLA_BOND_AD_INFO)."""
    partner_mac: Mac | None = None
    """Of an 802.3ad bond: its partner; None when all zero (no partner)."""
    port_state: int | None = None
    """Of a bridge port: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking."""
    tunnel: Vxlan | None = None
    """Of a tunnel device that others made: what it would be as Windrow's."""
    far_ends: frozenset[FdbEntry] = frozenset()
    """Of such a device, where it has a name of flannel's: its forwarding table."""

    @property
    def owned(self) -> bool:
        """Whether Windrow made this link: one of the two marks is enough, so that neither can be lost."""
        return self.group == OWNER_GROUP or (bool(self.altnames) and bool(marked_names(self.altnames)))


FOR_ROOT = "only root may ask the kernel what it was told"
"""Why an encrypted tunnel device is in `Observed.unreadable` of an ordinary user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One full look at the kernel."""

    state: HostState
    runtime: Mapping[IfName, Runtime]
    unreadable: Mapping[IfName, str] = field(default_factory=dict)
    """Links of which the kernel said what could not be read, and why. They are there, and nothing is known of them."""
    stale_filters: Filters = field(default_factory=dict)
    """Rules of ports of ours that are gone, and of which no record is left."""
    filters_unread: str = ""
    """Why the rules of some ports could not be looked at."""
    policies_unread: str = ""
    """Why the rules of network policies could not."""
    by_themselves: frozenset[str] = frozenset()
    """Addresses that nobody gave: SLAAC's, and the link-local ones of bridges."""

    def owned(self, name: str) -> bool:
        """Whether Windrow made this link."""
        found = self.runtime.get(IfName(name))
        return found is not None and found.owned
