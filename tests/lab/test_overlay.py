"""Pods of different nodes, over the scenario `overlay`: with the largest packet, and what is on the wire meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.lab.asked import Asked

from windrow.apps.cni.dispatch import answer
from windrow.apps.cni.host import Host
from windrow.apps.labguest import LabEngine
from windrow.lab.scenario_file import read
from windrow.lab.session import Session
from windrow.netlink import links, netns

NODES = {"node-a": "10.52.1.2", "node-b": "10.52.2.2", "node-c": "10.52.3.2"}
LARGEST = 1450 - 28
CONFIG = {"cniVersion": "1.0.0", "name": "windrow", "type": "windrow"}
ETH_P_ALL, ETH_P_IP, ETH_P_8021Q = 3, b"\x08\x00", b"\x81\x00"
UDP, VXLAN = 17, 8472


@dataclass
class Pods:
    """A pod on each node, by the many-NIC plugin, in the network that Windrow brings."""

    session: Session
    bin: Path

    def add(self) -> None:
        for node in NODES:
            netns.create(f"pod-{node}")
            self.call("ADD", node)

    def call(self, command: str, node: str) -> None:
        world = self.session.world
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"id-{node}",
            "CNI_NETNS": str(netns.RUN_NETNS / f"pod-{node}"),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
            "PATH": f"{self.bin}:{os.environ['PATH']}",
        }

        def inside() -> None:
            host = Host(world.root(node), node)
            try:
                found = answer(env, json.dumps(CONFIG).encode(), host)
            finally:
                host.close()
            assert found.exit == 0, found.stdout

        world.inside(node, inside)

    def ping(self, node: str, address: str, size: int) -> subprocess.CompletedProcess[str]:
        argv = ["ping", "-q", "-c1", "-W3", "-M", "do", "-s", str(size), address]
        return netns.opened_in(
            f"pod-{node}", partial(subprocess.run, argv, capture_output=True, text=True, check=False)
        )


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    directory = tmp_path_factory.mktemp("bin")
    for program in ("iptables", "ip6tables"):  # Debian has two variants, and this kernel one
        legacy = shutil.which(f"{program}-legacy") or f"/usr/sbin/{program}-legacy"
        (directory / program).symlink_to(legacy)
    session = Session(LabEngine(), sys.path)
    up = Asked(scenario=read("overlay").to_json())
    assert session.up(up)["ok"], "\n".join(up.said)  # type: ignore[arg-type]
    made = Pods(session, directory)
    made.add()
    yield made
    for node in NODES:
        made.call("DEL", node)
        netns.delete(f"pod-{node}")
    session.world.close()


class Wire:
    """All frames at all ports of the switch."""

    def __init__(self, pods: Pods) -> None:
        def opened() -> socket.socket:
            found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            found.setblocking(False)
            return found

        self._socket = pods.session.world.inside("sw", opened)

    def packets(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Source, destination, UDP port (0: another protocol) and UDP payload of each IPv4 packet since then."""
        with self._socket:
            while True:
                try:
                    frame = self._socket.recv(2048)
                except BlockingIOError:
                    return
                frame = frame[:12] + frame[16:] if frame[12:14] == ETH_P_8021Q else frame
                if frame[12:14] == ETH_P_IP:
                    yield _packet(frame[14:])


def _packet(ip: bytes) -> tuple[str, str, int, bytes]:
    start = (ip[0] & 15) * 4
    port = int.from_bytes(ip[start + 2 : start + 4], "big") if ip[9] == UDP else 0
    return socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20]), port, ip[start + 8 :]


def test_pods_reach_each_other_with_the_largest_packet_and_nothing_is_bare(pods: Pods) -> None:
    wire = Wire(pods)
    for node in NODES:
        for other, address in NODES.items():
            if other != node:
                found = pods.ping(node, address, LARGEST)
                assert found.returncode == 0, (node, other, found)
    outer, inner, bare = set(), set(), []
    for source, destination, port, payload in wire.packets():
        if port == VXLAN:
            assert payload[:8] == b"\x08\0\0\0\0\0\x01\0", "the flag of a VNI, and VNI 1"
            outer.add((source, destination))
            inner.add(_packet(payload[8 + 14 :])[:2])
        elif source.startswith("10.52.") or destination.startswith("10.52."):
            bare.append((source, destination))
    assert bare == []
    ends = {"10.50.0.11", "10.50.0.12", "10.60.0.13"}
    assert outer == {(a, b) for a in ends for b in ends if a != b}
    assert inner == {(a, b) for a in NODES.values() for b in NODES.values() if a != b}, "by their own addresses"


def test_what_leaves_the_cluster_goes_under_the_nodes_address(pods: Pods) -> None:
    wire = Wire(pods)
    assert pods.ping("node-a", "10.60.0.1", 56).returncode == 0
    seen = {(source, destination) for source, destination, port, _ in wire.packets() if not port}
    assert ("10.50.0.11", "10.60.0.1") in seen
    assert not [pair for pair in seen if pair[0].startswith("10.52.")]


def test_a_leg_of_the_bond_may_be_pulled(pods: Pods) -> None:
    world = pods.session.world
    for port in ("p1", "p2"):
        world.rtnl("sw").run(links.set_link(port, up=False))
        end = time.monotonic() + 5
        while pods.ping("node-a", NODES["node-c"], LARGEST).returncode and time.monotonic() < end:
            pass
        assert pods.ping("node-a", NODES["node-c"], LARGEST).returncode == 0, port
        world.rtnl("sw").run(links.set_link(port, up=True))
        time.sleep(0.5)
