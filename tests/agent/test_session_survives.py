"""A session over the management network survives what is done to it: 100 messages a second over TCP, both ways."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.agent.hands import Site, connected, site

from windrow.store.leases import Leases, this_moment

OLD = "10.0.0.10"
RATE = 100
GAP_MAX_S = 10.0
"""A message waits for TCP's next try (RFC 6298: 200 ms, then twice as long each time) once the way is open again."""
_NUMBER = struct.Struct("!I")

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: session}
spec:
  nodes:
    - name: node-0
      nics: [eth0, eth1, eth2]
      management: {nics: [eth0], address: 10.0.0.10/24, gateway: 10.0.0.1, plain: true}
  switches:
    - name: sw
      ports: [{names: [p0, p1, p2, p9], native: 1, vlans: "5,100-110"}]
  hosts:
    - {name: router, role: router, nics: [{name: eth0, addresses: {untagged: 10.0.0.1/24}}]}
  cables:
    - ["node-0:eth0", "sw:p0"]
    - ["node-0:eth1", "sw:p1"]
    - ["node-0:eth2", "sw:p2"]
    - ["router:eth0", "sw:p9"]
"""
NETWORKS = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth2]}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: oob-1, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","name":"v","type":"bridge","bridge":"oob-br","promiscMode":true,"vlan":VID}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: mgmt-1, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","name":"v","type":"bridge","bridge":"mgmt-br","promiscMode":true,"vlan":VID}'}
"""


class Stream:
    """Numbered messages from one end to the other, and when each arrived."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self._sender, self._receiver = sender, receiver
        self._end = threading.Event()
        self.sent = 0
        self.arrived: list[tuple[float, int]] = []
        self.broken = ""
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        began = time.monotonic()
        try:
            while not self._end.wait(max(0.0, began + self.sent / RATE - time.monotonic())):
                self._sender.sendall(_NUMBER.pack(self.sent))
                self.sent += 1
            self._sender.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.broken = f"sending: {error}"

    def _receive(self) -> None:
        rest = b""
        try:
            while data := self._receiver.recv(4096):
                rest += data
                while len(rest) >= _NUMBER.size:
                    self.arrived.append((time.monotonic(), _NUMBER.unpack_from(rest)[0]))
                    rest = rest[_NUMBER.size :]
        except OSError as error:
            self.broken = f"receiving: {error}"

    def longest_gap(self, since: float) -> float:
        times = [since, *(at for at, _ in self.arrived if at >= since)]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def end(self) -> None:
        self._end.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)


class Session:
    """One TCP connection, a stream each way."""

    def __init__(self, node: Site) -> None:
        ours, theirs = self._ends = connected(node, OLD)
        self.streams = {"to the node": Stream(theirs, ours), "from the node": Stream(ours, theirs)}

    def gap(self, since: float) -> float:
        return max(stream.longest_gap(since) for stream in self.streams.values())

    def flows(self) -> bool:
        """Whether something arrives both ways now."""
        before = {name: len(stream.arrived) for name, stream in self.streams.items()}
        end = time.monotonic() + GAP_MAX_S
        while time.monotonic() < end:
            if all(len(stream.arrived) > before[name] + 5 for name, stream in self.streams.items()):
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """Both streams first: each one reads from the end that the other one writes to."""
        for stream in self.streams.values():
            stream.end()
        for stream in self.streams.values():
            stream.join()
        for end in self._ends:
            with suppress(OSError):
                end.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Site]:
    with site(SCENARIO) as made:
        yield made


def test_a_session_survives_it_all(node: Site) -> None:
    before = node.state()
    node.root.mkdir(parents=True, exist_ok=True)
    for vid in ("101", "102"):
        (node.root / f"networks-{vid}.yaml").write_text(NETWORKS.replace("VID", vid))
    changes = [
        ("init", ("init", "--nic", "eth0")),
        ("adding a NIC", ("init", "--nic", "eth0", "--nic", "eth1")),
        ("miimon", ("apply", "-f", edited(node, "options", "miimon: 150"))),
        ("another mode", ("init", "--mode", "balance-xor")),
        ("hash policy", ("apply", "-f", edited(node, "policy", "mode: balance-xor, xmitHashPolicy: layer3+4"))),
        ("back to active-backup", ("init", "--mode", "active-backup")),
        ("another network, and VLANs of both", ("apply", "-f", str(node.root / "networks-101.yaml"))),
        ("other VLANs of both", ("apply", "-f", str(node.root / "networks-102.yaml"))),
        ("deleting them", ("delete", "-f", str(node.root / "networks-102.yaml"))),
        ("init --undo", ("init", "--undo")),
    ]
    session = Session(node)
    gaps: dict[str, float] = {}
    try:
        assert session.flows()
        for name, words in changes:
            if name in ("miimon", "hash policy"):
                write_options(node, words[2])
            began = time.monotonic()
            done = node.run(*words)
            assert done.code == 0, f"{name}: {done.said}"
            assert session.flows(), f"{name}: nothing arrives any more\n{done.said}"
            gaps[name] = session.gap(began)
    finally:
        session.close()
    for name, gap in gaps.items():
        print(f"\n{name}: longest gap {gap * 1000:.0f} ms", end="")
    for name, stream in session.streams.items():
        assert not stream.broken, f"{name}: {stream.broken}"
        numbers = [number for _, number in stream.arrived]
        assert numbers == list(range(stream.sent)), f"{name}: all, once, in order"
    assert max(gaps.values()) < GAP_MAX_S
    assert node.state() == before, "init --undo returned the host exactly"


def edited(node: Site, name: str, options: str) -> str:
    """Where a manifest of the uplink with these options will be: its NICs are known once it is there."""
    path = node.root / f"{name}.yaml"
    path.write_text(options)
    return str(path)


def write_options(node: Site, path: str) -> None:
    """The stored VlanConfig with other options, in place of what stands there."""
    import yaml

    (stored,) = (text for name, text in node.manifests().items() if name.startswith("vlanconfig-mgmt"))
    document = yaml.safe_load(stored)
    with open(path) as file:
        options = file.read()
    document["spec"]["uplink"]["bondOptions"] = yaml.safe_load(f"{{{options}}}")
    with open(path, "w") as file:
        yaml.safe_dump(document, file)


def test_an_address_from_a_dhcp_server_moves_with_what_is_left_of_its_lease(node: Site) -> None:
    lifetime = ["ip", "address", "change", "10.0.0.10/24", "dev", "eth0", "valid_lft", "900", "preferred_lft", "900"]
    node.world.inside(node.node, lambda: subprocess.run(lifetime, check=True))
    before, eth0 = node.state(), node.observe().state.links["eth0"]
    assert OLD not in str(eth0.addrs), "it is not a static one any more"
    ends = eth0.details["10.0.0.10/24"].valid_until
    done = node.run("init", "--nic", "eth0")
    assert done.code == 0, done.said
    assert node.answers(OLD, 10) is not None
    lease = Leases(node.paths).in_force(this_moment())["mgmt-br"]
    assert (lease.address, [r.gateway for r in lease.routes]) == ("10.0.0.10/24", ["10.0.0.1"])
    assert 0 < lease.lease_s <= 900
    assert "mode: dhcp" in "".join(node.manifests().values())
    back = node.run("init", "--undo")
    assert back.code == 0, back.said
    assert node.answers(OLD, 10) is not None
    assert node.state() == before
    assert abs(node.observe().state.links["eth0"].details["10.0.0.10/24"].valid_until - ends) < 2
