"""What a node saw and heard of the network outside: the switch ports its NICs are plugged into, who answers in which
VLAN, and what of the probes of other nodes came in.

Evidence is a fact with a source and an age, never a verdict: `diagnose` compares it with what is wanted. What could not
be had is `Absent`, with the reason, so that nobody takes "not heard" for "not there". Times are Unix time in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum

from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, Vid, VidSet


class Kind(StrEnum):
    """Where evidence comes from."""

    LLDP = "LLDP"
    CDP = "CDP"
    LACP = "LACP"
    BOND = "bond"
    COUNTERS = "counters"
    PROBE = "probe"
    DHCP = "DHCP"
    ARP = "ARP"
    ND = "ND"
    RA = "RA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Evidence that could not be had, and why: no right, no kernel feature, a firmware that keeps the frames."""

    kind: Kind
    reason: str
    nic: IfName | None = None


@dataclass(frozen=True, slots=True, order=True)
class Leg:
    """One NIC of one node: the host's end of the cable to a switch port."""

    node: str
    nic: IfName

    def __str__(self) -> str:
        return f"{self.node}/{self.nic}"


# The switch's end ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A chassis or a port as LLDP names it (IEEE 802.1AB §8.5.2, §8.5.3). `kind`: `mac`, `ifname`, `ifalias`,
    `local`, `address`, `component`, `circuit`."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """The link aggregation TLV (802.1AX annex F, or 802.3 clause 79). `port_id`: the ifIndex of the port channel."""

    capable: bool
    active: bool
    port_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPort:
    """What a neighbour says of itself and of the port that a NIC is plugged into. None and empty: it does not say."""

    source: Kind
    """LLDP or CDP."""
    chassis: Identity
    port: Identity
    system: str = ""
    system_description: str = ""
    port_description: str = ""
    is_bridge: bool | None = None
    """Whether it says that it forwards frames (capabilities TLV: bridge enabled)."""
    pvid: int | None = None
    """The port's native VLAN; 0: it has none, or does not know."""
    vlans: Mapping[Vid, str] = field(default_factory=dict)
    """The VLAN name TLVs. A neighbour that sends none tells nothing about its VLANs."""
    vlans_cut: bool = False
    """The list may be shorter than the truth: a system known for it, or an LLDPDU near its longest."""
    aggregation: Aggregation | None = None
    max_frame: int | None = None
    """Bytes; some systems send the port's MTU instead (external.md: never compare exactly)."""
    management: tuple[str, ...] = ()
    hold_s: int = 0
    """How long the neighbour wants to be remembered (TTL TLV)."""
    heard: float = 0.0

    @property
    def switch(self) -> str:
        """The name to print: the system's, or else the chassis."""
        return self.system or self.chassis.text


def switches_among(neighbours: Iterable[SwitchPort]) -> list[SwitchPort]:
    """Those that may be switches, as LLDP tells. By CDP alone only where there are none: one that speaks both is one
    switch under two names, and one that does not know CDP passes it on from the switch behind."""
    bridges = [n for n in neighbours if n.is_bridge is not False]
    return [n for n in bridges if n.source is Kind.LLDP] or bridges


@dataclass(frozen=True, slots=True, kw_only=True)
class LacpSide:
    """One side of an LACP conversation (IEEE 802.1AX §6.4.2.3): actor or partner."""

    system: Mac
    key: int
    port: int
    state: int
    """Bits: 0 activity, 1 short timeout, 2 aggregation, 3 synchronization, 4 collecting, 5 distributing, 6 defaulted,
    7 expired."""
    system_priority: int = 0
    port_priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LacpLeg:
    """LACP on one slave. `actor` and `partner` as this kernel has them; `sent` and `about_us`: the two sides of the
    last LACPDU that came in on this NIC, the switch's own and its view of us."""

    aggregator: int | None = None
    actor: LacpSide | None = None
    partner: LacpSide | None = None
    sent: LacpSide | None = None
    about_us: LacpSide | None = None
    churned: bool | None = None
    received: int | None = None
    """LACPDUs that came in since the slave joined, and within `over_s` before this look."""
    received_lately: int | None = None
    over_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Since the NIC came up, or None where the driver does not count; `*_lately` within `over_s`."""

    received: int | None = None
    errors: int | None = None
    dropped: int | None = None
    received_lately: int | None = None
    errors_lately: int | None = None
    carrier_changes: int | None = None
    carrier_changes_lately: int | None = None
    own_frames_lately: int | None = None
    """Frames with a source address of this host that came in on this NIC: a loop, or a missing channel. In modes that
    need no channel every other leg hears this host's broadcasts, and nothing is wrong."""
    for_us_lately: int | None = None
    """Frames for an address of this host on a leg that is not the active one: a channel where none belongs. None: it
    is active, or nobody listened."""
    over_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NicEvidence:
    """One NIC. `speed` in Mbit/s; `mtu` in bytes."""

    name: IfName
    mac: Mac
    carrier: bool
    carrier_since: float | None = None
    """When it came up; None: before anybody looked."""
    cluster_network: str = ""
    """Whose uplink it is in; empty: in none."""
    bond: IfName | None = None
    active: bool | None = None
    """Whether it is the bond's active leg, where the mode has one."""
    speed: int | None = None
    full_duplex: bool | None = None
    mtu: int = 1500
    driver: str = ""
    firmware: str = ""
    neighbours: tuple[SwitchPort, ...] = ()
    lacp: LacpLeg | None = None
    counters: Counters = Counters()


# In the VLANs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Probes of one leg that came in on another within one sweep. VID 0: untagged.

    `count` of `sent` came; `broadcast` and `unicast` are told apart because a switch filters the one and not the other.
    """

    sender: Leg
    receiver: Leg
    vid: int
    """As the sender tagged it, and wrote inside."""
    arrived: int
    """As the tag was where it came in."""
    sent: int
    count: int
    broadcast: int = 0
    unicast: int = 0
    duplicates: int = 0
    largest: int = 0
    """The longest payload that came through, bytes; 0: no long one was sent."""
    largest_sent: int = 0
    sweep: int = 0
    """Which of the sender's sweeps they are of: what it says it sent in another one is no match."""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpOffer:
    """An answer to a DISCOVER."""

    server: str
    server_mac: Mac
    address: str
    prefix: int
    routers: tuple[str, ...] = ()
    relay: str = ""
    mtu: int = 0
    lease_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Who says that an address is his, by ARP or ND. Two MACs for one address: a duplicate."""

    address: str
    macs: tuple[Mac, ...]
    """Empty: it was asked, and nobody answered."""
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterAdvert:
    """A router advertisement (RFC 4861 §4.2)."""

    router: str
    mac: Mac
    lifetime_s: int
    preference: str = "medium"
    prefixes: tuple[str, ...] = ()
    mtu: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanEvidence:
    """What one node met in one VLAN of one cluster network. `asked` names the kinds that were tried there: nothing
    under a kind that was not asked means nothing."""

    cluster_network: str
    vid: int
    asked: frozenset[Kind] = frozenset()
    offers: tuple[DhcpOffer, ...] = ()
    gateways: tuple[Answer, ...] = ()
    duplicates: tuple[Answer, ...] = ()
    """Our own addresses that others claim."""
    routers: tuple[RouterAdvert, ...] = ()
    moved: tuple[Mac, ...] = ()
    """MACs of ours from which frames came in from outside, where none that this host sent can come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCluster:
    """Probes of another cluster: counted and shown, never used."""

    cluster: str
    vid: int
    frames: int


TOLD_SWEEPS, TOLD_S = 2, 2.0
"""So many sweeps after it came, and so long after those, a node is in everybody's report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvidence:
    """All that one node knows, at one moment."""

    node: str
    at: float
    nics: Mapping[IfName, NicEvidence] = field(default_factory=dict)
    heard: Sequence[Heard] = ()
    """What came in on this node's NICs."""
    probed: Mapping[IfName, VidSet] = field(default_factory=dict)
    """In which VLANs each NIC sent probes in the last sweep. What was not sent cannot have been heard."""
    vlans: tuple[VlanEvidence, ...] = ()
    foreign: tuple[ForeignCluster, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Frames that came as probes and were not believed, by the reason: counted, never used."""
    authenticated: bool = False
    """Whether the cluster's probes are signed with a key that nobody else has."""
    sweep: int = 0
    """The number of the last sweep of probes that is done, which no other has, also not of a process before; 0: none
    is."""
    interval_s: float = 0.0
    """From the begin of one of its sweeps to that of the next; 0: it makes none by itself."""
    listens_s: float = 0.0
    """For how long it has listened on all of its NICs without a break."""
    absent: tuple[Absent, ...] = ()

    def has_waited_for(self, sender: NodeEvidence) -> bool:
        """Whether it has listened for so long that a whole sweep of the other must have come, and been told of: before
        that it means nothing that none did."""
        return sender.interval_s > 0 and self.listens_s >= TOLD_SWEEPS * sender.interval_s + TOLD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A node that is not heard here told it, and the node `by` passed it on, with the other's signature. `age_s`: since
    it came in there."""

    by: str
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of all nodes that told something. `silent`: nodes that ought to be there, and of which nothing came. `relayed`:
    those of which it came over another."""

    nodes: Mapping[str, NodeEvidence] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    relayed: Mapping[str, Relay] = field(default_factory=dict)

    def nic(self, leg: Leg) -> NicEvidence | None:
        node = self.nodes.get(leg.node)
        return None if node is None else node.nics.get(leg.nic)
