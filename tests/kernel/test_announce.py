"""What is heard of ways and addresses on a real kernel, and the frames that leave by an uplink."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.kernel.conftest import Ns

from windrow.apps.herald import BURST, PAUSE_S, Herald
from windrow.frames import arp, ethernet
from windrow.model.announcing import Leg, Scene
from windrow.model.bonding import BondMode
from windrow.model.host import Bond, Bridge, Link, PortVlans
from windrow.model.ports import PortRecord
from windrow.model.steps import AddAddr, CreateLink, SetBond, SetBridge, SetLink, SetMaster, SetVlans
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import links, netns
from windrow.netlink.scenes import Watch
from windrow.status.announcements import TIMES_S
from windrow.testing import builders

VIDS = PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.of([100, 200]))
MACHINE, NATIVE, OUTSIDE = (f"02:00:00:00:0a:0{n}" for n in range(3))
LAST_S = TIMES_S[-1] + 0.7
AUXDATA = struct.Struct("=IIIHHHH")


def nic(ns: Ns, there: Ns, name: str) -> None:
    ns.run(links.veth(links.End(name=name), links.End(name=name, netns=there.fd)))
    there.run(links.set_link(name, up=True))


def network(ns: Ns, there: Ns, mode: BondMode = BondMode.ACTIVE_BACKUP) -> None:
    """oob-br on oob-bo of eth0 and eth1, whose other ends are in `there`; vm is a port in VLAN 100, and old in 1."""
    nic(ns, there, "eth0")
    nic(ns, there, "eth1")
    bond = Link(name=IfName("oob-bo"), spec=Bond(mode=mode, miimon=50))
    ns.do(
        ("oob-bo", CreateLink(bond)),
        ("oob-br", CreateLink(Link(name=IfName("oob-br"), spec=Bridge(vlan_filtering=True)))),
        ("eth0", SetMaster(IfName("oob-bo"))),
        ("eth1", SetMaster(IfName("oob-bo"))),
        ("oob-bo", SetMaster(IfName("oob-br"))),
        ("oob-bo", SetVlans(add=VIDS)),
        ("oob-bo", SetLink(up=True)),
        ("oob-br", SetLink(up=True)),
    )
    for name, vid in (("vm", 100), ("old", 1)):
        ns.run(links.veth(links.End(name=name), links.End(name=f"{name}x"), master=ns.index("oob-br")))
        vlans = PortVlans(pvid=vid, untagged=VidSet.of([vid]))
        ns.do((name, SetVlans(add=vlans, remove=VidSet.of([1]) - vlans.all)))
        ns.run(links.set_link(name, up=True), links.set_link(f"{name}x", up=True))
    wait(lambda: ns.runtime("oob-br").oper == "up")


def wait(what: Callable[[], object], patience_s: float = 10.0) -> None:
    end = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def say(ns: Ns, link: str, mac: str, vid: int | None = None) -> None:
    """A frame from `mac` that comes out of `link`."""
    wire = netns.opened_in(ns.fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with wire:
        frame = ethernet.frame(ethernet.BROADCAST, ethernet.mac_bytes(mac), 0x88B5, b"", vid)
        wire.sendto(frame, (link, ethernet.VLAN if vid else 0x88B5))


class Ear:
    """Every frame that comes to a link, with its tag (PACKET_AUXDATA: the kernel takes it off)."""

    def __init__(self, ns: Ns, link: str) -> None:
        self._socket = netns.opened_in(ns.fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        self._socket.bind((link, 3))
        self._socket.setsockopt(263, 8, 1)
        self._socket.setblocking(False)

    def frames(self) -> list[tuple[int | None, bytes]]:
        found = []
        while True:
            try:
                data, extra, _, address = self._socket.recvmsg(2048, 256)
            except BlockingIOError:
                return found
            status, *_, tci, _ = AUXDATA.unpack(extra[0][2])
            if address[2] != socket.PACKET_OUTGOING:
                found.append((tci & 0xFFF if status & 0x10 else None, data))

    def whereabouts(self) -> list[tuple[int | None, str]]:
        """Of the three above; the ports' own kernels speak, too."""
        heard = [(vid, data[6:12].hex(":")) for vid, data in self.frames() if data[12:14] == b"\x80\x35"]
        return [(vid, mac) for vid, mac in heard if mac in (MACHINE, NATIVE, OUTSIDE)]

    def close(self) -> None:
        self._socket.close()


def spoken(ns: Ns, there: Ns, leg: str) -> None:
    """Two machines have spoken, and somebody outside; the switch's port for him is `leg`."""
    say(ns, "vmx", MACHINE)
    say(ns, "oldx", NATIVE)
    say(there, leg, OUTSIDE, 100)
    time.sleep(0.1)


@pytest.mark.parametrize("mode", [BondMode.ACTIVE_BACKUP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB])
def test_machines_are_announced_out_of_the_new_leg_in_their_vlans(new_ns: Callable[[], Ns], mode: BondMode) -> None:
    ns, there = new_ns(), new_ns()
    network(ns, there, mode)
    old = str(ns.runtime("oob-bo").active_slave)
    new = {"eth0": "eth1", "eth1": "eth0"}[old]
    spoken(ns, there, old)
    ears, said = {name: Ear(there, name) for name in (old, new)}, []
    herald = Herald(ns.fd, ports=list, troubled=said.append)
    ns.do(("oob-bo", SetBond(Bond(primary=new))))
    time.sleep(LAST_S)
    herald.finish(wait_s=5)
    found = {name: ear.whereabouts() for name, ear in ears.items()}
    assert not said
    assert found[old] == []
    assert sorted(set(found[new]), key=str) == [(100, MACHINE), (None, NATIVE)]
    assert len(found[new]) == 2 * len(TIMES_S), "five times each, and nobody from outside"
    for ear in ears.values():
        ear.close()


@pytest.mark.parametrize("mode", [BondMode.ACTIVE_BACKUP, BondMode.BALANCE_ALB])
def test_who_was_silent_for_long_is_announced_by_the_record_of_its_port(
    new_ns: Callable[[], Ns], mode: BondMode
) -> None:
    """The bridge has forgotten both; the one in VLAN 100 has a record, and so has one who was heard outside since."""
    ns, there = new_ns(), new_ns()
    network(ns, there, mode)
    old = str(ns.runtime("oob-bo").active_slave)
    new = {"eth0": "eth1", "eth1": "eth0"}[old]
    say(there, old, OUTSIDE, 100)
    time.sleep(0.1)
    records = [
        recorded("vm", MACHINE),
        recorded("old", OUTSIDE),
        recorded("gone", "02:00:00:00:0a:09"),
        recorded("eth0", "02:00:00:00:0a:0a"),
    ]
    ear, said = Ear(there, new), []
    herald = Herald(ns.fd, ports=lambda: records, troubled=said.append)
    ns.do(("oob-bo", SetBond(Bond(primary=new))))
    time.sleep(LAST_S)
    herald.finish(wait_s=5)
    assert not said
    assert ear.whereabouts() == [(100, MACHINE)] * len(TIMES_S)
    ear.close()


def test_records_that_cannot_be_read_keep_nobody_from_being_announced(new_ns: Callable[[], Ns]) -> None:
    """And who has spoken does not wait for them either."""
    heard: list[tuple[int | None, str]] = []
    before: list[int] = []

    def broken() -> list[PortRecord]:
        time.sleep(0.02)
        heard.extend(ear.whereabouts())
        before.append(len(heard))
        raise OSError(errno.EIO, "Input/output error")

    ns, there = new_ns(), new_ns()
    network(ns, there)
    old = str(ns.runtime("oob-bo").active_slave)
    new = {"eth0": "eth1", "eth1": "eth0"}[old]
    spoken(ns, there, old)
    ear, said = Ear(there, new), []
    herald = Herald(ns.fd, ports=broken, troubled=said.append)
    ns.do(("oob-bo", SetBond(Bond(primary=new))))
    time.sleep(LAST_S)
    herald.finish(wait_s=5)
    assert before == [2 * n for n in range(1, len(TIMES_S) + 1)]
    assert len([*heard, *ear.whereabouts()]) == 2 * len(TIMES_S)
    (text,) = said
    assert text.endswith("Input/output error")
    ear.close()


def recorded(port: str, mac: str) -> PortRecord:
    return replace(builders.port_record(port, "oob-br"), host=IfName(port), mac=Mac(mac))


@pytest.mark.parametrize("mode", [BondMode.BALANCE_XOR, BondMode.BALANCE_RR, BondMode.BROADCAST])
def test_where_the_switch_takes_all_legs_for_one_there_is_nothing_to_announce(
    new_ns: Callable[[], Ns], mode: BondMode
) -> None:
    ns, there = new_ns(), new_ns()
    network(ns, there, mode)
    spoken(ns, there, "eth0")
    ear = Ear(there, "eth1")
    herald = Herald(ns.fd, ports=list, troubled=lambda _: None)
    there.run(links.set_link("eth0", up=False))
    time.sleep(LAST_S)
    herald.finish(wait_s=5)
    assert ear.whereabouts() == []
    ear.close()


def test_own_addresses_are_announced_at_a_new_mac_and_when_they_come(new_ns: Callable[[], Ns]) -> None:
    ns, there = new_ns(), new_ns()
    network(ns, there)
    ns.do(
        ("oob-br", SetVlans(add=PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.of([100])), on_self=True)),
        ("oob-br", AddAddr(Cidr("10.0.0.1/24"))),
    )
    ns.run(links.add_addr(ns.index("oob-br"), "fd00::1/64", nodad=True))
    wait(lambda: ns.runtime("oob-br").oper == "up")
    active = str(ns.runtime("oob-bo").active_slave)
    ear, said = Ear(there, active), []
    herald = Herald(ns.fd, ports=list, troubled=said.append)
    mac = "02:00:00:00:00:77"
    ns.do(("oob-br", SetLink(mac=mac)))
    time.sleep(LAST_S)
    told = told_of(ear)

    def all_is_told() -> bool:
        """On a machine with much to do the last of it comes later."""
        told.extend(told_of(ear))
        enough = all(told.count((address, mac)) >= len(TIMES_S) for address in ("10.0.0.1", "fd00::1"))
        return enough and any(address.startswith("fe80:") for address, _ in told)

    wait(all_is_told)
    for address in ("10.0.0.1", "fd00::1"):  # and anew with the link-local one, once the kernel has tried that
        assert told.count((address, mac)) <= 2 * len(TIMES_S), told
    ns.do(("oob-br", AddAddr(Cidr("10.0.0.2/24"))))
    time.sleep(LAST_S)
    herald.finish(wait_s=5)
    assert ("10.0.0.2", mac) in told_of(ear)
    assert not said
    ear.close()


def told_of(ear: Ear) -> list[tuple[str, str]]:
    """(address, MAC) of each gratuitous ARP and unsolicited advertisement."""
    found = []
    for _, data in ear.frames():
        one = arp.parse(data[14:]) if data[12:14] == b"\x08\x06" else None
        if one is not None and one.sender == one.target:
            found.append((socket.inet_ntoa(one.sender), one.sender_mac.hex(":")))
        if data[12:14] == b"\x86\xdd" and data[20] == 58 and data[54] == 136 and data[58] & 0x20:
            found.append((socket.inet_ntop(socket.AF_INET6, data[62:78]), data[80:86].hex(":")))
    return found


def test_thousands_of_machines_are_announced_bit_by_bit(new_ns: Callable[[], Ns]) -> None:
    """All of them, and never faster than a switch takes broadcasts."""
    ns, there = new_ns(), new_ns()
    network(ns, there)
    many = 2000
    wire = netns.opened_in(ns.fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with wire:
        for n in range(many):
            mac = b"\x02\x00\x00\x01" + n.to_bytes(2, "big")
            wire.sendto(ethernet.frame(ethernet.BROADCAST, mac, 0x88B5, b""), ("vmx", 0x88B5))
    new = {"eth0": "eth1", "eth1": "eth0"}[str(ns.runtime("oob-bo").active_slave)]
    ear, said, heard = Ear(there, new), [], []
    herald = Herald(ns.fd, ports=list, troubled=said.append)
    ns.do(("oob-bo", SetBond(Bond(primary=new))))
    begun = time.monotonic()
    while time.monotonic() < begun + 10 and len({mac for _, mac in heard}) < many:
        now = time.monotonic()
        heard += [(now, data[6:12]) for vid, data in ear.frames() if vid == 100 and data[6:10] == b"\x02\0\0\1"]
        time.sleep(0.005)
    took = time.monotonic() - begun
    herald.finish(wait_s=10)
    ear.close()
    assert len({mac for _, mac in heard}) == many
    print(f"\n{many} machines: the first after {(heard[0][0] - begun) * 1000:.0f} ms, all after {took:.2f} s")
    assert took > (many / BURST - 1) * PAUSE_S
    assert not said


def test_more_than_can_be_are_told_of(new_ns: Callable[[], Ns], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.apps.herald.MOST", 1)
    ns, there = new_ns(), new_ns()
    network(ns, there)
    spoken(ns, there, str(ns.runtime("oob-bo").active_slave))
    said: list[str] = []
    herald = Herald(ns.fd, ports=list, troubled=said.append)
    new = {"eth0": "eth1", "eth1": "eth0"}[str(ns.runtime("oob-bo").active_slave)]
    ns.do(("oob-bo", SetBond(Bond(primary=new))))
    time.sleep(LAST_S)
    herald.finish(wait_s=5)
    (text,) = said
    assert text.endswith("MAC addresses are behind oob-bo, and 1 of them are announced")


def looked(ns: Ns) -> Scene:
    watch = Watch(ns.fd)
    scene = watch.scene
    watch.close()
    return scene


def test_a_scene_keeps_up_with_the_kernel(new_ns: Callable[[], Ns]) -> None:
    """What was heard bit by bit is what a fresh look finds."""
    ns, there = new_ns(), new_ns()
    watch = Watch(ns.fd)
    assert not watch.scene.uplinks
    network(ns, there)
    for act in (
        lambda: ns.do(("oob-bo", SetVlans(add=PortVlans(tagged=VidSet.of([300]))))),
        lambda: ns.do(("oob-br", AddAddr(Cidr("10.0.0.1/24")))),
        lambda: ns.do(("oob-br", SetLink(mac="02:00:00:00:00:78"))),
        lambda: ns.do(("oob-bo", SetBond(Bond(primary="eth1")))),
        lambda: ns.do(("eth1", SetMaster(None))),
        lambda: ns.do(("oob-br", SetBridge(Bridge(default_pvid=7)))),
        lambda: ns.do(("oob-br", SetBridge(Bridge(vlan_filtering=False)))),
        lambda: ns.do(("oob-bo", SetMaster(None))),
        lambda: ns.do(("oob-bo", SetMaster(IfName("oob-br")))),
        lambda: ns.run(links.delete("oob-bo")),
    ):
        act()
        wait(lambda: watch.read() == looked(ns))
    assert not watch.read().uplinks
    watch.close()


def test_a_leg_is_the_slave_that_is_active(new_ns: Callable[[], Ns]) -> None:
    ns, there = new_ns(), new_ns()
    network(ns, there)
    watch = Watch(ns.fd)
    (uplink,) = watch.scene.uplinks.values()
    assert uplink.leg == Leg(slave=ns.index(str(ns.runtime("oob-bo").active_slave)))
    assert (uplink.vids, uplink.untagged) == (VIDS.all, VIDS.untagged)
    for name in ("eth0", "eth1"):
        there.run(links.set_link(name, up=False))
    wait(lambda: [u.leg for u in watch.read().uplinks.values()] == [None])
    watch.close()
