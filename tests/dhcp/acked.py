"""A server of a pool and its clients, in namespaces of whichever kernel this is: what an ACK says, byte by byte."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windrow.apps.dhcp.servers import Servers
from windrow.compile.pools import scopes
from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.pools import IPPool, PoolHost, PoolRoute, Program
from windrow.model.values import Mac
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths
from windrow.testing.builders import cluster_network, nad, vlan_config
from windrow.testing.dhcpclients import Crowd
from windrow.testing.dhcpserver import ip, wire

LINK = "oob-br.100"
NAMED, UNNAMED = Mac("02:64:00:00:00:01"), Mac("02:64:00:00:00:02")
EVERYTHING: Mapping[str, Any] = {
    "router": "10.9.0.1",
    "dns": ("192.0.2.53", "192.0.2.54"),
    "domain": "lab.example.com",
    "search": ("lab.example.com", "example.com"),
    "ntp": ("192.0.2.123", "ntp.example.com", "192.0.2.124"),
    "mtu": 1450,
    "lease_s": 7200,
    "routes": (
        PoolRoute(to="172.16.0.0/12", via="10.9.0.253"),
        PoolRoute(to="192.168.7.128/25", via="10.9.0.254"),
        PoolRoute(to="10.77.0.1/32", via="10.9.0.252"),
    ),
}
MASK, ROUTER, DNS, NAME, DOMAIN, MTU, NTP, LEASE, SERVER, SEARCH, ROUTES = 1, 3, 6, 12, 15, 26, 42, 51, 54, 119, 121


def acks(program: Program, **fields: Any) -> dict[Mac, Mapping[int, bytes]]:
    """What a client with a host name in the pool is told, and one without."""
    hosts = (PoolHost(mac=NAMED, hostname="printer"), PoolHost(mac=UNNAMED))
    pool = IPPool(
        meta=Meta(name="p", namespace="default"),
        network="default/n",
        cidr="10.9.0.0/16",
        server="10.9.0.2",
        program=program,
        hosts=hosts,
        **fields,
    )
    found = scopes(Cluster.of([cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("n", "oob", 100), pool]), {})
    node, far = netns.new(), netns.new()
    with Kernel(node) as one, Kernel(far) as other:
        one.rtnl.run(links.veth(links.End(name=LINK), links.End(name="eth0", netns=far)))
        one.rtnl.run(links.add_addr(one.rtnl.index(LINK), "10.9.0.2/16"), links.set_link(LINK, up=True))
        other.rtnl.run(links.set_link("eth0", up=True))
    time.sleep(1)  # until there is carrier, which Kea waits for
    line: socket.socket = netns.opened_in(far, lambda: wire("eth0"))
    said: list[str] = []
    # Not in pytest's own directory: dnsmasq becomes somebody else, who has to read its files again.
    with tempfile.TemporaryDirectory(prefix="windrow-dhcp-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        servers = Servers(Paths(Path(place)), troubled=said.append)
        try:
            netns.opened_in(node, lambda: servers.want(found, found))
            crowd = Crowd(line, [NAMED, UNNAMED])
            assert crowd.get(timeout_s=20) == [], said
            return {Mac(mac): client.answers for mac, client in crowd.clients.items()}
        finally:
            netns.opened_in(node, lambda: servers.want((), ()))
            servers.close()
            line.close()
            os.close(node)
            os.close(far)


def check_everything(program: Program) -> None:
    told = acks(program, **EVERYTHING)
    for options in told.values():
        assert options[MASK] == ip("255.255.0.0")
        assert options[SERVER] == ip("10.9.0.2")
        assert options[ROUTER] == ip("10.9.0.1")
        assert options[DNS] == ip("192.0.2.53", "192.0.2.54")
        assert options[DOMAIN].rstrip(b"\0") == b"lab.example.com"
        assert options[MTU] == (1450).to_bytes(2, "big")
        assert options[NTP] == ip("192.0.2.123", "192.0.2.124"), "a name is no address (RFC 2132 §8.3)"
        assert options[LEASE] == (7200).to_bytes(4, "big")
        assert names(options[SEARCH]) == ["lab.example.com", "example.com"]
        # RFC 3442: the length of the prefix, its bytes that count, the router; the default route is repeated.
        assert options[ROUTES].hex(" ") == (
            "0c ac 10 0a 09 00 fd 19 c0 a8 07 80 0a 09 00 fe 20 0a 4d 00 01 0a 09 00 fc 00 0a 09 00 01"
        )
    assert told[NAMED][NAME] == b"printer"
    assert NAME not in told[UNNAMED]


def check_longest(program: Program) -> None:
    """As much as admission lets in (`pool-option-size`)."""
    search = tuple(f"sub{n}-abcdefg.example.com" for n in range(10, 25))
    assert names(acks(program, search=search)[NAMED][SEARCH]) == list(search)
    routes = tuple(PoolRoute(to=f"172.16.0.{n}/32", via="10.9.0.3") for n in range(27))
    assert len(acks(program, router="10.9.0.1", routes=routes)[NAMED][ROUTES]) == 27 * 9 + 5


def check_nothing(program: Program) -> None:
    """What a pool does not say, no server makes up: dnsmasq would name itself as the router."""
    for options in acks(program).values():
        assert options[LEASE] == (31_536_000).to_bytes(4, "big")
        assert not options.keys() & {ROUTER, DNS, DOMAIN, MTU, NTP, SEARCH, ROUTES}, options


def names(data: bytes) -> Sequence[str]:
    """Of option 119 (RFC 3397): labels, with pointers into the option itself (RFC 1035 §4.1.4)."""
    found, at = [], 0
    while at < len(data):
        labels, here, back = [], at, 0
        while length := data[here]:
            if length & 0xC0:
                back = back or here + 2
                here = int.from_bytes(data[here : here + 2], "big") & 0x3FFF
            else:
                labels.append(data[here + 1 : here + 1 + length].decode("ascii"))
                here += 1 + length
        at = back or here + 1
        found.append(".".join(labels))
    return found
