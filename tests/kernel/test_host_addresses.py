"""HostNetworkConfig on a real kernel: addresses of both families, routes, untagged, and who answers ARP to whom."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from windrow.apps.engine import Converged, converge
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Link, Route, VlanIf
from windrow.model.problems import errors
from windrow.model.values import OWNER_PROTOCOL, IfName
from windrow.model.wire import load_documents
from windrow.netlink import links
from windrow.testing.dhcpserver import ETH_P_ARP, ip, wire

Ns = Any
NODE = "node-0"
BASE = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1], linkAttributes: {mtu: 2000}}}
"""


def cluster(*specs: str) -> Cluster:
    head = "---\napiVersion: network.harvesterhci.io/v1beta1\nkind: HostNetworkConfig\n"
    text = BASE + "".join(
        f"{head}metadata: {{name: h{n}}}\nspec: {{clusterNetwork: oob, mode: static, {spec}}}\n"
        for n, spec in enumerate(specs)
    )
    loaded = load_documents(text)
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


class Host:
    """A node whose NIC's cable ends in another namespace, and what it remembers."""

    def __init__(self, new_ns: Callable[[], Ns]) -> None:
        self.ns, self.far = new_ns(), new_ns()
        self.known = Known()
        self.ns.run(links.veth(links.End(name="eth1"), links.End(name="port", netns=self.far.fd)))
        self.ns.run(links.create("eth0", "dummy"), links.set_link("eth0", up=True))
        self.ns.run(links.add_addr(self.ns.index("eth0"), "192.0.2.1/24"))
        default = Route(dst="default", dev=IfName("eth0"), gateway="192.0.2.254")
        self.ns.run(links.add_route(default, self.ns.index("eth0")))
        self.far.run(links.set_link("port", mtu=9000, up=True))
        self.ns.run(links.set_link("eth1", mtu=9000))

    def brought_to(self, *specs: str) -> None:
        """And nothing is left to do, then and a moment later."""
        report = converge(cluster(*specs), self.ns.kernel, NODE, knowing=lambda: self.known)
        assert report.ok, (report.outcome, report.left)
        self.known = Known(memory=report.memory)
        again = converge(cluster(*specs), self.ns.kernel, NODE, knowing=lambda: self.known)
        assert not again.planned.plan.steps, again.planned.plan

    def tries(self, *specs: str) -> Converged:
        report = converge(cluster(*specs), self.ns.kernel, NODE, knowing=lambda: self.known)
        self.known = Known(memory=report.memory)
        return report

    def neighbour(self, *addresses: str, vid: int) -> str:
        """Somebody at the far end of the cable who has these; his MAC."""
        name = f"port.{vid}"
        if name not in self.far.kernel.observe().state.links:
            made = Link(name=IfName(name), spec=VlanIf(parent=IfName("port"), vid=vid))
            self.far.run(*links.create_link(made, self.far.index), links.set_link(name, up=True))
        for address in addresses:
            self.far.run(links.add_addr(self.far.index(name), address))
        time.sleep(2.5 if any(":" in a for a in addresses) else 0)  # his own DAD
        return str(self.far.link(name).mac)

    def gone(self, *addresses: str, vid: int) -> None:
        for address in addresses:
            self.far.run(links.del_addr(self.far.index(f"port.{vid}"), address))

    def routes(self) -> set[tuple[str, str | None, int]]:
        found = self.ns.kernel.observe().state.routes
        return {(r.dst, r.gateway, r.metric) for r in found if r.protocol == OWNER_PROTOCOL}

    def answers(self, address: str, vid: int = 0, *, to: str = "10.8.0.9") -> bool:
        """Whether the host answers ARP for its address to somebody in that VLAN, at the far end of the cable."""
        name = f"port.{vid}" if vid else "port"
        if vid and name not in self.far.kernel.observe().state.links:
            made = Link(name=IfName(name), spec=VlanIf(parent=IfName("port"), vid=vid))
            self.far.run(*links.create_link(made, self.far.index), links.set_link(name, up=True))
        one: socket.socket = self.far.inside(lambda: wire(name))
        with one:
            mac = one.getsockname()[4]
            asked = b"\0\1\x08\0\6\4\0\1" + mac + ip(to) + bytes(6) + ip(address)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                one.send(b"\xff" * 6 + mac + ETH_P_ARP.to_bytes(2, "big") + asked)
                time.sleep(0.05)
                while frame := received(one):
                    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2" and frame[28:32] == ip(address):
                        return True
        return False


def received(one: socket.socket) -> bytes:
    try:
        return one.recv(2000)
    except BlockingIOError:
        return b""


def test_both_families_with_their_gateways_and_routes(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns)
    addresses = "vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}, mtu: 1400"
    routes = "routes: [{to: 10.9.0.0/16, via: 10.8.0.253, metric: 5}, {to: 2001:db8:9::/48, via: 'fe80::1'}]"
    host.brought_to(f"{addresses}, gateway: '10.8.0.254,2001:db8:8::fe', {routes}")
    link = host.ns.link("oob-br.300")
    assert (link.addrs, link.mtu) == ({"10.8.0.1/24", "2001:db8:8::1/64"}, 1400)
    assert host.routes() == {
        ("default", "10.8.0.254", 1024),
        ("default", "2001:db8:8::fe", 1024),
        ("10.9.0.0/16", "10.8.0.253", 5),
        ("2001:db8:9::/48", "fe80::1", 1024),
    }
    host.brought_to(f"{addresses}, gateway: '10.8.0.253,2001:db8:8::fd'")
    assert host.routes() == {("default", "10.8.0.253", 1024), ("default", "2001:db8:8::fd", 1024)}
    host.brought_to(f"{addresses}, gateway: 10.8.0.253, metric: 7")
    assert host.routes() == {("default", "10.8.0.253", 7)}
    host.brought_to("vlanID: 300, ips: {node-0: 10.8.1.1/24}, gateway: 10.8.1.254")
    assert host.routes() == {("default", "10.8.1.254", 1024)}
    assert host.ns.link("oob-br.300").mtu == 2000
    others = {
        (r.dst, r.gateway) for r in host.ns.kernel.observe().state.routes if r.protocol not in (2, OWNER_PROTOCOL)
    }
    assert ("default", "192.0.2.254") in others
    host.brought_to()
    assert host.routes() == set() and "oob-br.300" not in host.ns.kernel.observe().state.links


def test_untagged_beside_the_addresses_of_others(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns)
    host.brought_to()
    host.ns.run(links.add_addr(host.ns.index("oob-br"), "10.8.0.7/32"))
    host.brought_to("vlanID: 0, ips: {node-0: 10.8.0.1/24}, gateway: 10.8.0.254")
    assert host.ns.link("oob-br").addrs == {"10.8.0.1/24", "10.8.0.7/32"}
    assert host.answers("10.8.0.1") and host.answers("10.8.0.7")
    host.brought_to("vlanID: 0, ips: {node-0: 10.8.0.2/24}")
    assert host.ns.link("oob-br").addrs == {"10.8.0.2/24", "10.8.0.7/32"}
    host.brought_to()
    assert host.ns.link("oob-br").addrs == {"10.8.0.7/32"}
    assert host.answers("10.8.0.7"), "who has the bridge's other address is cut off"
    assert host.routes() == set()


def test_who_is_in_no_vlan_of_the_host_gets_no_answer(new_ns: Callable[[], Ns]) -> None:
    """By default a Linux host answers for each of its addresses wherever it is asked (arp_ignore 0)."""
    host = Host(new_ns)
    host.brought_to("vlanID: 300, ips: {node-0: 10.8.0.1/24}")
    assert host.answers("10.8.0.1", 300)
    assert not host.answers("10.8.0.1"), "to untagged guests"
    assert not host.answers("192.0.2.1", to="192.0.2.9"), "nor for the management's"
    bridge = host.ns.link("oob-br")
    assert bridge.self_vlans and (bridge.self_vlans.pvid, str(bridge.self_vlans.all)) == (None, "300")


def test_vlan_1_is_a_vlan_like_others(new_ns: Callable[[], Ns]) -> None:
    """Its frames have no tag on the uplink; the host's interface has one. (In Harvester nothing arrives there.)"""
    host = Host(new_ns)
    host.brought_to("vlanID: 1, ips: {node-0: 10.8.0.1/24}")
    assert host.ns.link("oob-br.1").addrs == {"10.8.0.1/24"}
    bridge = host.ns.link("oob-br")
    assert bridge.self_vlans and (bridge.self_vlans.pvid, str(bridge.self_vlans.tagged)) == (None, "1")
    assert host.answers("10.8.0.1")


VIP, VIP6 = "10.8.0.7/32", "2001:db8:8::7/64"


def test_a_virtual_ip_and_a_route_of_somebody_on_a_vlan_interface_stay(new_ns: Callable[[], Ns]) -> None:
    """keepalived's, a hand's. What Windrow gave goes with its manifest all the same."""
    host = Host(new_ns)
    host.brought_to("vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}, gateway: 10.8.0.254")
    index = host.ns.index("oob-br.300")
    host.ns.run(links.add_addr(index, VIP), links.add_addr(index, VIP6))
    theirs = Route(dst="198.51.100.0/24", dev=IfName("oob-br.300"), gateway="10.8.0.250", protocol=18)
    host.ns.run(links.add_route(theirs, index))
    host.brought_to("vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}, gateway: 10.8.0.254")
    assert host.ns.link("oob-br.300").addrs == {"10.8.0.1/24", "2001:db8:8::1/64", VIP, VIP6}
    host.brought_to("vlanID: 300, ips: {node-0: 10.8.0.2/24}")
    assert host.ns.link("oob-br.300").addrs == {"10.8.0.2/24", VIP, VIP6}
    found = {(r.dst, r.protocol) for r in host.ns.kernel.observe().state.routes if r.dev == "oob-br.300"}
    assert ("198.51.100.0/24", 18) in found and host.routes() == set()


def test_an_address_that_somebody_else_has_is_not_set(new_ns: Callable[[], Ns]) -> None:
    """Asked for before: the kernel would not notice an IPv4 one at all. The rest is done; and once he is gone, this."""
    host = Host(new_ns)
    mac = host.neighbour("10.8.0.1/24", "2001:db8:9::1/64", vid=300)
    wanted = (
        "vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}, gateway: '10.8.0.254,2001:db8:8::fe'",
        "vlanID: 301, ips: {node-0: '10.9.0.1/24'}",
    )
    began = time.monotonic()
    report = host.tries(*wanted)
    assert time.monotonic() - began < 5
    said = [failure.reason for failure in report.outcome.failed]
    assert said == [f"somebody else has 10.8.0.1 (MAC {mac})"] and not report.ok
    assert host.ns.link("oob-br.300").addrs == {"2001:db8:8::1/64"}
    assert host.routes() == {("default", "2001:db8:8::fe", 1024)}
    assert host.ns.link("oob-br.301").addrs == {"10.9.0.1/24"}
    host.gone("10.8.0.1/24", vid=300)
    host.brought_to(*wanted)
    assert host.ns.link("oob-br.300").addrs == {"10.8.0.1/24", "2001:db8:8::1/64"}


def test_an_ipv6_address_that_somebody_else_has_is_not_set(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns)
    host.brought_to()  # without carrier he would begin to ask at the same time, and nobody would have it
    mac = host.neighbour("2001:db8:8::1/64", vid=300)
    wanted = "vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}"
    report = host.tries(wanted)
    assert [f.reason for f in report.outcome.failed] == [f"somebody else has 2001:db8:8::1 (MAC {mac})"]
    assert host.ns.link("oob-br.300").addrs == {"10.8.0.1/24"}
    host.gone("2001:db8:8::1/64", vid=300)
    host.brought_to(wanted)
    assert host.ns.link("oob-br.300").addrs == {"10.8.0.1/24", "2001:db8:8::1/64"}


def test_a_duplicate_that_the_kernel_found_is_tried_again(new_ns: Callable[[], Ns]) -> None:
    """It has the address and does not use it (IFA_F_DADFAILED): whoever looks must not take that for well."""
    host = Host(new_ns)
    wanted = "vlanID: 300, ips: {node-0: '10.8.0.1/24'}"
    six = "vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}"
    host.brought_to(wanted)
    mac = host.neighbour("2001:db8:8::1/64", vid=300)
    host.ns.run(links.add_addr(host.ns.index("oob-br.300"), "2001:db8:8::1/64"))
    end = time.monotonic() + 10
    while not host.ns.link("oob-br.300").details["2001:db8:8::1/64"].duplicate:
        assert time.monotonic() < end, "the kernel finds no duplicate"
        time.sleep(0.1)
    report = host.tries(six)
    assert [f.reason for f in report.outcome.failed] == [f"somebody else has 2001:db8:8::1 (MAC {mac})"]
    host.gone("2001:db8:8::1/64", vid=300)
    host.brought_to(six)
    assert not host.ns.link("oob-br.300").details["2001:db8:8::1/64"].duplicate


def test_what_is_carried_or_put_back_is_not_asked_for(new_ns: Callable[[], Ns]) -> None:
    """Somebody who answers for it must not keep the host from its own address."""
    host = Host(new_ns)
    wanted = "vlanID: 300, ips: {node-0: '10.8.0.1/24,2001:db8:8::1/64'}"
    host.brought_to(wanted)
    host.neighbour("10.8.0.1/24", vid=300)
    index = host.ns.index("oob-br.300")
    host.ns.run(links.del_addr(index, "10.8.0.1/24"))
    host.brought_to(wanted)
    assert host.ns.link("oob-br.300").addrs == {"10.8.0.1/24", "2001:db8:8::1/64"}


@pytest.mark.parametrize("vid", [300, 0])
def test_the_way_to_the_network_of_an_address_comes_back_as_the_kernel_made_it(
    new_ns: Callable[[], Ns], vid: int
) -> None:
    """And so it goes with the address: one that is another's, by its source, would stay (`fib_del_ifaddr`)."""
    host, link = Host(new_ns), f"oob-br.{vid}".removesuffix(".0")
    spec = (
        f'ips: {{node-0: "10.8.0.1/24,2001:db8:8::1/64"}}, vlanID: {vid}, routes: [{{to: 10.9.0.0/16, via: 10.8.0.9}}]'
    )

    def shown() -> list[str]:
        commands = (["ip", "route", "show", "dev", link], ["ip", "-6", "route", "show", "dev", link])
        said = (subprocess.run(c, capture_output=True, text=True, check=True).stdout for c in commands)
        return sorted(line.strip() for text in said for line in text.splitlines())

    host.brought_to(spec)
    before = host.ns.inside(shown)
    for words in ("route del 10.8.0.0/24", "-6 route del 2001:db8:8::/64"):
        argv = ["ip", *words.split(), "dev", link]
        host.ns.inside(lambda argv=argv: subprocess.run(argv, check=True))  # type: ignore[misc]
    assert host.ns.inside(shown) != before
    host.brought_to(spec)
    assert host.ns.inside(shown) == before
    host.brought_to(f"ips: {{node-0: 10.7.0.1/24}}, vlanID: {vid}")
    assert not [line for line in host.ns.inside(shown) if "10.8.0.0/24" in line or "db8:8" in line]  # type: ignore[attr-defined]
