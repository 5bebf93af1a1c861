"""What the plan's order and the mutability table rest on, fact by fact, asked of the kernel itself.

If one of these fails on a new kernel, the rule that cites it in `windrow.plan` is to be looked at.
"""

from __future__ import annotations

import errno
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windrow.lab.guest import init
from windrow.model.bonding import BondMode
from windrow.model.host import Bond, Bridge, PortVlans, Route
from windrow.model.values import IfName, VidSet
from windrow.netlink import codec, links
from windrow.netlink.sock import RTM_SETLINK, Message

Ns = Any
NO_MAC = "00:00:00:00:00:00"


def bridge_with_port(ns: Ns, port: str = "p0") -> tuple[int, int]:
    """A filtering bridge `br` with a dummy in it; their ifindexes."""
    ns.run(links.create("br", "bridge", data={"vlan_filtering": 1}), links.create(port, "dummy"))
    index = ns.rtnl.indexes()
    ns.run(links.set_master(port, index["br"]))
    return index["br"], index[port]


def test_a_link_that_is_up_cannot_join_a_bond(ns: Ns) -> None:
    ns.run(links.create("bo", "bond"), links.create("n0", "dummy", up=True))
    bond = ns.index("bo")
    assert ns.refused(links.set_master("n0", bond)) == errno.EPERM
    ns.run(links.set_link("n0", up=False), links.set_master("n0", bond))
    assert ns.link("n0").master == "bo"
    assert ns.link("n0").up, "bond_enslave opens it"


def test_options_foreign_to_the_mode_are_refused_and_yet_reported(ns: Ns) -> None:
    ns.run(links.create("bo", "bond", data={"mode": BondMode.LACP.number, "lacp_rate": 1}))
    ns.run(links.set_bond("bo", Bond(mode=BondMode.ACTIVE_BACKUP), ns.index))
    assert ns.link("bo").spec.lacp_rate == "fast"
    assert ns.refused(links.set_bond("bo", Bond(lacp_rate="slow"), ns.index)) == errno.EACCES


def test_taking_a_link_from_another_master_is_not_refused(ns: Ns) -> None:
    ns.run(links.create("one", "bond"), links.create("two", "bridge"), links.create("n0", "dummy"))
    index = ns.rtnl.indexes()
    ns.run(links.set_master("n0", index["one"]), links.set_master("n0", index["two"]))
    assert ns.link("n0").master == "two"


def test_leaving_a_bridge_forgets_the_vlans(ns: Ns) -> None:
    bridge, port = bridge_with_port(ns)
    ns.run(links.add_vlans(port, PortVlans(tagged=VidSet.of([100, 200]))))
    ns.run(links.set_master("p0", None), links.set_master("p0", bridge))
    assert ns.link("p0").vlans == PortVlans(pvid=1, untagged=VidSet.of([1]))


@pytest.mark.parametrize("delete", [True, False], ids=["bond deleted", "slave released"])
def test_a_slave_comes_back_down_with_the_mtu_and_mac_it_had_before(ns: Ns, delete: bool) -> None:
    """`__bond_release_one`: original_mtu, perm_hwaddr; and dev_close."""
    ns.run(links.create("bo", "bond", mtu=1400), links.create("n0", "dummy", mac="02:00:00:00:00:01"))
    ns.run(links.set_master("n0", ns.index("bo")), links.set_link("bo", up=True, mac="02:00:00:00:00:77"))
    inside = ns.link("n0")
    assert (inside.up, inside.mtu, inside.mac) == (True, 1400, "02:00:00:00:00:77")
    ns.run(links.delete("bo") if delete else links.set_master("n0", None))
    left = ns.link("n0")
    assert (left.up, left.mtu, left.mac, left.master) == (False, 1500, "02:00:00:00:00:01", "")


def test_a_new_vlan_id_is_accepted_and_ignored(ns: Ns) -> None:
    ns.run(links.create("n0", "dummy"))
    ns.run(links.create("v", "vlan", parent=ns.index("n0"), data={"vid": 10}))
    assert ns.refused(links.set_kind("v", "vlan", {"vid": 20})) == 0
    assert ns.link("v").spec.vid == 10


def test_a_vlan_interface_cannot_have_a_larger_mtu_than_its_parent(ns: Ns) -> None:
    ns.run(links.create("n0", "dummy", mtu=1500))
    ns.run(links.create("v", "vlan", parent=ns.index("n0"), data={"vid": 10}))
    assert ns.refused(links.set_link("v", mtu=1501)) == errno.ERANGE
    ns.run(links.set_link("n0", mtu=9000), links.set_link("v", mtu=9000), links.set_link("n0", mtu=1400))
    assert ns.link("v").mtu == 1400, "lowering the parent lowers it (vlan_device_event: NETDEV_CHANGEMTU)"


def test_a_bond_hands_its_mtu_down(ns: Ns) -> None:
    ns.run(links.create("bo", "bond"), links.create("n0", "dummy"))
    ns.run(links.set_master("n0", ns.index("bo")), links.set_link("bo", mtu=9000))
    assert ns.link("n0").mtu == 9000


@pytest.mark.parametrize(
    ("made", "pinned"),
    [
        ([links.create("br", "bridge", mtu=1600)], False),
        ([links.create("br", "bridge", mtu=1600), links.set_link("br", mtu=1600)], False),
        ([links.create("br", "bridge", mtu=1601), links.set_link("br", mtu=1600)], True),
    ],
    ids=["created", "set to what it is", "changed"],
)
def test_a_bridge_keeps_its_mtu_only_once_it_was_changed(ns: Ns, made: list[Message], pinned: bool) -> None:
    """`br_change_mtu` sets BROPT_MTU_SET_BY_USER; `dev_set_mtu` returns early when nothing changes."""
    ns.run(*made, links.create("n0", "dummy", mtu=1200))
    ns.run(links.set_master("n0", ns.index("br")))
    assert ns.link("br").mtu == (1600 if pinned else 1200)


def test_a_bridge_takes_the_mac_of_its_ports_unless_it_was_given_one(ns: Ns) -> None:
    mac = "02:00:00:00:00:05"
    ns.run(links.create("n0", "dummy", mac=mac), links.create("own", "bridge", mac="02:00:00:00:00:99"))
    ns.run(links.create("br", "bridge"))
    index = ns.rtnl.indexes()
    ns.run(links.set_master("n0", index["br"]))
    assert ns.link("br").mac == mac
    ns.run(links.set_master("n0", index["own"]))
    assert (ns.link("br").mac, ns.link("own").mac) == (NO_MAC, "02:00:00:00:00:99")


def test_a_vlan_interface_made_on_a_bridge_without_mac_cannot_come_up(ns: Ns) -> None:
    bridge, _ = bridge_with_port(ns)
    ns.run(links.set_master("p0", None), links.set_link("br", up=True))
    assert ns.link("br").mac == NO_MAC
    ns.run(links.create("v", "vlan", parent=bridge, data={"vid": 10}))
    assert ns.refused(links.set_link("v", up=True)) == errno.EADDRNOTAVAIL
    ns.run(links.set_master("p0", bridge))
    assert ns.link("br").mac != NO_MAC
    assert ns.refused(links.set_link("v", up=True)) == errno.EADDRNOTAVAIL, "not even now"


def test_adding_and_deleting_a_vid_twice_is_no_error(ns: Ns) -> None:
    _, port = bridge_with_port(ns)
    vids = VidSet.of([100])
    for message in (links.add_vlans(port, PortVlans(tagged=vids)), links.delete_vlans(port, vids)):
        assert ns.refused(message) == 0
        assert ns.refused(message) == 0


@pytest.mark.parametrize(
    "vlans",
    [
        PortVlans(tagged=VidSet.span(2, 4094)),
        PortVlans(tagged=VidSet.of(range(2, 4094, 2))),
        PortVlans(pvid=5, untagged=VidSet.of(range(1, 4095, 2)), tagged=VidSet.of(range(2, 4095, 2))),
    ],
    ids=["one range", "2046 scattered", "4094 entries"],
)
def test_any_set_of_vlans_fits_one_message(ns: Ns, vlans: PortVlans) -> None:
    bridge, port = bridge_with_port(ns)
    ns.run(links.delete_vlans(port, VidSet.of([1])), links.delete_vlans(bridge, VidSet.of([1]), on_self=True))
    ns.run(links.add_vlans(port, vlans), links.add_vlans(bridge, vlans, on_self=True))
    links_ = ns.kernel.observe().state.links
    assert (links_["p0"].vlans, links_["br"].self_vlans) == (vlans, vlans)
    ns.run(links.delete_vlans(port, vlans.all))
    assert ns.link("p0").vlans == PortVlans()


def test_a_bad_vid_in_the_middle_leaves_the_message_half_done(ns: Ns) -> None:
    """Which is why `links.check_vlans` looks first."""
    _, port = bridge_with_port(ns)
    body = codec.LINK_HEADER.pack(7, 0, port, 0, 0)
    body += codec.BRIDGE_LINK.encode({"spec": {"vlans": [(0, 100), (0, 4095), (0, 200)]}})
    assert ns.refused(Message(RTM_SETLINK, body)) == errno.EINVAL
    assert ns.link("p0").vlans.tagged == VidSet.of([100])


def test_a_pvid_in_a_range_is_refused(ns: Ns) -> None:
    _, port = bridge_with_port(ns)
    flags = links.PVID | links.UNTAGGED
    entries = [(flags | links.RANGE_BEGIN, 10), (flags | links.RANGE_END, 11)]
    body = codec.LINK_HEADER.pack(7, 0, port, 0, 0) + codec.BRIDGE_LINK.encode({"spec": {"vlans": entries}})
    assert ns.refused(Message(RTM_SETLINK, body)) == errno.EINVAL


def test_filtering_off_and_on_keeps_the_vlans(ns: Ns) -> None:
    _, port = bridge_with_port(ns)
    ns.run(links.add_vlans(port, PortVlans(tagged=VidSet.of([100]))))
    before = ns.link("p0").vlans
    ns.run(links.set_bridge("br", Bridge(vlan_filtering=False)), links.set_bridge("br", Bridge(vlan_filtering=True)))
    assert ns.link("p0").vlans == before


def test_default_pvid_0_takes_the_pvid_of_every_port(ns: Ns) -> None:
    bridge_with_port(ns)
    ns.run(links.set_kind("br", "bridge", {"default_pvid": 0}))
    assert ns.link("p0").vlans == PortVlans()


def test_down_takes_gateway_routes_and_keeps_addresses(ns: Ns) -> None:
    ns.run(links.create("n0", "dummy", up=True))
    index = ns.index("n0")
    route = Route(dst="default", dev=IfName("n0"), gateway="10.0.0.254", protocol=4)
    ns.run(links.add_addr(index, "10.0.0.1/24"), links.add_route(route, index))
    assert route in ns.kernel.observe().state.routes
    ns.run(links.set_link("n0", up=False), links.set_link("n0", up=True))
    state = ns.kernel.observe().state
    assert route not in state.routes
    assert state.links["n0"].addrs == {"10.0.0.1/24"}


def test_at_create_the_group_counts_and_the_alias_does_not(ns: Ns) -> None:
    ns.run(links.create("n0", "dummy", group=77, alias="mine"))
    assert (ns.runtime("n0").group, ns.runtime("n0").alias) == (77, "")
    ns.run(links.set_link("n0", alias="mine"))
    assert ns.runtime("n0").alias == "mine"


def test_a_vlan_interface_comes_up_only_above_a_parent_that_is_up(ns: Ns) -> None:
    ns.run(links.create("n0", "dummy"))
    parent = ns.index("n0")
    assert ns.refused(links.create("v", "vlan", up=True, parent=parent, data={"vid": 10})) == errno.ENETDOWN
    ns.run(links.set_link("n0", up=True), links.create("v", "vlan", up=True, parent=parent, data={"vid": 10}))
    assert ns.link("v").up


def test_a_bond_made_with_a_mac_keeps_it(ns: Ns) -> None:
    mac = "02:00:00:00:00:77"
    ns.run(links.create("bo", "bond", mac=mac), links.create("n0", "dummy", mac="02:00:00:00:00:01"))
    ns.run(links.set_master("n0", ns.index("bo")))
    assert (ns.link("bo").mac, ns.link("n0").mac) == (mac, mac)
    assert ns.runtime("n0").permanent_mac == "02:00:00:00:00:01"
    ns.run(links.set_master("n0", None))
    assert ns.link("n0").mac == "02:00:00:00:00:01"


def test_a_primary_is_remembered_by_name_before_and_after_it_is_a_slave(ns: Ns) -> None:
    """`bond_option_primary_set`: "Recording %s as primary, but it has not been enslaved yet"."""
    ns.run(links.create("n0", "dummy"), links.create("n1", "dummy"))
    ns.run(links.create("bo", "bond", data={"mode": 1, "primary": ns.index("n1")}))
    bond = ns.index("bo")
    assert ns.link("bo").spec.primary == ""
    ns.run(links.set_master("n0", bond), links.set_master("n1", bond))
    assert ns.link("bo").spec.primary == "n1"
    ns.run(links.set_master("n1", None))
    assert ns.link("bo").spec.primary == ""
    ns.run(links.set_master("n1", bond))
    assert ns.link("bo").spec.primary == "n1"
    ns.run(links.set_bond("bo", Bond(primary=""), ns.index))
    assert ns.link("bo").spec.primary == ""


def test_a_veth_is_born_in_two_namespaces_with_all_it_needs_in_one_message(ns: Ns, new_ns: Callable[[], Ns]) -> None:
    pod = new_ns()
    ns.run(links.create("br", "bridge", data={"vlan_filtering": 1}, mtu=1400))
    here = links.End(name="veth0", mac="02:00:00:00:00:01", mtu=1400, group=77)
    there = links.End(name="eth0", mac="02:00:00:00:00:02", mtu=1300, group=78, netns=pod.fd)
    ns.run(links.veth(here, there, master=ns.index("br")))
    port, peer = ns.link("veth0"), pod.link("eth0")
    assert (port.mac, port.mtu, port.master, port.up) == (here.mac, 1400, "br", False)
    assert (peer.mac, peer.mtu, peer.up) == (there.mac, 1300, False)
    assert (ns.runtime("veth0").group, pod.runtime("eth0").group) == (77, 78)
    index = ns.index("veth0")
    ns.run(
        links.delete_vlans(index, VidSet.of([1])),
        links.add_vlans(index, PortVlans(pvid=100, untagged=VidSet.of([100]))),
        links.set_link("veth0", up=True),
    )
    assert ns.link("veth0").vlans == PortVlans(pvid=100, untagged=VidSet.of([100]))


def test_the_peer_of_a_veth_cannot_be_born_up(ns: Ns) -> None:
    """`veth_newlink` opens it before it knows its other end (`veth_open`: ENOTCONN)."""
    peer = codec.LINK_HEADER.pack(0, 0, 0, 1, 1) + codec.LINK.encode({"name": "b"})
    assert ns.refused(links.create("a", "veth", data={"peer": peer})) == errno.ENOTCONN


def test_a_delay_is_rounded_down_to_a_multiple_of_miimon(ns: Ns) -> None:
    """`_bond_option_delay_set`: so a wanted delay has to be one, or it would never be reached."""
    ns.run(links.create("bo", "bond", data={"mode": 1, "miimon": 100, "updelay": 250}))
    assert ns.link("bo").spec.updelay == 200


def test_a_delay_without_miimon_is_refused_even_when_it_is_0(ns: Ns) -> None:
    ns.run(links.create("bo", "bond", data={"mode": 1}))
    for option in ("updelay", "downdelay", "peer_notif_delay"):
        assert ns.refused(links.set_bond("bo", Bond(**{option: 0}), ns.index)) == errno.EPERM


def test_the_two_monitors_exclude_each_other(ns: Ns) -> None:
    """In one message they are refused; one after the other, the later one wins."""
    both = links.create("bo", "bond", data={"mode": 1, "miimon": 100, "arp_interval": 100})
    assert ns.refused(both) == errno.EINVAL
    ns.run(links.create("bo", "bond", data={"mode": 1, "miimon": 100}))
    ns.run(links.set_bond("bo", Bond(arp_interval=200), ns.index))
    assert (ns.link("bo").spec.miimon, ns.link("bo").spec.arp_interval) == (0, 200)
    ns.run(links.set_bond("bo", Bond(miimon=100), ns.index))
    assert (ns.link("bo").spec.miimon, ns.link("bo").spec.arp_interval) == (100, 0)


@pytest.mark.parametrize("mode", BondMode)
def test_three_modes_switch_mii_monitoring_on_by_themselves(ns: Ns, mode: BondMode) -> None:
    """`bond_option_mode_set`: 100 ms where the mode cannot do without, unless told otherwise."""
    ns.run(links.create("bo", "bond", data={"mode": mode.number}))
    needs = mode in (BondMode.LACP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB)
    assert ns.link("bo").spec.miimon == (100 if needs else 0)


@pytest.mark.parametrize("state", [links.DISABLED, links.LISTENING, links.LEARNING, links.BLOCKING])
def test_without_stp_a_port_cannot_be_held_in_state_blocking(ns: Ns, state: int) -> None:
    """`br_set_port_state` ends in `br_make_forwarding`, which forwards at once what is blocking."""
    bridge_with_port(ns)
    ns.run(links.set_link("br", up=True), links.set_link("p0", up=True))
    ns.run(links.port_options(ns.index("p0"), state=state))
    assert ns.runtime("p0").port_state == (links.FORWARDING if state == links.BLOCKING else state)


def test_deleting_the_first_address_takes_the_others_of_its_subnet(ns: Ns) -> None:
    """`__inet_del_ifa`, while net.ipv4.conf.*.promote_secondaries is 0."""
    ns.run(links.create("n0", "dummy"))
    index = ns.index("n0")
    ns.run(*(links.add_addr(index, cidr) for cidr in ("10.0.0.1/24", "10.0.0.2/24", "10.0.1.1/24")))
    ns.run(links.del_addr(index, "10.0.0.1/24"))
    assert ns.link("n0").addrs == {"10.0.1.1/24"}


def test_the_kernel_starts_no_modprobe_where_there_is_nothing_to_find() -> None:
    modprobe = Path("/proc/sys/kernel/modprobe").read_text(encoding="ascii").strip()
    has_modules = Path("/lib/modules", os.uname().release).is_dir()
    assert has_modules or modprobe in ("", init.MODPROBE)


def first_carrier(ns: Ns, *, opened_first: bool) -> float:
    """Seconds from the moment when a NIC with carrier joins a new bond until the bridge above that has carrier, when
    linkwatch has just run: what is not urgent waits for its next run, a second later (`linkwatch_nextevent`)."""
    ns.run(links.veth(links.End(name="n0"), links.End(name="far")), links.create("bo", "bond", data={"mode": 1}))
    ns.run(links.create("br", "bridge"), links.set_link("br", up=True), links.set_link("far", up=True))
    ns.run(links.veth(links.End(name="x0"), links.End(name="y0")))
    ns.run(*(links.set_link(name, up=True) for name in ("x0", "y0")))
    time.sleep(1.1)
    ns.run(links.set_link("y0", up=False))  # a loss of carrier is never urgent: the second begins
    time.sleep(0.05)
    index, begun = ns.rtnl.indexes(), time.monotonic()
    opened = links.set_link("bo", up=True)
    ns.run(links.set_master("bo", index["br"]), *([opened] if opened_first else []))
    ns.run(links.set_master("n0", index["bo"]))
    time.sleep(0.02)  # in a plan other steps come between: linkwatch goes through what is urgent
    ns.run(opened)
    while not ns.runtime("br").carrier:
        assert time.monotonic() - begun < 5
        time.sleep(0.01)
    took = time.monotonic() - begun
    ns.run(*map(links.delete, ("br", "bo", "n0", "x0")))
    return took


def test_a_bridge_hears_up_to_a_second_later_of_a_carrier_that_came_while_its_bond_was_closed(ns: Ns) -> None:
    late, early = ([first_carrier(ns, opened_first=first) for _ in range(3)] for first in (False, True))
    assert statistics.median(late) > statistics.median(early) + 0.3, (late, early)
