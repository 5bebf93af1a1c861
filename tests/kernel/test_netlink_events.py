"""What the kernel announces, and what of it is worth a look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from windrow.model.bonding import BondMode
from windrow.model.host import Bond, Bridge, BridgePort, Link, LinkFlags, PortVlans, Route, VlanIf
from windrow.model.steps import (
    Action,
    AddAddr,
    DelAddr,
    DeleteLink,
    RenameLink,
    SetBond,
    SetBridge,
    SetLink,
    SetMark,
    SetMaster,
    SetPort,
    SetSlave,
    SetVlanFlags,
    SetVlans,
)
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import links
from windrow.netlink.events import Events, Interest
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import Rtnl

OURS = ("oob-br", "oob-bo", "oob-br.7", "eth1")


class Ns(Protocol):
    fd: int
    kernel: Kernel
    rtnl: Rtnl

    def do(self, *pairs: tuple[str, Action]) -> None: ...

    def index(self, name: str) -> int: ...


@pytest.fixture
def host(ns: Ns) -> Ns:
    """A bridge of ours with its bond, its slave and a VLAN interface; a foreign bridge with a container's cable."""
    rtnl = ns.rtnl
    rtnl.run(links.veth(links.End(name="eth1"), links.End(name="eth1p")))
    rtnl.run(links.create("c1", "dummy"), links.create("c2", "dummy"), links.create("docker0", "bridge", up=True))
    bond = Link(name=IfName("oob-bo"), spec=Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100))
    bridge = Link(name=IfName("oob-br"), spec=Bridge(vlan_filtering=True))
    vlan = Link(name=IfName("oob-br.7"), spec=VlanIf(parent=IfName("oob-br"), vid=7))
    for link in (bond, bridge, vlan):
        rtnl.run(*links.create_link(link, rtnl.index))
    ns.do(("eth1", SetMaster(IfName("oob-bo"))), ("oob-bo", SetMaster(IfName("oob-br"))))
    rtnl.run(*(links.set_link(name, up=True) for name in (*OURS, "eth1p", "c1")))
    return ns


@pytest.fixture
def events(host: Ns) -> Iterator[Events]:
    with Events(host.fd) as events:
        indexes = frozenset(host.index(name) for name in OURS)
        events.interest = Interest(indexes=indexes, names=frozenset(map(IfName, (*OURS, "eth2"))))
        rest(events)
        yield events


def rest(events: Events) -> None:
    """Until nothing comes any more: carrier, LACP and bridges take their time."""
    quiet = 0
    while quiet < 20:
        quiet = 0 if events.read().anything else quiet + 1
        time.sleep(0.01)


def heard(events: Events, patience_s: float = 2.0) -> bool:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if events.read().anything:
            return True
        time.sleep(0.002)
    return False


VIDS = VidSet.of([100, 200])
HANDS: dict[str, tuple[str, Action]] = {
    "a bond's option": ("oob-bo", SetBond(Bond(miimon=50))),
    "a bridge's option": ("oob-br", SetBridge(Bridge(vlan_filtering=False))),
    "VLANs of a port": ("oob-bo", SetVlans(add=PortVlans(tagged=VIDS))),
    "a port's PVID": ("oob-bo", SetVlans(add=PortVlans(pvid=9, untagged=VidSet.of([9])))),
    "VLANs that go": ("oob-bo", SetVlans(remove=VidSet.of([1]))),
    "VLANs of the bridge": ("oob-br", SetVlans(add=PortVlans(tagged=VIDS), on_self=True)),
    "MTU": ("oob-bo", SetLink(mtu=1400)),
    "MAC": ("oob-br", SetLink(mac="02:00:00:00:00:99")),
    "queue": ("oob-bo", SetLink(txqlen=77)),
    "promiscuity": ("oob-br", SetLink(promisc=True)),
    "down": ("oob-bo", SetLink(up=False)),
    "gone": ("oob-br.7", DeleteLink()),
    "a bond out of its bridge": ("oob-bo", SetMaster(None)),
    "a NIC out of its bond": ("eth1", SetMaster(None)),
    "isolation": ("oob-bo", SetPort(BridgePort(isolated=True))),
    "learning": ("oob-bo", SetPort(BridgePort(learning=False))),
    "a blocked port": ("oob-bo", SetPort(BridgePort(locked=True))),
    "snooping": ("oob-br", SetBridge(Bridge(mcast_snooping=False))),
    "what a bridge learns": ("oob-br", SetBridge(Bridge(no_linklocal_learn=True))),
    "ARP": ("oob-br", SetLink(flags=LinkFlags(arp=False))),
    "a broadcast address": ("oob-br", SetLink(flags=LinkFlags(broadcast=Mac("02:00:00:00:00:99")))),
    "VLAN flags": ("oob-br.7", SetVlanFlags(frozenset())),
    "priority in its bond": ("eth1", SetSlave(5)),
    "the group": ("oob-br", SetMark(group=0)),
    "the other mark": ("oob-br", SetMark(stale=("oob-br",))),
    "address": ("oob-br.7", AddAddr(Cidr("10.7.0.1/24"))),
    "a foreign link comes into our bridge": ("c1", SetMaster(IfName("oob-br"))),
    "a foreign link takes a name we want": ("c2", RenameLink(IfName("eth2"))),
    "the cable's other end": ("eth1p", SetLink(up=False)),
}


@pytest.mark.parametrize("hand", sorted(HANDS))
def test_what_matters_is_heard_once(host: Ns, events: Events, hand: str) -> None:
    host.do(HANDS[hand])
    assert heard(events)
    rest(events)
    assert not events.read().anything


def test_addresses_and_routes_that_go(host: Ns, events: Events) -> None:
    host.do(("oob-br.7", AddAddr(Cidr("10.7.0.1/24"))))
    rest(events)
    host.rtnl.run(
        links.add_route(Route(dst="10.9.0.0/16", dev=IfName("oob-br.7"), gateway="10.7.0.9"), host.index("oob-br.7"))
    )
    assert heard(events)
    rest(events)
    host.do(("oob-br.7", DelAddr(Cidr("10.7.0.1/24"))))
    assert heard(events)


def test_a_default_route_matters_wherever_it_leads(host: Ns, events: Events) -> None:
    host.do(("c1", AddAddr(Cidr("10.8.0.1/24"))))
    rest(events)
    host.rtnl.run(links.add_route(Route(dst="default", dev=IfName("c1"), gateway="10.8.0.9"), host.index("c1")))
    assert heard(events)


NOISE: dict[str, Callable[[Ns], object]] = {
    "a container's cable": lambda ns: ns.rtnl.run(
        links.veth(links.End(name="v1"), links.End(name="v2"), master=ns.index("docker0")),
        links.set_link("v1", up=True),
        links.set_link("v2", up=True),
    ),
    "it goes": lambda ns: ns.rtnl.run(links.delete("c1")),
    "its address": lambda ns: ns.do(("c1", AddAddr(Cidr("10.8.0.1/24")))),
    "a foreign bridge's VLANs": lambda ns: ns.do(("docker0", SetVlans(add=PortVlans(tagged=VIDS), on_self=True))),
    "what is so already": lambda ns: same_again(ns),
}


def same_again(ns: Ns) -> None:
    ns.do(("oob-bo", SetBond(Bond(miimon=100))), ("oob-br", SetLink(promisc=False)))


@pytest.mark.parametrize("what", sorted(NOISE))
def test_what_does_not_matter(host: Ns, events: Events, what: str) -> None:
    same_again(host)
    rest(events)  # of each link something was heard by now
    said = events.tally.messages
    NOISE[what](host)
    assert not heard(events, 0.3)
    assert events.tally.messages > said, "the kernel said something, and it was passed over"


def test_everything_matters_until_it_is_known_what_does(host: Ns) -> None:
    with Events(host.fd) as events:
        host.do(("c1", AddAddr(Cidr("10.8.0.1/24"))))
        assert heard(events)


def test_an_overflow_is_news(host: Ns, events: Events) -> None:
    """The kernel drops what does not fit, and says so (`netlink_overrun`)."""
    toggle = [links.set_link("c1", up=up) for up in (False, True)] * 128
    for _ in range(40):
        host.rtnl.run(*toggle)
    assert events.read().lost
    assert events.tally.overflows == 1
    rest(events)
    host.do(("oob-bo", SetLink(mtu=1400)))
    assert heard(events)


def test_a_burst_of_containers_costs_little(host: Ns, events: Events) -> None:
    messages = [m for n in range(200) for m in (links.veth(links.End(name=f"v{n}"), links.End(name=f"w{n}")),)]
    host.rtnl.run(*messages)
    said, began = events.tally.messages, time.process_time()
    while events.read().anything:
        pass
    spent, count = time.process_time() - began, events.tally.messages - said
    print(f"{count} messages that do not matter: {spent / count * 1e6:.0f} us each")
    assert count >= 400 and spent < 5.0
