"""Every attribute that the kernel says of a link of ours, and what becomes of it when somebody changes it.

One table, which is also the one of docs/user/drift.md (a test holds them equal). A test in `tests/kernel/` walks what a
real kernel dumps of a bridge, a bond, its slave, a port and a VLAN interface, and fails at a number that is not here;
another one damages every attribute that is kept. Numbers and names: include/uapi/linux/if_link.h, if.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.bonding import OPTIONS
from windrow.model.lazy import dataclass
from windrow.netlink import codec


@dataclass(frozen=True, slots=True)
class Fate:
    """`field`: the attribute in a plan (`plan.mutability`), empty where it is not kept; `why`: then the reason."""

    field: str = ""
    why: str = ""


def _kept(field: str) -> Fate:
    return Fate(field=field)


def _left(why: str) -> Fate:
    return Fate(why=why)


TOLD = _left("the kernel tells it; nobody sets it")
FIXED = _left("chosen when the link is made; cannot be changed")
PADDING = _left("padding")
STP = _left("means nothing while STP is off, and that is kept")
TUNING = _left("tuning of multicast snooping; whether there is snooping at all is kept")
LARGE = _left("how large packets are cut up: costs processor time, never frames; the kernel derives it from the NICs")
COUNTING = _left("only whether there are counters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One attribute space: `rows` by number; `prefix` is what the names there begin with."""

    title: str
    prefix: str
    rows: Mapping[int, tuple[str, Fate]] = field(default_factory=dict)


LINK = Space(
    title="Every link",
    prefix="IFLA_",
    rows={
        1: ("ADDRESS", _kept("mac")),
        2: ("BROADCAST", _kept("flags.broadcast")),
        3: ("IFNAME", _kept("name")),
        4: ("MTU", _kept("mtu")),
        5: ("LINK", _kept("vlan.parent")),
        6: ("QDISC", _left("queueing and shaping are the administrator's")),
        7: ("STATS", TOLD),
        10: ("MASTER", _kept("master")),
        13: ("TXQLEN", _kept("txqlen")),
        14: ("MAP", _left("addresses of old ISA cards")),
        16: ("OPERSTATE", _left("follows from carrier and LINKMODE")),
        17: ("LINKMODE", _kept("flags.dormant")),
        18: ("LINKINFO", _kept("kind")),
        20: ("IFALIAS", _left("a label for people")),
        23: ("STATS64", TOLD),
        26: (
            "AF_SPEC",
            _left(
                "settings of IPv4 and IPv6, as sysctls have them: the administrator's, but for `accept_ra`, see below"
            ),
        ),
        27: ("GROUP", _kept("mark")),
        30: ("PROMISCUITY", _left("a count of who wants it, bridges and captures among them")),
        31: ("NUM_TX_QUEUES", FIXED),
        32: ("NUM_RX_QUEUES", FIXED),
        33: ("CARRIER", _left("a bond, bridge or VLAN interface refuses to be told")),
        35: ("CARRIER_CHANGES", TOLD),
        36: ("PHYS_SWITCH_ID", TOLD),
        37: ("LINK_NETNSID", TOLD),
        38: ("PHYS_PORT_NAME", TOLD),
        39: ("PROTO_DOWN", _left("a bond, bridge or VLAN interface refuses it")),
        40: ("GSO_MAX_SEGS", LARGE),
        41: ("GSO_MAX_SIZE", LARGE),
        42: ("PAD", PADDING),
        43: ("XDP", _left("a program of others, which nobody could load again")),
        47: ("CARRIER_UP_COUNT", TOLD),
        48: ("CARRIER_DOWN_COUNT", TOLD),
        50: ("MIN_MTU", TOLD),
        51: ("MAX_MTU", TOLD),
        52: ("PROP_LIST", _left("further names are anybody's; the one that is our mark is kept as `mark`")),
        54: ("PERM_ADDRESS", TOLD),
        55: ("PROTO_DOWN_REASON", _left("a bond, bridge or VLAN interface refuses PROTO_DOWN")),
        56: ("PARENT_DEV_NAME", TOLD),
        57: ("PARENT_DEV_BUS_NAME", TOLD),
        58: ("GRO_MAX_SIZE", LARGE),
        59: ("TSO_MAX_SIZE", TOLD),
        60: ("TSO_MAX_SEGS", TOLD),
        61: ("ALLMULTI", _left("a count of who wants it, multicast routing among them")),
    },
)

FLAGS = Space(
    title="Flags of every link",
    prefix="IFF_",
    rows={
        0x1: ("UP", _kept("up")),
        0x2: ("BROADCAST", FIXED),
        0x4: ("DEBUG", _left("only what a driver writes into its log")),
        0x8: ("LOOPBACK", FIXED),
        0x10: ("POINTOPOINT", FIXED),
        0x20: ("NOTRAILERS", _left("nothing looks at it")),
        0x40: ("RUNNING", TOLD),
        0x80: ("NOARP", _kept("flags.arp")),
        0x100: ("PROMISC", _kept("promisc")),
        0x200: ("ALLMULTI", _kept("flags.allmulti")),
        0x400: ("MASTER", TOLD),
        0x800: ("SLAVE", TOLD),
        0x1000: ("MULTICAST", _kept("flags.multicast")),
        0x2000: ("PORTSEL", _left("nothing looks at it")),
        0x4000: ("AUTOMEDIA", _left("nothing looks at it")),
        0x8000: ("DYNAMIC", _left("only whether addresses go when dial-up links close")),
        0x10000: ("LOWER_UP", TOLD),
        0x20000: ("DORMANT", _left("follows from LINKMODE")),
        0x40000: ("ECHO", FIXED),
    },
)

BOND = Space(
    title="Bonds",
    prefix="IFLA_BOND_",
    rows={
        **{
            row.number: (name.upper(), _kept(f"bond.{name}"))
            for name, row in codec.BOND.rows.items()
            if name in OPTIONS
        },
        2: ("ACTIVE_SLAVE", _left("the kernel chooses; `primary` says which one is to be chosen")),
        23: ("AD_INFO", TOLD),
        32: (
            "COUPLED_CONTROL",
            _left("a bond must be down to change it, and it means something in 802.3ad only; not kept"),
        ),
    },
)
"""`OPTIONS` says in which modes an option means something; in the others it is not kept."""

SLAVE = Space(
    title="NICs in a bond",
    prefix="IFLA_BOND_SLAVE_",
    rows={
        1: ("STATE", TOLD),
        2: ("MII_STATUS", TOLD),
        3: ("LINK_FAILURE_COUNT", TOLD),
        4: ("PERM_HWADDR", TOLD),
        5: ("QUEUE_ID", _left("only for filters that choose a NIC by it, and these are the administrator's")),
        6: ("AD_AGGREGATOR_ID", TOLD),
        7: ("AD_ACTOR_OPER_PORT_STATE", TOLD),
        8: ("AD_PARTNER_OPER_PORT_STATE", TOLD),
        9: ("PRIO", _kept("slave_prio")),
        10: ("ACTOR_PORT_PRIO", _left("the order of NICs within LACP, with `ad_select` port priority only")),
        11: ("AD_CHURN_ACTOR_STATE", TOLD),
        12: ("AD_CHURN_PARTNER_STATE", TOLD),
    },
)

BRIDGE = Space(
    title="Bridges",
    prefix="IFLA_BR_",
    rows={
        1: ("FORWARD_DELAY", STP),
        2: ("HELLO_TIME", STP),
        3: ("MAX_AGE", STP),
        4: ("AGEING_TIME", _kept("bridge.ageing")),
        5: ("STP_STATE", _kept("bridge.stp")),
        6: ("PRIORITY", STP),
        7: ("VLAN_FILTERING", _kept("bridge.vlan_filtering")),
        8: ("VLAN_PROTOCOL", _kept("bridge.vlan_protocol")),
        9: ("GROUP_FWD_MASK", _kept("bridge.group_fwd_mask")),
        10: ("ROOT_ID", TOLD),
        11: ("BRIDGE_ID", TOLD),
        12: ("ROOT_PORT", TOLD),
        13: ("ROOT_PATH_COST", TOLD),
        14: ("TOPOLOGY_CHANGE", TOLD),
        15: ("TOPOLOGY_CHANGE_DETECTED", TOLD),
        16: ("HELLO_TIMER", TOLD),
        17: ("TCN_TIMER", TOLD),
        18: ("TOPOLOGY_CHANGE_TIMER", TOLD),
        19: ("GC_TIMER", TOLD),
        20: ("GROUP_ADDR", STP),
        22: ("MCAST_ROUTER", _kept("bridge.mcast_router")),
        23: ("MCAST_SNOOPING", _kept("bridge.mcast_snooping")),
        24: ("MCAST_QUERY_USE_IFADDR", TUNING),
        25: ("MCAST_QUERIER", _left("who asks for groups in a network without a router is the administrator's choice")),
        26: ("MCAST_HASH_ELASTICITY", TUNING),
        27: ("MCAST_HASH_MAX", TUNING),
        28: ("MCAST_LAST_MEMBER_CNT", TUNING),
        29: ("MCAST_STARTUP_QUERY_CNT", TUNING),
        30: ("MCAST_LAST_MEMBER_INTVL", TUNING),
        31: ("MCAST_MEMBERSHIP_INTVL", TUNING),
        32: ("MCAST_QUERIER_INTVL", TUNING),
        33: ("MCAST_QUERY_INTVL", TUNING),
        34: ("MCAST_QUERY_RESPONSE_INTVL", TUNING),
        35: ("MCAST_STARTUP_QUERY_INTVL", TUNING),
        36: ("NF_CALL_IPTABLES", _kept("bridge.nf_call_iptables")),
        37: ("NF_CALL_IP6TABLES", _kept("bridge.nf_call_ip6tables")),
        38: ("NF_CALL_ARPTABLES", _kept("bridge.nf_call_arptables")),
        39: ("VLAN_DEFAULT_PVID", _kept("bridge.default_pvid")),
        40: ("PAD", PADDING),
        41: ("VLAN_STATS_ENABLED", COUNTING),
        42: ("MCAST_STATS_ENABLED", COUNTING),
        43: ("MCAST_IGMP_VERSION", TUNING),
        44: ("MCAST_MLD_VERSION", TUNING),
        45: ("VLAN_STATS_PER_PORT", COUNTING),
        46: ("MULTI_BOOLOPT", _left("several switches in one: see the next table")),
        47: ("MCAST_QUERIER_STATE", TOLD),
    },
)

BOOLOPTS = Space(
    title="Bridges, switches of one bit",
    prefix="BR_BOOLOPT_",
    rows={
        0: ("NO_LL_LEARN", _kept("bridge.no_linklocal_learn")),
        1: ("MCAST_VLAN_SNOOPING", _kept("bridge.mcast_vlan_snooping")),
        2: ("MST_ENABLE", _left("the kernel changes it only while the bridge and its ports have no VLAN at all")),
    },
)

PORT = Space(
    title="Ports of a bridge: bonds, machines and pods",
    prefix="IFLA_BRPORT_",
    rows={
        1: ("STATE", _kept("port.forwarding")),
        2: ("PRIORITY", STP),
        3: ("COST", STP),
        4: ("MODE", _kept("port.hairpin")),
        5: ("GUARD", _kept("port.guard")),
        6: ("PROTECT", _kept("port.root_block")),
        7: ("FAST_LEAVE", _kept("port.fast_leave")),
        8: ("LEARNING", _kept("port.learning")),
        9: ("UNICAST_FLOOD", _kept("port.unicast_flood")),
        10: ("PROXYARP", _kept("port.proxy_arp")),
        12: ("PROXYARP_WIFI", _kept("port.proxy_arp_wifi")),
        13: ("ROOT_ID", TOLD),
        14: ("BRIDGE_ID", TOLD),
        15: ("DESIGNATED_PORT", TOLD),
        16: ("DESIGNATED_COST", TOLD),
        17: ("ID", TOLD),
        18: ("NO", TOLD),
        19: ("TOPOLOGY_CHANGE_ACK", TOLD),
        20: ("CONFIG_PENDING", TOLD),
        21: ("MESSAGE_AGE_TIMER", TOLD),
        22: ("FORWARD_DELAY_TIMER", TOLD),
        23: ("HOLD_TIMER", TOLD),
        25: ("MULTICAST_ROUTER", _kept("port.mcast_router")),
        26: ("PAD", PADDING),
        27: ("MCAST_FLOOD", _kept("port.mcast_flood")),
        28: ("MCAST_TO_UCAST", _kept("port.mcast_to_unicast")),
        29: ("VLAN_TUNNEL", _kept("port.vlan_tunnel")),
        30: ("BCAST_FLOOD", _kept("port.bcast_flood")),
        31: ("GROUP_FWD_MASK", _kept("port.group_fwd_mask")),
        32: ("NEIGH_SUPPRESS", _kept("port.neigh_suppress")),
        33: ("ISOLATED", _kept("port.isolated")),
        34: ("BACKUP_PORT", _kept("port.backup_port")),
        35: ("MRP_RING_OPEN", TOLD),
        36: ("MRP_IN_OPEN", TOLD),
        37: ("MCAST_EHT_HOSTS_LIMIT", TUNING),
        38: ("MCAST_EHT_HOSTS_CNT", TOLD),
        39: ("LOCKED", _kept("port.locked")),
        40: ("MAB", _kept("port.mab")),
    },
)

VLAN = Space(
    title="VLAN interfaces",
    prefix="IFLA_VLAN_",
    rows={
        1: ("ID", _kept("vlan.vid")),
        2: ("FLAGS", _kept("vlan.flags")),
        3: ("EGRESS_QOS", _left("priorities of frames are the administrator's")),
        4: ("INGRESS_QOS", _left("priorities of frames are the administrator's")),
        5: ("PROTOCOL", FIXED),
    },
)

VLAN_GLOBAL = Space(
    title="VLANs of a bridge, while it snoops VLAN by VLAN",
    prefix="BRIDGE_VLANDB_GOPTS_",
    rows={
        1: ("ID", TOLD),
        2: ("RANGE", TOLD),
        3: ("MCAST_SNOOPING", _kept("snooping")),
        4: ("MCAST_IGMP_VERSION", TUNING),
        5: ("MCAST_MLD_VERSION", TUNING),
        6: ("MCAST_LAST_MEMBER_CNT", TUNING),
        7: ("MCAST_STARTUP_QUERY_CNT", TUNING),
        8: ("MCAST_LAST_MEMBER_INTVL", TUNING),
        9: ("PAD", PADDING),
        10: ("MCAST_MEMBERSHIP_INTVL", TUNING),
        11: ("MCAST_QUERIER_INTVL", TUNING),
        12: ("MCAST_QUERY_INTVL", TUNING),
        13: ("MCAST_QUERY_RESPONSE_INTVL", TUNING),
        14: ("MCAST_STARTUP_QUERY_INTVL", TUNING),
        15: ("MCAST_QUERIER", _kept("snooping")),
        16: ("MCAST_ROUTER_PORTS", TOLD),
        17: ("MCAST_QUERIER_STATE", TOLD),
        18: ("MSTI", STP),
    },
)

TUNNEL = _left("tuning of the outer packets")
VXLAN = Space(
    title="Tunnel devices of the overlay",
    prefix="IFLA_VXLAN_",
    rows={
        1: ("ID", _kept("vxlan.vni")),
        2: ("GROUP", _left("what it brings about is an entry of the forwarding table, and these are kept")),
        3: ("LINK", _left("only for the way that packets take, and that is the routes' business")),
        4: ("LOCAL", _kept("vxlan.local")),
        5: ("TTL", TUNNEL),
        6: ("TOS", TUNNEL),
        7: ("LEARNING", _kept("vxlan.learning")),
        8: ("AGEING", _left("of what was learned; there is no learning, and that is kept")),
        9: ("LIMIT", FIXED),
        10: ("PORT_RANGE", FIXED),
        11: ("PROXY", FIXED),
        12: ("RSC", FIXED),
        13: ("L2MISS", FIXED),
        14: ("L3MISS", FIXED),
        15: ("PORT", _kept("vxlan.port")),
        16: ("GROUP6", _left("what it brings about is an entry of the forwarding table, and these are kept")),
        17: ("LOCAL6", _kept("vxlan.local")),
        18: ("UDP_CSUM", FIXED),
        19: ("UDP_ZERO_CSUM6_TX", FIXED),
        20: ("UDP_ZERO_CSUM6_RX", FIXED),
        21: ("REMCSUM_TX", FIXED),
        22: ("REMCSUM_RX", FIXED),
        23: ("GBP", FIXED),
        24: ("REMCSUM_NOPARTIAL", FIXED),
        25: ("COLLECT_METADATA", FIXED),
        26: ("LABEL", TUNNEL),
        27: ("GPE", FIXED),
        28: ("TTL_INHERIT", FIXED),
        29: ("DF", TUNNEL),
        30: ("VNIFILTER", FIXED),
        31: ("LOCALBYPASS", TUNNEL),
        32: ("LABEL_POLICY", TUNNEL),
        33: ("RESERVED_BITS", FIXED),
        34: ("MC_ROUTE", FIXED),
    },
)

SPACES = (LINK, FLAGS, BOND, SLAVE, BRIDGE, BOOLOPTS, VLAN_GLOBAL, PORT, VLAN, VXLAN)
