"""Who answers, asked on a real kernel: by ARP, ping and TCP, and nobody who is not there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.kernel.conftest import Ns

from windrow.netlink import links, netns, reach
from windrow.netlink.lifetimes import dynamic_addresses
from windrow.netlink.reach import Answers, Target, Way


@pytest.fixture
def pair(new_ns: Callable[[], Ns]) -> tuple[Ns, Ns]:
    """Two hosts on a cable: 10.0.0.1 and 10.0.0.2."""
    here, there = new_ns(), new_ns()
    here.run(links.veth(links.End(name="e0"), links.End(name="e0", netns=there.fd)))
    for number, ns in enumerate((here, there), 1):
        ns.run(links.set_link("lo", up=True), links.set_link("e0", up=True))
        ns.run(links.add_addr(ns.index("e0"), f"10.0.0.{number}/24"))
        ns.run(links.add_addr(ns.index("e0"), f"fd00::{number}/64", nodad=True))
    return here, there


def ask(ns: Ns, *targets: Target, timeout_s: float = 5.0, enough: Answers | None = None) -> Answers:
    return netns.opened_in(ns.fd, lambda: reach.ask(targets, timeout_s=timeout_s, enough=enough))


ON_LINK = Target(address="10.0.0.2", dev="e0", source="10.0.0.1")
SIX = Target(address="fd00::2", dev="e0", source="fd00::1")


def test_a_neighbour_answers_in_every_way_at_once(pair: tuple[Ns, Ns]) -> None:
    here, there = pair
    with netns.opened_in(there.fd, lambda: socket.create_server(("10.0.0.2", 2222))):
        port = Target(address="10.0.0.2", dev="e0", source="10.0.0.1", port=2222)
        found = ask(here, ON_LINK, SIX, port, timeout_s=20.0)
    assert found[ON_LINK] == {Way.ARP, Way.PING}
    assert found[SIX] == {Way.PING}
    assert found[port] == {Way.TCP}


def test_nobody_answers_for_who_is_not_there(pair: tuple[Ns, Ns]) -> None:
    here, _ = pair
    targets = (
        Target(address="10.0.0.9", dev="e0", source="10.0.0.1"),
        Target(address="192.0.2.1"),
        Target(address="10.0.0.2", port=1),
    )
    began = time.monotonic()
    found = ask(here, *targets, timeout_s=0.8)
    assert time.monotonic() - began > 0.7
    assert [found[t] for t in targets] == [frozenset()] * 3


@pytest.mark.parametrize("alone", [True, False])
def test_who_answers_only_what_everybody_is_asked_has_not_answered(pair: tuple[Ns, Ns], alone: bool) -> None:
    """As through a bond that sends broadcasts by one NIC and what is for one MAC address by another. `alone`: he
    answers also where he alone is asked."""
    here, there = pair
    ear = netns.opened_in(there.fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))
    ear.bind(("e0", 0x0806))
    ear.settimeout(0.1)
    nine, mac, ending = socket.inet_aton("10.0.0.9"), ear.getsockname()[4], threading.Event()

    def answer() -> None:
        while not ending.is_set():
            with suppress(TimeoutError):
                frame = ear.recv(2048)
                if frame[20:22] == b"\0\1" and frame[38:42] == nine and (alone or frame[:6] == b"\xff" * 6):
                    ear.send(frame[6:12] + mac + frame[12:20] + b"\0\2" + mac + nine + frame[22:32])

    thread = threading.Thread(target=answer)
    thread.start()
    target = Target(address="10.0.0.9", dev="e0", source="10.0.0.1")
    found = ask(here, target, timeout_s=20.0 if alone else 1.0, enough={target: frozenset({Way.ARP})})
    ending.set()
    thread.join()
    ear.close()
    assert found[target] == ({Way.ARP} if alone else frozenset())


def test_a_link_that_is_not_there_answers_no_arp(pair: tuple[Ns, Ns]) -> None:
    """By its address it does answer: that is awaited, however slow the kernel is."""
    here, _ = pair
    odd = Target(address="10.0.0.2", dev="no-such-link", source="10.0.0.1")
    assert ask(here, odd, timeout_s=20.0, enough={odd: frozenset({Way.PING})})[odd] == {Way.PING}


def test_a_host_that_comes_back_is_heard(pair: tuple[Ns, Ns]) -> None:
    """The link is down at first: what cannot be sent now is asked again."""
    here, there = pair
    there.run(links.set_link("e0", up=False))
    assert ask(here, ON_LINK, timeout_s=0.4)[ON_LINK] == frozenset()
    there.run(links.set_link("e0", up=True))
    assert ask(here, ON_LINK, timeout_s=20.0)[ON_LINK] == {Way.ARP, Way.PING}


def test_what_is_enough_ends_it(pair: tuple[Ns, Ns]) -> None:
    here, _ = pair
    nobody = Target(address="10.0.0.9", dev="e0", source="10.0.0.1")
    enough = {ON_LINK: frozenset({Way.ARP}), nobody: frozenset[Way]()}
    began = time.monotonic()
    assert Way.ARP in ask(here, ON_LINK, nobody, timeout_s=50.0, enough=enough)[ON_LINK]
    assert time.monotonic() - began < 25


def test_another_ping_of_this_host_is_no_answer(pair: tuple[Ns, Ns]) -> None:
    """A raw socket hears every reply (raw_v4_input): the id and the address tell ours."""
    here, _ = pair
    silent = Target(address="10.0.0.9")
    found = ask(here, ON_LINK, silent, timeout_s=0.6)
    assert Way.PING in found[ON_LINK]
    assert found[silent] == frozenset()


def test_addresses_for_a_time_only(pair: tuple[Ns, Ns]) -> None:
    import subprocess

    here, _ = pair
    assert dynamic_addresses(here.rtnl) == {}
    command = ["ip", "address", "add", "10.0.5.1/24", "dev", "e0", "valid_lft", "1800", "preferred_lft", "1800"]
    netns.opened_in(here.fd, lambda: subprocess.run(command, check=True))
    found = dynamic_addresses(here.rtnl)
    assert set(found) == {"e0"}
    assert set(found["e0"]) == {"10.0.5.1/24"}
    assert 1700 < found["e0"]["10.0.5.1/24"] <= 1800
    assert "10.0.5.1/24" not in (here.link("e0").addrs or ())
    here.run(links.add_addr(here.index("e0"), "10.0.5.1/24"))
    assert dynamic_addresses(here.rtnl) == {}, "now it is one like any other"
    assert "10.0.5.1/24" in (here.link("e0").addrs or ())
