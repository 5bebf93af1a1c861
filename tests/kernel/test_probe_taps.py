"""Probes on a real kernel: taps below a bridge and a bond, tags, and that nothing behind the NIC sees them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from tests.kernel.conftest import Ns

from windrow.frames.probe import BROADCAST, ETHERTYPE, ethernet
from windrow.model.values import IfName, Mac, PortVlans, VidSet
from windrow.netlink import ingress, links
from windrow.sense.probes import Tap

OURS, THEIRS = Mac("02:00:00:00:00:aa"), Mac("02:00:00:00:00:bb")
NIC, FAR, GUEST = IfName("eth0"), IfName("far"), IfName("guest")


@pytest.fixture
def cable(new_ns: Callable[[], Ns]) -> tuple[Ns, Ns]:
    """A host and what is at the far end of its cable."""
    here, there = new_ns(), new_ns()
    here.run(links.veth(links.End(name=NIC), links.End(name=FAR, netns=there.fd)))
    here.run(links.set_link(NIC, up=True))
    there.run(links.set_link(FAR, up=True))
    return here, there


@pytest.fixture
def host(cable: tuple[Ns, Ns], new_ns: Callable[[], Ns]) -> tuple[Ns, Ns, Ns]:
    """The host has a bridge on its NIC, and a guest in VLAN 100 and the untagged one: host, cable's end, guest."""
    (here, there), guest = cable, new_ns()
    here.run(links.create("br", "bridge", data={"vlan_filtering": 1}, up=True))
    here.run(links.veth(links.End(name="port"), links.End(name=GUEST, netns=guest.fd)))
    for port in (NIC, "port"):
        here.run(links.set_master(port, here.index("br"), "br"), links.set_link(port, up=True))
        here.run(links.add_vlans(here.index(port), PortVlans(tagged=VidSet.of([100]))))
    guest.run(links.set_link(GUEST, up=True))
    return here, there, guest


@contextmanager
def tap(ns: Ns, nic: str, mac: Mac = OURS) -> Iterator[Tap]:
    opened = ns.inside(lambda: Tap(IfName(nic), [mac]))
    assert isinstance(opened, Tap)
    with closing(opened):
        yield opened


def heard(at: Tap, seconds: float = 1.0) -> list[tuple[int, bytes]]:
    """All that comes in within a moment of the first."""
    found: list[tuple[int, bytes]] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not found:
        found += at.receive()
        time.sleep(0.01)
    return found + list(at.receive())


def frame(payload: bytes, vid: int, to: str = BROADCAST) -> bytes:
    return ethernet(payload.ljust(46, b"\0"), to=to, source=THEIRS, vid=vid)


def word(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [(vid, data.rstrip(b"\0")) for vid, data in found]


@pytest.mark.parametrize("vid", [0, 1, 100, 4094])
def test_a_tag_comes_with_the_frame(cable: tuple[Ns, Ns], vid: int) -> None:
    here, there = cable
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        assert theirs.send(frame(b"hello", vid)) == ""
        assert word(heard(ours)) == [(vid, b"hello")]
        assert not list(theirs.receive()), "it hears what it sent itself"


def test_a_priority_tag_is_no_vlan(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        tagged = bytes.fromhex("8100a000") + ETHERTYPE.to_bytes(2, "big") + b"x" * 46
        theirs.send(b"\xff" * 6 + b"\x02\0\0\0\0\xbb" + tagged)
        assert [vid for vid, _ in heard(ours)] == [0]


def test_only_what_is_for_everybody_or_for_this_nic(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        theirs.send(frame(b"for another", 5, "02:00:00:00:00:cc"))
        theirs.send(frame(b"for us", 5, OURS))
        assert word(heard(ours)) == [(5, b"for us")]


def test_other_traffic_does_not_come_to_us(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        other = frame(b"arp", 0)
        theirs.send(other[:12] + b"\x08\x06" + other[14:])
        theirs.send(frame(b"probe", 0))
        assert word(heard(ours)) == [(0, b"probe")]


def test_a_tap_is_below_a_bridge(host: tuple[Ns, Ns, Ns]) -> None:
    here, there, _ = host
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        theirs.send(frame(b"hello", 100))
        assert word(heard(ours)) == [(100, b"hello")]
        assert ours.send(frame(b"back", 100)) == ""
        assert word(heard(theirs)) == [(100, b"back")], "what a bridge port's tap sends leaves by its NIC"


def test_a_tap_is_below_a_bond(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    here.run(links.create("bond", "bond", data={"mode": 1, "miimon": 100}))
    here.run(links.set_link(NIC, up=False), links.set_master(NIC, here.index("bond"), "bond"))
    here.run(links.set_link("bond", up=True))
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        theirs.send(frame(b"hello", 100))
        assert word(heard(ours)) == [(100, b"hello")]


@pytest.mark.parametrize("vid", [0, 100])
def test_guests_see_nothing(host: tuple[Ns, Ns, Ns], vid: int) -> None:
    here, there, guest = host
    with tap(here, NIC) as ours, tap(there, FAR) as theirs, tap(guest, GUEST) as inside:
        theirs.send(frame(b"one", vid))
        assert [data for _, data in word(heard(inside))] == [b"one"], "without the filter the guest would see it"
        ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
        list(ours.receive())
        theirs.send(frame(b"two", vid))
        assert word(heard(ours)) == [(vid, b"two")]
        assert not heard(inside, 0.3)
        ingress.let_frames(here.rtnl, NIC)
        theirs.send(frame(b"three", vid))
        assert [data for _, data in word(heard(inside))] == [b"three"]


def test_a_guest_can_send_none(host: tuple[Ns, Ns, Ns]) -> None:
    here, there, guest = host
    ingress.end_frames(here.rtnl, "port", ETHERTYPE)
    with tap(there, FAR) as theirs, tap(guest, GUEST) as inside:
        inside.send(frame(b"forged", 100))
        inside.send(frame(b"forged", 0))
        assert not heard(theirs, 0.3)


def test_other_frames_pass_the_filter(host: tuple[Ns, Ns, Ns]) -> None:
    here, there, guest = host
    ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
    with closing(guest.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B6)))) as other:  # type: ignore[type-var]
        assert isinstance(other, socket.socket)
        other.settimeout(2)
        with tap(there, FAR) as theirs:
            theirs.send(b"\xff" * 6 + b"\x02\0\0\0\0\xbb" + b"\x88\xb6" + b"other".ljust(46, b"\0"))
        assert other.recv(100)[14:19] == b"other"


def test_the_filter_twice_and_its_end(cable: tuple[Ns, Ns]) -> None:
    here, _ = cable
    for _ in range(2):
        ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
    ingress.let_frames(here.rtnl, NIC)
    assert hook_is_free(here), "the hook that was made for the filter goes with it"
    ingress.let_frames(here.rtnl, NIC)
    ingress.let_frames(here.rtnl, "nobody")


def hook_is_free(ns: Ns) -> bool:
    """Whether nobody has the hook; takes it, if so."""
    return ingress._qdisc(ns.rtnl, ns.index(NIC), NIC)


def test_a_hook_of_others_is_used_and_left(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    assert hook_is_free(here)  # taken by "another" from here on
    ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
    ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
    ingress.let_frames(here.rtnl, NIC)
    assert not hook_is_free(here)
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        theirs.send(frame(b"hello", 0))
        assert word(heard(ours)) == [(0, b"hello")]


def test_a_filter_of_others_keeps_the_hook(cable: tuple[Ns, Ns]) -> None:
    here, _ = cable
    ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
    index = here.index(NIC)
    other = ingress._filter(index, NIC, 0x1234, 0x1234)
    body = ingress._TCMSG.pack(0, index, 7, ingress._HOOK, 5 << 16 | ingress._ETH_P_ALL_BE)
    here.run(ingress.Message(other.type, body + other.body[ingress._TCMSG.size :], other.flags, other.doing))
    ingress.let_frames(here.rtnl, NIC)
    assert [info >> 16 for info, values in ingress._filters(here.rtnl, index) if "options" in values] == [5]


def test_what_a_killed_process_left_is_cleared_up_after(cable: tuple[Ns, Ns]) -> None:
    """The next one knows from the filter's mark whose the hook is."""
    here, _ = cable
    ingress.end_frames(here.rtnl, NIC, ETHERTYPE)  # and its process dies here
    ingress.end_frames(here.rtnl, NIC, ETHERTYPE)
    ingress.let_frames(here.rtnl, NIC)
    assert hook_is_free(here)


def test_carrier(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    with tap(here, NIC) as ours:
        assert ours.running
        there.run(links.set_link(FAR, up=False))
        end = time.monotonic() + 5
        while ours.running and time.monotonic() < end:  # the kernel tells a moment later (linkwatch)
            time.sleep(0.01)
        assert not ours.running
        assert ours.send(frame(b"x" * 3000, 0)), "what cannot be sent says why"


def test_the_longest_frame_is_the_mtu_with_a_tag(cable: tuple[Ns, Ns]) -> None:
    here, there = cable
    with tap(here, NIC) as ours, tap(there, FAR) as theirs:
        assert theirs.send(ethernet(b"x" * 1500, to=OURS, source=THEIRS, vid=100)) == ""
        assert theirs.send(ethernet(b"x" * 1501, to=OURS, source=THEIRS, vid=100))
        assert [len(data) for _, data in heard(ours)] == [1500]
