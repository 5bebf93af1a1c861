"""Policies of egress where a pod asks for a Service: a bridge whose frames kube-proxy's rules see, in a real kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tests.qemu.policed import OUTSIDE, Node

SERVICES = {"10.53.0.1": "y/a", "10.53.0.2": "z/a", "10.53.0.3": ""}
"""Address -> the pod that answers; empty: somebody outside."""
TO_Y, TO_Z, TO_OUTSIDE = SERVICES
PORT = 80
WAIT_S = 1.0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = Node()
    made.ns.ip("link set br0 type bridge nf_call_iptables 1")
    for address, pod in SERVICES.items():
        words = ("-t", "nat", "-A", "PREROUTING", "-d", address, "-j", "DNAT")
        made.ns.must("iptables-legacy", *words, "--to-destination", made.address(pod) if pod else OUTSIDE)
    with made.outside.inside(lambda: socket.create_server((OUTSIDE, PORT))):
        yield made
    made.close()


def asked(node: Node, pod: str) -> set[str]:
    """The Services that answer this pod, each by TCP."""

    def connects(address: str) -> bool:
        try:
            socket.create_connection((address, PORT), timeout=WAIT_S).close()
        except OSError:
            return False
        return True

    return {address for address in SERVICES if node.of(node.address(pod)).inside(lambda a=address: connects(a))}


def police(node: Node, namespace: str, spec: str) -> None:
    node.police(node.with_policy(namespace, spec))


def test_without_policies_all_answer_on_the_same_bridge_too(node: Node) -> None:
    assert asked(node, "x/a") == set(SERVICES)


@pytest.mark.parametrize(
    ("to", "answering"),
    [
        ("{namespaceSelector: {matchLabels: {team: blue}}}", {TO_Y}),
        ("{ipBlock: {cidr: 10.52.0.0/16}}", {TO_Y, TO_Z}),
        ("{ipBlock: {cidr: 203.0.113.0/24}}", {TO_OUTSIDE}),
        ("{ipBlock: {cidr: 10.53.0.0/16}}", set()),
    ],
)
def test_egress_is_judged_by_who_answers(node: Node, to: str, answering: set[str]) -> None:
    """And not by the Service's address, which is no pod's."""
    police(node, "x", f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{to}], ports: [{{port: 80}}]}}]}}")
    assert asked(node, "x/a") == answering
    assert asked(node, "y/b") == set(SERVICES), "no policy is about this one"


def test_ingress_is_judged_by_who_asks(node: Node) -> None:
    police(node, "z", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}")
    assert asked(node, "x/a") == {TO_Y, TO_OUTSIDE}
    assert asked(node, "y/b") == set(SERVICES)


def test_datagrams_in_fragments_arrive_whole(node: Node) -> None:
    """Conntrack of bridges puts them together and takes them apart again, and so does br_netfilter."""
    out = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}"
    police(node, "x", out)
    text = bytes(8000)
    target = node.address(SERVICES[TO_Y])
    for address in (TO_Y, target):
        sender = node.of(node.address("x/a")).inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sender:
            sender.sendto(text, (address, PORT))
            listening = node.udp[target, PORT]
            listening.settimeout(WAIT_S)
            assert listening.recv(9000) == text, address
            listening.setblocking(False)
