"""Bridges and their ports: what the kernel lets one set, under its own names, with what it gives a new one.

Source: net/bridge/br_netlink.c (`br_changelink`, `br_setport`), br_device.c (`br_dev_setup`), br_if.c (`new_nbp`).
No manifest speaks of most of it. It is wanted all the same, as a new bridge and a new port have it: each of these can
cut a network off, or open it to frames that do not belong there.
"""

from __future__ import annotations

from dataclasses import fields, replace

from windrow.model.lazy import dataclass
from windrow.model.values import VidSet

BRIDGE_NETFILTER = (
    "net.bridge.bridge-nf-call-arptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
)
"""Whether the packet filter sees the frames of all bridges; each bridge can say so for itself, too, and one of the two
is enough (`br_nf_pre_routing`, `br_nf_forward_arp`). They exist while br_netfilter is loaded, and are 1 then."""
TAGGED_NETFILTER = "net.bridge.bridge-nf-filter-vlan-tagged"
"""Whether frames with a tag are among those that it sees (`is_vlan_ip`), of the bridges that show theirs. It is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """`self_vlans` of the owning Link are the VLANs of the bridge device itself."""

    vlan_filtering: bool | None = None
    stp: bool | None = None
    ageing: int | None = None
    """Seconds after which a learned address is forgotten (kernel default 300)."""
    vlan_protocol: int | None = None
    """The ethertype of its VLAN tags: 0x8100 (802.1Q) or 0x88a8 (802.1ad)."""
    default_pvid: int | None = None
    """The VID that a port is given when it joins; 0: none."""
    group_fwd_mask: int | None = None
    """Which of the link-local groups 01:80:c2:00:00:0X are forwarded, a bit for each."""
    mcast_snooping: bool | None = None
    mcast_router: int | None = None
    """Whether the bridge itself hears all multicast: 0 never, 1 by query (kernel default), 2 always."""
    mcast_vlan_snooping: bool | None = None
    no_linklocal_learn: bool | None = None
    nf_call_iptables: bool | None = None
    """Whether this bridge's frames go through iptables, whatever net.bridge.bridge-nf-call-iptables says."""
    nf_call_ip6tables: bool | None = None
    nf_call_arptables: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgePort:
    """How a bridge treats one port of it. A port that leaves its bridge loses all of it."""

    forwarding: bool | None = None
    """Not disabled. Observed: None where that is the kernel's or STP's business just now (no carrier, the bridge is
    down)."""
    isolated: bool | None = None
    """It reaches no other isolated port (BR_ISOLATED)."""
    hairpin: bool | None = None
    """A frame may leave where it came from (BR_HAIRPIN_MODE)."""
    learning: bool | None = None
    unicast_flood: bool | None = None
    mcast_flood: bool | None = None
    bcast_flood: bool | None = None
    mcast_to_unicast: bool | None = None
    mcast_router: int | None = None
    """Whether all multicast goes out here: 0 never, 1 by query (kernel default), 2 always, 3 for a while."""
    fast_leave: bool | None = None
    guard: bool | None = None
    """A BPDU that comes in closes the port (BR_BPDU_GUARD)."""
    root_block: bool | None = None
    proxy_arp: bool | None = None
    proxy_arp_wifi: bool | None = None
    neigh_suppress: bool | None = None
    vlan_tunnel: bool | None = None
    locked: bool | None = None
    """Only frames from addresses that somebody entered come in (BR_PORT_LOCKED)."""
    mab: bool | None = None
    group_fwd_mask: int | None = None
    backup_port: int | None = None
    """The ifindex of the port that takes over when this one has no carrier; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooping:
    """Of a bridge with `mcast_vlan_snooping`: what is so in single VLANs, which then have a database each. Empty for
    one without it."""

    snooped: VidSet = VidSet()
    """Multicast goes only where somebody asked for it, as soon as there is a querier in that VLAN."""
    asked: VidSet = VidSet()
    """The bridge itself is the querier (IGMP from 0.0.0.0, MLD from its link-local address)."""

    @property
    def all(self) -> VidSet:
        return self.snooped | self.asked


FRESH_BRIDGE = Bridge(
    vlan_filtering=False,
    stp=False,
    ageing=300,
    vlan_protocol=0x8100,
    default_pvid=1,
    group_fwd_mask=0,
    mcast_snooping=True,
    mcast_router=1,
    mcast_vlan_snooping=False,
    no_linklocal_learn=False,
    nf_call_iptables=False,
    nf_call_ip6tables=False,
    nf_call_arptables=False,
)
"""What the kernel makes."""

FRESH_BRIDGE_PORT = BridgePort(
    forwarding=True,
    isolated=False,
    hairpin=False,
    learning=True,
    unicast_flood=True,
    mcast_flood=True,
    bcast_flood=True,
    mcast_to_unicast=False,
    mcast_router=1,
    fast_leave=False,
    guard=False,
    root_block=False,
    proxy_arp=False,
    proxy_arp_wifi=False,
    neigh_suppress=False,
    vlan_tunnel=False,
    locked=False,
    mab=False,
    group_fwd_mask=0,
    backup_port=0,
)
"""What the kernel gives a port that joins (`new_nbp`)."""

BRIDGE_OPTIONS = tuple(f.name for f in fields(Bridge))
PORT_OPTIONS = tuple(f.name for f in fields(BridgePort))


CLUSTER_BRIDGE = replace(FRESH_BRIDGE, vlan_filtering=True, mcast_snooping=False)
"""What the bridge of a cluster network is. It has many VLANs, and one database of groups for them all: whoever asks for
groups in one of them (`br_multicast_querier_exists`) has the members of all others forgotten after 260 s, and with them
IPv6's neighbour discovery. Without snooping, multicast goes where broadcasts go."""


def without_fresh(bridge: Bridge) -> Bridge:
    """What must be said when it is made: a new bridge has the rest by itself."""
    same = [name for name in BRIDGE_OPTIONS if getattr(bridge, name) == getattr(FRESH_BRIDGE, name)]
    return replace(bridge, **dict.fromkeys(same))
