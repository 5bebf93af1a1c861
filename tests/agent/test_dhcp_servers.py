"""2,000 clients of one VLAN, two nodes that serve it: a server that is killed, a node that is cut off, a pool that is
edited meanwhile. No address twice, nobody refused who need not be, renewals go on.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address

import pytest
from tests.agent.agents import Host

from windrow.lab.scenario import End
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.netlink.kernel import Kernel
from windrow.services import dnsmasq
from windrow.store.poolrecord import read_record
from windrow.testing.dhcpclients import Crowd
from windrow.testing.dhcpserver import DNS, ROUTER, wire

CLIENTS = 2000
VID, LINK = 100, "oob-br.100"
SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: dhcp}
spec:
  nodes:
    - {name: d-one, nics: [eth0, eth1], management: {nics: [eth0], address: 10.50.0.11/24}}
    - {name: d-two, nics: [eth0, eth1], management: {nics: [eth0], address: 10.50.0.12/24}}
  switches:
    - name: d-sw
      ports:
        - {names: [m0, m1], native: 1}
        - {names: [p0, p1], native: 1, vlans: "100"}
        - {names: [c0], native: 100}
  hosts:
    - {name: crowd, nics: [{name: eth0, addresses: {untagged: 10.9.255.254/16}}]}
  cables:
    - ["d-one:eth0", "d-sw:m0"]
    - ["d-two:eth0", "d-sw:m1"]
    - ["d-one:eth1", "d-sw:p0"]
    - ["d-two:eth1", "d-sw:p1"]
    - ["crowd:eth0", "d-sw:c0"]
"""
NETWORK = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1]}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: vlan100, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","type":"bridge","bridge":"oob-br","vlan":100}'}
"""
SERVER = "10.9.0.2"


def macs(first: int, last: int) -> list[str]:
    return [f"02:64:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(first, last)]


@dataclass
class Site:
    world: World
    hosts: tuple[Host, Host]
    dns: str = "192.0.2.53"
    lease_s: int = 600

    def write(self, listed: list[str], record: dict[str, str] | None = None, *, to: tuple[Host, ...] = ()) -> None:
        """The manifests, with the pool for these MAC addresses; `record`: what was given, as the pool's status."""
        hosts = "\n".join(f'  - {{macAddress: "{mac}"}}' for mac in listed)
        status = "\n".join(f'      {address}: "{mac}"' for mac, address in (record or {}).items())
        text = f"""{NETWORK}---
apiVersion: network.harvesterhci.io/v1alpha1
kind: IPPool
metadata: {{name: vlan100, namespace: default}}
spec:
  networkName: default/vlan100
  nodes: [d-one, d-two]
  ipv4Config:
    {{cidr: 10.9.0.0/16, serverIP: {SERVER}, router: 10.9.0.1, dns: ["{self.dns}"], leaseTime: {self.lease_s}}}
  hosts:
{hosts}
"""
        if record:
            text += f"status:\n  ipv4:\n    allocated:\n{status}\n"
        for host in to or self.hosts:
            host.write(text)

    def pid(self, host: Host) -> int:
        found = dnsmasq.running(host.paths.dhcp_servers / LINK / "pid")
        return found.pid if found else 0

    def served(self, host: Host, count: int) -> bool:
        file = host.paths.dhcp_servers / LINK / "hosts"
        return bool(self.pid(host)) and file.exists() and len(file.read_text().splitlines()) == count

    def record(self, host: Host) -> dict[str, str]:
        return {str(mac): address for mac, address in read_record(host.paths).get("default/vlan100", {}).items()}


@contextmanager
def a_site() -> Iterator[Site]:
    world = World(parse(Texts("dhcp.yaml", SCENARIO, {})))
    world.build(lambda _: None)
    try:
        with Kernel() as kernel:
            features = kernel.features()
        one, two = Host(world, "d-one", features), Host(world, "d-two", features)
        site = Site(world, (one, two))
        try:
            yield site
        finally:
            for host in (one, two):
                host.close()
                if pid := site.pid(host):
                    os.kill(pid, signal.SIGKILL)
    finally:
        world.close()


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
    for host in site.hosts:
        host.start()
    for host in site.hosts:
        host.wait(partial(site.served, host, CLIENTS), 60)
    assert site.record(one) == site.record(two), "two nodes, one decision"

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

    # One node is cut off, agent and all; the pool is edited on the other: some go, some come, the options change.
    cut = End("d-sw", "p1")
    site.world.pull(cut)
    crowd.lost_server()
    gone, coming = macs(0, 20), macs(CLIENTS, CLIENTS + 30)
    left = macs(20, CLIENTS)
    site.dns = "192.0.2.99"
    record = site.record(one)
    site.write(left + coming, to=(one,))
    one.wait(lambda: site.served(one, len(left) + len(coming)), 60)
    crowd.forget(gone)
    crowd.join(coming)
    assert crowd.get(coming, timeout_s=60) == []
    assert {crowd.clients[m].address for m in coming[:20]} == {record[m] for m in gone}, "freed, and given at once"
    assert crowd.renew(left[:300], timeout_s=120) == []
    assert crowd.clients[left[0]].answers[DNS] == socket.inet_aton("192.0.2.99")

    # The other one is back with what it knew: both serve. Then it hears of the edit, with what was given.
    site.world.plug(cut)
    crowd.lost_server()
    assert crowd.renew(left[300:900], timeout_s=120) == []
    site.write(left + coming, site.record(one))
    for host in site.hosts:
        host.wait(partial(site.served, host, len(left) + len(coming)), 60)
    two.wait(lambda: site.record(two) == site.record(one), 30)

    # The first one loses its server and its agent for good.
    one.kill()
    os.kill(site.pid(one), signal.SIGKILL)
    site.world.pull(End("d-sw", "p0"))
    crowd.lost_server()
    assert crowd.renew(timeout_s=300) == []
    assert not crowd.twice
    assert not crowd.refused, crowd.refused[:5]
    assert {c.mac: c.address for c in crowd.clients.values()} == site.record(two)
    site.world.plug(End("d-sw", "p0"))


def test_strangers_are_met_with_silence(site: Site, line: socket.socket) -> None:
    stranger = Crowd(line, ["02:99:00:00:00:01"])
    assert stranger.get(timeout_s=4) == ["02:99:00:00:00:01"]
    assert not stranger.refused
