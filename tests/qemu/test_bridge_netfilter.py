"""Frames between machines are layer 2: no packet filter of the host sees them, of whichever family, and whenever the
module came that would show them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.qemu.conftest import Ns

from windrow.apps.engine import converge
from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.cluster import Cluster
from windrow.model.wire import load_documents
from windrow.netlink import sysctl
from windrow.netlink.kernel import Kernel
from windrow.netlink.modules import ModuleEvents

MANIFESTS = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1]}}
"""
RULES = {
    "iptables": ("iptables", "-A", "FORWARD", "-j", "DROP"),
    "ip6tables": ("ip6tables", "-t", "mangle", "-A", "PREROUTING", "-m", "rpfilter", "--invert", "-j", "DROP"),
}
"""None for ARP: what `arptables` is today, a front end of nftables, does not see bridged frames."""
ADDRESSES = {"iptables": "10.7.0.2", "ip6tables": "fd77::2"}


class Node(Ns):
    """A node with two machines on its bridge."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel(self.fd)
        self.ip("link add eth1 type dummy", "link set lo up")
        self.converged()
        self.one, self.two = self._machine(1), self._machine(2)

    def converged(self) -> None:
        converge(Cluster.of(load_documents(MANIFESTS).objects), self.kernel, "node-0")

    def filtered(self) -> dict[str, str | None]:
        return self.inside(lambda: {key: sysctl.read(key) for key in BRIDGE_NETFILTER})

    def reached(self, address: str) -> bool:
        """Whether a datagram of the first machine comes to the second one's address; nobody knows a MAC yet."""
        self.one.ip("neigh flush dev eth0")
        self.two.ip("neigh flush dev eth0")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def opened() -> socket.socket:
            return socket.socket(family, socket.SOCK_DGRAM)

        with self.one.inside(opened) as one, self.two.inside(opened) as two:
            two.bind((address, 7))
            one.sendto(b"hello", (address, 7))
            return bool(select.select([two], [], [], 2.0)[0])

    def _machine(self, number: int) -> Ns:
        made = Ns()
        self.ip(
            f"link add tap{number} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{made.fd}",
            f"link set tap{number} master oob-br up",
        )
        self.must("bridge", "vlan", "add", "dev", f"tap{number}", "vid", "100", "pvid", "untagged")
        made.ip(
            f"addr add 10.7.0.{number}/24 dev eth0", f"addr add fd77::{number}/64 dev eth0 nodad", "link set eth0 up"
        )
        return made

    def close(self) -> None:
        self.kernel.close()
        for one in (self, self.one, self.two):
            os.close(one.fd)


@pytest.fixture
def node() -> Iterator[Node]:
    subprocess.run(["modprobe", "br_netfilter"], check=True)
    made = Node()
    yield made
    made.close()


@pytest.mark.parametrize("family", RULES)
def test_the_hosts_filter_cuts_nobody_off(family: str, node: Any) -> None:
    key = f"net.bridge.bridge-nf-call-{family}"
    node.must(*RULES[family])
    assert set(node.filtered().values()) == {"0"} and node.reached(ADDRESSES[family])
    node.inside(lambda: sysctl.write(key, "1"))
    assert not node.reached(ADDRESSES[family]), "the rule would cut them off"
    node.converged()
    assert set(node.filtered().values()) == {"0"} and node.reached(ADDRESSES[family])


def test_a_module_that_comes_later_is_heard_of(node: Any) -> None:
    subprocess.run(["modprobe", "-r", "br_netfilter"], check=True)
    assert not node.kernel.features().bridge_netfilter and set(node.filtered().values()) == {None}
    events = ModuleEvents("br_netfilter")
    subprocess.run(["modprobe", "dummy"], check=True)
    assert not events.read()
    subprocess.run(["modprobe", "br_netfilter"], check=True)
    assert select.select([events], [], [], 5.0)[0] and events.read() and not events.read()
    assert set(node.filtered().values()) == {"1"}
    node.converged()
    assert set(node.filtered().values()) == {"0"}
    events.close()
