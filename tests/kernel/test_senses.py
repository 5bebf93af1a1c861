"""What is heard and asked on a real kernel: on legs of bonds of each mode, on ports of bridges, in VLANs."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kernel.conftest import Ns
from tests.unit.test_frames_neighbours import SG250

from windrow.frames import cdp, dhcp, lldp
from windrow.model.bonding import BondMode
from windrow.model.evidence import Aggregation, Identity, Kind, NodeEvidence, SwitchPort
from windrow.model.host import Bond, Bridge, Link, PortVlans
from windrow.model.steps import AddAddr, CreateLink, SetLink, SetMaster, SetVlans
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import links, netns
from windrow.netlink.enter import inside
from windrow.sense import lldpd
from windrow.sense.asking import Question
from windrow.sense.gather import gather
from windrow.sense.manners import Manners
from windrow.sense.senses import Senses

SWITCH = Mac("02:00:00:00:00:0f")
SAID = SwitchPort(
    source=Kind.LLDP,
    chassis=Identity(kind="mac", text=SWITCH),
    port=Identity(kind="ifname", text="p0"),
    system="leaf1",
    is_bridge=True,
    pvid=1,
    vlans={100: "blue"},
    aggregation=Aggregation(capable=True, active=False),
    hold_s=120,
)


@pytest.fixture
def there(new_ns: Callable[[], Ns], monkeypatch: pytest.MonkeyPatch) -> Ns:
    """The switch's end of each cable."""
    monkeypatch.setattr(lldpd, "runs", lambda: False)
    return new_ns()


def nic(ns: Ns, there: Ns, name: str) -> None:
    ns.run(links.veth(links.End(name=name), links.End(name=name, netns=there.fd)))
    there.run(links.set_link(name, up=True))
    ns.run(links.set_link(name, up=True))


def bond(ns: Ns, name: str, mode: BondMode, *legs: str, rate: str = "fast") -> None:
    options = {"lacp_rate": rate} if mode is BondMode.LACP else {}
    ns.do((name, CreateLink(Link(name=IfName(name), spec=Bond(mode=mode, miimon=50, **options)))))
    for leg in legs:
        ns.run(links.set_link(leg, up=False))
        ns.do((leg, SetMaster(IfName(name))))
    ns.do((name, SetLink(up=True)))


def send(there: Ns, name: str, frame: bytes) -> None:
    def go() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as one:
            one.bind((name, 0))
            one.send(frame)

    there.inside(go)


def say(there: Ns, name: str, said: SwitchPort = SAID) -> None:
    send(there, name, lldp.to_neighbour(SWITCH, lldp.encode(replace(said, port=Identity(kind="ifname", text=name)))))


def until(senses: Senses, what: Callable[[NodeEvidence], object], patience_s: float = 20.0) -> NodeEvidence:
    end = time.monotonic() + patience_s
    while not what(found := senses.look()):
        assert time.monotonic() < end, found
        senses.listen(time.monotonic() + 0.1)
    return found


def ports(found: NodeEvidence, name: str) -> list[str]:
    return [neighbour.port.text for neighbour in found.nics[IfName(name)].neighbours]


@pytest.mark.parametrize("mode", BondMode)
def test_lldp_on_the_legs_of_a_bond_that_is_a_port_of_a_bridge(ns: Ns, there: Ns, mode: BondMode) -> None:
    """Also on the leg that the bond does not use, and it is not heard on the bond as well."""
    nic(ns, there, "eth0")
    nic(ns, there, "eth1")
    bond(ns, "oob-bo", mode, "eth0", "eth1")
    ns.do(
        ("oob-br", CreateLink(Link(name=IfName("oob-br"), spec=Bridge(vlan_filtering=True)))),
        ("oob-bo", SetMaster(IfName("oob-br"))),
        ("oob-br", SetLink(up=True)),
    )
    with Senses("n", ns.fd) as senses:
        assert {one.reason for one in senses.look().absent if one.kind is Kind.LLDP} == {
            f"no LLDP heard on {name} in 0 s: switches tell of themselves every 30 s; listen for longer"
            for name in ("eth0", "eth1")
        }
        say(there, "eth0")
        say(there, "eth1")
        found = until(senses, lambda e: all(ports(e, name) for name in ("eth0", "eth1")))
        assert (ports(found, "eth0"), ports(found, "eth1")) == (["eth0"], ["eth1"])
        assert set(found.nics) == {"eth0", "eth1"}
        first = found.nics[IfName("eth0")].neighbours[0]
        assert first == replace(SAID, port=Identity(kind="ifname", text="eth0"), heard=first.heard)
        assert abs(first.heard - time.time()) < 30
        assert found.nics[IfName("eth0")].bond == "oob-bo"
        actives = [found.nics[IfName(name)].active for name in ("eth0", "eth1")]
        one_leg = mode in (BondMode.ACTIVE_BACKUP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB)
        assert (sorted(actives) == [False, True]) if one_leg else True in actives or actives == [None, None]


def test_lldp_on_a_nic_that_is_a_port_of_a_bridge_and_with_a_priority_tag(ns: Ns, there: Ns) -> None:
    nic(ns, there, "eth0")
    ns.do(
        ("br", CreateLink(Link(name=IfName("br"), spec=Bridge(vlan_filtering=True)))),
        ("eth0", SetMaster(IfName("br"))),
        ("br", SetLink(up=True)),
    )
    frame = lldp.to_neighbour(SWITCH, lldp.encode(SAID))
    with Senses("n", ns.fd) as senses:
        send(there, "eth0", frame[:12] + bytes.fromhex("8100e000") + frame[12:])
        assert ports(until(senses, lambda e: ports(e, "eth0")), "eth0") == ["p0"]


def test_cdp_which_a_bridge_would_take_is_heard_on_its_port_and_below_its_bond(ns: Ns, there: Ns) -> None:
    """Its group address is no link-local one: the bridge's handler has it before any socket for one EtherType."""
    for name in ("eth0", "eth1", "eth2"):
        nic(ns, there, name)
    bond(ns, "oob-bo", BondMode.ACTIVE_BACKUP, "eth0", "eth1")
    ns.do(
        ("oob-br", CreateLink(Link(name=IfName("oob-br"), spec=Bridge(vlan_filtering=True)))),
        ("oob-bo", SetMaster(IfName("oob-br"))),
        ("oob-br", SetLink(up=True)),
        ("br1", CreateLink(Link(name=IfName("br1"), spec=Bridge()))),
        ("eth2", SetMaster(IfName("br1"))),
        ("br1", SetLink(up=True)),
    )
    with Senses("n", ns.fd) as senses:
        for name in ("eth0", "eth1", "eth2"):
            send(there, name, cdp.GROUP + bytes.fromhex("4c710c19e312") + SG250)
        found = until(senses, lambda e: all(ports(e, name) for name in ("eth0", "eth1", "eth2")))
        assert [ports(found, name) for name in ("eth0", "eth1", "eth2")] == [["gi5"], ["gi5"], ["gi5"]]


def test_a_neighbour_goes_when_it_says_so_when_its_time_is_over_and_when_its_cable_is_out(ns: Ns, there: Ns) -> None:
    nic(ns, there, "eth0")
    with Senses("n", ns.fd) as senses:
        say(there, "eth0", replace(SAID, hold_s=1))
        until(senses, lambda e: ports(e, "eth0"))
        until(senses, lambda e: not ports(e, "eth0"))
        say(there, "eth0")
        until(senses, lambda e: ports(e, "eth0"))
        pdu = lldp.encode(replace(SAID, port=Identity(kind="ifname", text="eth0")))
        at = pdu.index(bytes.fromhex("06020078")) + 2
        send(there, "eth0", lldp.to_neighbour(SWITCH, pdu[:at] + b"\0\0" + pdu[at + 2 :]))
        until(senses, lambda e: not ports(e, "eth0"))
        say(there, "eth0")
        until(senses, lambda e: ports(e, "eth0"))
        there.run(links.set_link("eth0", up=False))
        found = until(senses, lambda e: not ports(e, "eth0"))
        reasons = [one.reason for one in found.absent if one.kind is Kind.LLDP]
        assert reasons == ["eth0 has no carrier"]


def test_what_lldpd_knows_counts_until_it_is_heard_here(ns: Ns, there: Ns, monkeypatch: pytest.MonkeyPatch) -> None:
    nic(ns, there, "eth0")
    known = replace(SAID, port=Identity(kind="ifname", text="eth0"), heard=time.time() - 20)
    stale = replace(SAID, chassis=Identity(kind="local", text="gone"), heard=time.time() - 121)
    monkeypatch.setattr(lldpd, "runs", lambda: True)
    monkeypatch.setattr(lldpd, "ask", lambda: {IfName("eth0"): (known, stale), IfName("eth9"): (known,)})
    with Senses("n", ns.fd) as senses:
        found = until(senses, lambda e: e.nics[IfName("eth0")].neighbours)  # its carrier may come a moment later
        assert found.nics[IfName("eth0")].neighbours == (known,)
        assert set(found.nics) == {"eth0"}
        say(there, "eth0", replace(SAID, pvid=7))
        found = until(senses, lambda e: [n.pvid for n in e.nics[IfName("eth0")].neighbours] == [7])
    monkeypatch.setattr(lldpd, "ask", lambda: "lldpcli: it is not for you")
    with Senses("n", ns.fd) as senses:
        assert "lldpcli: it is not for you" in [one.reason for one in senses.look().absent]


def test_what_cannot_be_read_is_said_and_a_flood_drives_nobody_out(ns: Ns, there: Ns) -> None:
    nic(ns, there, "eth0")
    frame = lldp.to_neighbour(SWITCH, lldp.encode(SAID))
    with Senses("n", ns.fd) as senses:
        send(there, "eth0", frame[:20])
        found = until(senses, lambda e: any("cannot be read" in one.reason for one in e.absent))
        assert "what was heard on eth0 cannot be read (LLDP: 1 frames, of the last" in found.absent[0].reason
        say(there, "eth0")
        until(senses, lambda e: ports(e, "eth0"))
        for number in range(300):
            say_forged(there, number)
        found = until(
            senses, lambda e: len(ports(e, "eth0")) == 32 and any("more than 32" in a.reason for a in e.absent)
        )
        assert ports(found, "eth0")[0] == "eth0"


def say_forged(there: Ns, number: int) -> None:
    forged = replace(SAID, chassis=Identity(kind="local", text=f"x{number}"))
    send(there, "eth0", lldp.to_neighbour(SWITCH, lldp.encode(forged)))


# LACP ---------------------------------------------------------------------------------------------


def test_the_partners_view_of_us(ns: Ns, there: Ns) -> None:
    nic(ns, there, "eth0")
    nic(ns, there, "eth1")
    bond(there, "po1", BondMode.LACP, "eth0", "eth1")
    bond(ns, "oob-bo", BondMode.LACP, "eth0", "eth1")
    with Senses("n", ns.fd) as senses:
        found = until(senses, lambda e: agreed(e, "eth0") and agreed(e, "eth1"), 40)
        legs = [found.nics[IfName(name)].lacp for name in ("eth0", "eth1")]
        assert [leg.aggregator for leg in legs if leg] == [1, 1]
        switch, ours = there.link("po1").mac, ns.link("oob-bo").mac
        for leg in legs:
            assert leg is not None
            assert leg.sent is not None and leg.about_us is not None
            assert (leg.sent.system, leg.about_us.system) == (switch, ours)
            assert leg.received and leg.received > 0
            if leg.partner is not None:  # only in the first user namespace: here it is
                assert (leg.partner.system, leg.partner.key) == (switch, leg.sent.key)
                assert leg.actor is not None
                assert (leg.actor.system, leg.actor.port) == (ours, leg.about_us.port)
        assert not [one for one in found.absent if one.kind is Kind.LACP]
        ports_of_ours = {leg.about_us.port for leg in legs if leg and leg.about_us}
        assert len(ports_of_ours) == 2


def agreed(found: NodeEvidence, name: str) -> bool:
    leg = found.nics[IfName(name)].lacp
    return bool(leg and leg.sent and leg.about_us and leg.about_us.state & leg.sent.state & 0x30 == 0x30)


def test_one_port_of_the_switch_is_no_member_of_its_channel(ns: Ns, there: Ns) -> None:
    """It stays silent, and LACP of the other leg does not say so."""
    nic(ns, there, "eth0")
    nic(ns, there, "eth1")
    bond(there, "po1", BondMode.LACP, "eth0")
    bond(ns, "oob-bo", BondMode.LACP, "eth0", "eth1")
    with Senses("n", ns.fd) as senses:
        found = until(senses, lambda e: agreed(e, "eth0"), 40)
        alone = found.nics[IfName("eth1")].lacp
        assert alone is not None
        assert (alone.sent, alone.about_us, alone.received) == (None, None, 0)
        if alone.partner is not None:
            assert alone.partner.system == "00:00:00:00:00:00"
        senses.listen(time.monotonic() + 3.0)
        later = senses.look().nics
        assert (later[IfName("eth0")].lacp or alone).received_lately
        assert (later[IfName("eth1")].lacp or alone).received_lately == 0


# Signs of a wrong switch side ---------------------------------------------------------------------


def test_what_comes_for_us_on_a_leg_that_is_not_used_is_counted(ns: Ns, there: Ns) -> None:
    nic(ns, there, "eth0")
    nic(ns, there, "eth1")
    bond(ns, "oob-bo", BondMode.ACTIVE_BACKUP, "eth0", "eth1")
    mac = bytes.fromhex(str(ns.link("oob-bo").mac).replace(":", ""))
    other = bytes.fromhex("0200000000ee")
    with Senses("n", ns.fd) as senses:
        until(senses, lambda e: e.nics[IfName("eth0")].active)
        senses.refresh()
        senses.look()
        for name, count in (("eth0", 9), ("eth1", 4)):
            for _ in range(count):
                send(there, name, mac + other + b"\x08\0" + bytes(46))
        for _ in range(3):
            send(there, "eth1", b"\xff" * 6 + mac + b"\x08\x06" + bytes(46))
        counters = until(senses, lambda e: e.nics[IfName("eth1")].counters.own_frames_lately).nics
        idle, used = counters[IfName("eth1")].counters, counters[IfName("eth0")].counters
        assert (idle.for_us_lately, idle.own_frames_lately, used.for_us_lately) == (4, 3, None)
        assert used.own_frames_lately == 0
        assert used.received_lately is not None and used.received_lately >= 9


def test_a_carrier_that_flaps_is_counted(ns: Ns, there: Ns) -> None:
    nic(ns, there, "eth0")
    with Senses("n", ns.fd) as senses:
        for up in (False, True, False, True):
            there.run(links.set_link("eth0", up=up))
        counters = senses.look().nics[IfName("eth0")].counters
        assert counters.carrier_changes_lately == 4


# Asking -------------------------------------------------------------------------------------------


@contextmanager
def dnsmasq(there: Ns, interface: str, tmp_path: Path, *options: str) -> Iterator[None]:
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root"]
    command += [f"--dhcp-leasefile={tmp_path}/leases", "--pid-file=", "--no-ping", f"--interface={interface}", *options]
    command += ["--bind-dynamic"]
    program: list[subprocess.Popen[bytes]] = []
    inside(there.fd, lambda: program.append(subprocess.Popen(command, stderr=subprocess.DEVNULL)))
    try:
        yield
    finally:
        program[0].kill()
        program[0].wait()


def uplink(ns: Ns, there: Ns) -> None:
    """oob-bo with VLANs 100 and 200 towards a bridge with the same ones, on which a router has an address in each."""
    nic(ns, there, "eth0")
    nic(ns, there, "eth1")
    bond(ns, "oob-bo", BondMode.ACTIVE_BACKUP, "eth0", "eth1")
    vlans = PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.of([100, 200]))
    ns.do(
        ("oob-br", CreateLink(Link(name=IfName("oob-br"), spec=Bridge(vlan_filtering=True)))),
        ("oob-bo", SetMaster(IfName("oob-br"))),
        ("oob-bo", SetVlans(add=vlans)),
        ("oob-br", SetLink(up=True)),
    )
    there.do(
        ("br0", CreateLink(Link(name=IfName("br0"), spec=Bridge(vlan_filtering=True)))),
        *((name, SetMaster(IfName("br0"))) for name in ("eth0", "eth1")),
        *((name, SetVlans(add=vlans)) for name in ("eth0", "eth1")),
        ("br0", SetLink(up=True)),
    )
    there.run(links.add_vlans(there.index("br0"), PortVlans(tagged=VidSet.of([100, 200])), on_self=True))
    for vid in (100, 200):
        there.run(*links.create_link(vlan_link(vid), there.rtnl.index, group=0), links.set_link(f"br0.{vid}", up=True))
        there.run(links.add_addr(there.index(f"br0.{vid}"), Cidr(f"10.9.{vid}.1/24")))


def vlan_link(vid: int) -> Link:
    from windrow.model.host import VlanIf

    return Link(name=IfName(f"br0.{vid}"), spec=VlanIf(parent=IfName("br0"), vid=vid))


def question(vid: int, **more: object) -> Question:
    values: dict[str, object] = {"gateways": (f"10.9.{vid}.1",), **more}
    return Question(cluster_network="oob", vid=vid, link=IfName("oob-bo"), tag=vid, **values)  # type: ignore[arg-type]


LEASED = {f"10.9.100.{host}" for host in range(10, 21)}


def test_servers_and_gateways_of_vlans(ns: Ns, there: Ns, tmp_path: Path) -> None:
    uplink(ns, there)
    file = tmp_path / "asked.json"
    questions = [question(100, own=("10.9.100.50",)), question(200, gateways=("10.9.200.1", "10.9.200.9"))]
    options = ["--dhcp-range=10.9.100.10,10.9.100.20,1h", "--dhcp-option=option:mtu,1450"]
    there.run(links.add_addr(there.index("br0.100"), Cidr("10.9.100.50/24")))
    with dnsmasq(there, "br0.100", tmp_path, *options):
        time.sleep(0.5)
        found = gather("n", 20, questions, ns.fd, Manners(file))
        again = gather("n", 3.5, questions[:1], ns.fd, Manners(file))
    first, second = found.vlans
    router = there.link("br0.100").mac
    (offer,) = first.offers
    assert (offer.server, offer.server_mac, offer.prefix, offer.mtu, offer.lease_s) == (
        "10.9.100.1",
        router,
        24,
        1450,
        3600,
    )
    assert offer.routers == ("10.9.100.1",)
    assert offer.address in LEASED, "dnsmasq takes any of its range, by the MAC address that asks"
    assert [(a.address, a.macs) for a in first.gateways] == [("10.9.100.1", (router,))]
    assert [(a.address, a.macs) for a in first.duplicates] == [("10.9.100.50", (router,))]
    assert first.asked == {Kind.DHCP, Kind.ARP, Kind.RA}
    assert second.offers == () and Kind.DHCP in second.asked
    assert [(a.address, bool(a.macs), a.asked) for a in second.gateways] == [
        ("10.9.200.1", True, 1),
        ("10.9.200.9", False, 3),
    ]
    assert Kind.DHCP not in again.vlans[0].asked
    assert "VLAN 100 of oob was asked less than five minutes ago" in " ".join(one.reason for one in again.absent)
    assert "10.9.100.1" not in (tmp_path / "leases").read_text(), "a DISCOVER takes no lease"


def test_nothing_is_sent_into_other_vlans_and_never_a_request(ns: Ns, there: Ns, tmp_path: Path) -> None:
    uplink(ns, there)
    heard: list[tuple[int, bytes]] = []
    with dnsmasq(there, "br0.100", tmp_path, "--dhcp-range=10.9.100.10,10.9.100.20,1h"):
        one = netns.opened_in(
            there.fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
        )
        with one:
            one.setsockopt(263, 8, 1)
            gather("n", 12, [question(100, routers=False)], ns.fd)
            while True:
                try:
                    data, ancillary, _, address = one.recvmsg(2048, 128)
                except BlockingIOError:
                    break
                if address[0].startswith("eth") and address[2] != 4 and data[12:14] in (b"\x08\0", b"\x08\6"):
                    tci = int.from_bytes(ancillary[0][2][16:18], "little") & 0xFFF if ancillary else 0
                    heard.append((tci, data))
    heard = [(tag, data) for tag, data in heard if not is_igmp(data)]
    assert {tag for tag, _ in heard} == {100}, [(tag, data.hex()) for tag, data in heard if tag != 100]
    kinds = [data[14 + 28 + 240 + 2] for _, data in heard if data[12:14] == b"\x08\0"]
    assert kinds == [dhcp.DISCOVER]
    assert {data[6:12].hex(":") for _, data in heard} == {str(ns.link("oob-bo").mac)}


def is_igmp(data: bytes) -> bool:
    """The kernel's own: a bridge that comes up has groups to tell of."""
    return data[12:14] == b"\x08\0" and data[23] == 2


def test_routers_and_owners_of_ipv6_addresses(ns: Ns, there: Ns, tmp_path: Path) -> None:
    uplink(ns, there)
    there.do(("br0.100", AddAddr(Cidr("fd00:9::1/64"))))
    options = ["--enable-ra", "--dhcp-range=fd00:9::,ra-stateless,64,600", "--ra-param=br0.100,mtu:1450,high,10,1200"]
    asked = question(100, gateways=("fd00:9:0::1",), dhcp=False)
    with dnsmasq(there, "br0.100", tmp_path, *options):
        time.sleep(3.0)  # duplicate address detection of the router's own
        (found,) = gather("n", 20, [asked], ns.fd).vlans
    router = there.link("br0.100").mac
    (advert,) = found.routers
    assert (advert.mac, advert.lifetime_s, advert.preference, advert.mtu) == (router, 1200, "high", 1450)
    assert advert.prefixes == ("fd00:9::/64",)
    assert [(a.address, a.macs) for a in found.gateways] == [("fd00:9:0::1", (router,))]
