"""What others made, in objects: what is a cluster network, how it is called, and what no object can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from windrow.adopt import Adoption, Ask, as_adopted, design
from windrow.apps.engine import Sight, look, plan_node
from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.bridging import CLUSTER_BRIDGE
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Known
from windrow.model.host import Bond, Bridge, Details, Exact, Route, VlanIf
from windrow.model.objects import (
    AddressMode,
    ClusterNetwork,
    HostNetworkConfig,
    HostRoute,
    NetworkAttachmentDefinition,
    NetworkType,
    VlanConfig,
)
from windrow.model.problems import errors
from windrow.model.steps import Impact, Plan
from windrow.model.values import IFNAME_MAX, Cidr, IfName, VidSet
from windrow.model.verbatim import onlink
from windrow.testing.builders import link, neighbour, ports
from windrow.testing.fake import FakeKernel

NODE = "n1"
BOOT = 3
"""RTPROT_BOOT: of whoever names no protocol, as ifupdown does."""
NOTHING = Cluster.of(())
Dynamic = dict[IfName, dict[Cidr, int]]


class Made:
    """A host on which another hand made a bond of two NICs and a bridge on it."""

    def __init__(self, bridge: str = "br0", bond: str = "bond0", *, spec: Bridge = CLUSTER_BRIDGE) -> None:
        self.kernel = FakeKernel(features=KernelFeatures())
        for nic in ("eth1", "eth2", "eth3"):
            self.kernel.add_nic(nic)
        self.network(bridge, bond, ("eth1", "eth2"), spec)
        self.dynamic: Dynamic = {}

    def network(self, bridge: str, bond: str, nics: Sequence[str], spec: Bridge = CLUSTER_BRIDGE) -> None:
        machine = self.kernel.machine
        mac = machine.get(nics[0]).mac if nics else None
        self.kernel.add(link(bridge, spec, up=True, mtu=1500, mac=mac, promisc=True, self_vlans=ports("")))
        device = machine.get(bridge)
        device.self_vlans = ports("")
        device.settings["ipv6/accept_ra"] = "0"
        wanted = Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100)
        self.kernel.add(link(bond, wanted, mtu=1500, mac=mac, master=bridge))
        for nic in nics:
            machine.set_master(machine.get(nic), machine.get(bond))
            machine.open(machine.get(nic))
        machine.open(machine.get(bond))

    def address(self, name: str, address: str, details: Details | None = None) -> None:
        device = self.kernel.machine.get(name)
        self.kernel.machine.add_addr(device, address, details)
        if device.self_vlans is not None:
            device.self_vlans = ports("1*")
        device.settings["ipv6/accept_ra"] = "0"

    def vlan(self, vid: int, address: str = "", *, name: str = "") -> None:
        name = name or f"br0.{vid}"
        flags = VlanIf(parent=IfName("br0"), vid=vid)
        self.kernel.add(link(name, flags, up=True))
        self.carries(f"1* {vid}")
        bridge = self.kernel.machine.get("br0")
        bridge.self_vlans = replace(bridge.self_vlans or ports(""), tagged=VidSet.of([vid]))
        if address:
            self.address(name, address)

    def carries(self, text: str) -> None:
        self.kernel.machine.get("bond0").vlans = ports(text)

    def tap(self, name: str, vlans: str) -> None:
        self.kernel.add(link(name, "tun", up=True, master="br0", vlans=ports(vlans)))

    def adopt(self, links: dict[str, str] | None = None, *, cluster: Cluster = NOTHING) -> Adoption:
        sight = self.sight()
        ask = Ask(links={IfName(n): cn for n, cn in (links or {}).items()})
        return design(cluster, sight.facts, sight.observed, ask, self.dynamic)

    def sight(self) -> Sight:
        return look(self.kernel, NODE, Known(agent=True))

    def plan(self, adoption: Adoption) -> Plan:
        sight = self.sight()
        foretold = foretell(sight, adoption)
        planned = plan_node(Cluster.of(adoption.objects), foretold)
        assert errors(planned.compiled.problems) == ()
        return planned.plan


def foretell(sight: Sight, adoption: Adoption) -> Sight:
    observed, facts = as_adopted(sight.observed, sight.facts, adoption.marked, adoption.leases)
    return Sight(observed=observed, facts=facts)


def said(adoption: Adoption) -> str:
    return "\n".join(p.message for p in adoption.problems)


def one(adoption: Adoption, kind):  # type: ignore[no-untyped-def]
    (found,) = [obj for obj in adoption.objects if isinstance(obj, kind)]
    return found


# -- what is a cluster network -----------------------------------------------------------------------


def test_a_bridge_with_a_bond_is_one() -> None:
    made = Made()
    adoption = made.adopt()
    assert [(h.link, h.name) for h in adoption.marked] == [("br0", "br0-br"), ("bond0", "br0-bo")]
    config = one(adoption, VlanConfig)
    assert config.cluster_network == one(adoption, ClusterNetwork).name == "br0"
    assert [str(nic) for nic in config.uplink.nics] == ["eth1", "eth2"]
    assert config.node_selector == {names.LABEL_HOSTNAME: NODE}
    assert config.uplink.bond == Bond(), "active-backup and miimon 100 are what is meant without a word"
    assert adoption.problems == ()
    assert made.plan(adoption).empty


def test_what_others_wanted_otherwise_is_what_changes() -> None:
    """A bridge as `ip link add type bridge` makes it filters nothing and snoops."""
    made = Made(spec=Bridge())
    plan = made.plan(made.adopt())
    changed = {delta.field for unit in plan.units for delta in unit.deltas}
    assert {"bridge.vlan_filtering", "bridge.mcast_snooping"} <= changed
    assert plan.impact is Impact.FLAP


def test_a_bridge_by_the_name_that_it_will_have_is_only_marked() -> None:
    made = Made("oob-br", "oob-bo")
    assert [(h.link, h.name) for h in made.adopt().marked] == [("oob-br", "oob-br"), ("oob-bo", "oob-bo")]
    assert made.plan(made.adopt()).empty


@pytest.mark.parametrize("asked", ["br0", "bond0", "eth2"])
def test_each_link_of_it_stands_for_it(asked: str) -> None:
    assert [n.cluster_network for n in Made().adopt({asked: "oob"}).networks] == ["oob"]


def test_a_nic_in_a_bridge_needs_a_bond_between() -> None:
    made = Made()
    made.kernel.add(link("br1", Bridge(), up=True))
    made.kernel.machine.set_master(made.kernel.machine.get("eth3"), made.kernel.machine.get("br1"))
    adoption = made.adopt()
    assert errors(adoption.problems) == (), "what nobody asked for is told, and stands in nobody's way"
    assert "br1 is left alone: eth3 is in it without a bond" in said(adoption)
    (problem,) = errors(made.adopt({"br1": ""}).problems)
    assert problem.hint.startswith(
        "a bond cannot be put between without a gap: take eth3 out of it: ip link set dev eth3"
    )


def test_a_bridge_with_stp_may_keep_a_loop_open() -> None:
    made = Made(spec=replace(CLUSTER_BRIDGE, stp=True))
    (problem,) = errors(made.adopt({"br0": "oob"}).problems)
    assert "it runs STP" in problem.message and "stp_state 0" in problem.hint


def test_a_bridge_for_each_vlan_is_not_the_same_thing() -> None:
    made = Made()
    made.kernel.add(link("bond1", Bond(mode=BondMode.ACTIVE_BACKUP), up=True))
    made.kernel.add(link("bond1.7", VlanIf(parent=IfName("bond1"), vid=7), up=True))
    made.kernel.add(link("br7", Bridge(), up=True))
    made.kernel.machine.set_master(made.kernel.machine.get("bond1.7"), made.kernel.machine.get("br7"))
    text = said(made.adopt())
    assert "br7 is left alone: its way out is the VLAN interface bond1.7" in text
    assert "bond1 is left alone: no bridge is on it" in text


def test_nothing_by_that_name() -> None:
    (problem,) = Made().adopt({"br9": ""}).problems
    assert problem.message == "this host has no link br9"
    assert problem.hint == "its bridges are br0"
    (problem,) = Made().adopt({"eth3": ""}).problems
    assert problem.message == "eth3 is in no bridge"


# -- how it is called --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bridge", "called"),
    [("br-lan", "lan"), ("vmbr0", "vmbr0"), ("BR_Büro", "br-b-ro"), ("0br", "n0br"), ("a-very-long-br", "a-very-long")],
)
def test_names(bridge: str, called: str) -> None:
    assert [n.cluster_network for n in Made(bridge).adopt().networks] == [called]


def test_a_vlan_interface_leaves_less_room_for_the_name() -> None:
    """`<name>-br.1234` has at most 15 bytes."""
    made = Made("production0")
    made.kernel.add(link("prod.1234", VlanIf(parent=IfName("production0"), vid=1234), up=True))
    made.address("prod.1234", "10.0.0.1/24")
    assert [n.cluster_network for n in made.adopt().networks] == ["product"]


def test_a_number_behind_the_name_needs_room_too() -> None:
    made = Made("product")
    made.kernel.add_nic("eth4")
    made.network("production0", "bond4", ("eth4",))
    made.kernel.add(link("prod.1234", VlanIf(parent=IfName("production0"), vid=1234), up=True))
    made.address("prod.1234", "10.0.0.1/24")
    adoption = made.adopt()
    assert [n.cluster_network for n in adoption.networks] == ["product", "produc2"]
    assert max(len(one.name) for one in adoption.marked) == IFNAME_MAX


def test_two_that_would_be_called_the_same() -> None:
    made = Made("br-lan")
    made.kernel.add_nic("eth4")
    made.network("lan", "bond4", ("eth4",))
    assert [n.cluster_network for n in made.adopt().networks] == ["lan", "lan2"]
    text = said(made.adopt({"br-lan": "x", "lan": "x"}))
    assert "lan and br-lan cannot both be cluster network x" in text


def test_what_the_host_is_reached_by_is_the_management_network() -> None:
    made = Made()
    made.address("br0", "10.0.0.1/24")
    made.kernel.add_route(Route(dst="default", dev=IfName("br0"), gateway="10.0.0.254", protocol=4))
    adoption = made.adopt()
    config, host = one(adoption, VlanConfig), one(adoption, HostNetworkConfig)
    assert (config.name, config.effective) == ("mgmt-vlanconfig-n1", True)
    assert (host.name, host.vid, host.ips) == ("mgmt-n1", 0, {NODE: ("10.0.0.1/24",)})
    assert host.routing.gateways == ("10.0.0.254",)
    assert not any(isinstance(obj, ClusterNetwork) for obj in adoption.objects)
    assert made.plan(adoption).empty, "the route of another hand stands for ours"


# -- addresses ---------------------------------------------------------------------------------------


def test_vlan_interfaces_with_an_address_are_host_networks() -> None:
    made = Made()
    made.vlan(30, "10.0.30.1/24", name="storage")
    made.kernel.add_route(Route(dst="10.9.0.0/16", dev=IfName("storage"), gateway="10.0.30.254", metric=7, protocol=4))
    adoption = made.adopt({"br0": "oob"})
    host = one(adoption, HostNetworkConfig)
    assert (host.interface, host.ips) == ("oob-br.30", {NODE: ("10.0.30.1/24",)})
    assert [(r.to, r.via, r.metric) for r in host.routing.routes] == [("10.9.0.0/16", "10.0.30.254", 7)]
    assert ("storage", "oob-br.30") in [(h.link, h.name) for h in adoption.marked]
    assert made.plan(adoption).empty


def test_a_lease_goes_along() -> None:
    made = Made()
    made.address("br0", "10.0.0.7/24", Details(static=False, valid_until=900.0))
    made.dynamic = {IfName("br0"): {Cidr("10.0.0.7/24"): 900}}
    adoption = made.adopt({"br0": "oob"})
    host = one(adoption, HostNetworkConfig)
    assert (host.mode, host.ips) == (AddressMode.DHCP, {})
    (lease,) = adoption.leases
    assert (lease.interface, lease.address, lease.lease_s) == ("oob-br", "10.0.0.7/24", 900)
    assert made.plan(adoption).impact is Impact.NONE


def test_what_no_object_says_is_named() -> None:
    made = Made()
    for address in ("10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"):
        made.address("br0", address)
    made.kernel.add_route(Route(dst="10.8.0.0/16", dev=IfName("br0"), gateway="10.0.0.9", table=100, protocol=4))
    made.kernel.add_neighbour("br0", neighbour("10.0.0.66", "02:00:00:00:00:66"))
    made.kernel.add(link("bond0.9", VlanIf(parent=IfName("bond0"), vid=9), up=True))
    made.kernel.add(link("br0.12", VlanIf(parent=IfName("br0"), vid=12), up=True))
    made.tap("tap0", "300*")
    adoption = made.adopt({"br0": "oob"})
    assert one(adoption, HostNetworkConfig).ips == {NODE: ("10.0.0.1/24", "2001:db8::1/64")}
    text = said(adoption)
    assert "10.0.0.2/24 on br0" in text
    assert "the route to 10.8.0.0/16 via 10.0.0.9 of table 100 on br0" in text
    assert "the neighbour 10.0.0.66" in text
    assert "bond0.9 takes VLAN 9 from below br0" in text
    assert "br0.12 stays another's: it has no address" in text
    assert "VLAN 300 of br0 is on ports of machines and not on bond0" in text
    assert errors(adoption.problems) == ()


# -- VLANs -------------------------------------------------------------------------------------------


def vids(adoption: Adoption) -> dict[str, str]:
    nads = [obj for obj in adoption.objects if isinstance(obj, NetworkAttachmentDefinition)]
    return {nad.name: str(nad.vids) if nad.type is not NetworkType.UNTAGGED else "untagged" for nad in nads}


def test_each_of_few_vlans_is_a_network() -> None:
    made = Made()
    made.carries("1* 100 200")
    made.tap("tap0", "1*")
    adoption = made.adopt({"br0": "oob"})
    assert vids(adoption) == {"oob-vlan100": "100", "oob-vlan200": "200", "oob-untagged": "untagged"}
    assert made.plan(adoption).empty


def test_of_many_vlans_those_in_use_are_networks_and_the_rest_is_a_trunk() -> None:
    """`bridge-vids 2-4094`, as Proxmox has it."""
    made = Made()
    made.kernel.machine.get("bond0").vlans = replace(ports("1*"), tagged=VidSet.span(2, 4094))
    made.tap("tap0", "100*")
    made.tap("tap1", "1* 300 301")
    adoption = made.adopt({"br0": "oob"})
    assert vids(adoption) == {"oob-vlan100": "100", "oob-trunk": "2-99,101-4094", "oob-untagged": "untagged"}
    assert made.plan(adoption).empty


def test_what_the_objects_have_already_is_not_said_again() -> None:
    made = Made()
    made.carries("1* 100 200")
    first = made.adopt({"br0": "oob"})
    kept = [obj for obj in first.objects if not isinstance(obj, VlanConfig) and "vlan200" not in obj.name]
    again = made.adopt({"br0": "oob"}, cluster=Cluster.of(kept))
    assert [str(obj.ref) for obj in again.objects] == [
        "VlanConfig/oob-n1",
        "NetworkAttachmentDefinition/default/oob-vlan200",
    ]


@pytest.mark.parametrize(
    ("addresses", "to", "via", "metric"),
    [
        (("10.0.0.5/24",), "0.0.0.0/0", "10.0.0.254", 0),
        (("10.0.0.5/24",), "0.0.0.0/0", "10.0.0.254", 100),
        (("10.0.0.5/32",), "0.0.0.0/0", "192.0.2.1", 0),
        (("2001:db8::5/128",), "::/0", "2001:db8:9::1", 1024),
        (("10.0.0.5/32",), "10.9.0.0/16", "192.0.2.1", 0),
        (("10.0.0.5/32",), "10.9.0.0/16", "192.0.2.1", 7),
    ],
)
def test_a_router_on_the_link_is_said_as_it_is(addresses: Sequence[str], to: str, via: str, metric: int) -> None:
    """ifupdown makes each gateway's route `onlink`, and hosts with an address of /32 have no other router."""
    made = Made()
    for address in addresses:
        made.address("br0", address)
    theirs = replace(onlink(Cidr(to), via, IfName("br0"), metric), protocol=BOOT)
    made.kernel.add_route(theirs)
    adoption = made.adopt()
    assert said(adoption) == ""
    routing = one(adoption, HostNetworkConfig).routing
    assert routing.gateway_on_link is (theirs.dst == "default")
    assert [route.on_link for route in routing.routes] == ([] if theirs.dst == "default" else [True])
    assert made.plan(adoption).empty


def test_a_router_that_another_route_leads_to_is_said_as_it_is() -> None:
    """How hosts with an address of /32 have it where nobody says `onlink`."""
    made = Made()
    made.address("br0", "10.0.0.5/32")
    made.kernel.add_route(Route(dst="192.0.2.1/32", dev=IfName("br0"), protocol=BOOT))
    made.kernel.add_route(Route(dst="default", dev=IfName("br0"), gateway="192.0.2.1", protocol=BOOT))
    adoption = made.adopt()
    routing = one(adoption, HostNetworkConfig).routing
    assert (routing.gateways, routing.gateway_on_link) == (("192.0.2.1",), False)
    assert routing.routes == (HostRoute(to="192.0.2.1/32"),)
    assert said(adoption) == ""
    assert made.plan(adoption).empty


def test_a_router_that_is_not_there_any_more_is_not_said() -> None:
    """Its network went with an address, and the kernel keeps the route; the rules would refuse the objects."""
    made = Made()
    made.address("br0", "10.0.0.5/24")
    made.kernel.machine.routes.add(Route(dst="10.9.0.0/16", dev=IfName("br0"), gateway="192.0.2.2", protocol=BOOT))
    adoption = made.adopt()
    assert "the route to 10.9.0.0/16 via 192.0.2.2 on br0: no field says one like it" in said(adoption)
    assert made.plan(adoption).empty


def test_one_gateway_on_the_link_and_one_that_is_not() -> None:
    """It is said of both, so the IPv6 one is not said."""
    made = Made()
    made.address("br0", "10.0.0.5/24")
    made.address("br0", "2001:db8::5/64")
    made.kernel.add_route(onlink(Cidr("0.0.0.0/0"), "192.0.2.1", IfName("br0")))
    six = Route(dst="default", dev=IfName("br0"), gateway="2001:db8::1", metric=1024, protocol=BOOT)
    made.kernel.add_route(six)
    adoption = made.adopt()
    assert one(adoption, HostNetworkConfig).routing.gateways == ("192.0.2.1",)
    assert "the route to default via 2001:db8::1 on br0: no field says one like it" in said(adoption)


def test_a_route_that_says_more_is_not_said() -> None:
    made = Made()
    made.address("br0", "10.0.0.5/24")
    exact = Exact(message=b"", links=(IfName("br0"),), reached=True)
    made.kernel.add_route(Route(dst="default", dev=IfName("br0"), gateway="10.0.0.254", protocol=3, exact=exact))
    assert "the route to default via 10.0.0.254 on br0: no field says one like it" in said(made.adopt())


# -- the bond ----------------------------------------------------------------------------------------


def test_only_what_differs_is_said_of_a_bond() -> None:
    made = Made()
    bond = made.kernel.machine.get("bond0")
    assert bond.bond is not None
    bond.bond.change(Bond(updelay=200, primary=None), up=True, slaves=2)
    made.kernel.machine.get("br0").mtu = made.kernel.machine.get("bond0").mtu = 9000
    for nic in ("eth1", "eth2"):
        made.kernel.machine.get(nic).mtu = 9000
    bond.txqlen = 500
    uplink = one(made.adopt(), VlanConfig).uplink
    assert (uplink.bond, uplink.mtu, uplink.txqlen, uplink.mac) == (Bond(updelay=200), 9000, 500, None)
    assert made.plan(made.adopt()).empty


def test_a_bond_that_watches_nothing_says_so() -> None:
    """`ip link add type bond` has miimon 0."""
    made = Made()
    bond = made.kernel.machine.get("bond0").bond
    assert bond is not None
    bond.change(Bond(miimon=0), up=True, slaves=2)
    assert one(made.adopt(), VlanConfig).uplink.bond == Bond(miimon=0)
    assert made.plan(made.adopt()).empty


def test_the_nic_whose_mac_the_bridge_has_is_the_first() -> None:
    made = Made()
    mac = made.kernel.machine.get("eth2").permanent_mac
    assert mac
    for name in ("br0", "bond0"):
        made.kernel.machine.get(name).mac = mac
    uplink = one(made.adopt(), VlanConfig).uplink
    assert ([str(nic) for nic in uplink.nics], uplink.mac) == (["eth2", "eth1"], None)
    made.kernel.machine.get("br0").mac = made.kernel.machine.get("bond0").mac = "02:aa:00:00:00:01"
    assert one(made.adopt(), VlanConfig).uplink.mac == "02:aa:00:00:00:01"


def test_a_bond_whose_address_is_its_own_keeps_it() -> None:
    """systemd-networkd gives bridge and bond one each (`MACAddressPolicy=persistent`)."""
    made = Made()
    nics, one_more, other = made.kernel.machine.get("eth1").permanent_mac, "02:aa:00:00:00:01", "02:aa:00:00:00:02"
    for bridge, own in ((nics, other), (one_more, other), (one_more, nics)):
        made.kernel.machine.get("br0").mac, made.kernel.machine.get("bond0").mac = str(bridge), str(own)
        adoption = made.adopt()
        assert one(adoption, VlanConfig).meta.annotations[names.ANNOTATION_BOND_MAC] == own
        assert made.plan(adoption).empty


# -- again -------------------------------------------------------------------------------------------


def test_what_is_ours_is_not_adopted_again_and_what_was_cut_off_goes_on() -> None:
    from windrow.model.steps import Adopt
    from windrow.testing.builders import step

    made = Made()
    adoption = made.adopt({"br0": "oob"})
    bridge, bond = adoption.marked
    assert made.kernel.run([step(bridge.link, Adopt(bridge.name))]) is None
    objects = Cluster.of(adoption.objects)
    cut = plan_node(objects, made.sight()).plan
    assert not cut.steps, "until its bond is marked nothing is done"
    assert cut.refusals
    again = made.adopt(cluster=objects)
    assert [(h.link, h.name) for h in again.marked] == [("bond0", "oob-bo")]
    assert made.kernel.run([step(bond.link, Adopt(bond.name))]) is None
    assert made.adopt(cluster=objects).networks == ()
    assert plan_node(objects, made.sight()).plan.empty
