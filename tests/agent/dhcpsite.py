"""Two nodes that may serve the pool of one VLAN, and a host in it that thousands of clients may be on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.agent.agents import Host

from windrow.apps.dhcp.programs import DRIVERS
from windrow.lab.scenario import End
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.pools import Program
from windrow.model.values import IfName
from windrow.netlink.kernel import Kernel
from windrow.store.poolrecord import read_record

CLIENTS = 2000
LINK = IfName("oob-br.100")
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
    program: Program = Program.DNSMASQ
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
  program: {self.program}
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
        found = DRIVERS[self.program].running(host.paths.dhcp_servers / LINK)
        return found.pid if found else 0

    def has(self, host: Host) -> bool:
        """Whether the node has the server's address."""
        found = host.kernel.observe().state.links.get(LINK)
        return found is not None and f"{SERVER}/16" in (found.addrs or ())

    def serves(self, host: Host, count: int) -> bool:
        """As many reservations, by the server's address."""
        file = host.paths.dhcp_servers / LINK / "told"
        told = file.read_text().partition("# options")[0] if file.exists() else ""
        return bool(self.pid(host)) and self.has(host) and len(told.splitlines()) == count

    def cable(self, host: Host) -> End:
        return End("d-sw", f"p{self.hosts.index(host)}")

    def record(self, host: Host) -> dict[str, str]:
        return {str(mac): address for mac, address in read_record(host.paths).get("default/vlan100", {}).items()}


@contextmanager
def a_site(program: Program = Program.DNSMASQ) -> Iterator[Site]:
    world = World(parse(Texts("dhcp.yaml", SCENARIO, {})))
    world.build(lambda _: None)
    try:
        with Kernel() as kernel:
            features = kernel.features()
        one, two = Host(world, "d-one", features), Host(world, "d-two", features)
        site = Site(world, (one, two), program)
        try:
            yield site
        finally:
            for host in (one, two):
                host.close()
                if pid := site.pid(host):
                    os.kill(pid, signal.SIGKILL)
    finally:
        world.close()
