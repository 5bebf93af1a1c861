"""Scapy is the second decoder of all that we send to switches and servers, and the other sender of what we read."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.contrib import cdp as their_cdp
from scapy.contrib import lacp as their_lacp
from scapy.contrib import lldp as their_lldp
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    IPv6,
)
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1Q, Dot3, Ether

from windrow.frames import arp, cdp, dhcp, lacp, lldp, neighbour
from windrow.model.evidence import Aggregation, DhcpOffer, Identity, Kind, LacpSide, RouterAdvert, SwitchPort
from windrow.model.values import Mac, Vid

MAC = Mac("02:00:00:00:00:0a")
RAW = bytes.fromhex("02000000000a")
V6 = bytes.fromhex("fd000009000000000000000000000001")

TRUNK = SwitchPort(
    source=Kind.LLDP,
    chassis=Identity(kind="mac", text="02:00:00:00:00:01"),
    port=Identity(kind="ifname", text="Ethernet1/7"),
    system="leaf1",
    system_description="NX-OS 10.4",
    port_description="node1 eth0",
    is_bridge=True,
    pvid=1,
    vlans={Vid(100): "blue", Vid(4094): ""},
    aggregation=Aggregation(capable=True, active=True, port_id=369098754),
    max_frame=9216,
    management=("10.0.0.1", "fd00::1"),
    hold_s=120,
)


@pytest.mark.parametrize("dot3", [True, False])
def test_lldp_that_we_send(dot3: bool) -> None:
    sent = lldp.to_neighbour(MAC, lldp.encode(TRUNK, dot3_aggregation=dot3))
    assert sent[14:] == lldp.encode(TRUNK, dot3_aggregation=dot3)
    seen = Ether(sent)
    assert (seen.dst, seen.src, seen.type) == ("01:80:c2:00:00:0e", MAC, 0x88CC)
    assert seen[their_lldp.LLDPDUChassisID].id == "02:00:00:00:00:01"
    assert seen[their_lldp.LLDPDUChassisID].subtype == 4
    assert (seen[their_lldp.LLDPDUPortID].subtype, seen[their_lldp.LLDPDUPortID].id) == (5, b"Ethernet1/7")
    assert seen[their_lldp.LLDPDUTimeToLive].ttl == 120
    assert seen[their_lldp.LLDPDUSystemName].system_name == b"leaf1"
    assert seen[their_lldp.LLDPDUSystemDescription].description == b"NX-OS 10.4"
    assert seen[their_lldp.LLDPDUPortDescription].description == b"node1 eth0"
    capabilities = seen[their_lldp.LLDPDUSystemCapabilities]
    assert (capabilities.mac_bridge_available, capabilities.mac_bridge_enabled, capabilities.router_enabled) == (
        1,
        1,
        0,
    )
    addresses = _all(seen, their_lldp.LLDPDUManagementAddress)
    assert [a.management_address for a in addresses] == [b"\x0a\0\0\1", bytes.fromhex("fd00" + "00" * 13 + "01")]
    organisations = [
        (t.org_code, t.subtype, bytes(t.data)) for t in _all(seen, their_lldp.LLDPDUGenericOrganisationSpecific)
    ]
    home = (0x00120F, 3) if dot3 else (0x0080C2, 7)
    assert organisations == [
        (0x0080C2, 1, b"\0\1"),
        (0x0080C2, 3, b"\0\x64\4blue"),
        (0x0080C2, 3, b"\x0f\xfe\0"),
        (*home, b"\3" + (369098754).to_bytes(4, "big")),
        (0x00120F, 4, b"\x24\0"),
    ]
    assert bytes(seen[their_lldp.LLDPDUEndOfLLDPDU])[:2] == b"\0\0"


def _all(frame: Any, kind: Any) -> list[Any]:
    found = []
    while frame.getlayer(kind, nb=len(found) + 1) is not None:
        found.append(frame.getlayer(kind, nb=len(found) + 1))
    return found


def test_lldp_that_scapy_sends() -> None:
    pdu = (
        their_lldp.LLDPDUChassisID(subtype=4, id="02:00:00:00:00:01")
        / their_lldp.LLDPDUPortID(subtype=7, id=b"17")
        / their_lldp.LLDPDUTimeToLive(ttl=90)
        / their_lldp.LLDPDUSystemName(system_name=b"sw")
        / their_lldp.LLDPDUSystemCapabilities(mac_bridge_available=1, router_available=1, router_enabled=1)
        / their_lldp.LLDPDUGenericOrganisationSpecific(org_code=0x0080C2, subtype=1, data=b"\0\x0a")
        / their_lldp.LLDPDUEndOfLLDPDU()
    )
    found = lldp.decode(bytes(Ether(dst="01:80:c2:00:00:0e", src=MAC) / pdu)[14:])
    assert isinstance(found, SwitchPort)
    assert (found.chassis.text, found.port, found.hold_s, found.system, found.is_bridge, found.pvid) == (
        "02:00:00:00:00:01",
        Identity(kind="local", text="17"),
        90,
        "sw",
        False,
        10,
    )


SENT = LacpSide(system=Mac("02:00:00:00:00:01"), key=369, port=7, state=0x3F, system_priority=32768, port_priority=255)
ABOUT_US = LacpSide(system=MAC, key=15, port=2, state=0x3D, system_priority=65535, port_priority=128)


def test_lacp_that_we_send_and_that_scapy_sends() -> None:
    payload = lacp.encode(lacp.Lacpdu(sent=SENT, about_us=ABOUT_US))
    assert len(payload) == 110
    seen = Ether(lacp.GROUP + RAW + lacp.ETHERTYPE.to_bytes(2, "big") + payload)[their_lacp.LACP]
    assert (seen.actor_system, seen.actor_key, seen.actor_port_number, seen.actor_state) == (SENT.system, 369, 7, 0x3F)
    assert (seen.actor_system_priority, seen.actor_port_priority) == (32768, 255)
    assert (seen.partner_system, seen.partner_key, seen.partner_port_number) == (MAC, 15, 2)
    assert (seen.partner_state, seen.partner_system_priority, seen.partner_port_priority) == (0x3D, 65535, 128)
    theirs = their_lacp.SlowProtocol() / their_lacp.LACP(
        actor_system=SENT.system, actor_key=369, actor_port_number=7, actor_state=0x3F, actor_system_priority=32768,
        actor_port_priority=255, partner_system=MAC, partner_key=15, partner_port_number=2, partner_state=0x3D,
        partner_system_priority=65535, partner_port_priority=128,
    )  # fmt: skip
    assert lacp.decode(bytes(theirs)) == lacp.Lacpdu(sent=SENT, about_us=ABOUT_US)


def test_cdp_that_scapy_sends() -> None:
    message = their_cdp.CDPv2_HDR(ttl=180) / (
        their_cdp.CDPMsgDeviceID(val=b"sw1.example")
        / their_cdp.CDPMsgPortID(iface=b"GigabitEthernet1/0/7")
        / their_cdp.CDPMsgCapabilities(cap=0x28)
        / their_cdp.CDPMsgSoftwareVersion(val=b"IOS 15")
        / their_cdp.CDPMsgNativeVLAN(vlan=42)
        / their_cdp.CDPMsgMTU(mtu=1504)
    )
    frame = bytes(Dot3(dst="01:00:0c:cc:cc:cc", src=MAC) / LLC() / SNAP(OUI=0xC, code=0x2000) / message)
    found = cdp.decode(frame[12:])
    assert isinstance(found, SwitchPort), found
    assert (found.system, found.port.text, found.is_bridge, found.system_description, found.pvid) == (
        "sw1.example",
        "GigabitEthernet1/0/7",
        True,
        "IOS 15",
        42,
    )
    assert (found.max_frame, found.hold_s) == (1504, 180)


def test_a_discover_that_we_send() -> None:
    seen = Ether(dhcp.discover(RAW, 0x01020304, vid=100))
    assert (seen.dst, seen.src, seen[Dot1Q].vlan) == ("ff:ff:ff:ff:ff:ff", MAC, 100)
    assert (seen[IP].src, seen[IP].dst, seen[UDP].sport, seen[UDP].dport) == ("0.0.0.0", "255.255.255.255", 68, 67)
    assert (seen[BOOTP].xid, int(seen[BOOTP].flags), seen[BOOTP].chaddr[:6]) == (0x01020304, 0x8000, RAW)
    assert seen[DHCP].options[0] == ("message-type", 1)
    assert [name for name, *_ in seen[DHCP].options if isinstance(name, str) and name == "requested_addr"] == []
    checksum = seen[IP].chksum
    del seen[IP].chksum
    assert Ether(bytes(seen))[IP].chksum == checksum


@pytest.mark.parametrize("client_id", [b"", b"\x01" + RAW, b"\xff" + bytes(18)])
def test_a_decline_that_we_send(client_id: bytes) -> None:
    """RFC 2131, table 5: no flag, no address but the one in option 50, and of options these alone."""
    frame = dhcp.decline(RAW, 7, bytes([10, 9, 0, 17]), bytes([10, 9, 0, 2]), client_id, "somebody else has it")
    seen = Ether(frame)
    assert (seen.dst, seen.src, seen[IP].src, seen[IP].dst) == ("ff:ff:ff:ff:ff:ff", MAC, "0.0.0.0", "255.255.255.255")
    bootp = seen[BOOTP]
    assert (bootp.op, bootp.xid, int(bootp.flags), bootp.secs, bootp.chaddr[:6]) == (1, 7, 0, 0, RAW)
    assert {bootp.ciaddr, bootp.yiaddr, bootp.siaddr, bootp.giaddr} == {"0.0.0.0"}
    said = [option for option in seen[DHCP].options if isinstance(option, tuple)]
    assert said[:3] == [("message-type", 4), ("requested_addr", "10.9.0.17"), ("server_id", "10.9.0.2")]
    assert said[3] == ("error_message", b"somebody else has it")
    assert [value for _, value in said[4:]] == ([client_id] if client_id else [])


def offered(**options: Any) -> bytes:
    told = [
        ("message-type", "offer"),
        ("server_id", "10.9.0.2"),
        *options.items(),
        ("router", "10.9.0.1", "10.9.0.3"),
        "end",
    ]
    bootp = BOOTP(op=2, xid=5, yiaddr="10.9.0.17", giaddr="10.9.9.9", chaddr=RAW + bytes(10), flags=0x8000)
    return bytes(IP(src="10.9.0.9", dst="255.255.255.255") / UDP(sport=67, dport=68) / bootp / DHCP(options=told))


def test_an_offer_that_scapy_sends() -> None:
    packet = offered(subnet_mask="255.255.254.0", lease_time=3600)
    reply = dhcp.parse(packet)
    assert isinstance(reply, dhcp.Reply)
    assert (reply.transaction, reply.client, reply.message) == (5, RAW, dhcp.OFFER)
    assert dhcp.offer(reply, bytes.fromhex("020000000001")) == DhcpOffer(
        server="10.9.0.2",
        server_mac=Mac("02:00:00:00:00:01"),
        address="10.9.0.17",
        prefix=23,
        routers=("10.9.0.1", "10.9.0.3"),
        relay="10.9.9.9",
        lease_s=3600,
    )


def test_a_probe_of_arp_that_we_send() -> None:
    seen = Ether(arp.whose(RAW, bytes([10, 9, 0, 1]), vid=7))
    assert (seen[Dot1Q].vlan, seen[ARP].op, seen[ARP].psrc, seen[ARP].pdst) == (7, 1, "0.0.0.0", "10.9.0.1")
    assert (seen[ARP].hwsrc, seen[ARP].hwdst) == (MAC, "00:00:00:00:00:00")


def test_solicitations_that_we_send() -> None:
    asked = Ether(neighbour.whose(RAW, V6, vid=9))
    assert (asked.dst, asked[Dot1Q].vlan, asked[IPv6].src, asked[IPv6].dst) == (
        "33:33:ff:00:00:01", 9, "::", "ff02::1:ff00:1",
    )  # fmt: skip
    assert (asked[ICMPv6ND_NS].tgt, asked[IPv6].hlim) == ("fd00:9::1", 255)
    wanted = Ether(neighbour.routers_wanted(RAW))
    assert (wanted.dst, wanted[IPv6].dst) == ("33:33:00:00:00:02", "ff02::2")
    for frame, kind in ((asked, ICMPv6ND_NS), (wanted, ICMPv6ND_RS)):
        checksum = frame[kind].cksum
        del frame[kind].cksum
        assert Ether(bytes(frame))[kind].cksum == checksum


def test_advertisements_that_scapy_sends() -> None:
    advert = (
        IPv6(src="fe80::1", dst="ff02::1", hlim=255)
        / ICMPv6ND_RA(routerlifetime=1200, prf=3)
        / ICMPv6NDOptPrefixInfo(prefix="fd00:9::", prefixlen=64)
        / ICMPv6NDOptMTU(mtu=1450)
    )
    assert neighbour.parse(bytes(advert), RAW) == RouterAdvert(
        router="fe80::1", mac=MAC, lifetime_s=1200, preference="low", prefixes=("fd00:9::/64",), mtu=1450
    )
    answer = IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="fd00:9::1")
    assert neighbour.parse(bytes(answer), RAW) == neighbour.Advertisement(address=V6, mac=RAW)
    answer /= ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:0b")
    assert neighbour.parse(bytes(answer), RAW) == neighbour.Advertisement(address=V6, mac=RAW[:5] + b"\x0b")
