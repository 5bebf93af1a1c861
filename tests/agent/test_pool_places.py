"""Pools elsewhere than in a tagged VLAN of a network of its own: untagged, and in a VLAN of the management network. A
prefix of IPv6 is advertised.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.agent.agents import Host

from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.values import IfName
from windrow.netlink import netns, sysctl
from windrow.netlink.kernel import Kernel
from windrow.testing.dhcpclients import Crowd
from windrow.testing.dhcpserver import ROUTER, wire

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: places}
spec:
  nodes:
    - {name: p-one, nics: [eth0, eth1], management: {nics: [eth0], address: 10.50.0.11/24}}
  switches:
    - name: p-sw
      ports:
        - {names: [m0], native: 1, vlans: "60"}
        - {names: [p0, c0], native: 5}
        - {names: [c1], native: 60}
  hosts:
    - name: crowd
      nics:
        - {name: eth0, addresses: {untagged: 10.5.0.254/24}}
        - {name: eth1, addresses: {untagged: 10.60.0.254/24}}
  cables:
    - ["p-one:eth0", "p-sw:m0"]
    - ["p-one:eth1", "p-sw:p0"]
    - ["crowd:eth0", "p-sw:c0"]
    - ["crowd:eth1", "p-sw:c1"]
"""
MANIFESTS = """\
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
metadata: {name: plain, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","type":"bridge","bridge":"oob-br"}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: managed, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","type":"bridge","bridge":"mgmt-br","vlan":60}'}
---
apiVersion: network.harvesterhci.io/v1alpha1
kind: IPPool
metadata: {name: plain, namespace: default}
spec:
  networkName: default/plain
  ipv4Config: {cidr: 10.5.0.0/24, serverIP: 10.5.0.2, router: 10.5.0.1, leaseTime: 600}
  hosts: [{macAddress: "02:65:00:00:00:01"}]
  routerAdvertisement: {prefix: "fd00:5::/64"}
---
apiVersion: network.harvesterhci.io/v1alpha1
kind: IPPool
metadata: {name: managed, namespace: default}
spec:
  networkName: default/managed
  ipv4Config: {cidr: 10.60.0.0/24, serverIP: 10.60.0.2, router: 10.60.0.1, leaseTime: 600}
  hosts: [{macAddress: "02:66:00:00:00:01"}]
"""


def with_ipv6() -> None:
    """The lab has it switched off, for its traffic is counted."""
    for of in ("all", "default"):
        sysctl.write(f"net.ipv6.conf.{of}.disable_ipv6", "0")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    world = World(parse(Texts("places.yaml", SCENARIO, {})))
    world.build(lambda _: None)
    try:
        for place in ("p-one", "crowd"):
            netns.opened_in(place, with_ipv6)
        with Kernel() as kernel:
            features = kernel.features()
        host = Host(world, "p-one", features)
        host.write(MANIFESTS)
        host.start()
        yield host
        host.write(MANIFESTS.partition("---\napiVersion: network.harvesterhci.io/v1alpha1")[0])
        host.wait(lambda: not list(host.paths.dhcp_servers.iterdir()))
        host.close()
    finally:
        world.close()


@pytest.mark.parametrize(
    ("nic", "mac", "link", "subnet"),
    [("eth0", "02:65:00:00:00:01", "oob-br", "10.5.0"), ("eth1", "02:66:00:00:00:01", "mgmt-br.60", "10.60.0")],
)
def test_it_is_served_there(host: Host, nic: str, mac: str, link: str, subnet: str) -> None:
    def has() -> bool:
        found = host.kernel.observe().state.links.get(IfName(link))
        return found is not None and f"{subnet}.2/24" in (found.addrs or ())

    host.wait(has)
    line: socket.socket = host.world.inside("crowd", lambda: wire(nic))
    try:
        crowd = Crowd(line, [mac])
        assert crowd.get(timeout_s=30) == [], host.said()
    finally:
        line.close()
    assert crowd.clients[mac].address == f"{subnet}.3"
    assert crowd.clients[mac].answers[ROUTER] == socket.inet_aton(f"{subnet}.1")


def test_a_prefix_is_advertised_and_no_router(host: Host) -> None:
    def shown(*words: str) -> str:
        argv = ["ip", "-6", *words, "show", "dev", "eth0"]
        return str(host.world.inside("crowd", lambda: subprocess.run(argv, capture_output=True, text=True).stdout))

    end = time.monotonic() + 40
    while "fd00:5::" not in shown("addr") and time.monotonic() < end:
        time.sleep(0.2)
    assert "fd00:5::" in shown("addr"), host.said()
    assert "default" not in shown("route")
