"""Who listens and who is connected, read from a real kernel."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable

import pytest
from tests.kernel.conftest import Ns
from tests.kernel.test_reach import pair as pair  # two hosts on a cable

from windrow.model.connections import NO_SOCKETS, Connection
from windrow.netlink import netns, sockdiag


def listening(ns: Ns, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::"
    return netns.opened_in(ns.fd, lambda: socket.create_server((address, port), family=family, dualstack_ipv6=both))


def connected(ns: Ns, address: str, port: int) -> socket.socket:
    return netns.opened_in(ns.fd, lambda: socket.create_connection((address, port), 10))


def test_an_empty_namespace_has_none(new_ns: Callable[[], Ns]) -> None:
    assert sockdiag.sockets(new_ns().fd) == NO_SOCKETS


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_a_peer_that_connects_is_seen_by_his_own_address(pair: tuple[Ns, Ns], address: str) -> None:
    """Also where one socket listens for both families: an IPv4 peer shows as ::ffff:… there."""
    here, there = pair
    with listening(here, "::", 2222), connected(there, address, 2222) as theirs:
        found = sockdiag.sockets(here.fd)
        peer, port = theirs.getsockname()[:2]
        assert (found.listening, found.begun) == ({2222}, set())
        assert found.opened == {Connection(address, 2222, peer, port)}
        assert sockdiag.sockets(there.fd) == NO_SOCKETS, "whoever connects is no listener"


def test_what_is_for_this_host_alone_is_none(pair: tuple[Ns, Ns]) -> None:
    here, _ = pair
    with listening(here, "127.0.0.1", 2222), listening(here, "::1", 2223), connected(here, "127.0.0.1", 2222):
        assert sockdiag.sockets(here.fd) == NO_SOCKETS
    with listening(here, "", 2222), connected(here, "127.0.0.1", 2222):
        found = sockdiag.sockets(here.fd)
        assert (found.listening, found.opened) == ({2222}, set())


def test_a_connection_that_was_closed_again_still_came_in(pair: tuple[Ns, Ns]) -> None:
    here, there = pair
    with listening(here, "10.0.0.1", 2222) as server:
        theirs = connected(there, "10.0.0.1", 2222)
        server.accept()[0].close()
        theirs.close()
        (one,) = sockdiag.sockets(here.fd).opened
        assert (one.port, one.peer) == (2222, "10.0.0.2")


def test_a_handshake_that_is_not_over_is_only_begun(pair: tuple[Ns, Ns]) -> None:
    """What is sent to the peer goes to a MAC address that nobody has, as where only one direction works."""
    here, there = pair
    astray = ["ip", "neigh", "replace", "10.0.0.2", "lladdr", "02:00:00:00:00:99", "dev", "e0"]
    netns.opened_in(here.fd, lambda: subprocess.run(astray, check=True, capture_output=True))
    with listening(here, "10.0.0.1", 2222):
        with pytest.raises(TimeoutError):
            netns.opened_in(there.fd, lambda: socket.create_connection(("10.0.0.1", 2222), 1))
        found = sockdiag.sockets(here.fd)
    assert found.opened == set()
    assert [(one.port, one.peer) for one in found.begun] == [(2222, "10.0.0.2")]
