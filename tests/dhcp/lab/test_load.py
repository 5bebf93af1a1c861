"""Kea's load tool against two nodes of ours: 2,000 clients of one VLAN; the node that serves goes while they ask, the
pool is edited meanwhile. By dnsmasq and by Kea, with agents, in the lab's kernel.

perfdhcp does what a relay does (giaddr is its own address), and its clients differ by MAC address alone. What it
counts is checked against the frames themselves.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.agent.agents import Host
from tests.agent.dhcpsite import CLIENTS, Site, a_site, macs

from windrow.model.pools import Program
from windrow.testing.dhcpserver import ACK, DNS, KIND, NAK, options_of, wire

RATE, PASSES = 100, 8
MOVES_S = 30.0
"""Until the other node serves: five ticks of a second, a round, and the start of Kea, on a busy machine."""


class Listener:
    """All that servers answer to the crowd's host."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._ending = line, False
        self.given: dict[str, set[str]] = defaultdict(set)
        """MAC -> the addresses that were confirmed to it."""
        self.last: dict[str, dict[int, bytes]] = {}
        self.acks, self.naks = 0, list[str]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._line.settimeout(0.2)
        while not self._ending:
            try:
                frame = self._line.recv(65536)
            except TimeoutError:
                continue
            # Ethernet, IPv4 without options, UDP from the port of servers
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[34:36] == b"\0\x43":
                self._take(frame[42:])

    def _take(self, message: bytes) -> None:
        if message[:1] != b"\x02":  # BOOTREPLY
            return
        mac, options = message[28:34].hex(":"), options_of(message[240:])
        if options[KIND][0] == ACK:
            self.given[mac].add(socket.inet_ntoa(message[16:20]))
            self.last[mac] = options
            self.acks += 1
        elif options[KIND][0] == NAK:
            self.naks.append(mac)

    def end(self) -> None:
        self._ending = True
        self._thread.join()


@pytest.fixture(params=list(Program), ids=str)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with a_site(request.param) as site:
        yield site


@pytest.fixture
def listener(site: Site) -> Iterator[Listener]:
    line: socket.socket = site.world.inside("crowd", lambda: wire("eth0"))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    found = Listener(line)
    yield found
    found.end()
    line.close()


@contextmanager
def perfdhcp(site: Site, first: int, count: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Each of `count` clients once, RATE of them begun in a second; and the first ones again for a second, for the tool
    ends without waiting for those that it has begun."""
    base, exchanges = macs(first, first + 1)[0], count + RATE
    argv = ["perfdhcp", "-4", "-l", "eth0", "-b", f"mac={base}", "-R", str(count), "-n", str(exchanges)]
    argv += ["-r", str(RATE)]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([*argv, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    program: subprocess.Popen[str] = site.world.inside("crowd", start)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def said(program: subprocess.Popen[str], timeout_s: float) -> str:
    out, _ = program.communicate(timeout=timeout_s)
    return out


def ask_all(site: Site, listener: Listener, first: int, count: int) -> None:
    """Until each of them has had an answer: the tool itself asks nobody twice, and loses answers on a busy machine."""
    numbers = dict(zip(macs(first, first + count), range(first, first + count), strict=True))
    missing = set(numbers)
    listener.last.clear()
    for _ in range(PASSES):
        asking = sorted(numbers[mac] for mac in missing)
        with perfdhcp(site, asking[0], asking[-1] - asking[0] + 1) as program:
            sent, received = answers(said(program, 300))
        missing -= listener.last.keys()
        print(f"{site.program}: {received} of {sent} requests answered, {len(missing)} clients left")
        if not missing:
            assert {options[DNS] for options in listener.last.values()} == {socket.inet_aton(site.dns)}
            return
    raise AssertionError(
        f"after {PASSES} times {len(missing)} of {count} clients have no answer: {sorted(missing)[:5]}"
    )


def answers(report: str) -> tuple[int, int]:
    """(sent, received) of the requests of one report."""
    part = report[report.index("***Statistics for: REQUEST-ACK***") :]
    found = [re.search(rf"{what} packets: (\d+)", part) for what in ("sent", "received")]
    sent, received = (int(one.group(1)) for one in found if one is not None)
    return sent, received


def dies(site: Site, host: Host) -> None:
    """The agent, its server and the cable, at once."""
    server = site.pid(host)
    host.kill()
    os.kill(server, signal.SIGKILL)
    site.world.pull(site.cable(host))


def test_a_node_goes_and_the_pool_changes_under_load(site: Site, listener: Listener) -> None:
    one, two = site.hosts
    site.write(macs(0, CLIENTS))
    one.start()
    one.wait(partial(site.serves, one, CLIENTS), 90)
    two.start()
    two.wait(lambda: site.record(two) == site.record(one), 30)

    more = macs(0, CLIENTS + 30)
    with perfdhcp(site, 0, CLIENTS, "-f", str(RATE // 2)) as program:
        one.wait(lambda: len(listener.given) >= CLIENTS // 4, 120)
        begun = time.monotonic()
        dies(site, one)
        two.wait(partial(site.serves, two, CLIENTS), MOVES_S)
        print(f"{site.program}: the other node served after {time.monotonic() - begun:.1f} s")
        site.dns = "192.0.2.99"
        site.write(more, site.record(two))
        report = said(program, 300)
    sent, received = answers(report)
    print(f"{site.program}: {received} of {sent} requests answered at {RATE}/s, a node gone for a while in the middle")
    assert received < CLIENTS, "the node was gone while they asked"
    two.wait(partial(site.serves, two, len(more)), 60)

    # Who got nothing asks again, like all the others: a client that has an address gets the same.
    ask_all(site, listener, 0, CLIENTS)
    ask_all(site, listener, CLIENTS, 30)

    given = {mac: addresses for mac, addresses in listener.given.items() if len(addresses) == 1}
    assert given.keys() == set(more) == listener.given.keys(), "each has one address, and never had another"
    assert {mac: next(iter(addresses)) for mac, addresses in given.items()} == site.record(two)
    assert len({next(iter(addresses)) for addresses in given.values()}) == len(more)
    assert not listener.naks, listener.naks[:5]
    print(f"{site.program}: {listener.acks} ACKs, {len(given)} clients, {len(given)} addresses")


def test_strangers_are_met_with_silence(site: Site, listener: Listener) -> None:
    one = site.hosts[0]
    site.write(macs(0, 5))
    one.start()
    one.wait(partial(site.serves, one, 5), 90)
    with perfdhcp(site, 0x400, 20, "-d", "1") as program:
        report = said(program, 60)
    assert "received packets: 0" in report, report
    assert not listener.given and not listener.naks
