"""An isolated pod and a helper who would get through together: what the helper sends has the kernel note a connection
of the pod's, which the pod's own port never let through. And a pod that would speak in another one's name."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from tests.qemu.policed import GATEWAY, OUTSIDE, WAIT_S, IptablesNode, Node
from tests.qemu.test_port_guards import checksum

from windrow.model.ruletable import RuleTable
from windrow.model.values import IfName
from windrow.netlink import conntrack

CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
PORT, UNKNOWN = 80, "02:00:00:00:00:77"


WAYS: dict[str, type[Node]] = {"nftables": Node, "iptables": IptablesNode}


@pytest.fixture(scope="module", params=WAYS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    made = WAYS[request.param]()
    made.passing(made.pairs)  # everybody's MAC is known by then
    yield made
    made.police(RuleTable())
    made.close()


def packet(source: str, target: str) -> bytes:
    """IPv4 and UDP, from port to port; without a checksum of UDP."""
    head = bytes.fromhex("450000200000400040110000") + socket.inet_aton(source) + socket.inet_aton(target)
    ports = PORT.to_bytes(2, "big") * 2
    return head[:10] + checksum(head) + head[12:] + ports + bytes.fromhex("000c0000") + b"help"


def mac(node: Node, address: str) -> str:
    """Of whoever has the address."""
    link = "br0" if address == GATEWAY else "eth0"
    found: str = json.loads(node.of(address).must("ip", "-j", "link", "show", link))[0]["address"]
    return found


def put(node: Node, sender: str, to: str, data: bytes) -> None:
    """A frame out of the sender's port. `to`: a MAC address."""
    macs = bytes.fromhex((to + mac(node, sender)).replace(":", "") + "0800")
    with node.of(sender).inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as made:
        made.sendto(macs + data, ("eth0", 0))


def say(node: Node, source: str, target: str) -> None:
    node.udp[source, PORT].sendto(source.encode(), (target, PORT))


def heard(node: Node, source: str, target: str) -> bool:
    """Whether what the source says arrives."""
    node._drain()
    say(node, source, target)
    time.sleep(WAIT_S)
    return (source, target, "UDP", PORT) in node._drain()


def forget_all(node: Node) -> None:
    node.ns.inside(lambda: conntrack.forget([*node.pods, OUTSIDE]))


Help = Callable[[Node, str, str, str], None]
HELP: dict[str, Help] = {
    "to nobody's MAC address, so that it is flooded": lambda n, pod, helper, other: put(
        n, helper, UNKNOWN, packet(helper, pod)
    ),
    "to another pod's MAC address": lambda n, pod, helper, other: put(n, helper, mac(n, other), packet(helper, pod)),
    "by the node, which routes it": lambda n, pod, helper, other: put(n, helper, mac(n, GATEWAY), packet(helper, pod)),
    "in the pod's name": lambda n, pod, helper, other: put(n, other, mac(n, helper), packet(pod, helper)),
}


@pytest.mark.parametrize("way", HELP)
def test_nobody_helps_an_isolated_pod_out(node: Node, way: str) -> None:
    pod, helper, other = (node.address(one) for one in ("x/a", "y/a", "y/b"))
    node.police(node.with_policy("x", CLOSED))
    forget_all(node)
    HELP[way](node, pod, helper, other)
    assert not heard(node, pod, helper), "the pod answered"
    assert not heard(node, helper, pod), "the helper went on"
    assert not heard(node, pod, helper)
    node.police(RuleTable())


def test_nor_does_somebody_outside(node: Node) -> None:
    pod = node.address("x/a")
    node.police(node.with_policy("x", CLOSED))
    forget_all(node)
    assert not heard(node, OUTSIDE, pod)
    assert not heard(node, pod, OUTSIDE)
    assert not heard(node, OUTSIDE, pod)
    node.police(RuleTable())


def test_what_its_own_port_let_through_goes_on(node: Node) -> None:
    """By a policy, and before there was one: both ways, whoever began."""
    pod, helper = node.address("x/b"), node.address("y/a")
    for one, two in ((pod, helper), (helper, pod)):
        node.police(node.with_policy("z", "{podSelector: {}}"))
        forget_all(node)
        assert heard(node, one, two)
        node.police(node.with_policy("x", CLOSED))
        assert heard(node, two, one) and heard(node, one, two)
    node.police(RuleTable())


def test_an_isolated_pod_does_not_go_on_in_a_helpers_name(node: Node) -> None:
    """Two that are open have a connection, and it is no pod's of which neither address is."""
    pod, helper, other = (node.address(one) for one in ("x/a", "y/a", "y/b"))
    node.police(node.with_policy("x", CLOSED))
    forget_all(node)
    assert heard(node, helper, other) and heard(node, other, helper)
    with node.of(pod).inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))) as ear:
        ear.settimeout(WAIT_S)
        put(node, pod, mac(node, other), packet(helper, other))
        time.sleep(WAIT_S)
        assert not node._drain(), "it left"
        put(node, other, mac(node, pod), packet(other, helper))
        with contextlib.suppress(TimeoutError):
            while (frame := ear.recvfrom(2048))[1][2] == socket.PACKET_OUTGOING or b"help" not in frame[0]:
                pass
            raise AssertionError("it came")
    node.police(RuleTable())


def test_a_pod_that_is_kept_to_its_addresses_speaks_in_nobodys_name(node: Node) -> None:
    """Not where a policy would take it for its neighbour; its own frames leave."""
    pod, other, target = (node.address(one) for one in ("y/b", "y/a", "x/a"))
    spec = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: a}}}]}]}"
    for kept, passes in ((frozenset[IfName](), True), (frozenset({port(node, pod)}), False)):
        node.police(RuleTable())
        node.kept = kept
        node.police(node.with_policy("x", spec))
        forget_all(node)
        node._drain()
        put(node, pod, mac(node, target), packet(other, target))
        time.sleep(WAIT_S)
        assert [one.recv(64) for one in [node.udp[target, PORT]] if passes] == [b"help"] * passes
        assert not node._drain()
        assert heard(node, pod, node.address("z/a")), "its own"
    node.kept = frozenset()
    node.police(RuleTable())


def port(node: Node, address: str) -> IfName:
    return next(place.port for place in node.there if address in place.pod.addresses)
