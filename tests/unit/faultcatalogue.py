"""The catalogue: each fault of the network outside by its name, the fabric it is brought about on, and what has to be
found: reason, NICs, VLANs, and words that the place has to have. `None` for VLANs: none in particular."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from windrow.model.bonding import BondMode
from windrow.model.evidence import Kind, Leg
from windrow.model.findings import Certainty, Reason
from windrow.model.values import IfName, Mac, VidSet
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import Fabric, Habit, Server, fabric

AB, XOR, LACP = BondMode.ACTIVE_BACKUP, BondMode.BALANCE_XOR, BondMode.LACP


def leg(node: int, nic: int) -> Leg:
    return Leg(f"node-{node}", IfName(f"eth{nic}"))


def both(node: int) -> tuple[Leg, ...]:
    return leg(node, 1), leg(node, 2)


ALL = "100-103"
SUBNET = "10.0.100.0/24"
OTHER = "10.0.101.0/24"
GATEWAY = Server(
    kind=Kind.ARP, network="oob", vid=100, switch="tor-1", address="10.0.100.1", mac=Mac("02:99:00:00:00:09")
)
DHCP = Server(kind=Kind.DHCP, network="oob", vid=100, switch="tor-1", address="10.0.100.2", offers="10.0.100.50")
ROUTER = Server(kind=Kind.RA, network="oob", vid=100, switch="tor-1", address="fe80::1")
THIEF = Mac("02:66:66:66:66:66")


def served(f: Fabric) -> Fabric:
    """VLANs 100 and 101 with a subnet, a gateway and a DHCP server each."""
    second = [
        replace(GATEWAY, vid=101, address="10.0.101.1"),
        replace(DHCP, vid=101, address="10.0.101.2", offers="10.0.101.50"),
    ]
    return faults.serves(GATEWAY, DHCP, *second, v100=SUBNET, v101=OTHER)(f)


def without(server: Server) -> faults.Fault:
    return lambda f: replace(f, servers=tuple(s for s in f.servers if s != server))


def instead(server: Server, other: Server) -> faults.Fault:
    return lambda f: replace(f, servers=tuple(other if s == server else s for s in f.servers))


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """A fabric on which all is well. `services`: of VLANs 100 and 101. `one_switch`: all ports are on it."""

    mode: BondMode = AB
    tagged: str = ALL
    untagged: bool = False
    mlag: bool = True
    services: bool = False
    one_switch: bool = False

    def fabric(self, habit: Habit = Habit.ALL, nodes: int = 3) -> Fabric:
        made = fabric(nodes, self.mode, habit, tagged=self.tagged, untagged=self.untagged, mlag=self.mlag)
        if self.one_switch:
            made = replace(made, ports={x: replace(port, switch="tor-1") for x, port in made.ports.items()})
        return served(made) if self.services else made


@dataclass(frozen=True, kw_only=True)
class Case:
    """`vids`: as `VidSet.parse` reads them."""

    name: str
    fault: Callable[[Fabric], Fabric]
    reason: Reason
    legs: tuple[Leg, ...] = ()
    vids: str = ""
    place: tuple[str, ...] = ()
    on: Healthy = Healthy()
    certainty: Certainty | None = None
    fix: tuple[str, ...] = ()
    """Words that the fix has to have."""
    single: bool = False
    """Changes the whole network, so that it is not combined with others."""

    def expected(self) -> VidSet:
        return VidSet.parse(self.vids)


IN_LAB = {
    "a VLAN is missing on one port": "vlan-missing 20",
    "a VLAN is missing on one member of a channel": "member-vlan-missing 30",
    "a VLAN is missing on a whole channel": "vlan-missing 30",
    "a VLAN is missing between the switches": "isl vlan-missing 20",
    "a VLAN is not created on one switch": "vlan-not-created 10",
    "an access port of a VLAN that is wanted": "access 10",
    "a wanted VLAN is the native one": "native 20",
    "two VLANs are translated into each other": "translate 10 40",
    "LACP on the host only": "no-channel",
    "a static channel where LACP is needed": "channel static",
    "two channels of one switch": "other-key",
    "one way: nothing gets out": "deaf",
    "one way: nothing comes in": "mute",
    "one way in a static channel: nothing gets out": "channel member deaf",
    "one way in a static channel: nothing comes in": "channel member mute",
    "a leg that flaps": "flaps",
    "mgmt and oob are crossed": "crossed p3",
    "5 % of the frames are lost": "loss 5",
    "the MTU of one port is too small": "mtu 1400",
    "the MTU between the switches is too small": "isl mtu 1400",
    "broadcasts are filtered": "no-broadcast",
    "no DHCP server": "no DHCP server",
    "two DHCP servers": "two DHCP servers",
    "a DHCP server with the wrong pool": "wrong pool",
    "a DHCP server of another VLAN": "pool of another VLAN",
    "a DHCP pool is exhausted": "exhausted",
    "the gateway is silent": "gateway silent",
    "an address of ours is somebody else's": "duplicate address",
    "a MAC of ours is somebody else's": "duplicate MAC",
    "a rogue router": "two routers",
}
"""Case -> what shows it by frames: a fault of tests/lab/test_fault_catalogue.py or test_fault_services.py. The others
are shown in the model alone."""


CASES = (
    # VLANs
    Case(
        name="a VLAN is missing on one port",
        fault=faults.vlan_missing(leg(2, 1), 101),
        reason=Reason.VLAN_MISSING,
        legs=(leg(2, 1),),
        vids="101",
        place=("Ethernet5 of tor-1",),
        certainty=Certainty.SURE,
        fix=("101", "Ethernet5"),
    ),
    Case(
        name="two VLANs are missing on one port",
        fault=faults.vlan_missing(leg(1, 2), 100, 103),
        reason=Reason.VLAN_MISSING,
        legs=(leg(1, 2),),
        vids="100,103",
        place=("Ethernet3 of tor-2",),
    ),
    Case(
        name="all VLANs are missing on one port",
        fault=faults.vlan_missing(leg(1, 1), 100, 101, 102, 103),
        reason=Reason.NOTHING_PASSES,
        legs=(leg(1, 1),),
        vids=ALL,
        place=("Ethernet2 of tor-1",),
    ),
    Case(
        name="a VLAN is missing on the management port",
        fault=faults.vlan_missing(leg(2, 0), 20),
        reason=Reason.VLAN_MISSING,
        legs=(leg(2, 0),),
        vids="20",
        place=("Ethernet4 of tor-2",),
    ),
    Case(
        name="a VLAN is missing on one member of a channel",
        on=Healthy(mode=LACP),
        fault=faults.vlan_missing(leg(2, 2), 101),
        reason=Reason.VLAN_MISSING,
        legs=(leg(2, 2),),
        vids="101",
        place=("Ethernet6 of tor-2",),
    ),
    Case(
        name="a VLAN is missing on a whole channel",
        on=Healthy(mode=XOR),
        fault=faults.vlan_missing_on_channel("node-2", 101),
        reason=Reason.VLAN_MISSING,
        legs=both(2),
        vids="101",
        place=("Ethernet5 of tor-2", "Ethernet6 of tor-2"),
    ),
    Case(
        name="a VLAN is missing between the switches",
        fault=faults.vlan_missing_on_link(102),
        reason=Reason.SWITCH_LINK_VLAN_MISSING,
        vids="102",
        place=("tor-1", "tor-2"),
        fix=("102", "both ends"),
    ),
    Case(
        name="there is no link between the switches",
        fault=lambda f: replace(f, links=()),
        single=True,
        reason=Reason.SWITCH_LINK_VLAN_MISSING,
        vids="0,20,100-103",
        place=("tor-1", "tor-2"),
    ),
    Case(
        name="a VLAN is not created on one switch",
        fault=faults.vlan_not_created("tor-2", 103),
        reason=Reason.VLAN_NOT_CREATED,
        vids="103",
        place=("tor-2",),
        fix=("create VLAN 103",),
    ),
    Case(
        name="a VLAN is not created anywhere",
        reason=Reason.VLAN_NOT_CREATED,
        vids="100",
        place=("tor-1", "tor-2"),
        fault=lambda f: faults.vlan_not_created("tor-1", 100)(faults.vlan_not_created("tor-2", 100)(f)),
    ),
    Case(
        name="an access port of a VLAN that is wanted",
        fault=faults.access(leg(3, 1), 100),
        reason=Reason.ACCESS_PORT,
        legs=(leg(3, 1),),
        vids=ALL,
        place=("Ethernet8 of tor-1",),
        fix=("a trunk with VLANs 100-103",),
    ),
    Case(
        name="an access port of another VLAN",
        fault=faults.access(leg(3, 1), 1),
        reason=Reason.ACCESS_PORT,
        legs=(leg(3, 1),),
        vids=ALL,
        place=("Ethernet8 of tor-1",),
        certainty=Certainty.SURE,
    ),
    Case(
        name="a wanted VLAN is the native one",
        fault=faults.native(leg(1, 1), 102),
        reason=Reason.NATIVE_VLAN_WRONG,
        legs=(leg(1, 1),),
        vids="102",
        place=("Ethernet2 of tor-1",),
        certainty=Certainty.SURE,
    ),
    Case(
        name="the native VLAN is another on one port",
        fault=faults.port(leg(1, 0), native=1),
        reason=Reason.NATIVE_VLAN_WRONG,
        legs=(leg(1, 0),),
        vids="0",
        place=("Ethernet1 of tor-1",),
        fix=("native VLAN",),
    ),
    Case(
        name="a port has no native VLAN",
        on=Healthy(untagged=True),
        fault=faults.port(leg(2, 2), native=0),
        reason=Reason.NATIVE_VLAN_WRONG,
        legs=(leg(2, 2),),
        vids="0",
        place=("Ethernet6 of tor-2",),
    ),
    Case(
        name="a wanted VLAN is the native one beside untagged",
        on=Healthy(untagged=True),
        fault=faults.native(leg(1, 1), 101),
        reason=Reason.NATIVE_VLAN_WRONG,
        legs=(leg(1, 1),),
        vids="0,101",
        place=("Ethernet2 of tor-1",),
    ),
    Case(
        name="two VLANs are translated into each other",
        fault=faults.translated(leg(2, 1), 100, 101),
        reason=Reason.VLAN_TRANSLATED,
        legs=(leg(2, 1),),
        vids="100-101",
        place=("Ethernet5 of tor-1",),
    ),
    Case(
        name="ports are isolated, and the gateway answers nobody",
        fault=faults.isolated(),
        single=True,
        reason=Reason.VLAN_NOT_CREATED,
        vids=ALL,
    ),
    # Channels
    Case(
        name="LACP on the host only",
        on=Healthy(mode=LACP),
        fault=faults.no_channel("node-1"),
        reason=Reason.LACP_MISSING,
        legs=both(1),
        certainty=Certainty.SURE,
        fix=("one channel with LACP",),
    ),
    Case(
        name="a static channel where LACP is needed",
        on=Healthy(mode=LACP, mlag=False),
        fault=faults.static_channel("node-1"),
        reason=Reason.LACP_MISSING,
        legs=both(1),
    ),
    Case(
        name="LACP on the switch only, and a static channel is needed",
        on=Healthy(mode=XOR),
        fault=faults.lacp("node-2"),
        reason=Reason.LACP_ONE_SIDED,
        legs=both(2),
    ),
    Case(
        name="LACP on the switch only, and plain ports are needed",
        fault=faults.lacp("node-2"),
        reason=Reason.CHANNEL_NOT_NEEDED,
        legs=both(2),
    ),
    Case(
        name="a static channel where plain ports are needed",
        on=Healthy(one_switch=True),
        fault=faults.static_channel("node-2"),
        reason=Reason.CHANNEL_NOT_NEEDED,
        legs=both(2),
        fix=("out of their channel",),
    ),
    Case(
        name="plain ports where a static channel is needed",
        on=Healthy(mode=XOR),
        fault=faults.no_channel("node-1"),
        reason=Reason.CHANNEL_MISSING,
        legs=both(1),
        certainty=Certainty.SURE,
        fix=("one static channel",),
    ),
    Case(
        name="a static channel on two switches",
        on=Healthy(mode=XOR),
        fault=faults.port(leg(1, 2), switch="tor-2"),
        reason=Reason.CHANNEL_ACROSS_SWITCHES,
        legs=both(1),
    ),
    Case(
        name="LACP on two switches that are no system",
        on=Healthy(mode=LACP),
        single=True,
        fault=faults.switch("tor-2", system=Mac("02:aa:00:00:00:77")),
        reason=Reason.LACP_TWO_SYSTEMS,
        legs=(*both(1), *both(2), *both(3)),
    ),
    Case(
        name="two channels of one switch",
        on=Healthy(mode=LACP, mlag=False),
        fault=faults.port(leg(2, 2), channel=55),
        reason=Reason.LACP_TWO_CHANNELS,
        legs=both(2),
        certainty=Certainty.SURE,
    ),
    Case(
        name="one port is no member",
        on=Healthy(mode=LACP),
        fault=faults.port(leg(2, 2), channel=0, lacp=False),
        reason=Reason.LACP_MEMBER_MISSING,
        legs=(leg(2, 2),),
        place=("Ethernet6 of tor-2",),
    ),
    Case(
        name="both sides are passive",
        on=Healthy(mode=LACP),
        reason=Reason.LACP_PASSIVE,
        legs=both(3),
        fault=lambda f: faults.port(leg(3, 1), lacp_active=False)(
            faults.port(leg(3, 2), lacp_active=False)(faults.waits("node-3")(f))
        ),
    ),
    # NICs and cables
    Case(
        name="one leg is dark",
        fault=faults.cable(leg(1, 2), carrier=False),
        reason=Reason.NO_CARRIER,
        legs=(leg(1, 2),),
        certainty=Certainty.SURE,
    ),
    Case(
        name="one leg of a channel is dark",
        on=Healthy(mode=LACP),
        fault=faults.cable(leg(2, 1), carrier=False),
        reason=Reason.NO_CARRIER,
        legs=(leg(2, 1),),
    ),
    Case(
        name="one way: nothing gets out",
        fault=faults.cable(leg(2, 2), out=0.0),
        reason=Reason.ONE_WAY,
        legs=(leg(2, 2),),
        place=("Ethernet6 of tor-2",),
    ),
    Case(
        name="one way: nothing comes in",
        fault=faults.cable(leg(2, 2), back=0.0),
        reason=Reason.ONE_WAY,
        legs=(leg(2, 2),),
    ),
    Case(
        name="one way in a channel: nothing gets out",
        on=Healthy(mode=LACP),
        fault=faults.cable(leg(1, 1), out=0.0),
        reason=Reason.ONE_WAY,
        legs=(leg(1, 1),),
        certainty=Certainty.SURE,
    ),
    Case(
        name="one way in a channel: nothing comes in",
        on=Healthy(mode=LACP),
        fault=faults.cable(leg(1, 1), back=0.0),
        reason=Reason.ONE_WAY,
        legs=(leg(1, 1),),
    ),
    Case(
        name="one way in a static channel: nothing gets out",
        on=Healthy(mode=XOR),
        fault=faults.cable(leg(2, 1), out=0.0),
        reason=Reason.ONE_WAY,
        legs=(leg(2, 1),),
        place=("Ethernet5 of tor-2",),
    ),
    Case(
        name="one way in a static channel: nothing comes in",
        on=Healthy(mode=XOR),
        fault=faults.cable(leg(2, 1), back=0.0),
        reason=Reason.ONE_WAY,
        legs=(leg(2, 1),),
    ),
    Case(name="a leg that flaps", fault=faults.cable(leg(3, 1), flaps=8), reason=Reason.LINK_FLAPS, legs=(leg(3, 1),)),
    Case(
        name="a leg that receives broken frames",
        fault=faults.cable(leg(3, 1), errors=500),
        reason=Reason.RECEIVE_ERRORS,
        legs=(leg(3, 1),),
    ),
    Case(
        name="half duplex",
        fault=faults.cable(leg(3, 1), full_duplex=False),
        reason=Reason.HALF_DUPLEX,
        legs=(leg(3, 1),),
    ),
    Case(name="a slow leg", fault=faults.cable(leg(1, 2), speed=100), reason=Reason.SPEEDS_DIFFER, legs=(leg(1, 2),)),
    Case(
        name="a leg of another speed in a channel",
        on=Healthy(mode=LACP),
        fault=faults.cable(leg(1, 2), speed=1000),
        reason=Reason.SPEEDS_DIFFER,
        legs=(leg(1, 2),),
    ),
    Case(
        name="mgmt and oob are crossed",
        fault=faults.crossed(leg(1, 0), leg(1, 1)),
        reason=Reason.CABLE_CROSSED,
        legs=(leg(1, 0), leg(1, 1)),
        certainty=Certainty.SURE,
        fix=("plug node-1/eth0 into",),
    ),
    Case(
        name="firmware keeps LLDP",
        fault=faults.firmware_keeps_lldp(leg(1, 1)),
        reason=Reason.LLDP_UNHEARD,
        legs=(leg(1, 1),),
    ),
    Case(
        name="two neighbours on one NIC",
        fault=faults.two_neighbours(leg(1, 1)),
        reason=Reason.SEVERAL_NEIGHBOURS,
        legs=(leg(1, 1),),
    ),
    Case(
        name="spanning tree without edge: carrier has just come",
        reason=Reason.PORT_WAITS,
        legs=(leg(2, 2),),
        fault=lambda f: faults.cable(leg(2, 2), age_s=12.0)(faults.port(leg(2, 2), forwards=False)(f)),
        certainty=Certainty.UNKNOWN,
        fix=("edge port",),
    ),
    # Paths
    Case(
        name="5 % of the frames are lost",
        fault=faults.cable(leg(2, 1), out=0.95, back=0.95),
        reason=Reason.FRAMES_LOST,
        legs=(leg(2, 1),),
        place=("Ethernet5 of tor-1",),
        on=Healthy(tagged="100-119"),
    ),
    Case(
        name="frames are lost between the switches",
        fault=faults.link(passes=0.9),
        reason=Reason.FRAMES_LOST,
        place=("the link between tor-1 and tor-2",),
        on=Healthy(tagged="100-119"),
        single=True,
    ),
    Case(
        name="the MTU of one port is too small",
        fault=faults.port(leg(2, 1), mtu=1400),
        reason=Reason.MTU_TOO_SMALL,
        legs=(leg(2, 1),),
        place=("Ethernet5 of tor-1",),
        fix=("1500",),
    ),
    Case(
        name="the MTU between the switches is too small",
        fault=faults.link(mtu=1400),
        reason=Reason.MTU_TOO_SMALL,
        place=("the link between tor-1 and tor-2",),
        single=True,
    ),
    Case(
        name="broadcasts are filtered",
        fault=faults.port(leg(3, 2), filters_broadcast=True),
        reason=Reason.BROADCAST_FILTERED,
        legs=(leg(3, 2),),
        place=("Ethernet9 of tor-2",),
    ),
    Case(name="a loop", fault=faults.switch("tor-1", loops=True), reason=Reason.LOOP, place=("tor-1",), single=True),
    # In the VLANs
    Case(
        name="no DHCP server",
        on=Healthy(services=True),
        fault=without(DHCP),
        reason=Reason.DHCP_SILENT,
        vids="100",
    ),
    Case(
        name="two DHCP servers",
        on=Healthy(services=True),
        reason=Reason.DHCP_TWO_SERVERS,
        vids="100",
        fault=faults.serves(replace(DHCP, address="10.0.100.3", mac=THIEF, offers="10.0.100.60")),
    ),
    Case(
        name="a DHCP server with the wrong pool",
        on=Healthy(services=True),
        reason=Reason.DHCP_WRONG_POOL,
        vids="100",
        fault=instead(DHCP, replace(DHCP, offers="192.168.7.7")),
    ),
    Case(
        name="a DHCP server of another VLAN",
        on=Healthy(services=True),
        reason=Reason.DHCP_WRONG_VLAN,
        vids="100",
        fault=instead(DHCP, replace(DHCP, offers="10.0.101.9")),
    ),
    Case(
        name="a DHCP pool is exhausted",
        on=Healthy(services=True),
        reason=Reason.DHCP_EXHAUSTED,
        vids="100",
        fault=instead(DHCP, replace(DHCP, takers=1)),
    ),
    Case(
        name="the gateway is silent",
        on=Healthy(services=True),
        fault=without(GATEWAY),
        reason=Reason.GATEWAY_SILENT,
        vids="100",
    ),
    Case(
        name="two have the gateway's address",
        on=Healthy(services=True),
        fault=faults.serves(replace(GATEWAY, mac=THIEF)),
        reason=Reason.ADDRESS_DUPLICATE,
        vids="100",
    ),
    Case(
        name="an address of ours is somebody else's",
        fault=faults.claims(100, "10.0.100.7", THIEF),
        reason=Reason.ADDRESS_DUPLICATE,
        vids="100",
    ),
    Case(
        name="a MAC of ours is somebody else's",
        fault=faults.steals(101, THIEF),
        reason=Reason.MAC_DUPLICATE,
        vids="101",
    ),
    Case(
        name="a rogue router",
        fault=faults.serves(ROUTER, replace(ROUTER, address="fe80::2", mac=THIEF)),
        reason=Reason.ROUTER_ROGUE,
        vids="100",
    ),
    # What is not known
    Case(name="another cluster", fault=faults.stranger("c-7", 100), reason=Reason.FOREIGN_CLUSTER, vids="100"),
    Case(
        name="a node tells nothing",
        fault=faults.silent("node-3"),
        reason=Reason.NODE_SILENT,
        place=("node-3",),
        single=True,
        certainty=Certainty.UNKNOWN,
    ),
)
