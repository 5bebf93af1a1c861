"""2,000 clients of one VLAN, two nodes that may serve it: a server that is killed, a node that is cut off, a pool that
is edited meanwhile, a node that is gone. The server's address moves. No address twice, nobody refused who need not be,
renewals go on.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address

import pytest
from tests.agent.dhcpsite import CLIENTS, Site, a_site, macs

from windrow.testing.dhcpclients import Crowd
from windrow.testing.dhcpserver import DNS, ROUTER, wire

MOVES_S = 15.0
"""Until the other node serves: five ticks of a second, and a round, on a busy machine."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with a_site() as site:
        yield site


@pytest.fixture(scope="module")
def line(site: Site) -> Iterator[socket.socket]:
    opened: socket.socket = site.world.inside("crowd", lambda: wire("eth0"))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    yield opened
    opened.close()


def test_two_thousand_clients(site: Site, line: socket.socket) -> None:
    one, two = site.hosts
    crowd = Crowd(line, macs(0, CLIENTS))
    site.write(macs(0, CLIENTS))
    one.start()
    one.wait(partial(site.serves, one, CLIENTS), 60)
    two.start()
    two.wait(lambda: site.record(two) == site.record(one), 30)
    assert not site.has(two) and not site.pid(two), "it stands by"

    begun = time.monotonic()
    killed = site.pid(one)
    assert crowd.get(timeout_s=300, between=lambda: os.kill(killed, signal.SIGKILL)) == []
    print(f"{CLIENTS} clients in {time.monotonic() - begun:.1f} s, one server killed")
    assert not crowd.twice
    assert not crowd.refused
    given = {c.mac: c.address for c in crowd.clients.values()}
    assert given == site.record(one)
    assert len(set(given.values())) == CLIENTS
    lowest = IPv4Address("10.9.0.3")
    assert set(given.values()) == {str(lowest + n) for n in range(CLIENTS)}
    assert crowd.clients[macs(0, 1)[0]].answers[ROUTER] == socket.inet_aton("10.9.0.1")
    one.wait(lambda: site.pid(one) not in (0, killed), 10)
    assert not site.has(two), "a server that is started again is no reason to move"

    # The other node is cut off, agent and all, and serves its part; the pool is edited on the first: some go, some
    # come, the options change.
    site.world.pull(site.cable(two))
    gone, coming = macs(0, 20), macs(CLIENTS, CLIENTS + 30)
    left = macs(20, CLIENTS)
    site.dns = "192.0.2.99"
    record = site.record(one)
    site.write(left + coming, to=(one,))
    one.wait(partial(site.serves, one, len(left) + len(coming)), 60)
    crowd.forget(gone)
    crowd.join(coming)
    assert crowd.get(coming, timeout_s=60) == []
    assert {crowd.clients[m].address for m in coming[:20]} == {record[m] for m in gone}, "freed, and given at once"
    assert crowd.renew(left[:300], timeout_s=120) == []
    assert crowd.clients[left[0]].answers[DNS] == socket.inet_aton("192.0.2.99")
    two.wait(partial(site.serves, two, CLIENTS), MOVES_S)

    # It is back with what it knew: two have the address, for a moment. Then it hears of the edit, with what was given.
    site.world.plug(site.cable(two))
    took = two.wait(lambda: not site.has(two), MOVES_S)
    print(f"two had the address for {took:.1f} s after they heard each other again")
    assert site.has(one)
    assert crowd.renew(left[300:900], timeout_s=120) == []
    site.write(left + coming, site.record(one))
    one.wait(partial(site.serves, one, len(left) + len(coming)), 60)
    two.wait(lambda: site.record(two) == site.record(one), 30)

    # The first one loses its server, its agent and its cable, in the middle of renewals.
    def dies() -> None:
        server = site.pid(one)
        one.kill()
        os.kill(server, signal.SIGKILL)
        site.world.pull(site.cable(one))

    begun = time.monotonic()
    assert crowd.renew(timeout_s=300, between=dies) == []
    print(f"{len(crowd.clients)} renewals in {time.monotonic() - begun:.1f} s, the node that served gone in the middle")
    assert site.has(two)
    assert not crowd.twice
    assert not crowd.refused, crowd.refused[:5]
    assert {c.mac: c.address for c in crowd.clients.values()} == site.record(two)


def test_who_is_back_takes_nothing_away(site: Site, line: socket.socket) -> None:
    """The first one comes up as after a power cut: the second one has the address, and keeps it."""
    one, two = site.hosts
    assert site.has(two)
    one.paths.active_pools.unlink()
    one.start()
    one.wait(lambda: not site.has(one), MOVES_S)
    site.world.plug(site.cable(one))
    time.sleep(6)
    assert site.has(two) and not site.has(one)
    crowd = Crowd(line, macs(100, 200))
    assert crowd.get(timeout_s=60) == []
    assert not crowd.refused
    assert {c.mac: c.address for c in crowd.clients.values()}.items() <= site.record(two).items()


def test_an_agent_that_is_killed_is_no_node_that_is_gone(site: Site, line: socket.socket) -> None:
    """The kernel answers for the address and the server goes on: nobody takes it."""
    one, two = site.hosts
    two.kill()
    time.sleep(6)
    assert site.has(two) and not site.has(one)
    crowd = Crowd(line, macs(200, 300))
    assert crowd.get(timeout_s=60) == []
    assert {c.mac: c.address for c in crowd.clients.values()}.items() <= site.record(two).items()
    two.start()
    two.wait(lambda: two.status() is not None)
    time.sleep(3)
    assert site.has(two) and not site.has(one)


def test_strangers_are_met_with_silence(site: Site, line: socket.socket) -> None:
    stranger = Crowd(line, ["02:99:00:00:00:01"])
    assert stranger.get(timeout_s=4) == ["02:99:00:00:00:01"]
    assert not stranger.refused
