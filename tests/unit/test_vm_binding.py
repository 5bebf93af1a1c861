"""Names and devices between a pod and its guest: KubeVirt's, with its own examples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from windrow.model.machines import (
    Binding,
    DhcpOptions,
    ForwardedPort,
    GuestNetwork,
    GuestNic,
    MachineSpec,
    NicModel,
)
from windrow.model.values import Cidr, IfName, Mac, parse_ifname
from windrow.port.vm.binding import NicPlan, PodBridge, PodNic, PodRoute, Sysctl, Tap, plan_nic
from windrow.port.vm.dhcp import PodIdentity
from windrow.port.vm.masquerade import Masquerade
from windrow.port.vm.names import is_primary, names_of, pod_ifname

MAC = Mac("02:11:22:33:44:55")
IDENTITY = PodIdentity(hostname="web")


def network(name: str = "vlan100", nad: str = "default/vlan100", **fields: Any) -> GuestNetwork:
    return GuestNetwork(name=name, nad=nad, **fields)


def pod(name: str = "pod1dba23260aa", *addresses: str, mtu: int = 1500, routes: tuple[PodRoute, ...] = ()) -> PodNic:
    found = tuple(map(Cidr, addresses))
    return PodNic(name=IfName(name), mac=MAC, mtu=mtu, addresses=found, routes=routes)


def machine(nic: GuestNic, net: GuestNetwork | None = None, **fields: Any) -> MachineSpec:
    return MachineSpec(nics=(nic,), networks=(net or network(nic.name),), **fields)


def planned(binding: Binding, seen: PodNic, net: GuestNetwork | None = None, **fields: Any) -> NicPlan:
    name = net.name if net else "vlan100"
    return plan_nic(machine(GuestNic(name=name, binding=binding, **fields), net), name, seen, IDENTITY)


def bridged(*addresses: str, **fields: Any) -> NicPlan:
    return planned(Binding.BRIDGE, pod("pod1dba23260aa", *addresses), **fields)


POD = GuestNetwork(name="default")


def masqueraded(*addresses: str, net: GuestNetwork = POD, **fields: Any) -> NicPlan:
    return planned(Binding.MASQUERADE, pod("eth0", *addresses, mtu=1450), net, **fields)


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ifname"),
    [("vlan100", "pod1dba23260aa"), ("nic-1", "pod8fe0d3f1ac5"), ("default", "pod37a8eec1ce1")],
)
def test_the_name_in_the_pod_is_a_hash_of_the_networks(name: str, ifname: str) -> None:
    assert pod_ifname(network(name)) == ifname


def test_the_pods_first_interface_is_eth0() -> None:
    assert pod_ifname(GuestNetwork(name="anything")) == "eth0"
    assert pod_ifname(network("vlan100", default=True)) == "eth0"
    assert [is_primary(n) for n in (POD, network(default=True), network())] == [True, True, False]


@pytest.mark.parametrize(
    ("ifname", "bridge", "tap", "renamed"),
    [
        ("pod1dba23260aa", "k6t-1dba23260aa", "tap1dba23260aa", "1dba23260aa-nic"),
        ("eth0", "k6t-eth0", "tap0", "eth0-nic"),
    ],
)
def test_the_names_of_what_is_between(ifname: str, bridge: str, tap: str, renamed: str) -> None:
    found = names_of(ifname)
    assert (found.pod, found.bridge, found.tap, found.renamed) == (ifname, bridge, tap, renamed)
    assert all(parse_ifname(n) for n in (found.pod, found.bridge, found.tap, found.renamed))


# -- bridge ----------------------------------------------------------------------------------------------


def test_a_bridge_network_without_addresses_is_only_a_wire() -> None:
    """Harvester's VLAN networks: frames pass from the tap to the node's bridge, and nobody in the pod speaks."""
    plan = bridged()
    assert plan.dhcp is None
    assert plan.masquerade is None
    assert plan.bridge.addresses == ()
    assert plan.bridge.mtu is None
    assert plan.tap == Tap(name=IfName("tap1dba23260aa"), mtu=1500)
    silent = {f"net/ipv6/conf/{d}/disable_ipv6" for d in ("k6t-1dba23260aa", "tap1dba23260aa", "1dba23260aa-nic")}
    assert {s.path for s in plan.sysctls if s.optional} == silent
    assert [s.path for s in plan.sysctls if not s.optional] == ["net/ipv4/conf/k6t-1dba23260aa/arp_ignore"]


def test_the_pods_interface_moves_below_the_bridge_and_a_dummy_takes_its_place() -> None:
    plan = bridged("10.52.0.5/24", "fd00::5/64")
    assert plan.moved is not None
    assert plan.moved.name == "1dba23260aa-nic"
    assert plan.moved.mac == plan.bridge.mac
    assert plan.moved.dummy == pod("pod1dba23260aa", "10.52.0.5/24", "fd00::5/64")
    assert plan.guest_mac == MAC


def test_the_bridges_address_is_local_unicast_and_nobody_elses() -> None:
    macs = {plan_nic(machine(GuestNic(name="vlan100", binding=Binding.BRIDGE)), "vlan100", seen, IDENTITY).bridge.mac
            for seen in (pod(), pod("eth0"), replace(pod(), mac=Mac("02:00:00:00:00:01")))}  # fmt: skip
    assert len(macs) == 3
    assert all(mac.startswith("02:") for mac in macs)
    assert MAC not in macs
    assert bridged().bridge.mac == bridged("10.0.0.1/24").bridge.mac


def test_the_manifests_mac_comes_before_the_pods() -> None:
    plan = bridged("10.52.0.5/24", mac=Mac("52:54:00:00:00:01"))
    assert plan.guest_mac == "52:54:00:00:00:01"
    assert plan.dhcp is not None
    assert plan.dhcp.mac == "52:54:00:00:00:01"
    assert plan.moved is not None
    assert plan.moved.dummy.mac == MAC


def test_with_an_address_the_guest_gets_it_by_dhcp() -> None:
    plan = bridged("fd00::5/64", "10.52.0.5/24", dhcp=DhcpOptions(boot_file="x"))
    assert plan.bridge.addresses == ("169.254.75.10/32",)
    assert plan.dhcp is not None
    assert (plan.dhcp.server, plan.dhcp.address, plan.dhcp.mtu) == ("169.254.75.10", "10.52.0.5/24", 1500)
    assert plan.dhcp.options.boot_file == "x"
    assert plan.dhcp.identity is IDENTITY
    assert plan.dhcp.address6 is None
    assert Sysctl(path="net/ipv4/conf/all/arp_ignore", value="1") in plan.sysctls


@pytest.mark.parametrize(
    ("index", "server"), [(0, "169.254.75.10"), (3, "169.254.75.13"), (9, "169.254.75.19"), (10, "169.254.75.110")]
)
def test_the_number_of_the_nic_is_appended_to_the_servers_address(index: int, server: str) -> None:
    spec = machine(GuestNic(name="vlan100", binding=Binding.BRIDGE))
    plan = plan_nic(spec, "vlan100", pod("pod1dba23260aa", "10.0.0.5/24"), IDENTITY, index=index)
    assert plan.index == index
    assert plan.dhcp is not None
    assert plan.dhcp.server == server


def test_the_number_of_a_nic_is_its_place() -> None:
    nics = tuple(GuestNic(name=n, binding=Binding.BRIDGE) for n in "abc")
    spec = MachineSpec(nics=nics, networks=tuple(network(n) for n in "abc"))
    assert [plan_nic(spec, n, pod(), IDENTITY).index for n in "abc"] == [0, 1, 2]


ROUTES = (
    PodRoute(dst="0.0.0.0/0", gateway="10.52.0.1"),
    PodRoute(dst="10.52.0.0/24"),
    PodRoute(dst="172.16.0.0/12", gateway="10.52.0.2"),
    PodRoute(dst="192.168.9.0/24"),
    PodRoute(dst="::/0", gateway="fd00::1"),
)


def test_the_pods_routes_are_the_guests() -> None:
    """Default last, else a client has no way to its gateway yet; the address makes its own route; none of IPv6."""
    plan = planned(Binding.BRIDGE, pod("eth0", "10.52.0.5/24", routes=ROUTES), network("default", default=True))
    assert plan.dhcp is not None
    assert plan.dhcp.router == "10.52.0.1"
    assert plan.dhcp.routes == (
        ("172.16.0.0/12", "10.52.0.2"),
        ("192.168.9.0/24", ""),
        ("0.0.0.0/0", "10.52.0.1"),
    )


def test_a_guest_has_no_router_where_the_pod_has_no_default_route() -> None:
    """Option 3 is a default route to whoever gets it: a router of one network only is option 121's."""
    routes = (PodRoute(dst="10.52.0.0/24"), PodRoute(dst="172.16.0.0/12", gateway="10.52.0.2"))
    plan = planned(Binding.BRIDGE, pod("eth0", "10.52.0.5/24", routes=routes), network("default", default=True))
    assert plan.dhcp is not None
    assert (plan.dhcp.router, plan.dhcp.routes) == ("", (("172.16.0.0/12", "10.52.0.2"),))
    both = (*routes, PodRoute(dst="0.0.0.0/0", gateway="10.52.0.1"))
    plan = planned(Binding.BRIDGE, pod("eth0", "10.52.0.5/24", routes=both), network("default", default=True))
    assert plan.dhcp is not None and plan.dhcp.router == "10.52.0.1", "not the first one that has a gateway"


def test_a_gateway_outside_the_network_needs_its_own_route() -> None:
    """Calico: the address is a /32, and the gateway 169.254.1.1."""
    routes = (PodRoute(dst="169.254.1.1/32"), PodRoute(dst="0.0.0.0/0", gateway="169.254.1.1"))
    plan = planned(Binding.BRIDGE, pod("eth0", "10.52.0.5/32", routes=routes), network("default", default=True))
    assert plan.dhcp is not None
    assert plan.dhcp.routes == (("169.254.1.1/32", ""), ("0.0.0.0/0", "169.254.1.1"))
    assert plan.dhcp.router == "169.254.1.1"


def test_managed_tap_leaves_dhcp_to_the_network() -> None:
    plan = planned(Binding.MANAGED_TAP, pod("pod1dba23260aa", "10.52.0.5/24"))
    assert plan.dhcp is None
    assert plan.bridge.addresses == ()
    assert plan.moved is not None
    assert [s.path for s in plan.sysctls if "arp_ignore" in s.path] == ["net/ipv4/conf/k6t-1dba23260aa/arp_ignore"]


# -- masquerade ------------------------------------------------------------------------------------------


def test_a_masqueraded_guest_is_behind_its_pod() -> None:
    plan = masqueraded("10.52.0.5/24", ports=(ForwardedPort(port=80),))
    assert plan.bridge == PodBridge(
        name=IfName("k6t-eth0"), mac=Mac("02:00:00:00:00:00"), mtu=1450, addresses=(Cidr("10.0.2.1/24"),)
    )
    assert plan.moved is None
    assert plan.tap == Tap(name=IfName("tap0"), mtu=1450)
    assert plan.masquerade == Masquerade(
        pod=IfName("eth0"),
        bridge=IfName("k6t-eth0"),
        guests=(("10.0.2.2", "10.0.2.1"),),
        ports=(ForwardedPort(port=80),),
    )
    assert plan.dhcp is not None
    assert (plan.dhcp.server, plan.dhcp.router, plan.dhcp.address) == ("10.0.2.1", "10.0.2.1", "10.0.2.2/24")
    assert (plan.dhcp.address6, plan.dhcp.routes, plan.dhcp.mtu) == (None, (), 1450)
    values = {s.path: s.value for s in plan.sysctls}
    assert plan.forwards == ("4",)
    assert values["net/ipv4/conf/k6t-eth0/route_localnet"] == "1"


def test_with_ipv6_where_the_pod_has_it() -> None:
    plan = masqueraded("10.52.0.5/24", "fd00::5/64")
    assert plan.bridge.addresses == ("10.0.2.1/24", "fd10:0:2::1/120")
    assert plan.masquerade is not None
    assert plan.masquerade.guests == (("10.0.2.2", "10.0.2.1"), ("fd10:0:2::2", "fd10:0:2::1"))
    assert plan.dhcp is not None
    assert plan.dhcp.address6 == "fd10:0:2::2/120"
    values = {s.path: s.value for s in plan.sysctls}
    assert plan.forwards == ("4", "6")
    assert values["net/ipv6/conf/k6t-eth0/disable_ipv6"] == "0"


def test_the_manifests_network_between_guest_and_pod() -> None:
    net = GuestNetwork(name="default", cidr=Cidr("192.168.66.0/30"), cidr6=Cidr("fd66::/126"))
    plan = masqueraded("10.52.0.5/24", "fd00::5/64", net=net)
    assert plan.bridge.addresses == ("192.168.66.1/30", "fd66::1/126")
    assert plan.masquerade is not None
    assert plan.masquerade.guests[1] == ("fd66::2", "fd66::1")


# -- queues ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "multiqueue", "cpus", "queues"),
    [
        (NicModel.VIRTIO, True, 4, 4),
        (NicModel.VIRTIO, True, 1, 1),
        (NicModel.VIRTIO, True, 300, 256),
        (NicModel.VIRTIO, False, 4, 0),
        (NicModel.E1000, True, 4, 0),
    ],
)
def test_queues(model: NicModel, multiqueue: bool, cpus: int, queues: int) -> None:
    nic = GuestNic(name="vlan100", binding=Binding.BRIDGE, model=model)
    spec = machine(nic, multiqueue=multiqueue, sockets=cpus)
    assert plan_nic(spec, "vlan100", pod(), IDENTITY).tap.queues == queues


def test_the_mtu_is_the_pods() -> None:
    assert planned(Binding.BRIDGE, pod(mtu=9000)).mtu == 9000


def test_a_nic_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        plan_nic(machine(GuestNic(name="a", binding=Binding.BRIDGE)), "b", pod(), IDENTITY)
