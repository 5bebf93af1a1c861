"""One node with four NICs on a switch, for tests of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.agent.agents import Host

from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.netlink.kernel import Kernel

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {{name: {name}}}
spec:
  nodes:
    - name: {name}
      nics: [{nics}]
      management: {{nics: [eth0], address: 10.50.0.11/24}}
  switches:
    - {{name: {name}-sw, ports: [{{names: [{ports}], native: 1, vlans: "100-400"}}]}}
  cables: [{cables}]
"""


def scenario(name: str, nics: int) -> str:
    return SCENARIO.format(
        name=name,
        nics=", ".join(f"eth{n}" for n in range(nics)),
        ports=", ".join(f"p{n}" for n in range(nics)),
        cables=", ".join(f'["{name}:eth{n}", "{name}-sw:p{n}"]' for n in range(nics)),
    )


NETWORK = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {{name: {cn}}}
"""
UPLINK = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {{name: {cn}}}
spec:
  clusterNetwork: {cn}
  uplink:
    nics: [{nics}]
    bondOptions: {{mode: active-backup, miimon: {miimon}}}
"""
NAD = """\
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: {cn}-{vid}, namespace: default}}
spec:
  config: '{{"cniVersion":"0.3.1","name":"{cn}-{vid}","type":"bridge","bridge":"{cn}-br","vlan":{vid}}}'
"""
HOST_NETWORK = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {{name: {cn}-{vid}}}
spec:
  clusterNetwork: {cn}
  vlanID: {vid}
  mode: static
  ips: {{{node}: 10.{net}.0.1/24}}
"""


def manifests(node: str, *, miimon: int = 100, vid: int = 100, nics: str = "eth1, eth2") -> str:
    """A network with a bond of two, a VLAN for machines and one for the host."""
    parts = (NETWORK, UPLINK, NAD, HOST_NETWORK)
    values = {"cn": "oob", "nics": nics, "miimon": miimon, "vid": vid, "node": node, "net": 60}
    return "".join(part.format(**values) for part in parts)


def many_manifests(node: str, count: int) -> str:
    """Networks of two NICs each, from eth1 on, with two VLANs for machines and two for the host."""
    texts = []
    for n in range(count):
        values = {"cn": f"net{n}", "nics": f"eth{2 * n + 1}, eth{2 * n + 2}", "miimon": 100, "node": node}
        texts += [part.format(**values) for part in (NETWORK, UPLINK)]
        for vid in (100, 200):
            texts += [part.format(**values, vid=vid, net=60 + 10 * n + vid // 100) for part in (NAD, HOST_NETWORK)]
    return "---\n".join(texts).replace("---\n---\n", "---\n")


@contextmanager
def a_host(name: str, nics: int = 4) -> Iterator[Host]:
    world = World(parse(Texts("agent.yaml", scenario(name, nics), {})))
    world.build(lambda _: None)
    try:
        with Kernel() as kernel:
            features = kernel.features()
        host = Host(world, name, features)
        try:
            yield host
        finally:
            host.close()
    finally:
        world.close()
