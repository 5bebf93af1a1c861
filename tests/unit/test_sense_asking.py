"""How VLANs are asked: what is sent, how often, how fast; and whose answers count."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from windrow.frames import arp, dhcp, ethernet, neighbour
from windrow.frames.reading import ip_text
from windrow.model.evidence import Kind
from windrow.model.values import IfName, Mac
from windrow.netlink import errors
from windrow.netlink.packets import Packet
from windrow.sense import asking
from windrow.sense.asking import Asking, Question
from windrow.sense.manners import DHCP_PAUSE_S, Manners

BOND = IfName("oob-bo")
OURS, ROUTER, OTHER = (bytes.fromhex(f"0200000000{n:02x}") for n in (0x0A, 0x01, 0x02))
CLOCK = 1_000_000.0


class Wire:
    """In the place of a packet socket: what was sent, and what is to come in."""

    made: list[Wire]

    def __init__(self, link: IfName, rules: object) -> None:
        self.link, self.mac = link, OURS
        self.sent: list[tuple[float, bytes]] = []
        self.now = 0.0
        self.coming: list[Packet] = []
        self.up = True
        Wire.made.append(self)

    def send(self, frame: bytes) -> str:
        self.sent.append((self.now, frame))
        return "" if self.up else "Network is down"

    def receive(self) -> Iterator[Packet]:
        while self.coming:
            yield self.coming.pop(0)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def wires(monkeypatch: pytest.MonkeyPatch) -> list[Wire]:
    Wire.made = []
    monkeypatch.setattr(asking, "PacketSocket", Wire)
    return Wire.made


def question(vid: int = 100, **more: object) -> Question:
    values: dict[str, object] = {"gateways": ("10.9.0.1",), **more}
    return Question(cluster_network="oob", vid=vid, link=BOND, tag=vid, **values)  # type: ignore[arg-type]


def asked(*questions: Question, manners: Manners | None = None) -> tuple[Asking, Wire]:
    made = Asking(questions, frozenset({Mac(OURS.hex(":"))}), manners or Manners(), 0.0)
    return made, Wire.made[-1]


def go(one: Asking, wire: Wire, until: float, clock: float = CLOCK) -> None:
    for step in range(int(until * 1000)):
        wire.now = step / 1000
        one.step(wire.now, clock + wire.now)


def kinds(wire: Wire) -> list[tuple[int, str]]:
    """(VID, what) of each frame."""
    found = []
    for _, frame in wire.sent:
        tag, ethertype = int.from_bytes(frame[14:16], "big"), int.from_bytes(frame[16:18], "big")
        name = {ethernet.ARP: "ARP", ethernet.IPV4: "DHCP", ethernet.IPV6: f"ICMPv6 {frame[18 + 40]}"}[ethertype]
        found.append((tag, name))
    return found


def test_what_is_asked_in_a_vlan_that_stays_silent() -> None:
    one, wire = asked(question(own=("fd00::9",)))
    go(one, wire, 30)
    assert sorted(kinds(wire)) == sorted(
        [(100, "ARP")] * 3 + [(100, "ICMPv6 135")] * 3 + [(100, "ICMPv6 133")] * 2 + [(100, "DHCP")]
    )
    (found,), absent = one.evidence()
    assert found.asked == {Kind.ARP, Kind.ND, Kind.RA, Kind.DHCP}
    assert ([(a.address, a.macs, a.asked) for a in found.gateways], found.duplicates, absent) == (
        [("10.9.0.1", (), 3)],
        (),
        (),
    )
    assert one.due(31.0) is None and one.settled(31.0)


def test_at_most_a_hundred_frames_a_second_however_many_vlans() -> None:
    one, wire = asked(*(question(vid) for vid in range(2, 502)))
    go(one, wire, 30)
    times = [at for at, _ in wire.sent]
    assert len(times) > 1500
    assert all(later - earlier >= 0.0099 for earlier, later in pairwise(times))
    discovers = [vid for vid, what in kinds(wire) if what == "DHCP"]
    assert sorted(discovers) == list(range(2, 502))


def test_the_second_time_within_five_minutes_what_was_offered_counts_and_nothing_is_asked() -> None:
    manners = Manners()
    one, wire = asked(question(), manners=manners)
    go(one, wire, 2)
    wire.coming.append(Packet(100, offer(transaction(wire))))
    one.hear(wire)  # type: ignore[arg-type]
    assert [o.address for o in one.evidence()[0][0].offers] == ["10.9.0.17"]
    go(one, wire, 6)
    again, second = asked(question(), manners=manners)
    go(again, second, 2, CLOCK + 60)
    assert "DHCP" not in [what for _, what in kinds(second)]
    assert [o.address for o in again.evidence()[0][0].offers] == ["10.9.0.17"]
    later, third = asked(question(), manners=manners)
    go(later, third, 2, CLOCK + DHCP_PAUSE_S + 1)
    assert "DHCP" in [what for _, what in kinds(third)]


def test_silence_says_nothing_before_its_time_is_over() -> None:
    """Whoever looks, or asks anew, while a server may still answer is not told that there is none."""
    manners = Manners()
    one, wire = asked(question(), manners=manners)
    go(one, wire, 1.5)
    (early,), _ = one.evidence()
    assert (early.asked, early.gateways, one.settled(1.5)) == (frozenset(), (), False)
    again, second = asked(question(), manners=manners)
    go(again, second, 1.5, CLOCK + 2)
    (found,), absent = again.evidence()
    assert Kind.DHCP not in found.asked
    assert "asked less than five minutes ago: again in 298 s" in absent[0].reason
    go(one, wire, 6)
    assert manners.known(("oob", 100)) == ()
    assert one.evidence()[0][0].asked >= {Kind.ARP, Kind.DHCP}


def transaction(wire: Wire, vid: int = 100) -> int:
    frame = next(f for _, f in wire.sent if f[14:18] == vid.to_bytes(2, "big") + b"\x08\0")
    return int.from_bytes(frame[18 + 28 + 4 : 18 + 28 + 8], "big")


def offer(number: int, source: bytes = ROUTER, address: str = "0a090011") -> bytes:
    """A server's answer, made of a client's question."""
    bootp = bytearray(dhcp.ask(source, number, {dhcp.MESSAGE: bytes([dhcp.OFFER])})[14:])
    bootp[28], bootp[28 + 16 : 28 + 20] = 2, bytes.fromhex(address)
    bootp[12:16] = bytes.fromhex("0a090001")
    bootp[20:24] = bytes.fromhex("00430044")
    return OURS + source + b"\x08\0" + bytes(bootp)


def arp_reply(address: bytes, mac: bytes, source: bytes | None = None) -> bytes:
    told = arp.Arp(operation=arp.REPLY, sender_mac=mac, sender=address, target_mac=OURS)
    return OURS + (source or mac) + b"\x08\6" + told.pack()


def test_whose_answers_count() -> None:
    one, wire = asked(question(own=("10.9.0.50",)), question(200))
    go(one, wire, 0.5)
    number = transaction(wire)
    wire.coming += [
        Packet(100, arp_reply(b"\x0a\x09\0\1", ROUTER)),
        Packet(100, arp_reply(b"\x0a\x09\0\1", OTHER)),
        Packet(100, arp_reply(b"\x0a\x09\0\x32", OURS)),  # ours, as it should be
        Packet(100, arp_reply(b"\x0a\x09\0\x63", OTHER)),  # nobody asked for it
        Packet(200, arp_reply(b"\x0a\x09\0\x32", OTHER)),  # in a VLAN where it is nobody's matter
        Packet(300, arp_reply(b"\x0a\x09\0\1", OTHER)),  # in a VLAN that is not asked about
        Packet(100, arp_reply(b"\x0a\x09\0\1", OURS, OTHER)),
        Packet(100, offer(number + 1)),  # to somebody else
        Packet(200, offer(number)),  # in another VLAN than the one asked
        Packet(100, b"\xff" * 12 + b"\x08\0" + bytes(3)),
        Packet(100, b"\xff" * 12 + b"\x86\xdd" + bytes(80)),
    ]
    one.hear(wire)  # type: ignore[arg-type]
    first, second = one.evidence()[0]
    assert [a.macs for a in first.gateways] == [(ROUTER.hex(":"), OTHER.hex(":"))]
    assert (first.duplicates, first.offers, second.offers, second.gateways) == ((), (), (), ())
    wire.coming.append(Packet(100, arp_reply(b"\x0a\x09\0\x32", OTHER)))
    one.hear(wire)  # type: ignore[arg-type]
    assert [(a.address, a.macs) for a in one.evidence()[0][0].duplicates] == [("10.9.0.50", (OTHER.hex(":"),))]


def test_an_address_of_ipv6_however_it_is_written() -> None:
    one, wire = asked(question(gateways=("fd00:9:0::1",)))
    go(one, wire, 0.5)
    address = bytes.fromhex("fd00000900000000" + "0000000000000001")
    assert ip_text(address) == "fd00:9::1"
    wire.coming.append(Packet(100, neighbour.unsolicited(ROUTER, address, router=True)))
    one.hear(wire)  # type: ignore[arg-type]
    go(one, wire, 10)
    (found,), _ = one.evidence()
    assert [(a.address, a.macs, a.asked) for a in found.gateways] == [("fd00:9:0::1", (ROUTER.hex(":"),), 1)]


def test_a_flood_of_answers_is_bounded() -> None:
    one, wire = asked(question())
    go(one, wire, 2)
    number = transaction(wire)
    for n in range(1000):
        mac = bytes.fromhex(f"02000001{n:04x}")
        wire.coming.append(Packet(100, offer(number, mac)))
        wire.coming.append(Packet(100, arp_reply(b"\x0a\x09\0\1", mac)))
    one.hear(wire)  # type: ignore[arg-type]
    (found,), _ = one.evidence()
    assert (len(found.offers), len(found.gateways[0].macs)) == (asking.ANSWERS_MAX, asking.ANSWERS_MAX)


def test_what_could_not_be_sent_was_not_asked() -> None:
    one, wire = asked(question())
    wire.up = False
    go(one, wire, 20)
    (found,), absent = one.evidence()
    assert (found.asked, found.gateways) == (frozenset(), ())
    assert {(a.kind, a.nic, a.reason) for a in absent} == {
        (Kind.DHCP, BOND, "VLAN 100 of oob was not asked: oob-bo takes no frame: Network is down")
    }


def test_a_link_that_may_not_be_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(link: IfName, rules: object) -> Wire:
        raise errors.of(1, f"listen on {link}")

    monkeypatch.setattr(asking, "PacketSocket", refuse)
    one = Asking([question()], frozenset(), Manners(), 0.0)
    one.step(0.0, CLOCK)
    (found,), absent = one.evidence()
    assert found.asked == frozenset() and one.due(0.0) is None
    assert {a.kind for a in absent} == {Kind.ARP, Kind.ND, Kind.DHCP, Kind.RA}
    assert all("listen on oob-bo" in a.reason for a in absent)
