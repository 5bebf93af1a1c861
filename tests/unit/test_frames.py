"""Frames, byte by byte, as the standards and the kernel have them."""

from __future__ import annotations

import struct

from windrow.frames import arp, ethernet, neighbour

MAC = bytes.fromhex("02000000000a")


def test_a_whereabouts_is_the_frame_that_qemu_sends() -> None:
    """`announce_self_create` in net/announce.c."""
    expected = (
        "ffffffffffff" "02000000000a" "8035"
        "0001" "0800" "06" "04" "0003" "02000000000a" "00000000" "02000000000a" "00000000"
    )  # fmt: skip
    found = arp.whereabouts(MAC, None)
    assert found.hex() == expected + "00" * 18
    assert len(found) == 60


def test_a_tag_stands_before_the_ethertype_and_takes_nothing_from_the_payload() -> None:
    found = arp.whereabouts(MAC, 100)
    assert found[12:18].hex() == "810000648035"
    assert found[:12] + found[16:] == arp.whereabouts(MAC, None)


def test_a_gratuitous_arp_asks_for_the_address_that_it_tells() -> None:
    found = arp.gratuitous(MAC, bytes([10, 0, 0, 1]))
    assert found[:14].hex() == "ffffffffffff02000000000a0806"
    told = arp.parse(found[14:])
    assert told is not None
    assert (told.operation, told.sender_mac, told.sender, told.target) == (1, MAC, b"\n\0\0\1", b"\n\0\0\1")


def test_what_is_no_arp_of_ipv4_on_ethernet_is_none() -> None:
    whole = arp.Arp(operation=arp.REPLY, sender_mac=MAC).pack()
    assert arp.parse(whole) == arp.Arp(operation=arp.REPLY, sender_mac=MAC)
    assert arp.parse(whole[:-1]) is None
    assert arp.parse(b"\0\6" + whole[2:]) is None


def test_an_unsolicited_advertisement_overrides_and_says_whether_it_is_a_router() -> None:
    address = bytes.fromhex("fe80000000000000000000000000000a")
    for router, flags in ((False, 0x2000_0000), (True, 0xA000_0000)):
        found = neighbour.unsolicited(MAC, address, router=router)
        assert found[:14].hex() == "33330000000102000000000a86dd"
        version, length, protocol, hops = struct.unpack_from("!IHBB", found, 14)
        assert (version, length, protocol, hops) == (0x6000_0000, 32, 58, 255)
        source, to, icmp = found[22:38], found[38:54], found[54:]
        assert (source, to[:2], to[-1]) == (address, b"\xff\x02", 1)
        assert (icmp[0], struct.unpack_from("!I", icmp, 4)[0], icmp[8:24]) == (136, flags, address)
        assert icmp[24:32] == b"\2\1" + MAC
        pseudo = source + to + struct.pack("!II", length, protocol)
        assert ethernet.checksum(pseudo + icmp) == 0, "who sums it up, checksum included, finds nothing"
