"""The attribute tables against pyroute2: what one writes the other reads, both ways. No kernel needed."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from windrow.model.bonding import OPTIONS, BondMode
from windrow.model.host import Bond, Bridge, Link, PortVlans, Route, VlanIf
from windrow.model.values import IfName, Mac, VidSet
from windrow.netlink import codec, links, observe, options
from windrow.netlink.sock import Message

MACS = st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":"))
U8, U16, U32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=15)
IP4 = st.ip_addresses(v=4).map(str)
IP6 = st.ip_addresses(v=6).map(str)

FORMATS = {
    id(codec.U8): U8,
    id(codec.U16): U16,
    id(codec.U32): U32,
    id(codec.BE16): U16,
    id(codec.S32): st.integers(-(2**31), 2**31 - 1),
    id(codec.TEXT): NAMES,
    id(codec.MAC): MACS,
    id(codec.IP): IP4 | IP6,
    id(codec.RAW): st.binary(max_size=70),
    id(codec.VLAN_INFO): st.tuples(U16, U16),
}
FLAT = {
    name: table for name, table in vars(codec).items() if isinstance(table, codec.Table) and not name.startswith("_")
}


def theirs(cls: Any, message: Message) -> Any:
    """`message` as pyroute2 reads it."""
    header = struct.pack("=IHHII", len(message.body) + 16, message.type, message.flags, 1, 0)
    decoded = cls(header + message.body)
    decoded.decode()
    return decoded


def body(message: Any) -> bytes:
    """What pyroute2 writes, without the netlink header."""
    message.encode()
    return bytes(message.data)[16:]


@pytest.mark.parametrize("name", FLAT)
@settings(max_examples=30)
@given(data=st.data())
def test_what_a_table_writes_it_reads(name: str, data: st.DataObject) -> None:
    rows = {n: row for n, row in FLAT[name].rows.items() if id(row.format) in FORMATS}
    values: dict[str, Any] = {}
    for row in data.draw(st.sets(st.sampled_from(sorted(rows)))) if rows else ():
        one = FORMATS[id(rows[row].format)]
        values[row] = data.draw(st.lists(one, min_size=1) if rows[row].many else one)
    assert FLAT[name].decode(FLAT[name].encode(values)) == values


@given(st.binary(max_size=200), st.sampled_from([codec.LINK, codec.BRIDGE_LINK, codec.ROUTE]))
def test_a_cut_message_ends_the_reading(data: bytes, table: codec.Table) -> None:
    whole = codec.LINK.encode({"name": "eth0", "mtu": 1500, "mac": "02:00:00:00:00:01"})
    for cut in range(len(whole)):
        found = codec.LINK.decode(whole[:cut])
        assert found.items() <= {"name": "eth0", "mtu": 1500, "mac": "02:00:00:00:00:01"}.items()
    assert table.decode(b"\x00\x00" + data) == {}, "an attribute shorter than its header"


def test_unknown_attributes_are_skipped() -> None:
    unknown = codec.pack_attr(999, b"abc") + codec.pack_attr(1000, b"")
    assert codec.LINK.decode(unknown + codec.LINK.encode({"mtu": 9000}) + unknown) == {"mtu": 9000}


def test_what_does_not_fit_is_refused() -> None:
    for table, values in (
        (codec.LINK, {"mtu": 2**32}),
        (codec.LINK, {"mtu": -1}),
        (codec.VLAN, {"vid": 65536}),
        (codec.LINK, {"alias": "x" * 65536}),
    ):
        with pytest.raises(struct.error):
            table.encode(values)
    with pytest.raises(KeyError):
        codec.LINK.encode({"no_such": 1})


# Our messages, read by pyroute2 -------------------------------------------------------------------

DATA: dict[str, Any] = {
    "mode": BondMode.ACTIVE_BACKUP,
    "miimon": 100,
    "updelay": 200,
    "downdelay": 300,
    "use_carrier": "off",
    "arp_interval": 150,
    "arp_ip_target": ("10.0.0.1", "10.0.0.2"),
    "arp_validate": "filter_backup",
    "arp_all_targets": "all",
    "primary": "eth7",
    "primary_reselect": "failure",
    "fail_over_mac": "follow",
    "xmit_hash_policy": "vlan+srcmac",
    "resend_igmp": 3,
    "num_peer_notif": 4,
    "all_slaves_active": "on",
    "min_links": 5,
    "lp_interval": 6,
    "packets_per_slave": 7,
    "tlb_dynamic_lb": "off",
    "lacp_rate": "fast",
    "ad_select": "count",
    "ad_actor_sys_prio": 8,
    "ad_user_port_key": 9,
    "ad_actor_system": "02:00:00:00:00:99",
}
NOT_KNOWN_TO_PYROUTE2 = {"ns_ip6_target", "lacp_active", "missed_max", "peer_notif_delay"}
THEIR_NAME = {"lacp_rate": "ad_lacp_rate"}


def test_every_bond_option_as_pyroute2_reads_it() -> None:
    assert set(DATA) | NOT_KNOWN_TO_PYROUTE2 == set(OPTIONS)
    message = links.set_bond("bo", Bond(**DATA), lambda name: {"eth7": 7}[name])
    info = theirs(ifinfmsg, message).get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "bond"
    read = info.get_attr("IFLA_INFO_DATA")
    for name, value in DATA.items():
        option = OPTIONS[name]
        number = 7 if name == "primary" else option.choices.index(value) if option.choices else value
        attr = read.get_attr(f"IFLA_BOND_{THEIR_NAME.get(name, name).upper()}")
        if name == "arp_ip_target":
            attr = tuple(attr)
        assert attr == number, name


@given(name=NAMES, mtu=U32, mac=MACS, txqlen=U32, group=U32, master=U32, up=st.none() | st.booleans())
def test_a_link_as_pyroute2_reads_it(
    name: str, mtu: int, mac: str, txqlen: int, group: int, master: int, up: bool | None
) -> None:
    message = links.set_link(name, up=up, mtu=mtu, mac=mac, txqlen=txqlen, group=group, master=master)
    read = theirs(ifinfmsg, message)
    assert (read["flags"], read["change"]) == (int(bool(up)), int(up is not None))
    keys = ("IFNAME", "MTU", "ADDRESS", "TXQLEN", "GROUP", "MASTER")
    assert [read.get_attr(f"IFLA_{key}") for key in keys] == [name, mtu, mac, txqlen, group, master]


def test_created_links_as_pyroute2_reads_them() -> None:
    vlan = Link(name=IfName("br.7"), spec=VlanIf(parent=IfName("br"), vid=7), mtu=1400)
    bridge = Link(
        name=IfName("br"), spec=Bridge(vlan_filtering=True, stp=False, ageing=30), mac=Mac("02:00:00:00:00:01")
    )
    message, marking = links.create_link(vlan, lambda name: {"br": 5}[name])
    read = theirs(ifinfmsg, message)
    assert (read.get_attr("IFLA_LINK"), read.get_attr("IFLA_GROUP"), read.get_attr("IFLA_MTU")) == (5, 30574, 1400)
    assert read.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_ID") == 7
    (name,) = theirs(ifinfmsg, marking).get_attr("IFLA_PROP_LIST").get_attrs("IFLA_ALT_IFNAME")
    assert (name, theirs(ifinfmsg, marking).get_attr("IFLA_IFNAME")) == ("made-by-windrow.br.7", "br.7")
    message, _ = links.create_link(bridge, lambda name: 0)
    data = theirs(ifinfmsg, message).get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    keys = ("VLAN_FILTERING", "STP_STATE", "AGEING_TIME")
    assert [data.get_attr(f"IFLA_BR_{key}") for key in keys] == [1, 0, 3000]


def test_a_veth_as_pyroute2_reads_it() -> None:
    ends = links.End(name="a", mac="02:00:00:00:00:01", mtu=1400), links.End(name="b", mac="02:00:00:00:00:02", netns=9)
    read = theirs(ifinfmsg, links.veth(*ends, master=3))
    peer = read.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert (read.get_attr("IFLA_IFNAME"), read.get_attr("IFLA_MASTER")) == ("a", 3)
    keys = ("IFNAME", "ADDRESS", "NET_NS_FD")
    assert [peer.get_attr(f"IFLA_{key}") for key in keys] == ["b", "02:00:00:00:00:02", 9]


@given(cidr=st.tuples(IP4, st.integers(0, 32)) | st.tuples(IP6, st.integers(0, 128)), index=st.integers(1, 2**31 - 1))
def test_an_address_as_pyroute2_reads_it(cidr: tuple[str, int], index: int) -> None:
    text, length = cidr
    read = theirs(ifaddrmsg, links.add_addr(index, f"{text}/{length}"))
    local = str(ipaddress.ip_address(read.get_attr("IFA_LOCAL")))  # pyroute2 keeps the dots of ::ffff:10.0.0.1
    assert (read["index"], read["prefixlen"], local) == (index, length, text)


def test_a_route_as_pyroute2_reads_it() -> None:
    route = Route(dst="10.8.0.0/16", dev=None, gateway="10.0.0.1", table=1000, metric=7, protocol=99)
    read = theirs(rtmsg, links.add_route(route, 4))
    assert (read["dst_len"], read["proto"], read["type"], read["family"]) == (16, 99, 1, 2)
    keys = ("DST", "GATEWAY", "TABLE", "PRIORITY", "OIF")
    assert [read.get_attr(f"RTA_{key}") for key in keys] == ["10.8.0.0", "10.0.0.1", 1000, 7, 4]
    assert theirs(rtmsg, links.add_route(Route(dst="default", dev=None, gateway="fd00::1"), 4))["family"] == 10


def expand(entries: list[Any]) -> tuple[int | None, VidSet, VidSet]:
    """(PVID, untagged, tagged) that the kernel makes of bridge_vlan_info entries, spelled out VID by VID."""
    pvid, untagged, tagged, begin = None, set(), set(), None
    for flags, vid in entries:
        if flags & 0x8:
            begin = vid
            continue
        vids = range(begin if flags & 0x10 else vid, vid + 1)
        (untagged if flags & 0x4 else tagged).update(vids)
        if flags & 0x2:
            assert not flags & 0x18, "br_process_vlan_info refuses a range with PVID"
            pvid = vid
    return pvid, VidSet.of(untagged), VidSet.of(tagged)


VIDS = st.sets(st.integers(1, 60)) | st.sets(st.integers(1, 4094), max_size=50)


@given(st.data(), VIDS, VIDS)
def test_vlans_as_pyroute2_reads_them(data: st.DataObject, untagged: set[int], tagged: set[int]) -> None:
    tagged -= untagged
    pvid = data.draw(st.none() | st.sampled_from(sorted(untagged | tagged))) if untagged | tagged else None
    vlans = PortVlans(pvid=pvid, untagged=VidSet.of(untagged), tagged=VidSet.of(tagged))
    read = theirs(ifinfmsg, links.add_vlans(5, vlans))
    assert (read["family"], read["index"]) == (7, 5)
    spec = read.get_attr("IFLA_AF_SPEC")
    entries = [(a["flags"], a["vid"]) for a in spec.get_attrs("IFLA_BRIDGE_VLAN_INFO")]
    assert expand(entries) == (pvid, vlans.untagged, vlans.tagged)
    assert observe.port_vlans(entries) == vlans, "and so do we"
    assert links.add_vlans(5, vlans, on_self=True).body != links.add_vlans(5, vlans).body


def test_the_largest_set_of_vlans_fits_an_attribute() -> None:
    odd, even = VidSet.of(range(1, 4095, 2)), VidSet.of(range(2, 4095, 2))
    message = links.add_vlans(5, PortVlans(untagged=odd, tagged=even))
    assert len(message.body) == 16 + 4 + 4094 * 8


# pyroute2's messages, read by us ------------------------------------------------------------------


def test_a_bond_that_pyroute2_wrote() -> None:
    message = ifinfmsg()
    data = [["IFLA_BOND_MODE", 4], ["IFLA_BOND_AD_LACP_RATE", 1], ["IFLA_BOND_MIIMON", 100], ["IFLA_BOND_PRIMARY", 3]]
    data += [["IFLA_BOND_XMIT_HASH_POLICY", 1], ["IFLA_BOND_AD_ACTOR_SYS_PRIO", 9]]
    info = [["IFLA_INFO_KIND", "bond"], ["IFLA_INFO_DATA", {"attrs": data}]]
    message["attrs"] = [["IFLA_IFNAME", "bo"], ["IFLA_MTU", 9000], ["IFLA_LINKINFO", {"attrs": info}]]
    attrs = codec.LINK.decode(body(message), codec.LINK_HEADER.size)
    assert (attrs["name"], attrs["mtu"], attrs["linkinfo"]["kind"]) == ("bo", 9000, "bond")
    bond = options.bond_of(codec.BOND.decode(attrs["linkinfo"]["data"]), {3: "eth1"})
    assert bond == Bond(
        mode=BondMode.LACP,
        lacp_rate="fast",
        miimon=100,
        primary="eth1",
        ad_actor_sys_prio=9,
        xmit_hash_policy="layer3+4",
        arp_ip_target=(),
        ns_ip6_target=(),
    )


@given(index=st.integers(1, 2**31 - 1), flags=U32, name=NAMES, mtu=U32, mac=MACS, group=U32)
def test_a_link_that_pyroute2_wrote(index: int, flags: int, name: str, mtu: int, mac: str, group: int) -> None:
    message = ifinfmsg()
    message["index"], message["flags"] = index, flags
    pairs = {"IFLA_IFNAME": name, "IFLA_MTU": mtu, "IFLA_ADDRESS": mac, "IFLA_GROUP": group}
    message["attrs"] = [list(pair) for pair in pairs.items()]
    data = body(message)
    assert codec.LINK_HEADER.unpack_from(data)[2:4] == (index, flags)
    assert codec.LINK.decode(data, codec.LINK_HEADER.size) == {"name": name, "mtu": mtu, "mac": mac, "group": group}


@given(IP4, IP6)
def test_addresses_that_pyroute2_wrote(four: str, six: str) -> None:
    for family, text in ((2, four), (10, six)):
        message = ifaddrmsg()
        message["family"], message["prefixlen"], message["index"] = family, 24, 3
        message["attrs"] = [["IFA_ADDRESS", text], ["IFA_LOCAL", text], ["IFA_FLAGS", 0x80]]
        data = body(message)
        assert codec.ADDR_HEADER.unpack_from(data) == (family, 24, 0, 0, 3)
        assert codec.ADDR.decode(data, 8) == {"address": text, "local": text, "flags": 0x80}


# Values and attributes ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.choices])
def test_choices_go_there_and_back(name: str) -> None:
    for number, choice in enumerate(OPTIONS[name].choices):
        values = options.bond_values(Bond(**{name: choice}), lambda _: 0)
        assert values == {name: number}
        assert getattr(options.bond_of(values, {}), name) == choice
    with pytest.raises(ValueError):
        options.bond_values(Bond(**{name: "nonsense"}), lambda _: 0)


def test_no_primary_and_no_system_address() -> None:
    values = options.bond_values(Bond(primary="", ad_actor_system=""), lambda _: 1)
    assert values == {"primary": 0, "ad_actor_system": "00:00:00:00:00:00"}
    back = options.bond_of(values, {})
    assert (back.primary, back.ad_actor_system) == ("", "")


@pytest.mark.parametrize("text", ["::ffff:10.0.0.1", "fe80::1", "10.0.0.1", "::", "fd00:0:0:1::"])
def test_addresses_are_written_as_ipaddress_does(text: str) -> None:
    assert codec.read_ip(codec.write_ip(text)) == str(ipaddress.ip_address(text))
