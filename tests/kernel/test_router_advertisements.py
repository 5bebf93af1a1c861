"""Whose router this host has: nobody's in a VLAN of ours, and the one it had stays when pods make a router of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.test_host_addresses import NODE, Host, cluster

from windrow.apps.engine import converge
from windrow.model.host import RTPROT_RA, Link, VlanIf
from windrow.model.values import IfName
from windrow.netlink import forwarding, links, ports, sysctl
from windrow.testing.advertise import advertise

Ns = Any
PLACES = {"ips: {node-0: 10.8.0.1/24}, vlanID: 300": "oob-br.300", "ips: {node-0: 10.8.0.1/24}, vlanID: 0": "oob-br"}


@pytest.fixture
def host(new_ns: Callable[[], Ns]) -> Host:
    return Host(new_ns)


def told(ns: Ns, link: str) -> set[str]:
    """The routes that advertisements brought over a link."""
    return {r.dst for r in ns.kernel.observe().state.routes if r.protocol == RTPROT_RA and r.dev == link}


def own(ns: Ns, link: str) -> set[str]:
    """The addresses that the link has of the network that was advertised (SLAAC)."""
    found = ports.addresses(ns.kernel.rtnl, ns.index(link))
    return {address.cidr for address in found if address.cidr.startswith("2001:db8:bad:")}


def wait_for(what: Callable[[], object], seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def advertise_in(host: Host, link: str) -> None:
    vid = int(link.partition(".")[2] or 0)
    name = f"port.{vid}" if vid else "port"
    if vid and name not in host.far.kernel.observe().state.links:
        made = Link(name=IfName(name), spec=VlanIf(parent=IfName("port"), vid=vid))
        host.far.run(*links.create_link(made, host.far.index), links.set_link(name, up=True))
    assert wait_for(lambda: host.far.runtime(name).carrier)
    before = advertisements(host.ns, link)

    def arrived() -> bool:
        """A bond has its NIC only after its monitor's interval, and a bridge forwards after that: one that is sent
        earlier is lost, and proves nothing of who took it."""
        host.far.inside(lambda: advertise(name))
        return advertisements(host.ns, link) > before

    assert wait_for(arrived, 10.0)


def advertisements(ns: Ns, link: str) -> int:
    """How many have come to a link, whatever became of them (`icmpv6_rcv`)."""
    text = ns.inside(Path(f"/proc/thread-self/net/dev_snmp6/{link}").read_text)
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Icmp6InRouterAdvertisements"))


@pytest.mark.parametrize("spec", PLACES)
def test_a_guest_that_advertises_is_nobodys_router(host: Host, spec: str) -> None:
    host.brought_to(spec)
    advertise_in(host, PLACES[spec])
    assert told(host.ns, PLACES[spec]) == own(host.ns, PLACES[spec]) == set()


@pytest.mark.parametrize("spec", PLACES)
def test_a_manifest_that_wants_the_router_has_it_though_the_host_is_one(host: Host, spec: str) -> None:
    host.ns.inside(lambda: sysctl.write("net/ipv6/conf/all/forwarding", "1"))
    host.brought_to(f"{spec}, routerAdvertisements: true")
    advertise_in(host, PLACES[spec])
    assert wait_for(lambda: told(host.ns, PLACES[spec]) >= {"default"} and own(host.ns, PLACES[spec]))
    host.brought_to(f"{spec}, routerAdvertisements: true")
    assert "default" in told(host.ns, PLACES[spec])
    host.brought_to(f"{spec}, routerAdvertisements: false")
    assert told(host.ns, PLACES[spec]) == set()


@pytest.mark.parametrize("spec", PLACES)
def test_one_that_came_in_by_a_changed_sysctl_goes_again(host: Host, spec: str) -> None:
    link = PLACES[spec]
    host.brought_to(spec)
    host.ns.inside(lambda: sysctl.write(f"net/ipv6/conf/{link}/accept_ra", "1"))
    advertise_in(host, link)
    assert wait_for(lambda: "default" in told(host.ns, link))
    host.brought_to(spec)
    assert told(host.ns, link) == set()
    assert host.ns.inside(lambda: sysctl.read(f"net/ipv6/conf/{link}/accept_ra")) == "0"


# -- forwarding ------------------------------------------------------------------------------------


@pytest.fixture
def routed(new_ns: Callable[[], Ns]) -> tuple[Ns, Ns]:
    """A host with a router that it knows by its advertisements, and what is behind its NIC."""
    here, far = new_ns(), new_ns()
    here.run(links.veth(links.End(name="eth0"), links.End(name="port", netns=far.fd)))
    here.run(links.create("eth9", "dummy"), links.create("br9", "bridge"), links.set_link("br9", up=True))
    here.run(links.create("br8", "bridge"), links.create("bond8", "bond"))
    here.run(links.set_master("bond8", here.index("br8"), "br8"))
    far.run(links.set_link("port", up=True))
    here.run(links.set_link("eth0", up=True), links.set_link("eth9", up=True))
    assert wait_for(lambda: here.runtime("eth0").carrier)

    def heard() -> bool:
        """One advertisement may come before the host's end listens."""
        far.inside(lambda: advertise("port"))
        return "default" in told(here, "eth0")

    assert wait_for(heard)
    return here, far


def accepts(ns: Ns, link: str) -> object:
    return ns.inside(lambda: sysctl.read(f"net/ipv6/conf/{link}/accept_ra"))


def test_a_host_that_becomes_a_router_keeps_its_own(routed: tuple[Ns, Ns]) -> None:
    here, _ = routed
    here.inside(lambda: forwarding.switch_on("6"))
    assert here.inside(lambda: sysctl.read("net/ipv6/conf/all/forwarding")) == "1"
    assert "default" in told(here, "eth0") and own(here, "eth0")
    assert accepts(here, "eth0") == "2" and accepts(here, "br9") == "1"
    assert accepts(here, "br8") == "2", "a bridge with a NIC leads out, too"


def test_a_link_that_is_made_later_brings_no_router(routed: tuple[Ns, Ns]) -> None:
    """Somebody else's cable to a container, above all: a host that passes packets on takes routers from none of them,
    unless its administrator says otherwise."""
    here, far = routed
    here.inside(lambda: forwarding.switch_on("6"))
    later = links.veth(links.End(name="cali1"), links.End(name="port1", netns=far.fd))
    here.run(later, links.set_link("cali1", up=True))
    far.run(links.set_link("port1", up=True))
    assert wait_for(lambda: here.runtime("cali1").carrier)
    time.sleep(0.1)
    far.inside(lambda: advertise("port1"))
    assert not wait_for(lambda: told(here, "cali1"), 1.0)


def test_without_that_the_kernel_drops_it(routed: tuple[Ns, Ns]) -> None:
    """The control: what `switch_on` is for."""
    here, _ = routed
    here.inside(lambda: sysctl.write("net/ipv6/conf/all/forwarding", "1"))
    assert told(here, "eth0") == set()


def test_what_took_no_router_takes_none_as_a_router(routed: tuple[Ns, Ns]) -> None:
    here, _ = routed
    here.inside(lambda: sysctl.write("net/ipv6/conf/eth9/accept_ra", "0"))
    here.inside(lambda: forwarding.switch_on("6"))
    here.inside(lambda: forwarding.switch_on("6"))
    assert accepts(here, "eth9") == "0"


# -- IPv6 that is switched off ---------------------------------------------------------------------

BOTH = 'ips: {node-0: "10.8.0.1/24,2001:db8:8::1/64"}, vlanID: 300, gateway: "10.8.0.9,2001:db8:8::9"'
OTHER = "ips: {node-0: 10.9.0.1/24}, vlanID: 301"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("vid", [300, 0])
def test_a_host_without_ipv6_has_the_rest_and_says_why(host: Host, when: str, vid: int) -> None:
    both, link = BOTH.replace("300", str(vid)), f"oob-br.{vid}".removesuffix(".0")
    off = [f"net/ipv6/conf/{name}/disable_ipv6" for name in ("default", "all")]
    if when == "after":
        host.brought_to(both)
    for key in off:
        host.ns.inside(lambda key=key: sysctl.write(key, "1"))
    host.brought_to(both, OTHER)
    report = converge(cluster(both, OTHER), host.ns.kernel, NODE, knowing=lambda: host.known)
    assert report.ok
    said = [p for p in report.planned.compiled.problems if p.code == "ipv6-off"]
    assert len(said) == 1 and "2001:db8:8::1/64" in said[0].message, said
    assert f"net.ipv6.conf.{link.replace('.', '/')}.disable_ipv6" in said[0].message
    assert host.ns.link(link).addrs == {"10.8.0.1/24"} and host.ns.link("oob-br.301").addrs == {"10.9.0.1/24"}
    assert host.routes() == {("default", "10.8.0.9", 1024)}
    host.ns.inside(lambda: sysctl.write(f"net/ipv6/conf/{link}/disable_ipv6", "0"))
    host.brought_to(both, OTHER)
    assert host.ns.link(link).addrs == {"10.8.0.1/24", "2001:db8:8::1/64"}
    assert ("default", "2001:db8:8::9", 1024) in host.routes()


def test_a_refused_address_names_the_sysctl(ns: Ns) -> None:
    from windrow.netlink.errors import KernelError

    ns.run(links.create("br.9", "bridge"))
    ns.inside(lambda: sysctl.write("net/ipv6/conf/br.9/disable_ipv6", "1"))
    with pytest.raises(KernelError, match=r"sysctl -w net\.ipv6\.conf\.br/9\.disable_ipv6=0"):
        ns.run(links.add_addr(ns.index("br.9"), "2001:db8::1/64", name="br.9"))
    assert ns.inside(lambda: forwarding.allow_ipv6("br.9")) == "1"
    ns.run(links.add_addr(ns.index("br.9"), "2001:db8::1/64", name="br.9"))
