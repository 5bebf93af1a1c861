"""Router advertisements and pods: the host keeps its own router, and a pod takes none from its further networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from windrow.model.host import RTPROT_RA
from windrow.netlink import links, netns, ports, sysctl
from windrow.testing.advertise import advertise

ours = pytest.mark.ours
VIA_ETH0 = {"routes": [{"dst": "::/0"}], "isGateway": True}


def told(kernel: Any, name: str) -> set[str]:
    """The routes that advertisements brought."""
    return {r.dst for r in kernel.observe().state.routes if r.protocol == RTPROT_RA and r.dev == name}


def own(kernel: Any, name: str) -> bool:
    """Whether it has an address of the network that was advertised."""
    found = ports.addresses(kernel.rtnl, kernel.rtnl.index(name))
    return any(one.cidr.startswith("2001:db8:bad:") for one in found)


def within(what: Callable[[], object], seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(what())


def advertise_on(fd: int, name: str) -> None:
    for _ in range(3):
        netns.opened_in(fd, lambda: advertise(name))
        time.sleep(0.1)


def has_a_router(host: Any, name: str, outside: Any) -> bool:
    """Once it has heard one of the advertisements: the first ones may come before it listens."""

    def heard() -> bool:
        advertise_on(outside.fd, "port")
        return "default" in told(host.kernel, name)

    return within(heard, 10.0)


def accepted(pod: Any, name: str) -> tuple[str | None, ...]:
    keys = ("accept_ra", "accept_ra_defrtr", "accept_ra_rt_info_max_plen")
    return tuple(pod.sysctl(f"net/ipv6/conf/{name}/{key}") for key in keys)


def write(host: Any, key: str, value: str) -> None:
    netns.opened_in(host.fd, lambda: sysctl.write(key, value))


@pytest.fixture
def no_router(host: Any) -> Iterator[Any]:
    """The host, which passes nothing on yet."""
    for key, value in (("all/forwarding", "0"), ("default/accept_ra", "1")):
        write(host, f"net/ipv6/conf/{key}", value)
    yield host
    write(host, "net/ipv6/conf/default/accept_ra", "1")


@pytest.fixture
def without_ipv6(host: Any) -> Iterator[Any]:
    """The host, with IPv6 switched off."""
    for value in ("1", "0"):
        for name in ("default", "all"):
            write(host, f"net/ipv6/conf/{name}/disable_ipv6", value)
        if value == "1":
            yield host


@ours("with the reference the host loses its router")
@pytest.mark.parametrize("vlan", [0, 100])
def test_the_first_gateway_leaves_the_hosts_router_alone(no_router: Any, vlan: int) -> None:
    host = no_router
    outside = host.pod()
    host.send(links.veth(links.End(name="up0"), links.End(name="port", netns=outside.fd)))
    outside.up("port")
    host.send(links.set_link("up0", up=True))
    assert has_a_router(host, "up0", outside)
    config = host.addressed("fd00:1::/64", isGateway=True, **({"vlan": vlan} if vlan else {}))
    host.add(host.pod(), config, CNI_CONTAINERID="c9")
    assert host.sysctl("net/ipv6/conf/all/forwarding") == "1"
    assert "default" in told(host.kernel, "up0")
    link = f"br0.{vlan}" if vlan else "br0"
    assert host.sysctl(f"net/ipv6/conf/{link}/accept_ra") == "0"


@ours("the reference has the bridge take no router, and the host's own ends with its lifetime")
@pytest.mark.parametrize("gateway", ["", "10.1.2.0/24", "fd00:1::/64"])
def test_a_bridge_behind_which_the_hosts_router_is_goes_on_to_take_it(no_router: Any, gateway: str) -> None:
    """The host's LAN, say, with a NIC as a port and the host's address on the bridge."""
    host = no_router
    outside = host.pod()
    host.make_bridge()
    host.send(links.veth(links.End(name="up0"), links.End(name="port", netns=outside.fd)))
    outside.up("port")
    host.send(links.set_master("up0", host.kernel.rtnl.index("br0"), "br0"), links.set_link("up0", up=True))

    assert has_a_router(host, "br0", outside)
    config = host.addressed(gateway, isGateway=True) if gateway else host.config()
    host.add(host.pod(), config, CNI_CONTAINERID="c9")
    assert host.sysctl("net/ipv6/conf/br0/accept_ra") == ("2" if ":" in gateway else "1")
    assert "default" in told(host.kernel, "br0")


@ours("with the reference the first network that speaks is the router of the whole pod")
@pytest.mark.parametrize("ipam", [False, True])
def test_a_further_network_is_nobodys_router(host: Any, pod: Any, ipam: bool) -> None:
    host.add(pod, host.addressed("fd00:1::/64", **VIA_ETH0))
    config = host.addressed("fd00:2::/64", bridge="br1") if ipam else host.config("br1")
    host.add(pod, config, CNI_IFNAME="net1")
    advertise_on(host.fd, "br1")
    assert within(lambda: own(pod.kernel, "net1"), 1.0) == (not ipam), "an address only where nothing else gives one"
    assert told(pod.kernel, "net1") == set()


@ours("the reference does not know the key")
@pytest.mark.parametrize("ipam", [False, True])
def test_a_further_network_that_is_wanted_as_a_router(host: Any, pod: Any, ipam: bool) -> None:
    host.add(pod, host.addressed("fd00:1::/64", **VIA_ETH0))
    keys: dict[str, Any] = {"bridge": "br1", "routerAdvertisements": True}
    config = host.addressed("fd00:2::/64", **keys) if ipam else host.config(**keys)
    host.add(pod, config, CNI_IFNAME="net1")
    advertise_on(host.fd, "br1")
    assert within(lambda: "default" in told(pod.kernel, "net1"))


def test_the_first_network_of_a_pod_may_have_its_router(host: Any, pod: Any) -> None:
    host.add(pod, host.config("br1"), CNI_IFNAME="net1")
    advertise_on(host.fd, "br1")
    assert within(lambda: "default" in told(pod.kernel, "net1"))


@ours("the reference does not know the key")
def test_unless_the_configuration_says_no(host: Any, pod: Any) -> None:
    host.add(pod, host.config("br1", routerAdvertisements=False))
    assert accepted(pod, "eth0")[0] == "0"


# Where IPv6 is switched off -----------------------------------------------------------------------


@ours("with the reference every pod fails")
@pytest.mark.parametrize("vlan", [0, 100])
def test_a_gateway_of_both_families_on_a_host_without_ipv6(without_ipv6: Any, pod: Any, vlan: int) -> None:
    host = without_ipv6
    keys: dict[str, Any] = {"isGateway": True} | ({"vlan": vlan} if vlan else {})
    config = host.addressed("10.1.2.0/24", "fd00:1::/64", **keys)
    result = host.add(pod, config)
    assert [ip["address"] for ip in result["ips"]] == ["10.1.2.2/24", "fd00:1::2/64"]
    link = f"br0.{vlan}" if vlan else "br0"
    assert host.link(link).addrs == {"10.1.2.1/24", "fd00:1::1/64"}
    assert host.sysctl("net/ipv6/conf/all/disable_ipv6") == "1", "elsewhere it is as it was"
    assert host.sysctl(f"net/ipv6/conf/{link}/disable_ipv6") == "0"


@ours("the reference leaves the port")
def test_an_add_that_fails_switches_it_off_again(host: Any, pod: Any) -> None:
    host.make_bridge()
    write(host, "net/ipv6/conf/br0/disable_ipv6", "1")
    host.send(links.add_addr(host.kernel.rtnl.index("br0"), "10.1.2.1/24"))
    config = host.addressed("10.1.2.0/24", "fd00:1::/64", isGateway=True)
    config["ipam"]["ranges"][1][0]["gateway"] = "ff02::1"  # refused by the kernel, after IPv6 is on
    host.refused("ADD", pod, config, 101, 11, 7)
    assert host.sysctl("net/ipv6/conf/br0/disable_ipv6") == "1"
