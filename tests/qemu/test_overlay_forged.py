"""Packets of the overlay that no node has sent, in frames: who gets one into another node's tunnel device."""

from __future__ import annotations

import os
import socket
import struct
import time

import pytest
from tests.qemu.conftest import Ns

from windrow.apps.filters import PortFilters
from windrow.model.policyrules import TunnelEnds
from windrow.model.ruletable import RuleTable, TableChain
from windrow.model.values import PORT_GROUP
from windrow.netlink import features
from windrow.plan.policies import policy_unit
from windrow.policy.nft import FAMILY, TABLE, with_tunnels

NODE, OTHER, THIRD, STRANGER = "10.50.0.1", "10.50.0.2", "10.50.0.3", "10.50.0.66"
GUEST, POD = "10.50.0.77", "10.52.0.9"
PORT, MAC = 8472, "02:00:00:00:0a:01"
WAIT_S = 0.5
MASQUERADE = """\
table ip pods {
    chain leaving {
        type nat hook postrouting priority 100
        ip saddr 10.52.0.0/24 ip daddr != 10.52.0.0/16 masquerade
    }
}
"""
TABLE_WANTED = with_tunnels(
    RuleTable(),
    [
        TunnelEnds(family=4, port=PORT, addresses=frozenset({NODE, OTHER, THIRD})),
        TunnelEnds(family=6, port=PORT, addresses=frozenset({"2001:db8:50::1", "2001:db8:50::2"})),
    ],
)


class Site:
    """A node with its management network in VLAN 50 of a bridge: behind its uplink, tagged, is the outside, and a guest
    is in that VLAN. A pod is routed by another bridge, and goes out under the node's address."""

    def __init__(self) -> None:
        self.node, self.outside, self.guest, self.pod = (Ns() for _ in range(4))
        self.filters = PortFilters()
        self.node.ip("link set lo up", "link add mgmt-br type bridge forward_delay 0 vlan_filtering 1")
        self._join("uplink", self.outside)
        self._join("guest", self.guest)
        self._join("pod", self.pod)
        self.node.ip(
            f"link set uplink master mgmt-br up\nlink set guest master mgmt-br group {PORT_GROUP} up",
            "link add link mgmt-br name mgmt-br.50 type vlan id 50\nlink set mgmt-br up\nlink set mgmt-br.50 up",
            f"addr add {NODE}/24 dev mgmt-br.50\naddr add 2001:db8:50::1/64 dev mgmt-br.50 nodad",
            "link add wn-pods type bridge forward_delay 0\naddr add 10.52.0.1/24 dev wn-pods\nlink set wn-pods up",
            f"link set pod master wn-pods group {PORT_GROUP} up",
            f"link add flannel.1 address {MAC} type vxlan id 1 dstport {PORT} local {NODE} nolearning",
            "addr add 10.52.0.0/32 dev flannel.1\nlink set flannel.1 up",
            f"link add flannel-v6.1 address {MAC} type vxlan id 1 dstport {PORT} local 2001:db8:50::1 nolearning",
            "link set flannel-v6.1 up",
        )
        for line in ("dev uplink vid 50", "dev guest vid 50 pvid untagged", "dev mgmt-br vid 50 self"):
            self.node.must("bridge", "vlan", "add", *line.split())
        self.node.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.node.nft(MASQUERADE)
        self.outside.ip("link add link eth0 name eth0.50 type vlan id 50\nlink set eth0 up\nlink set eth0.50 up")
        for ns, link, own in ((self.outside, "eth0.50", THIRD), (self.guest, "eth0", GUEST)):
            ns.ip(f"link set {link} up", *(f"addr add {one}/24 dev {link}" for one in (own, OTHER, STRANGER)))
            ns.ip(*(f"addr add 2001:db8:50::{one}/64 dev {link} nodad" for one in ("2", "66")))
        self.pod.ip(f"addr add {POD}/24 dev eth0", "link set eth0 up", "route add default via 10.52.0.1")

    def _join(self, name: str, other: Ns) -> None:
        self.node.ip(f"link add {name} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{other.fd}")

    def seen(self) -> RuleTable:
        found = self.node.inside(self.filters.policies)
        assert found.table is not None, found.unread
        return found.table

    def load(self, wanted: RuleTable) -> None:
        for step in policy_unit(wanted, RuleTable(chains={"": TableChain()})).steps:
            failure = self.node.inside(lambda step=step: self.filters.run([step], ()))  # type: ignore[misc]
            assert failure is None, failure
        assert policy_unit(wanted, self.seen()).steps == ()

    def gets_in(self, sender: Ns, source: str, target: str = NODE, at: Ns | None = None) -> bool:
        """Whether a packet in VXLAN comes out of the node's tunnel device; or gets to port 8472 of another host."""
        mark = os.urandom(8)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        packet = struct.pack("!II", 0x08 << 24, 1 << 8) + bytes.fromhex(MAC.replace(":", "")) + bytes(6) + b"\x88\xb5"

        def send() -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as made:
                made.bind((source, 0))
                made.sendto(packet + mark + bytes(46), (target, PORT))

        with (at or self.node).inside(lambda: _heard(target if at else "")) as ear:
            end = time.monotonic() + WAIT_S
            sender.inside(send)
            while time.monotonic() < end:
                try:
                    if mark in ear.recv(2048):
                        return True
                except BlockingIOError:
                    time.sleep(0.01)
        return False


def _heard(address: str) -> socket.socket:
    """What arrives at port 8472 of an address; without one, all that comes out of tunnel devices and elsewhere with the
    inner frame's own type."""
    if address:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, PORT))
    else:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    made.setblocking(False)
    return made


@pytest.fixture(scope="module")
def site() -> Site:
    made = Site()
    made.load(TABLE_WANTED)
    return made


def test_this_kernel_is_known_to_have_such_tables() -> None:
    assert features.probe().bridge_rules


def test_what_a_node_sends_gets_in(site: Site) -> None:
    assert site.gets_in(site.outside, OTHER)
    assert site.gets_in(site.outside, "2001:db8:50::2", "2001:db8:50::1")


def test_what_an_outside_host_forges_does_not(site: Site) -> None:
    assert not site.gets_in(site.outside, STRANGER)
    assert not site.gets_in(site.outside, "2001:db8:50::66", "2001:db8:50::1")


@pytest.mark.parametrize("source", [GUEST, STRANGER, OTHER])
def test_what_a_guest_forges_does_not_whatever_address_it_says(site: Site, source: str) -> None:
    assert not site.gets_in(site.guest, source)


def test_nor_into_another_nodes_tunnel(site: Site) -> None:
    assert not site.gets_in(site.guest, GUEST, THIRD, at=site.outside)


def test_a_guest_is_dropped_in_ipv6_too(site: Site) -> None:
    for source in ("2001:db8:50::66", "2001:db8:50::2"):
        assert not site.gets_in(site.guest, source, "2001:db8:50::1")


def test_a_pods_packets_do_not_go_out_under_the_nodes_address(site: Site) -> None:
    """Masqueraded, they would be those of a node."""
    assert not site.gets_in(site.pod, POD, THIRD, at=site.outside)
    assert not site.gets_in(site.pod, POD, NODE)


def test_other_packets_of_theirs_pass(site: Site) -> None:
    assert site.guest.reaches(NODE) and site.pod.reaches(THIRD)


def test_without_the_table_all_of_it_gets_in(site: Site) -> None:
    """Or the tests above prove nothing."""
    site.node.must("nft", "delete", "table", FAMILY, TABLE)
    try:
        assert site.gets_in(site.outside, STRANGER) and site.gets_in(site.outside, "2001:db8:50::66", "2001:db8:50::1")
        assert site.gets_in(site.guest, OTHER) and site.gets_in(site.guest, "2001:db8:50::2", "2001:db8:50::1")
        assert site.gets_in(site.guest, GUEST, THIRD, at=site.outside)
        assert site.gets_in(site.pod, POD, THIRD, at=site.outside) and site.gets_in(site.pod, POD, NODE)
    finally:
        site.load(TABLE_WANTED)
