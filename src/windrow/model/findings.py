"""What is wrong with the network outside: one finding for each cause, however much it cuts off."""

from __future__ import annotations

from enum import Enum, StrEnum

from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass
from windrow.model.values import Ref, VidSet


class Grade(StrEnum):
    """How bad it is: `error` cuts something off that is wanted, `warning` may, `note` is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Certainty(StrEnum):
    """`sure`: two kinds of evidence that do not depend on each other say so, or the one that cannot err (a driver's
    word about its own NIC, an LACPDU about its sender); `likely`: one kind does; `unknown`: something is missing."""

    SURE = "sure"
    LIKELY = "likely"
    UNKNOWN = "unknown"


class Reason(Enum):
    """All causes that there are: the catalogue of docs/user/findings.md. The name is stable, for scripts."""

    # VLANs
    VLAN_MISSING = ("VlanMissing", Grade.ERROR, "a switch port, or a channel, does not carry a VLAN")
    NOTHING_PASSES = ("NothingPasses", Grade.ERROR, "a switch port carries none of the VLANs that its NIC needs")
    VLAN_NOT_CREATED = ("VlanNotCreated", Grade.ERROR, "a VLAN passes nowhere on a switch")
    SWITCH_LINK_VLAN_MISSING = (
        "SwitchLinkVlanMissing",
        Grade.ERROR,
        "the link between two switches, or all links of one, do not carry a VLAN",
    )
    ACCESS_PORT = ("AccessPort", Grade.ERROR, "a switch port is an access port, and its NIC needs a trunk")
    NATIVE_VLAN_WRONG = ("NativeVlanWrong", Grade.ERROR, "a switch port has another native VLAN than is needed")
    VLAN_TRANSLATED = ("VlanTranslated", Grade.ERROR, "frames arrive in another VLAN than they were sent in")
    ONE_WAY = ("OneWay", Grade.ERROR, "frames pass a port or a cable in one direction only")
    PAIRS_APART = ("PairsApart", Grade.NOTE, "some pairs of NICs do not hear each other, and all others do")
    # Channels
    LACP_MISSING = ("LacpMissing", Grade.ERROR, "a bond in mode 802.3ad, and its switch ports speak no LACP")
    LACP_PASSIVE = ("LacpPassive", Grade.ERROR, "neither side begins LACP")
    LACP_MEMBER_MISSING = ("LacpMemberMissing", Grade.ERROR, "one switch port of a bond is not in its channel")
    LACP_TWO_SYSTEMS = (
        "LacpTwoSystems",
        Grade.ERROR,
        "a bond is plugged into two switches that are not one LACP system",
    )
    LACP_TWO_CHANNELS = ("LacpTwoChannels", Grade.ERROR, "a bond's ports are in two channels of one switch")
    LACP_INDIVIDUAL = ("LacpIndividual", Grade.ERROR, "the switch treats a member as a port by itself (LACP fallback)")
    LACP_NOT_IN_SYNC = ("LacpNotInSync", Grade.ERROR, "the switch holds a member back")
    LACP_ONE_SIDED = ("LacpOneSided", Grade.ERROR, "the switch speaks LACP to a bond that needs a static channel")
    CHANNEL_MISSING = ("ChannelMissing", Grade.ERROR, "a bond needs a static channel, and its ports are in none")
    CHANNEL_ACROSS_SWITCHES = (
        "ChannelAcrossSwitches",
        Grade.ERROR,
        "a bond that needs a static channel is plugged into two separate switches",
    )
    CHANNEL_NOT_NEEDED = ("ChannelNotNeeded", Grade.ERROR, "a bond needs plain ports, and they are in a channel")
    # NICs and cables
    NO_CARRIER = ("NoCarrier", Grade.WARNING, "a NIC has no carrier; an error where it is the only one")
    PORT_WAITS = ("PortWaits", Grade.NOTE, "carrier has just come, and nothing passes yet: spanning tree without edge")
    LINK_FLAPS = ("LinkFlaps", Grade.WARNING, "the carrier comes and goes")
    RECEIVE_ERRORS = ("ReceiveErrors", Grade.WARNING, "a NIC receives broken frames")
    HALF_DUPLEX = ("HalfDuplex", Grade.ERROR, "a NIC runs half duplex")
    SPEEDS_DIFFER = ("SpeedsDiffer", Grade.WARNING, "the NICs of a bond run at different speeds")
    CABLE_CROSSED = ("CableCrossed", Grade.ERROR, "a NIC is plugged into the port of another cluster network or bond")
    SEVERAL_NEIGHBOURS = ("SeveralNeighbours", Grade.NOTE, "a NIC hears several switches by LLDP")
    LLDP_UNHEARD = ("LldpUnheard", Grade.NOTE, "LLDP cannot be heard on a NIC")
    # Paths
    MTU_TOO_SMALL = ("MtuTooSmall", Grade.ERROR, "long frames do not pass a port, a switch or a link")
    BROADCAST_FILTERED = ("BroadcastFiltered", Grade.ERROR, "broadcasts do not pass a port: no ARP, no DHCP")
    FRAMES_LOST = ("FramesLost", Grade.WARNING, "a port, a cable or a link loses a share of the frames")
    LOOP = ("Loop", Grade.ERROR, "frames come twice, or come back to their sender")
    # In the VLANs
    DHCP_SILENT = ("DhcpSilent", Grade.ERROR, "no DHCP server answers where an address is to come from one")
    DHCP_EXHAUSTED = ("DhcpExhausted", Grade.WARNING, "the DHCP server answers a part of the nodes only")
    DHCP_TWO_SERVERS = ("DhcpTwoServers", Grade.WARNING, "two DHCP servers answer")
    DHCP_WRONG_POOL = ("DhcpWrongPool", Grade.ERROR, "the DHCP server gives addresses outside of the VLAN's subnet")
    DHCP_WRONG_VLAN = ("DhcpWrongVlan", Grade.ERROR, "the DHCP server of another VLAN answers")
    GATEWAY_SILENT = ("GatewaySilent", Grade.ERROR, "the gateway does not answer")
    ADDRESS_DUPLICATE = ("AddressDuplicate", Grade.ERROR, "two machines have one address")
    MAC_DUPLICATE = ("MacDuplicate", Grade.ERROR, "somebody else sends with a MAC address of this cluster")
    ROUTER_ROGUE = ("RouterRogue", Grade.WARNING, "two routers advertise themselves")
    MTU_ANNOUNCED_WRONG = ("MtuAnnouncedWrong", Grade.WARNING, "a router or DHCP server announces another MTU")
    # What is not known
    NOBODY_TO_HEAR = ("NobodyToHear", Grade.NOTE, "no other node is there to hear the probes")
    NODE_SILENT = ("NodeSilent", Grade.NOTE, "a node tells nothing")
    FOREIGN_CLUSTER = ("ForeignCluster", Grade.NOTE, "another cluster is in the VLAN")

    def __init__(self, text: str, grade: Grade, meaning: str) -> None:
        self.text, self.grade, self.meaning = text, grade, meaning

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFix:
    """How one switch port has to be. `channel`: `none`, `static` or `lacp`, the members are those of the same Fix;
    `mtu`: the longest payload, bytes; `switch` and `port` as LLDP names them, empty where it does not."""

    leg: Leg
    switch: str = ""
    port: str = ""
    tagged: VidSet = VidSet()
    untagged: bool = False
    """Whether the port needs a native VLAN."""
    channel: str = "none"
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What to do: in words, and how the ports have to be. Without ports it is nothing that a switch is told."""

    words: str
    ports: tuple[PortFix, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause.

    `place`: where it has to be put right: a switch's port by the names that LLDP gives it, a link, a VLAN. `legs`: the
    NICs that it is about. `vids`: the VLANs; VID 0 is without a tag; empty: all, or none in particular.
    """

    reason: Reason
    grade: Grade
    certainty: Certainty
    message: str
    """One sentence: what is wrong, with node, NIC, switch and port."""
    fix: Fix
    place: str
    about: Ref | None = None
    network: str = ""
    """The cluster network."""
    legs: tuple[Leg, ...] = ()
    switches: tuple[str, ...] = ()
    """The switch that it is about, or the two whose link it is; empty for a port."""
    vids: VidSet = VidSet()
    evidence: tuple[str, ...] = ()
    """Sentences: what was heard, and by which means."""
    lacks: str = ""
    """What would have to be known to be more certain."""

    def __str__(self) -> str:
        return f"{self.reason} ({self.certainty}): {self.message}"
