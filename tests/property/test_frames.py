"""Frames from anybody: nothing that comes in raises, and what is said is read as it was meant.

`WINDROW_FRAMES=1000000` is how many frames are bent; a few thousand without it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from windrow.frames import arp, cdp, dhcp, lacp, lldp, neighbour
from windrow.frames.lldp import Gone
from windrow.frames.reading import Unreadable
from windrow.model.evidence import Aggregation, Identity, Kind, LacpSide, RouterAdvert, SwitchPort
from windrow.model.values import Mac, Vid

FRAMES = int(os.environ.get("WINDROW_FRAMES", "8000"))
RAW = bytes.fromhex("02000000000a")

words = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=1, max_size=30).filter(
    lambda words: words == words.strip()  # what is around a text is not said
)
macs = st.binary(min_size=6, max_size=6).map(lambda raw: Mac(raw.hex(":")))
v4 = st.ip_addresses(v=4).map(str)
addresses = v4 | st.ip_addresses(v=6).map(str)


def identities(*kinds: str) -> st.SearchStrategy[Identity]:
    named = st.builds(Identity, kind=st.sampled_from(kinds), text=words)
    return (
        named
        | st.builds(Identity, kind=st.just("mac"), text=macs)
        | st.builds(Identity, kind=st.just("address"), text=addresses)
    )


u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
ports = st.builds(
    SwitchPort,
    source=st.just(Kind.LLDP),
    chassis=identities("component", "ifalias", "ifname", "local"),
    port=identities("ifalias", "component", "ifname", "circuit", "local"),
    system=st.just("") | words,
    system_description=st.just("") | words,
    port_description=st.just("") | words,
    is_bridge=st.none() | st.booleans(),
    pvid=st.none() | st.integers(0, 4094),
    vlans=st.dictionaries(
        st.integers(1, 4094).map(Vid), st.just("") | words.map(lambda w: w[:16].strip()), max_size=12
    ),
    aggregation=st.none() | st.builds(Aggregation, capable=st.booleans(), active=st.booleans(), port_id=u32),
    max_frame=st.none() | st.integers(1, 0xFFFF),
    management=st.lists(addresses, max_size=3).map(tuple),
    hold_s=st.integers(1, 0xFFFF),
)
sides = st.builds(
    LacpSide,
    system=macs,
    key=u16,
    port=u16,
    state=st.integers(0, 255),
    system_priority=u16,
    port_priority=u16,
)


@given(ports, st.booleans(), st.binary(max_size=46))
def test_lldp_comes_back_as_it_was_said(port: SwitchPort, dot3: bool, padding: bytes) -> None:
    assert lldp.decode(lldp.encode(port, dot3_aggregation=dot3) + padding) == port


@given(sides, sides)
def test_lacp_comes_back_as_it_was_said(sent: LacpSide, about_us: LacpSide) -> None:
    pdu = lacp.Lacpdu(sent=sent, about_us=about_us)
    assert lacp.decode(lacp.encode(pdu)) == pdu


Reader = Callable[[bytes], object]
PORT = SwitchPort(
    source=Kind.LLDP,
    chassis=Identity(kind="mac", text="02:00:00:00:00:01"),
    port=Identity(kind="ifname", text="e1"),
    system="leaf",
    pvid=7,
    vlans={Vid(100): "a", Vid(200): "b"},
    aggregation=Aggregation(capable=True, active=True, port_id=3),
    max_frame=1522,
    management=("10.0.0.1", "fd00::1"),
    is_bridge=True,
    hold_s=120,
)
SIDE = LacpSide(system=Mac("02:00:00:00:00:01"), key=1, port=2, state=61)
CDP = bytes.fromhex("0028 aaaa0300000c2000 02b40000 0001000673 31 0003 0007 652f31 000a 0006 0007 0011 0008 000005dc")
OFFER = (
    bytes.fromhex("45000000000000004011000001020304ffffffff 0043004400000000 020106000000000700008000000000000a090011")
    + bytes(8)
    + RAW
    + bytes(202)
    + bytes.fromhex("63825363 350102 36040a090002 0104ffffff00 03080a0900010a090003 3304 00000e10 1a02 05aa ff")
)
READERS: dict[str, tuple[bytes, Reader, tuple[type, ...]]] = {
    "LLDP": (lldp.encode(PORT), lldp.decode, (SwitchPort, Gone, Unreadable)),
    "CDP": (CDP, cdp.decode, (SwitchPort, Gone, Unreadable)),
    "LACP": (lacp.encode(lacp.Lacpdu(sent=SIDE, about_us=SIDE)), lacp.decode, (lacp.Lacpdu, Unreadable)),
    "DHCP": (OFFER, lambda data: offered(data), (object,)),
    "ARP": (arp.gratuitous(RAW, b"\x0a\0\0\1")[14:], arp.parse, (arp.Arp, type(None))),
    "ND": (
        neighbour.unsolicited(RAW, bytes(15) + b"\1", router=True)[14:],
        lambda data: neighbour.parse(data, RAW),
        (neighbour.Advertisement, RouterAdvert, Unreadable),
    ),
}


def offered(data: bytes) -> object:
    reply = dhcp.parse(data)
    return reply if isinstance(reply, Unreadable) else dhcp.offer(reply, RAW)


def bent(whole: bytes, dice: random.Random, count: int) -> Iterator[bytes]:
    """Bytes turned, cut out, doubled and put in, the lengths of parts among them; and noise."""
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 4, 16))):
            at = dice.randrange(len(data) + 1)
            match dice.randrange(6):
                case 0 if at < len(data):
                    data[at] ^= 1 << dice.randrange(8)
                case 1 if at < len(data):
                    data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
                case 2:
                    del data[at:]
                case 3:
                    del data[at : at + dice.randrange(1, 9)]
                case 4:
                    data[at:at] = data[: dice.randrange(64)]
                case _:
                    data[at:at] = dice.randbytes(dice.randrange(1, 16))
        yield bytes(data[:9216])


def test_no_frame_raises() -> None:
    """Each reader says what it is, or why it is not, whatever the bytes."""
    for name, (whole, read, kinds) in READERS.items():
        dice = random.Random(name)
        first = read(whole)
        assert not isinstance(first, Unreadable) and first is not None, (name, first)
        for data in bent(whole, dice, FRAMES // len(READERS) + 1):
            found = read(data)
            assert isinstance(found, kinds), (name, data.hex(), found)


def test_what_a_bent_frame_says_is_within_bounds() -> None:
    """Texts and lists are no longer than a frame; numbers are what they can be."""
    dice = random.Random("bounds")
    for data in bent(READERS["LLDP"][0], dice, min(FRAMES, 20000)):
        found = lldp.decode(data)
        if isinstance(found, SwitchPort):
            assert all(1 <= vid <= 4094 for vid in found.vlans)
            assert found.pvid is None or 0 <= found.pvid <= 4094
            assert 0 < found.hold_s <= 0xFFFF
            assert len(found.vlans) * 7 <= len(data)
            assert len(found.system) <= 511 and len(found.chassis.text) <= 3 * 255


@given(st.binary(max_size=600))
def test_noise_is_none_of_them(noise: bytes) -> None:
    for name, (_, read, kinds) in READERS.items():
        assert isinstance(read(noise), kinds), name
