"""LACP, DHCP, ARP and neighbour discovery, byte by byte; and what is none of them."""

from __future__ import annotations

import struct

import pytest

from windrow.frames import arp, dhcp, lacp, neighbour
from windrow.frames.ethernet import checksum
from windrow.frames.reading import Unreadable
from windrow.model.evidence import LacpSide, RouterAdvert
from windrow.model.values import Mac

RAW = bytes.fromhex("02000000000a")

LACPDU = bytes.fromhex(
    "01 01"
    "01 14 8000 0012f2a1b2c3 0171 8000 0007 3d 000000"
    "02 14 ffff 02000000000a 000f 00ff 0002 45 000000"
    "03 10 0000" + "00" * 12 + "00 00" + "00" * 50
)


def test_both_sides_of_a_lacpdu() -> None:
    found = lacp.decode(LACPDU)
    assert found == lacp.Lacpdu(
        sent=LacpSide(
            system=Mac("00:12:f2:a1:b2:c3"), key=0x171, port=7, state=0x3D, system_priority=32768, port_priority=32768
        ),
        about_us=LacpSide(
            system=Mac("02:00:00:00:00:0a"), key=15, port=2, state=0x45, system_priority=65535, port_priority=255
        ),
    )
    assert lacp.encode(found) == LACPDU


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "it is another slow protocol"),
        (b"\2" + LACPDU[1:], "it is another slow protocol"),
        (LACPDU[:41], "it is cut off"),
        (LACPDU[:2] + b"\2" + LACPDU[3:], "TLV 2 of 20 bytes is where 1 should be"),
        (LACPDU[:23] + b"\x13" + LACPDU[24:], "TLV 2 of 19 bytes is where 2 should be"),
    ],
)
def test_what_is_no_lacpdu_is_said_why(payload: bytes, reason: str) -> None:
    assert lacp.decode(payload) == Unreadable(reason)


# DHCP ---------------------------------------------------------------------------------------------

OPTIONS = "35 01 02 36 04 0a090002 33 04 00000e10 01 04 ffffff00 03 04 0a090001 1a 02 05aa ff"


def answer(options: str = OPTIONS, *, address: str = "0a090011", port: int = 68) -> bytes:
    bootp = bytes.fromhex(f"02 01 06 00 00000007 0000 8000 00000000 {address} 00000000 00000000 02000000000a") + bytes(
        202
    )
    data = bootp + bytes.fromhex("63825363" + options)
    udp = struct.pack("!HHHH", 67, port, 8 + len(data), 0) + data
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\x09\0\2", b"\xff" * 4) + udp


def test_an_offer_without_a_relay() -> None:
    reply = dhcp.parse(answer())
    assert isinstance(reply, dhcp.Reply)
    found = dhcp.offer(reply, RAW)
    assert not isinstance(found, Unreadable)
    assert (found.server, found.address, found.prefix, found.routers) == ("10.9.0.2", "10.9.0.17", 24, ("10.9.0.1",))
    assert (found.relay, found.mtu, found.lease_s) == ("", 1450, 3600)


def test_an_option_in_parts_is_joined() -> None:
    reply = dhcp.parse(answer("350102 0304 0a090001 00 0304 0a090002 ff 0304 ffffffff"))
    assert isinstance(reply, dhcp.Reply)
    found = dhcp.offer(reply, RAW)
    assert not isinstance(found, Unreadable)
    assert found.routers == ("10.9.0.1", "10.9.0.2")
    assert (found.server, found.prefix) == ("10.9.0.2", 0)  # the IPv4 header's, since it does not say


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "it is no UDP over IPv4"),
        (b"\x65" + answer()[1:], "it is no UDP over IPv4"),
        (answer()[:9] + b"\6" + answer()[10:], "it is no UDP over IPv4"),
        (b"\x42" + answer()[1:], "it is no UDP over IPv4"),
        (answer()[:6] + b"\x20\0" + answer()[8:], "it is a fragment"),
        (answer(port=67), "it is not for a DHCP client"),
        (answer()[:200], "it is cut off"),
        (answer()[:28] + b"\1" + answer()[29:], "it is no DHCP of a server to an Ethernet client"),
        (answer("350102 36"), "an option is cut off"),
        (answer("350102 3604 0a09"), "an option is cut off"),
    ],
)
def test_what_is_no_dhcp_answer_is_said_why(packet: bytes, reason: str) -> None:
    assert dhcp.parse(packet) == Unreadable(reason)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (answer("350105 ff"), "it is no offer"),
        (answer("ff"), "it is no offer"),
        (answer(address="00000000"), "it offers no address"),
        (answer("350102 3602 0a09 ff"), "it offers no address"),
    ],
)
def test_what_offers_nothing(packet: bytes, reason: str) -> None:
    reply = dhcp.parse(packet)
    assert isinstance(reply, dhcp.Reply)
    found = dhcp.offer(reply, RAW)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(reason)


def test_a_discover_asks_for_no_address_and_names_another_client_where_told() -> None:
    frame = dhcp.discover(RAW, 9, client=bytes.fromhex("020000000099"))
    assert frame[6:12] == RAW
    assert frame[14 + 28 + 28 : 14 + 28 + 34] == bytes.fromhex("020000000099")
    assert frame[14 + 28 + 240 :].hex() == "350101370401031a33ff"  # no option 50, and it is no REQUEST


def test_a_probe_of_arp_is_from_nobody() -> None:
    assert arp.whose(RAW, b"\x0a\0\0\1")[14:42].hex() == "000108000604000102000000000a00000000" + "00" * 6 + "0a000001"


# Neighbour discovery ------------------------------------------------------------------------------

LINK_LOCAL = bytes.fromhex("fe80000000000000000000000000000b")
ALL = bytes.fromhex("ff020000000000000000000000000001")


def icmp(body: str, *, hops: int = 255) -> bytes:
    bare = bytes.fromhex(body)
    padded = bare + bytes(len(bare) % 2)
    summed = checksum(LINK_LOCAL + ALL + struct.pack("!II", len(bare), 58) + padded)
    bare = bare[:2] + summed.to_bytes(2, "big") + bare[4:]
    return struct.pack("!IHBB", 6 << 28, len(bare), 58, hops) + LINK_LOCAL + ALL + bare


RA = "86 00 0000 40 18 0708 00000000 00000000"
"""Hop limit 64, preference low, 1800 s."""


def test_a_router_advertisement() -> None:
    prefix = "03 04 40 c0 00000e10 00000708 00000000" + "fd000009" + "00" * 12
    found = neighbour.parse(icmp(RA + prefix + "05 01 0000 000005aa" + "01 01 02000000000b"), RAW)
    assert found == RouterAdvert(
        router="fe80::b",
        mac=Mac("02:00:00:00:00:0a"),
        lifetime_s=1800,
        preference="low",
        prefixes=("fd00:9::/64",),
        mtu=1450,
    )
    assert neighbour.parse(icmp(RA) + bytes(20), RAW) == RouterAdvert(
        router="fe80::b", mac=Mac("02:00:00:00:00:0a"), lifetime_s=1800, preference="low"
    )


NA = "88 00 0000 20000000 fe80000000000000000000000000000b"


def test_a_neighbour_advertisement_and_where_its_mac_is_from() -> None:
    assert neighbour.parse(icmp(NA), RAW) == neighbour.Advertisement(address=LINK_LOCAL, mac=RAW)
    other = bytes.fromhex("02000000000b")
    assert neighbour.parse(icmp(NA + "0201" + other.hex()), RAW) == neighbour.Advertisement(
        address=LINK_LOCAL, mac=other
    )


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "it is no ICMPv6"),
        (icmp(RA)[:6] + b"\6" + icmp(RA)[7:], "it is no ICMPv6"),
        (icmp(RA, hops=254), "it is cut off, or comes from another link"),
        (icmp("86 01" + RA[5:]), "it is cut off, or comes from another link"),
        (icmp(RA)[:-1], "it is cut off, or comes from another link"),
        (icmp(RA)[:-1] + b"\1", "its checksum is wrong"),
        (icmp("80 00 0000 00000000"), "it is no advertisement"),
        (icmp("86 00 0000 00000000"), "it is no advertisement"),
        (icmp("88 00 0000 00000000"), "it is no advertisement"),
        (icmp(RA + "05 00 0000 000005aa"), "an option is cut off"),
        (icmp(NA + "02 02 02000000000b"), "an option is cut off"),
        (icmp(NA + "02"), "an option is cut off"),
    ],
)
def test_what_is_no_advertisement_is_said_why(packet: bytes, reason: str) -> None:
    assert neighbour.parse(packet, RAW) == Unreadable(reason)
