"""Packets that somebody makes to get past network policies, and those that must not be lost for it: by nftables and by
iptables, in both families."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from tests.kernel.test_policy_conspirators import CLOSED, UNKNOWN, WAYS, forget_all, mac, port
from tests.qemu import packets
from tests.qemu.packets import SERVICE_VLAN, VLAN, error, icmp6, ip, pieces, udp
from tests.qemu.policed import GATEWAY, OUTSIDE, WAIT_S, IptablesNode, Node

from windrow.model.ruletable import RuleTable
from windrow.netlink import conntrack

GATEWAY6, OUTSIDE6 = "fd52::1", "2001:db8::7"
TEXT = b"attack!!"
LARGE = 1232
"""Of a first fragment: with its headers as large as the least MTU of IPv6, below which the bridge passes none on
(`nf_br_ip6_fragment`)."""
TO_80 = "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: UDP}]}]}"


@pytest.fixture(scope="module", params=WAYS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    made = WAYS[request.param]()
    made.ns.must("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    made.ns.ip(f"addr add {GATEWAY6}/16 dev br0 nodad", "addr add 2001:db8::1/64 dev out0 nodad")
    made.outside.ip(f"addr add {OUTSIDE6}/64 dev eth0 nodad", "route add fd52::/16 via 2001:db8::1")
    made.passing(made.pairs)  # everybody's MAC is known by then
    for place in made.there:
        four, six = place.pod.addresses
        made.pods[four].ip(f"addr add {six}/16 dev eth0 nodad", f"route add default via {GATEWAY6}")
        made.pods[six] = made.pods[four]
    yield made
    made.police(RuleTable())
    made.pods = {address: one for address, one in made.pods.items() if ":" not in address}
    made.close()


@pytest.fixture(autouse=True)
def _open(node: Node) -> Iterator[None]:
    yield
    node.kept = frozenset()
    node.police(RuleTable())


@pytest.fixture(params=[4, 6])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def at(node: Node, pod: str, family: int) -> str:
    return next(p.pod.addresses[family == 6] for p in node.there if f"{p.pod.meta.namespace}/{p.pod.name}" == pod)


def outside(family: int) -> str:
    return OUTSIDE6 if family == 6 else OUTSIDE


def gateway(family: int) -> str:
    return GATEWAY6 if family == 6 else GATEWAY


def ns(node: Node, address: str) -> str:
    """By which address the node knows whoever has this one."""
    return {OUTSIDE6: OUTSIDE, GATEWAY6: GATEWAY}.get(address, address)


def began(node: Node, namespace: str, spec: str) -> None:
    node.police(node.with_policy(namespace, spec))
    forget_all(node)
    node.ns.inside(lambda: conntrack.forget([OUTSIDE6]))
    node._drain()


def way(node: Node, sender: str, target: str) -> tuple[str, str]:
    """MAC addresses: of the next hop and of the sender."""
    routed = {ns(node, sender), ns(node, target)} & {OUTSIDE}
    own = mac(node, ns(node, sender))
    if not routed:
        return mac(node, ns(node, target)), own
    if ns(node, sender) == OUTSIDE:
        return json.loads(node.ns.must("ip", "-j", "link", "show", "out0"))[0]["address"], own
    return mac(node, GATEWAY), own


def arrived(
    node: Node, sender: str, target: str, data: Sequence[bytes], *, to: str = "", tags: Sequence[tuple[int, int]] = ()
) -> int:
    """How many frames with the text, or what is made of fragments, come in at the target's. `to`: a MAC address."""
    there = node.of(ns(node, target))
    next_hop, own = way(node, sender, target)
    with contextlib.ExitStack() as stack:
        ear = there.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        out = node.of(ns(node, sender)).inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        for one in (ear, out):
            stack.enter_context(one)
        ear.setblocking(False)
        for one in data:
            out.sendto(packets.ether(to or next_hop, own, one, tags), ("eth0", 0))
        time.sleep(WAIT_S)
        found = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = ear.recvfrom(4096)
                found += TEXT in frame and kind != socket.PACKET_OUTGOING
        return found


def speaks(node: Node, source: str, target: str, number: int = 80) -> bool:
    """Whether a datagram from port 80 arrives."""
    return bool(arrived(node, source, target, [ip(source, target, packets.UDP, udp(source, target, number, TEXT))]))


# ICMP errors ---------------------------------------------------------------------------------------------


def test_an_error_about_anothers_connection_lets_nothing_through(node: Node, family: int) -> None:
    """What the helper sends to the pod is noted, and dropped; then a third one sends an error about it."""
    pod, helper, third, other = (at(node, one, family) for one in ("x/a", "y/a", "y/b", "y/c"))
    began(node, "x", CLOSED)
    noted = ip(helper, pod, packets.UDP, udp(helper, pod, 80, TEXT))
    arrived(node, helper, pod, [noted], to=mac(node, other))
    assert arrived(node, third, helper, [error(third, helper, noted)]), "the error itself is allowed"
    assert not speaks(node, pod, helper), "the pod answered"
    assert not speaks(node, helper, pod), "the helper went on"


def test_an_isolated_pod_sends_no_error_about_anothers_connection(node: Node, family: int) -> None:
    pod, one, other = (at(node, name, family) for name in ("x/a", "y/a", "y/b"))
    began(node, "x", CLOSED)
    assert speaks(node, one, other) and speaks(node, other, one)
    about = ip(one, other, packets.UDP, udp(one, other, 80, TEXT))
    assert not arrived(node, pod, one, [error(pod, one, about)])


def test_errors_about_its_own_connections_come_and_go(node: Node, family: int) -> None:
    """By a router outside that cannot pass a packet on, and by either end; whoever began."""
    pod, out, router = at(node, "x/a", family), outside(family), "2001:db8::99" if family == 6 else "203.0.113.99"
    block = "2001:db8::7/128" if family == 6 else "203.0.113.7/32"
    spec = "{podSelector: {}, %s: [{%s: [{ipBlock: {cidr: %s}}]}], policyTypes: [Ingress, Egress]}"
    for begins, ends, rule in ((pod, out, ("egress", "to")), (out, pod, ("ingress", "from"))):
        began(node, "x", spec % (*rule, block))
        assert speaks(node, begins, ends) and speaks(node, ends, begins), begins
        about = ip(pod, out, packets.UDP, udp(pod, out, 80, TEXT))
        assert arrived(node, out, pod, [error(router, pod, about, too_big=True)]), "a router's, into the pod"
        assert arrived(node, out, pod, [error(out, pod, about)]), "the other end's, into the pod"
        about = ip(out, pod, packets.UDP, udp(out, pod, 80, TEXT))
        assert arrived(node, pod, out, [error(pod, out, about)]), "the pod's"
    assert not speaks(node, at(node, "y/a", family), pod)


# What a link needs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [64, 255])
def test_neighbour_discovery_leads_nowhere_but_to_neighbours(node: Node, hops: int) -> None:
    pod, neighbour = at(node, "x/a", 6), at(node, "y/a", 6)
    began(node, "x", CLOSED)
    for sender, target in ((pod, OUTSIDE6), (OUTSIDE6, pod)):
        said = [icmp6(sender, target, kind, bytes(4) + TEXT) for kind in (130, 131, 132, 133, 135, 136, 143)]
        assert not arrived(node, sender, target, [ip(sender, target, 58, one, hops=hops) for one in said])
    for sender, target in ((pod, neighbour), (neighbour, pod)):
        said = [icmp6(sender, target, kind, bytes(4) + TEXT) for kind in (135, 136)]
        passing = arrived(node, sender, target, [ip(sender, target, 58, one, hops=255) for one in said])
        assert passing == len(said)


def test_and_neighbours_are_found(node: Node) -> None:
    """By an isolated pod and of it, after everybody has forgotten all; the node, by its address of the link, too."""
    pod = at(node, "x/a", 6)
    began(node, "x", CLOSED)
    node.ns.must("ip", "neigh", "flush", "all")
    node.pods[pod].must("ip", "neigh", "flush", "all")
    assert node.pods[pod].run("ping", "-c1", "-W3", GATEWAY6).returncode == 0
    node.ns.must("ip", "neigh", "flush", "all")
    assert node.ns.run("ping", "-c1", "-W3", pod).returncode == 0


# Tags ------------------------------------------------------------------------------------------------------

TAGS = {
    "one without a VID": [(VLAN, 0)],
    "802.1ad without a VID": [(SERVICE_VLAN, 0)],
    "two without a VID": [(VLAN, 0), (VLAN, 0)],
    "802.1ad before 802.1Q": [(SERVICE_VLAN, 0), (VLAN, 0)],
}


def seen_with(node: Node, tags: str) -> None:
    if isinstance(node, IptablesNode) and len(TAGS[tags]) > 1:
        pytest.skip("iptables sees no frame with two tags (docs/user/policy.md)")


@pytest.mark.parametrize("tags", TAGS)
def test_a_tag_gets_nothing_into_an_isolated_pod_or_out_of_it(node: Node, tags: str) -> None:
    """The kernel takes tags without a VID off and reads on (`__netif_receive_skb_core`)."""
    seen_with(node, tags)
    pod, other = at(node, "x/a", 4), at(node, "y/a", 4)
    began(node, "x", CLOSED)
    for sender, target in ((other, pod), (pod, other), (pod, OUTSIDE)):
        data = ip(sender, target, packets.UDP, udp(sender, target, 80, TEXT))
        assert not arrived(node, sender, target, [data], tags=TAGS[tags]), (sender, target)
        assert not node._drain(), (sender, target)


@pytest.mark.parametrize("tags", TAGS)
def test_nor_does_it_lend_a_pod_anothers_address(node: Node, tags: str) -> None:
    seen_with(node, tags)
    pod, other = at(node, "y/b", 4), at(node, "y/a", 4)
    node.kept = frozenset({port(node, pod)})
    began(node, "x", CLOSED)
    for target in (OUTSIDE, at(node, "z/a", 4)):
        assert not arrived(
            node, pod, target, [ip(other, target, packets.UDP, udp(other, target, 80, TEXT))], tags=TAGS[tags]
        )


# Addresses -------------------------------------------------------------------------------------------------


def test_nobody_gets_in_from_the_nodes_own_address(node: Node, family: int) -> None:
    """From port to port, by the node, which routes it, and from outside: by nftables in IPv6 only where a bridge leads
    there (docs/user/policy.md)."""
    pod, other, host = at(node, "x/a", family), at(node, "y/a", family), gateway(family)
    began(node, "x", CLOSED)
    data = ip(host, pod, packets.UDP, udp(host, pod, 80, TEXT))
    assert not arrived(node, other, pod, [data]), "from port to port"
    assert not arrived(node, other, pod, [data], to=mac(node, GATEWAY)), "by the node"
    if family == 4 or isinstance(node, IptablesNode):
        assert not arrived(node, outside(family), pod, [data]), "from outside"


@pytest.mark.parametrize("to", ["ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03", UNKNOWN])
def test_no_flooded_frame_gets_in_or_out(node: Node, family: int, to: str) -> None:
    pod, other = at(node, "x/a", family), at(node, "y/a", family)
    began(node, "x", CLOSED)
    for sender, target in ((pod, other), (other, pod)):
        data = ip(sender, target, packets.UDP, udp(sender, target, 80, TEXT))
        assert not arrived(node, sender, target, [data], to=to)


def test_a_route_in_the_packet_leads_nowhere(node: Node) -> None:
    """By the node's address, which the pod always reaches (loose source route, RFC 791 §3.1)."""
    pod, other = at(node, "x/a", 4), at(node, "y/a", 4)
    began(node, "x", CLOSED)
    for target in (other, OUTSIDE):
        options = b"\x83\x07\x04" + socket.inet_aton(target) + b"\0"
        data = ip(pod, GATEWAY, packets.UDP, udp(pod, GATEWAY, 80, TEXT), options=options)
        assert not arrived(node, pod, target, [data], to=mac(node, GATEWAY))


# Fragments and headers in between --------------------------------------------------------------------------


def test_fragments_are_judged_as_what_they_make_up(node: Node, family: int) -> None:
    pod, other = at(node, "x/a", family), at(node, "y/a", family)
    began(node, "x", TO_80)
    for number, expected in ((80, True), (81, False)):
        whole = udp(other, pod, number, b"." * 1300 + TEXT)
        for turn in (1, -1):
            parts = [(0, whole[:LARGE], True), (LARGE, whole[LARGE:], False)]
            both = pieces(other, pod, packets.UDP, parts, ident=number + turn)
            assert bool(arrived(node, other, pod, both[::turn])) is expected, (number, turn)


def test_no_fragment_passes_for_others(node: Node, family: int) -> None:
    """One without a first one, after one that passed; and one that would write over the port of the first one."""
    pod, other = at(node, "x/a", family), at(node, "y/a", family)
    began(node, "x", TO_80)
    assert speaks(node, other, pod)
    assert not arrived(node, other, pod, pieces(other, pod, packets.UDP, [(LARGE, TEXT, False)], ident=1))
    allowed, forbidden = (udp(other, pod, number, b"." * 1300 + TEXT) for number in (80, 81))
    for ident, first, second in ((2, allowed, forbidden), (3, forbidden, allowed)):
        parts = [(0, first[:LARGE], True), (0, second[: LARGE + 8], True), (LARGE + 8, second[LARGE + 8 :], False)]
        assert not arrived(node, other, pod, pieces(other, pod, packets.UDP, parts, ident=ident)), ident


def test_headers_before_it_hide_no_port(node: Node) -> None:
    pod, other = at(node, "x/a", 6), at(node, "y/a", 6)
    began(node, "x", TO_80)
    for kind, body in (
        (packets.HOP_BY_HOP, b"\0\1\4\0\0\0\0"),
        (packets.DESTINATION, b"\0\1\4\0\0\0\0"),
        (packets.ROUTING, b"\0\0\0\0\0\0\0"),
    ):
        for number, expected in ((80, True), (81, False)):
            data = bytes([packets.UDP]) + body + udp(other, pod, number, TEXT)
            assert bool(arrived(node, other, pod, [ip(other, pod, kind, data)])) is expected, (kind, number)


# Protocols -------------------------------------------------------------------------------------------------


def test_sctp_has_ports(node: Node, family: int) -> None:
    pod, other = at(node, "x/a", family), at(node, "y/a", family)
    began(node, "x", "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}")
    for number, expected in ((81, False), (80, True), (81, False)):
        data = ip(other, pod, packets.SCTP, packets.sctp_init(number, TEXT))
        assert bool(arrived(node, other, pod, [data])) is expected, number


def test_no_flag_of_tcp_gets_in(node: Node, family: int) -> None:
    """Where no connection is; and another one's reset of one that there is."""
    pod, other = at(node, "x/a", family), at(node, "y/a", family)
    began(node, "x", CLOSED)
    for flags in (0x00, 0x02, 0x04, 0x10, 0x11, 0x12, 0x18, 0x29, 0x3F):
        data = ip(other, pod, packets.TCP, packets.tcp(other, pod, 80, flags, TEXT))
        assert not arrived(node, other, pod, [data]), flags
        data = ip(pod, other, packets.TCP, packets.tcp(pod, other, 80, flags, TEXT))
        assert not arrived(node, pod, other, [data]), flags
