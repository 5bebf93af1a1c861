"""A host with nine pods on one bridge, and what of their frames arrives: in any kernel with a packet filter."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations

from tests.qemu.conftest import Ns
from tests.unit import policyworld as world
from tests.unit.policyworld import Place

from windrow.apps.filters import PortFilters
from windrow.model.cluster import Cluster
from windrow.model.ruletable import KEPT, NAMES, RuleTable, TableChain, TableSet
from windrow.model.values import IfName
from windrow.plan.policies import policy_unit
from windrow.policy import Endpoint, Packet, allows, compile_policies, iptables

BRIDGE = IfName("br0")
GATEWAY, OUTSIDE = "10.52.0.1", "203.0.113.7"
TCP_PORTS, UDP_PORTS = (80, 81), (53, 80)
WAIT_S = 0.4
"""For what may pass; the rest is dropped without a word."""


class Node:
    """All nine pods on one bridge, which has the gateway's address; behind the node, a host of the world outside."""

    def __init__(self) -> None:
        self.ns, self.outside = Ns(), Ns()
        self.kept = frozenset[IfName]()
        """Ports that nothing leaves from an address that is not theirs."""
        self.filters = PortFilters()
        self.there = tuple(replace(place, node="n1") for place in world.places())
        self.pods: dict[str, Ns] = {}
        self.ns.ip("link add br0 type bridge forward_delay 0", f"addr add {GATEWAY}/16 dev br0", "link set br0 up")
        for place in self.there:
            self._attach(place)
        self._join(self.outside, "out0")
        self.ns.ip("addr add 203.0.113.1/24 dev out0", "link set out0 up")
        self.outside.ip(f"addr add {OUTSIDE}/24 dev eth0", "link set eth0 up", "route add 10.52.0.0/16 via 203.0.113.1")
        self.ns.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.through_iptables(0)
        self.sockets = contextlib.ExitStack()
        self.tcp = {(a, p): self._listening(a, p) for a in self.pods for p in TCP_PORTS}
        self.udp = {(a, p): self._bound(a, p) for a in (*self.pods, OUTSIDE) for p in UDP_PORTS}
        self.police(RuleTable())

    def through_iptables(self, value: int) -> None:
        """Windrow keeps it at 0."""
        self.ns.must(
            "sysctl", "-qw", *(f"net.bridge.bridge-nf-call-{one}={value}" for one in ("iptables", "ip6tables"))
        )

    def _join(self, other: Ns, name: str) -> None:
        self.ns.ip(f"link add {name} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{other.fd}")

    def _attach(self, place: Place) -> None:
        pod, address = Ns(), place.pod.addresses[0]
        self._join(pod, place.port)
        self.ns.ip(f"link set {place.port} master br0 up")
        pod.ip(
            f"addr add {address}/16 dev eth0", "link set lo up", "link set eth0 up", f"route add default via {GATEWAY}"
        )
        self.pods[address] = pod

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Of pods, by their addresses: each with each other one, both ways."""
        return list(permutations(self.pods, 2))

    def address(self, pod: str) -> str:
        """Of `namespace/name`."""
        return next(p.pod.addresses[0] for p in self.there if f"{p.pod.meta.namespace}/{p.pod.name}" == pod)

    def of(self, address: str) -> Ns:
        return {OUTSIDE: self.outside, GATEWAY: self.ns}.get(address) or self.pods[address]

    def _listening(self, address: str, port: int) -> socket.socket:
        made = self.of(address).inside(lambda: socket.create_server((address, port), backlog=64))
        made.setblocking(False)
        return self.sockets.enter_context(made)

    def _bound(self, address: str, port: int) -> socket.socket:
        made = self.of(address).inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind((address, port))
        made.setblocking(False)
        return self.sockets.enter_context(made)

    # The table ----------------------------------------------------------------------------------------

    def wanted(self, cluster: Cluster) -> RuleTable:
        found = world.tables(cluster, self.there)["n1"]
        return replace(found, sets={**found.sets, KEPT: TableSet(form=NAMES, members=frozenset(map(str, self.kept)))})

    def with_policy(self, namespace: str, spec: str) -> RuleTable:
        """Where there is this one alone."""
        return self.wanted(world.cluster([world.policy(namespace, spec)], self.there))

    def seen(self) -> RuleTable:
        found = self.ns.inside(self.filters.policies)
        assert found.table is not None, found.unread
        return found.table

    def load(self, wanted: RuleTable) -> None:
        for step in policy_unit(wanted, RuleTable(chains={"": TableChain()})).steps:
            failure = self.ns.inside(lambda step=step: self.filters.run([step], ()))  # type: ignore[misc]
            assert failure is None, failure

    def police(self, wanted: RuleTable) -> None:
        """As a plan does; then it is so, by the plan."""
        if policy_unit(wanted, self.seen()).steps:
            self.load(wanted)
        left = policy_unit(wanted, self.seen())
        assert not left.steps, left.deltas

    # Frames -------------------------------------------------------------------------------------------

    def passing(self, pairs: list[tuple[str, str]]) -> set[tuple[str, str, str, int]]:
        """(source, destination, protocol, port) of what arrived."""
        self._drain()
        with contextlib.ExitStack() as stack:
            trying: dict[socket.socket, tuple[str, str, str, int]] = {}
            for source, destination in pairs:
                for port in UDP_PORTS:
                    sender = stack.enter_context(self._socket(source, socket.SOCK_DGRAM))
                    sender.sendto(source.encode(), (destination, port))
                for port in TCP_PORTS if destination in self.pods else ():
                    opener = stack.enter_context(self._socket(source, socket.SOCK_STREAM))
                    opener.setblocking(False)
                    opener.connect_ex((destination, port))
                    trying[opener] = (source, destination, "TCP", port)
            time.sleep(WAIT_S)
            _, connected, _ = select.select([], list(trying), [], 0)
            found = {trying[one] for one in connected if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)}
        return found | self._drain()

    def _socket(self, source: str, kind: socket.SocketKind) -> socket.socket:
        made = self.of(source).inside(lambda: socket.socket(socket.AF_INET, kind))
        made.bind((source, 0))
        return made

    def _drain(self) -> set[tuple[str, str, str, int]]:
        found: set[tuple[str, str, str, int]] = set()
        for (address, port), one in self.udp.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.add((one.recv(64).decode(), address, "UDP", port))
        for one in self.tcp.values():
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.accept()[0].close()
        return found

    def wrong(self, policies: Iterable[tuple[str, str]]) -> list[str]:
        """What passed and should not, or should have, with each of these: between each two pods, by TCP and UDP; and to
        the world outside and from it."""
        pairs = self.pairs + [(a, OUTSIDE) for a in self.pods] + [(OUTSIDE, a) for a in self.pods]
        found: list[str] = []
        for namespace, spec in policies:
            objects = world.cluster([world.policy(namespace, spec)], self.there)
            self.load(self.wanted(objects))
            expected = {
                (source, destination, protocol, port)
                for source, destination in pairs
                for protocol, ports in (("TCP", TCP_PORTS), ("UDP", UDP_PORTS))
                for port in ports
                if (protocol == "UDP" or destination in self.pods)
                and allows(
                    objects, Packet(source=source, destination=destination, protocol=protocol, port=port)
                ).allowed
            }
            found += [f"{namespace} {spec}: {one}" for one in sorted(expected ^ self.passing(pairs))]
        return found

    def close(self) -> None:
        self.sockets.close()
        for one in (self.ns, self.outside, *self.pods.values()):
            os.close(one.fd)


class IptablesNode(Node):
    """As the plan would have it where there is no nftables of the family bridge."""

    def wanted(self, cluster: Cluster) -> RuleTable:
        there = [place for place in self.there if place.node == "n1"]
        endpoints = [Endpoint(port=place.port, pod=place.pod.ref, kept=place.port in self.kept) for place in there]
        ports = {p.port: iptables.RoutedPort(bridge=BRIDGE, addresses=p.pod.addresses) for p in there}
        return iptables.table(compile_policies(cluster, endpoints, world.HOST["n1"]), ports, [BRIDGE])
