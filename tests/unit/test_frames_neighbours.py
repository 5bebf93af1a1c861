"""LLDP and CDP as real switches send them, rebuilt byte by byte from what public captures show; and what is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.frames import cdp, lldp
from windrow.frames.lldp import Gone, Told
from windrow.frames.reading import Unreadable
from windrow.model.evidence import Aggregation, Identity, Kind, SwitchPort
from windrow.model.values import Vid

SUMMIT = bytes.fromhex(
    "0207040001 30f9ada0"
    "0404 05 312f31"
    "0602 0078"
    "0817 53756d6d69743330302d34382d506f72742031303031 00"
    "0a0d 53756d6d69743330302d3438 00"
    "0c4c 53756d6d69743330302d3438202d2056657273696f6e20372e34652e3120284275696c642035292062792052656c65617365"
    "5f4d61737465722030352f32372f30352030343a35333a3131 00"
    "0e04 0014 0014"
    "100e 07 06 000130f9ada0 02 000003e9 00"
    "fe07 00120f 02 070100"
    "fe09 00120f 01 036c000010"
    "fe09 00120f 03 01 00000000"
    "fe06 00120f 04 05f2"
    "fe06 0080c2 01 01e8"
    "fe07 0080c2 02 01 0000"
    "fe17 0080c2 03 01e8 10 76322d303438382d30332d30353035 00"
    "fe05 0080c2 04 00"
    "0000"
)
"""Extreme Summit300-48: texts end with NUL, and a management address that is a MAC (IANA family 6)."""

CBS250 = bytes.fromhex(
    "0207 04 8c1e80725126"
    "0407 03 8c1e80725127"
    "0602 0078"
    "fe07 0012bb 01 003704"
    "fe09 00120f 01 036c01001e"
    "fe0e 00120f 05 00110011001100110011"
    "0a0a 6c61622d737769746368"
    "0e04 0004 0004"
    "fe06 0080c2 01 0001"
    "0000"
)
"""Cisco CBS250: its port is a MAC, and it names no VLANs, though there are some."""

LLDPD = bytes.fromhex(
    "0207 04 0800272ad6dd"
    "0407 03 0800272ad6dd"
    "0602 0078"
    "0a0f 7063312e6578616d706c652e636f6d"
    "0e04 001c 0000"
    "100c 05 01 0a00020f 02 00000002 00"
    "0804 65746831"
    "fe09 00120f 03 01 00000000"
    "fe09 00120f 01 036c01001e"
    "0000"
)
"""lldpd of Ubuntu 14.04 on a host: capable of bridging, and does not."""


def heard(payload: bytes) -> SwitchPort:
    found = lldp.decode(payload, heard=7.0)
    assert isinstance(found, SwitchPort), found
    return found


def test_a_summit_as_captured() -> None:
    assert heard(SUMMIT) == SwitchPort(
        source=Kind.LLDP,
        chassis=Identity(kind="mac", text="00:01:30:f9:ad:a0"),
        port=Identity(kind="ifname", text="1/1"),
        system="Summit300-48",
        system_description="Summit300-48 - Version 7.4e.1 (Build 5) by Release_Master 05/27/05 04:53:11",
        port_description="Summit300-48-Port 1001",
        is_bridge=True,
        pvid=488,
        vlans={488: "v2-0488-03-0505"},
        aggregation=Aggregation(capable=True, active=False),
        max_frame=1522,
        management=("00:01:30:f9:ad:a0",),
        hold_s=120,
        heard=7.0,
    )


def test_a_small_business_switch_and_a_host_as_captured() -> None:
    small = heard(CBS250)
    assert (small.chassis.text, small.port, small.switch) == (
        "8c:1e:80:72:51:26",
        Identity(kind="mac", text="8c:1e:80:72:51:27"),
        "lab-switch",
    )
    assert (small.is_bridge, small.pvid, small.vlans, small.aggregation, small.max_frame) == (True, 1, {}, None, None)
    host = heard(LLDPD)
    assert (host.system, host.is_bridge, host.management, host.port_description) == (
        "pc1.example.com",
        False,
        ("10.0.2.15",),
        "eth1",
    )


HEAD = bytes.fromhex("0207 04 020000000001 0404 05 652f31 0602 0078")


def organised(text: str) -> bytes:
    value = bytes.fromhex(text)
    return bytes([0xFE, len(value)]) + value


@pytest.mark.parametrize(
    ("tlvs", "expected"),
    [
        ("0080c2 07 03 00000007", Aggregation(capable=True, active=True, port_id=7)),
        ("00120f 03 03 00000009", Aggregation(capable=True, active=True, port_id=9)),
        ("0080c2 07 03 000000", None),
        ("001018 07 03 00000007", None),
    ],
)
def test_the_aggregate_in_its_new_home_and_its_old(tlvs: str, expected: Aggregation | None) -> None:
    assert heard(HEAD + organised(tlvs)).aggregation == expected


def test_the_new_home_of_the_aggregate_counts_before_the_old_whatever_comes_first() -> None:
    old, new = organised("00120f 03 01 00000000"), organised("0080c2 07 03 00000007")
    for order in ((old, new), (new, old)):
        assert heard(HEAD + b"".join(order)).aggregation == Aggregation(capable=True, active=True, port_id=7)


def test_a_pvid_of_none_and_one_that_cannot_be() -> None:
    assert heard(HEAD).pvid is None
    assert heard(HEAD + organised("0080c2 01 0000")).pvid == 0
    assert heard(HEAD + organised("0080c2 01 0fff")).pvid is None
    assert heard(HEAD + organised("0080c2 01 0005") + organised("0080c2 01 0006")).pvid == 5


def test_vlans_that_cannot_be_are_none() -> None:
    good = "0080c2 03 0064 02 6162"
    bad = ("0080c2 03 0000 02 6162", "0080c2 03 0fff 02 6162", "0080c2 03 0065 21" + "61" * 33, "0080c2 03 0065 05 61")
    assert heard(HEAD + b"".join(map(organised, (good, *bad)))).vlans == {100: "ab"}


def vlan(vid: int, name: str = "") -> bytes:
    return organised(f"0080c2 03 {vid:04x} {len(name):02x} {name.encode().hex()}")


def test_the_list_of_vlans_may_be_cut() -> None:
    microtik = bytes.fromhex("0c13") + b"MikroTik RouterOS 7"
    nine, ten = (b"".join(vlan(v) for v in range(2, 2 + n)) for n in (9, 10))
    assert not heard(HEAD + ten).vlans_cut
    assert not heard(HEAD + microtik + nine).vlans_cut
    assert heard(HEAD + microtik + ten).vlans_cut
    assert not heard(HEAD + microtik).vlans_cut  # it names none: nothing is said of VLANs at all
    many = HEAD + b"".join(vlan(v, "v" * 32) for v in range(2, 36))
    assert 1400 <= len(many) <= 1500
    assert heard(many).vlans_cut


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("04 0200000000ff", Identity(kind="mac", text="02:00:00:00:00:ff")),
        ("04 0200", Identity(kind="local", text="02:00")),
        ("05 01 0a000001", Identity(kind="address", text="10.0.0.1")),
        ("05 02 fe80000000000000000000000000000a", Identity(kind="address", text="fe80::a")),
        ("05 01 0a0000", Identity(kind="address", text="0a:00:00")),
        ("06 657468", Identity(kind="ifname", text="eth")),
        ("09 657468", Identity(kind="local", text="eth")),
        ("07 ff", Identity(kind="local", text="�")),
    ],
)
def test_names_of_a_chassis(value: str, expected: Identity) -> None:
    name = bytes.fromhex(value)
    assert heard(bytes([2, len(name)]) + name + HEAD[9:]).chassis == expected


def test_who_goes_away_says_so_with_a_time_to_live_of_zero() -> None:
    gone = lldp.decode(HEAD[:-2] + b"\0\0")
    assert gone == Gone(Identity(kind="mac", text="02:00:00:00:00:01"), Identity(kind="ifname", text="e/1"))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "it does not begin"),
        (bytes(46), "it does not begin"),
        (HEAD[9:], "it does not begin"),
        (HEAD[:-4], "it does not begin"),
        (HEAD[:-1], "TLV 3 says 2 bytes and has 1"),
        (HEAD[:-4] + b"\x06\1\0", "the time to live is cut off"),
        (HEAD + b"\xfe", "a TLV's head is cut off"),
        (HEAD + b"\xfe\xff\0", "TLV 127 says 255 bytes and has 1"),
        (b"\2\1\4" + HEAD[9:], "its chassis has no name"),
        (HEAD[:9] + b"\4\1\5" + HEAD[-4:], "its port has no name"),
        (b"\3\1\4" + bytes(256) + HEAD[9:], "its chassis has no name, or one of over 255 bytes"),
    ],
)
def test_what_is_no_lldp_is_said_why(payload: bytes, reason: str) -> None:
    found = lldp.decode(payload)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(reason)


def test_padding_behind_the_end_is_no_matter() -> None:
    assert heard(HEAD + bytes(2) + b"\xff" * 20) == heard(HEAD)


def test_more_than_a_frame_holds_is_not_sent() -> None:
    vlans = {Vid(vid): f"vlan{vid}" for vid in range(2, 200)}
    with pytest.raises(ValueError, match="fits into no frame"):
        lldp.encode(replace(heard(CBS250), vlans=vlans))


def test_a_tlv_of_an_organisation_that_nobody_knows_says_nothing() -> None:
    told = Told()
    for subtype in range(256):
        told.take(b"\0\x12\xbb", subtype, bytes(40))
    assert (told.pvid, told.vlans, told.aggregation, told.max_frame) == (None, {}, None, None)


# CDP ----------------------------------------------------------------------------------------------

SG250 = bytes.fromhex(
    "00cd aaaa03 00000c 2000 02 b4 6953"
    "0001 0010 346337313063313965333064"
    "0002 0049 00000003 0101cc0004c0a80020 0208aaaa0300000086dd0010fe800000000000004e710cfffe19e30d"
    "0208aaaa0300000086dd001026010647480216200000000000000001"
    "0003 0007 676935"
    "0004 0008 00000029"
    "0005 000c 322e342e352e3731"
    "0006 0028 436973636f2053473235302d303820285049443a53473235302d30382d4b39292d565344"
    "000a 0006 0001"
    "000b 0005 01"
    "0012 0005 00"
    "0013 0005 00"
    "0014 0010 737769746368313965333064"
)
"""Cisco SG250-08; the checksum as it came."""


def test_a_cdp_switch_as_captured() -> None:
    found = cdp.decode(SG250, heard=7.0)
    assert found == SwitchPort(
        source=Kind.CDP,
        chassis=Identity(kind="local", text="4c710c19e30d"),
        port=Identity(kind="ifname", text="gi5"),
        system="4c710c19e30d",
        system_description="2.4.5.71",
        is_bridge=True,
        pvid=1,
        hold_s=180,
        heard=7.0,
    )
    assert cdp.decode(SG250 + bytes(30), heard=7.0) == found


SHORT = bytes.fromhex("aaaa03 00000c 2000 02 b4 0000 0001 0006 7331 0003 0007 652f31 0011 0008 00002400")


def lengthy(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def test_cdp_with_a_frame_size_and_padding() -> None:
    found = cdp.decode(lengthy(SHORT) + bytes(20))
    assert isinstance(found, SwitchPort)
    assert (found.max_frame, found.pvid, found.is_bridge) == (9216, None, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is no CDP"),
        (lengthy(b"\x42\x42\3" + bytes(40)), "it is no CDP"),
        (lengthy(SHORT[:10]), "the head is cut off"),
        (lengthy(SHORT[:12]), "it names no device"),
        (lengthy(SHORT[:-1]), "TLV 17 says 8 bytes and has 7"),
        (lengthy(SHORT[:-8] + b"\0"), "a TLV's head is cut off"),
        (lengthy(SHORT + bytes(4)), "TLV 0 says 0 bytes and has 4"),
        (lengthy(SHORT[:18]), "it names no device or no port"),
    ],
)
def test_what_is_no_cdp_is_said_why(data: bytes, reason: str) -> None:
    found = cdp.decode(data)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(reason)


def test_a_cdp_device_that_goes_away() -> None:
    assert isinstance(cdp.decode(lengthy(SHORT[:9] + b"\0" + SHORT[10:])), Gone)
