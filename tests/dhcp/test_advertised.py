"""A prefix that a pool advertises, as a guest of this kernel takes it: an address, and a router or none."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.apps.dhcp.servers import Servers
from windrow.compile import compile_node
from windrow.compile.pools import scopes
from windrow.model.cluster import Cluster
from windrow.model.facts import Nic, NodeFacts
from windrow.model.meta import Meta
from windrow.model.pools import Advertisement, IPPool
from windrow.model.values import IfName, Mac
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths
from windrow.testing.builders import cluster_network, nad, vlan_config

LINK, ETH = IfName("oob-br.100"), IfName("eth1")
FACTS = NodeFacts(
    node="n1", nics={ETH: Nic(name=ETH, mac=Mac("52:54:00:00:00:aa"))}, links=frozenset({ETH}), agent=True
)


@pytest.fixture
def guest() -> Iterator[Callable[[int], int]]:
    """Serves a pool that advertises, with this lifetime; the fd of the namespace of a guest."""
    fds: list[int] = []
    kept: list[tuple[int, Servers]] = []
    with tempfile.TemporaryDirectory(prefix="windrow-dhcp-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)

        def make(lifetime_s: int) -> int:
            node, there = netns.new(), netns.new()
            fds.extend((node, there))
            pool = IPPool(
                meta=Meta(name="p", namespace="default"),
                network="default/n",
                cidr="10.9.0.0/24",
                mtu=1400,
                advertise=Advertisement(prefix="fd00:9::/64", lifetime_s=lifetime_s),
            )
            cluster = Cluster.of([cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("n", "oob", 100), pool])
            addresses = compile_node(cluster, FACTS).state.links[LINK].addrs or frozenset()
            with Kernel(node) as one, Kernel(there) as other:
                one.rtnl.run(links.veth(links.End(name=LINK), links.End(name="eth0", netns=there)))
                index = one.rtnl.index(LINK)
                one.rtnl.run(*(links.add_addr(index, address) for address in addresses))
                one.rtnl.run(links.set_link(LINK, up=True))
                other.rtnl.run(links.set_link("eth0", up=True))
            servers, found = Servers(Paths(Path(place)), troubled=print), scopes(cluster, {})
            netns.opened_in(node, lambda: servers.want(found, found))
            kept.append((node, servers))
            return there

        yield make
        for node, servers in kept:
            netns.opened_in(node, lambda servers=servers: servers.want((), ()))  # type: ignore[misc]
            servers.close()
    for fd in fds:
        os.close(fd)


def shown(fd: int, *words: str) -> str:
    def run() -> str:
        argv = ["ip", "-6", *words, "show", "dev", "eth0"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    found: str = netns.opened_in(fd, run)
    return found


@pytest.mark.parametrize("lifetime_s", [0, 1800])
def test_a_guest_takes_it(guest: Callable[[int], int], lifetime_s: int) -> None:
    fd = guest(lifetime_s)
    end = time.monotonic() + 40
    while "fd00:9::" not in shown(fd, "addr") and time.monotonic() < end:
        time.sleep(0.2)
    assert "fd00:9::" in shown(fd, "addr")
    routes = shown(fd, "route")
    assert ("default" in routes) is bool(lifetime_s), routes
