"""2,000 clients and two nodes that serve them, with dnsmasq and with Kea, in namespaces of this machine's own kernel.

The same story as tests/agent/test_dhcp_servers.py, without agents and VLANs: a server is killed, a node is cut off, the
pool is edited meanwhile. It needs root.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.dhcp.programs import DRIVERS
from windrow.apps.dhcp.servers import Servers
from windrow.compile.pools import scopes
from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.pools import IPPool, PoolHost, Program, Record, Scope
from windrow.model.values import Mac
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_record
from windrow.testing.builders import cluster_network, nad, vlan_config
from windrow.testing.dhcpclients import Crowd
from windrow.testing.dhcpserver import DNS, LEASE, wire

CLIENTS = int(os.environ.get("WINDROW_CLIENTS", "2000"))
LONG_S = 20.0 + CLIENTS / 10
LINK = "oob-br.100"


def macs(first: int, last: int) -> list[Mac]:
    return [Mac(f"02:64:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(first, last)]


@dataclass
class Node:
    """What serves: a namespace with a link in the VLAN, a disk."""

    fd: int
    paths: Paths
    program: Program
    record: Record = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.servers = Servers(self.paths, troubled=self.said.append)

    def want(self, listed: list[Mac], **more: Any) -> tuple[Scope, ...]:
        pool = IPPool(
            meta=Meta(name="p", namespace="default"),
            network="default/n",
            cidr="10.9.0.0/16",
            server="10.9.0.2",
            router="10.9.0.1",
            program=self.program,
            hosts=tuple(PoolHost(mac=mac) for mac in listed),
            **{"lease_s": 600} | more,
        )
        network = (cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("n", "oob", 100))
        found = scopes(Cluster.of([*network, pool]), read_record(self.paths))
        netns.opened_in(self.fd, lambda: self.servers.want(found, found))
        return found

    def pid(self) -> int:
        found = DRIVERS[self.program].running(self.paths.dhcp_servers / LINK)
        return found.pid if found else 0

    def given(self) -> dict[str, str]:
        return {str(mac): address for mac, address in read_record(self.paths)["default/p"].items()}

    def turn(self) -> None:
        """The loop's part, when a server has ended."""
        end = time.monotonic() + 20
        while not self.pid() and time.monotonic() < end:
            netns.opened_in(self.fd, lambda: self.servers.ready(-1))
            time.sleep(0.05)
        assert self.pid(), self.said

    def stop(self) -> None:
        netns.opened_in(self.fd, lambda: self.servers.want((), ()))
        self.servers.close()


@dataclass
class Site:
    nodes: tuple[Node, Node]
    switch: Kernel
    line: socket.socket

    def cable(self, number: int, *, up: bool) -> None:
        self.switch.rtnl.run(links.set_link(f"p{number}", up=up))


@pytest.fixture(params=list(Program), ids=str)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Not in pytest's own directory: dnsmasq becomes somebody else, who has to read its files again."""
    with tempfile.TemporaryDirectory(prefix="windrow-dhcp-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        yield from a_site(request.param, Path(place))


def a_site(program: Program, place: Path) -> Iterator[Site]:
    switch_fd, crowd_fd = netns.new(), netns.new()
    switch, fds, nodes = Kernel(switch_fd), [switch_fd, crowd_fd], []
    switch.rtnl.run(links.create("br", "bridge"), links.set_link("br", up=True))
    for number, name in enumerate((LINK, LINK, "eth0")):
        fd = netns.new() if name == LINK else crowd_fd
        switch.rtnl.run(links.veth(links.End(name=f"p{number}"), links.End(name=name, netns=fd)))
        switch.rtnl.run(links.set_master(f"p{number}", switch.rtnl.index("br"), "br"))
        switch.rtnl.run(links.set_link(f"p{number}", up=True))
        with Kernel(fd) as kernel:
            if name == LINK:
                kernel.rtnl.run(links.add_addr(kernel.rtnl.index(name), "10.9.0.2/16"))
                nodes.append(Node(fd, Paths(place / f"node{number}"), program))
                fds.append(fd)
            kernel.rtnl.run(links.set_link(name, up=True), links.set_link("lo", up=True))
    line: socket.socket = netns.opened_in(crowd_fd, lambda: wire("eth0"))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    time.sleep(1)  # until there is carrier everywhere, which Kea waits for
    yield Site((nodes[0], nodes[1]), switch, line)
    for node in nodes:
        node.stop()
    line.close()
    switch.close()
    for fd in fds:
        os.close(fd)


def test_two_thousand_clients(site: Site) -> None:
    one, two = site.nodes
    for node in site.nodes:
        node.want(macs(0, CLIENTS))
    assert one.given() == two.given()
    crowd = Crowd(site.line, macs(0, CLIENTS))
    begun, killed = time.monotonic(), one.pid()
    assert crowd.get(timeout_s=LONG_S, between=lambda: os.kill(killed, signal.SIGKILL)) == []
    print(f"{one.program}: {CLIENTS} clients in {time.monotonic() - begun:.1f} s, one server killed")
    assert {c.mac: c.address for c in crowd.clients.values()} == one.given()
    one.turn()
    assert one.pid() != killed

    # The second node is cut off and misses an edit; then it is back with what it knew, and later hears of it.
    site.cable(1, up=False)
    gone, coming, left = macs(0, 20), macs(CLIENTS, CLIENTS + 30), macs(20, CLIENTS)
    freed = {crowd.clients[mac].address for mac in gone}
    begun = time.monotonic()
    one.want(left + coming, dns=("192.0.2.99",))
    print(f"{one.program}: an edit with {CLIENTS} reservations in {(time.monotonic() - begun) * 1000:.0f} ms")
    assert one.said == [f"the DHCP server on {LINK} ended, and is started again"]
    crowd.lost_server()
    crowd.forget(gone)
    crowd.join(coming)
    assert crowd.get(coming, timeout_s=LONG_S) == []
    assert {crowd.clients[mac].address for mac in coming[:20]} == freed, "freed, and given at once"
    assert crowd.renew(left[:200], timeout_s=LONG_S) == []
    assert crowd.clients[left[0]].answers[DNS] == socket.inet_aton("192.0.2.99")
    site.cable(1, up=True)
    crowd.lost_server()
    assert crowd.renew(left[200:600], timeout_s=LONG_S) == []
    two.want(left + coming, dns=("192.0.2.99",), allocated={Mac(mac): ip for mac, ip in one.given().items()})
    assert two.given() == one.given()

    # The first node is gone for good.
    site.cable(0, up=False)
    crowd.lost_server()
    assert crowd.renew(timeout_s=LONG_S) == []
    assert not crowd.twice
    assert not crowd.refused, crowd.refused[:5]
    assert {c.mac: c.address for c in crowd.clients.values()} == two.given()
    stranger = Crowd(site.line, ["02:99:00:00:00:01"])
    assert stranger.get(timeout_s=4) == ["02:99:00:00:00:01"], "met with silence"


def test_the_next_agent_finds_it(site: Site) -> None:
    """With the link that it serves, and without a restart; what is no longer wanted is ended."""
    node = site.nodes[0]
    node.want(macs(0, 3))
    pid = node.pid()
    node.servers.close()
    node.servers = Servers(node.paths, troubled=node.said.append)
    node.want(macs(1, 4))
    assert node.pid() == pid
    crowd = Crowd(site.line, macs(1, 4))
    assert crowd.get(timeout_s=20) == []
    node.servers.close()
    node.servers = Servers(node.paths, troubled=node.said.append)
    netns.opened_in(node.fd, lambda: node.servers.want((), ()))
    assert not node.pid()
    assert list(node.paths.dhcp_servers.iterdir()) == []
    assert not node.said


def test_an_edit_of_the_lease_time_reaches_clients(site: Site) -> None:
    node, crowd = site.nodes[0], Crowd(site.line, macs(0, 5))
    for lease_s in (600, 1200):
        node.want(macs(0, 5), lease_s=lease_s)
        node.turn()
        crowd.lost_server()
        assert crowd.get(timeout_s=20) == [] if lease_s == 600 else crowd.renew(timeout_s=20) == []
        assert {int.from_bytes(c.answers[LEASE], "big") for c in crowd.clients.values()} == {lease_s}
    assert not crowd.refused


def test_another_program_takes_over(site: Site) -> None:
    """An edit of `program`: the old one ends, and nobody who renews is refused by the new one."""
    node, crowd = site.nodes[0], Crowd(site.line, macs(0, 50))
    first, second = node.program, next(p for p in Program if p is not node.program)
    node.want(macs(0, 50))
    assert crowd.get(timeout_s=20) == []
    for program in (second, first):
        before, old = node.pid(), node.program
        node.program = program
        node.want(macs(0, 50))
        node.turn()
        assert DRIVERS[old].running(node.paths.dhcp_servers / LINK) is None
        assert node.pid() not in (0, before)
        crowd.lost_server()
        assert crowd.renew(timeout_s=20) == [], node.said
    assert not crowd.refused
    assert not node.said
