"""A configuration of type bridge, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from windrow.model.host import PortVlans
from windrow.model.portguards import PortGuards, Rate
from windrow.model.values import VidSet
from windrow.port.bridge import BridgeConfig, addressing, conflicts, masqueraded, read_config, with_gateways
from windrow.port.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError
from windrow.port.identity import digest, host_end, own_bridge
from windrow.port.request import Request, read_request
from windrow.port.result import Ip, Result, Route

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
MAC = "02:00:00:00:00:0a"


def request(command: str = "ADD", cni_args: str = "", **keys: Any) -> Request:
    config = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", **keys}
    return read_request(ENV | {"CNI_COMMAND": command, "CNI_ARGS": cni_args}, json.dumps(config).encode())


def refused(command: str = "ADD", cni_args: str = "", **keys: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        read_config(request(command, cni_args, **keys))
    return caught.value


def test_nothing_said() -> None:
    assert read_config(request()) == BridgeConfig(network="net1", bridge="cni0")


def test_whether_its_packets_are_its_own_is_said_or_not() -> None:
    found = [read_config(request(ipspoofchk=value)) for value in (None, True, False)]
    assert [(one.guards.addresses, one.any_source) for one in found] == [(False, False), (True, False), (False, True)]


def test_point_to_point() -> None:
    """A bridge of its own for each attachment, always the same one; what a shared bridge is for is refused."""
    ipam = {"type": "host-local"}
    config = read_config(request(pointToPoint=True, ipam=ipam))
    assert config.point_to_point and config.bridge == own_bridge("c1", "eth0") != own_bridge("c2", "eth0")
    assert read_config(request("DEL", pointToPoint=True, ipam=ipam)).bridge == config.bridge
    shared = {"bridge": "br0", "vlan": 5, "isGateway": True, "portIsolation": True, "vlanTrunk": [{"id": 5}]}
    for key, value in shared.items():
        assert key in str(refused(pointToPoint=True, ipam=ipam, **{key: value}))
    assert "ipam is missing" in str(refused(pointToPoint=True))


def test_a_pod_alone_has_its_addresses_alone_and_everything_goes_by_its_router() -> None:
    config = BridgeConfig(network="net1", bridge="wn-1", ipam="host-local", point_to_point=True)
    ips = (Ip(address="10.1.2.7/24", gateway="10.1.2.1"), Ip(address="fd00::7/64"))
    routes = (Route(dst="10.9.0.0/16", gw="10.1.2.254"), Route(dst="::/0"))
    found = addressing(config, Result(ips=ips, routes=routes), interface=2)
    assert [(ip.address, ip.gateway) for ip in found.ips] == [
        ("10.1.2.7/32", "169.254.1.1"),
        ("fd00::7/128", "fe80::1"),
    ]
    assert [(r.dst, r.gw) for r in with_gateways(found)] == [
        ("10.9.0.0/16", "169.254.1.1"),
        ("::/0", "fe80::1"),
        ("0.0.0.0/0", "169.254.1.1"),
    ]
    assert found.gateways == ()


def test_null_means_the_same_as_nothing() -> None:
    keys = ("bridge", "vlan", "vlanTrunk", "mtu", "isGateway", "ipam", "dns", "args", "runtimeConfig", "ipMasqBackend")
    assert read_config(request(**dict.fromkeys(keys))) == BridgeConfig(network="net1", bridge="cni0")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"bridge": "oob-br"}, {"bridge": "oob-br"}),
        ({"vlan": 100}, {"vlan": 100, "filtering": True}),
        ({"vlan": 0}, {}),
        ({"vlanTrunk": []}, {"filtering": True}),
        ({"vlanTrunk": [{"id": 5}, {"minID": 7, "maxID": 9}]}, {"filtering": True, "trunk": VidSet.parse("5,7-9")}),
        (
            {"vlanTrunk": [{"id": 5, "minID": 7, "maxID": 9}, {}, None]},
            {"filtering": True, "trunk": VidSet.parse("5,7-9")},
        ),
        ({"vlanTrunk": [{"ID": 5, "minid": 7, "MAXID": 7}]}, {"filtering": True, "trunk": VidSet.parse("5,7")}),
        ({"preserveDefaultVlan": True}, {"preserve_default_vlan": True}),
        ({"promiscMode": True}, {"promisc": True}),
        ({"hairpinMode": True}, {"hairpin": True}),
        ({"portIsolation": True}, {"isolated": True}),
        ({"mtu": 1400}, {"mtu": 1400}),
        ({"mtu": 0}, {}),
        ({"isGateway": True}, {"gateway": True}),
        ({"isDefaultGateway": True}, {"gateway": True, "default_gateway": True}),
        ({"forceAddress": True}, {"force_address": True}),
        ({"ipMasq": True}, {"masquerade": True}),
        ({"ipMasqBackend": "nftables"}, {"masquerade_backend": "nftables"}),
        ({"macspoofchk": True}, {"spoof_check": True}),
        ({"IPspoofchk": True, "raguard": True}, {"guards": PortGuards(addresses=True, routers=True)}),
        ({"dhcpguard": True, "ingressRate": 0, "ingressBurst": 0}, {"guards": PortGuards(dhcp=True)}),
        ({"egressRate": 8000, "egressBurst": 16000}, {"guards": PortGuards(egress=Rate(bits=8000, burst=16000))}),
        (
            {
                "ingressRate": 8,
                "ingressBurst": 8,
                "runtimeConfig": {"bandwidth": {"ingressrate": 80, "ingressBurst": 800}},
            },
            {"guards": PortGuards(ingress=Rate(bits=80, burst=800))},
        ),
        ({"enabledad": True}, {"detect_duplicates": True}),
        ({"disableContainerInterface": True}, {"interface_down": True}),
        ({"routerAdvertisements": True}, {"routers": True}),
        ({"ROUTERADVERTISEMENTS": False}, {"routers": False}),
        ({"ipam": {"type": "host-local", "subnet": "10.0.0.0/8"}}, {"ipam": "host-local"}),
        ({"ipam": {}}, {}),
        ({"dns": {"nameservers": ["10.0.0.1"], "search": []}}, {"dns": {"nameservers": ["10.0.0.1"]}}),
        ({"PROMISCMODE": True, "Vlan": 7}, {"promisc": True, "vlan": 7, "filtering": True}),
        ({"unknown": 5, "isgateway": False}, {}),
    ],
)
def test_every_key(keys: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert read_config(request(**keys)) == BridgeConfig(**{"network": "net1", "bridge": "cni0", **wanted})


@pytest.mark.parametrize(
    ("keys", "args", "mac"),
    [
        ({"runtimeConfig": {"mac": MAC}, "args": {"cni": {"mac": "02:00:00:00:00:0b"}}}, "MAC=02:00:00:00:00:0c", MAC),
        ({"args": {"cni": {"mac": MAC}}}, "MAC=02:00:00:00:00:0c", MAC),
        ({"args": {"cni": None}}, f"MAC={MAC}", MAC),
        ({}, f"mac={MAC.upper()}", MAC),
        ({"runtimeConfig": {"mac": ""}}, f"MAC={MAC}", MAC),
        ({"runtimeConfig": {"mac": "02-00-00-00-00-0A"}}, "", MAC),
        ({"runtimeConfig": {"mac": "0200.0000.000a"}}, "", MAC),
        ({}, "IgnoreUnknown=true;K8S_POD_NAME=x", None),
    ],
)
def test_the_mac_address(keys: dict[str, Any], args: str, mac: str | None) -> None:
    assert read_config(request(cni_args=args, **keys)).mac == mac


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"bridge": "sixteen-letters0"}, "bridge: 'sixteen-letters0'"),
        ({"bridge": ["br0"]}, "bridge: ['br0']"),
        ({"vlan": 4095}, "invalid VLAN ID 4095 (must be between 0 and 4094)"),
        ({"vlan": -1}, "invalid VLAN ID -1"),
        ({"vlan": True}, "vlan must be a whole number, and is True"),
        ({"vlan": "5"}, "vlan must be a whole number, and is '5'"),
        ({"vlanTrunk": 5}, "vlanTrunk must be a list, and is 5"),
        ({"vlanTrunk": [5]}, "vlanTrunk[0] must be an object"),
        ({"vlanTrunk": [{}, {"id": 0}]}, "incorrect trunk id parameter: vlanTrunk[1].id is 0, not 1..4094"),
        (
            {"vlanTrunk": [{"minID": 9, "maxID": 8}]},
            "minID is greater than maxID in trunk parameter: vlanTrunk[0] has 9",
        ),
        ({"vlanTrunk": [{"maxID": 8}]}, "minID and maxID should be configured simultaneously, minID is missing"),
        ({"vlanTrunk": [{"minID": 8}]}, "minID and maxID should be configured simultaneously, maxID is missing"),
        ({"mtu": 67}, "mtu: 67 is outside 68..65535"),
        ({"mtu": 1e3}, "mtu must be a whole number"),
        ({"egressRate": 8000}, "egressRate 8000 and egressBurst 0: both are needed, within 8..100000000000 bit/s"),
        ({"ingressRate": "5M", "ingressBurst": 8}, "ingressRate must be a whole number, and is '5M'"),
        ({"runtimeConfig": {"bandwidth": {"egressBurst": 8}}}, "runtimeConfig.bandwidth: egressRate 0 and"),
        ({"ipspoofchk": "yes"}, "ipspoofchk must be true or false"),
        ({"isGateway": 1}, "isGateway must be true or false, and is 1"),
        ({"ipMasqBackend": "pf"}, "unknown ipmasq backend 'pf': there are iptables and nftables"),
        ({"ipam": "host-local"}, "ipam must be an object"),
        ({"ipam": {"type": 5}}, "ipam.type must be a text"),
        ({"dns": []}, "dns must be an object"),
        ({"args": {"cni": 5}}, "args.cni must be an object"),
        ({"runtimeConfig": {"mac": "zz"}}, "the MAC address 'zz' is not one like"),
        ({"runtimeConfig": {"mac": "33:33:00:00:00:01"}}, "it is zero, or a group address"),
        ({"hairpinMode": True, "promiscMode": True}, "cannot set hairpin mode and promiscuous mode at the same time"),
        (
            {"disableContainerInterface": True, "ipam": {"type": "dhcp"}},
            "cannot use IPAM when DisableContainer",
        ),
    ],
)
def test_what_means_nothing(keys: dict[str, Any], said: str) -> None:
    error = refused(**keys)
    assert error.code == INVALID_CONFIG and said in error.message


@pytest.mark.parametrize("args", ["K8S_POD_NAME=x", "IgnoreUnknown=0;X=1", "IgnoreUnknown=perhaps;X=1"])
def test_arguments_that_nobody_knows(args: str) -> None:
    assert refused(cni_args=args).code == INVALID_ENVIRONMENT


def test_all_that_is_wrong_is_in_one_message() -> None:
    error = refused(vlan=5000, mtu=1, isGateway="x", args={"cni": {"mac": "x"}})
    assert error.message.count(";") == 3


@pytest.mark.parametrize(
    "keys",
    [
        {"mtu": 1},
        {"hairpinMode": True, "promiscMode": True},
        {"runtimeConfig": {"mac": "zz"}},
        {"ipMasqBackend": "pf"},
        {"disableContainerInterface": True, "ipam": {"type": "dhcp"}},
    ],
)
@pytest.mark.parametrize("command", ["DEL", "GC", "STATUS"])
def test_a_pod_can_go_whatever_only_add_uses(command: str, keys: dict[str, Any]) -> None:
    assert read_config(request(command, "K8S_POD_NAME=x", **keys)).network == "net1"


@pytest.mark.parametrize("keys", [{"vlan": 5000}, {"vlan": "100"}, {"mtu": "9000"}, {"bridge": "a/b"}, {"ipam": 5}])
def test_what_means_nothing_hinders_nobody_from_going(keys: dict[str, Any]) -> None:
    for command in ("DEL", "GC"):
        found = read_config(request(command, **keys))
        assert (found.vlan, found.mtu, found.bridge, found.ipam) in [(0, None, "br0", ""), (0, None, "cni0", "")]
    assert refused("STATUS", **keys).code == INVALID_CONFIG


# VLANs --------------------------------------------------------------------------------------------


def vlans(pvid: int, untagged: str, tagged: str = "") -> PortVlans:
    return PortVlans(pvid=pvid, untagged=VidSet.parse(untagged), tagged=VidSet.parse(tagged))


@pytest.mark.parametrize(
    ("vlan", "trunk", "preserve", "default", "wanted"),
    [
        (0, "", False, 1, None),
        (0, "", True, 1, None),
        (100, "", False, 1, vlans(100, "100")),
        (100, "", True, 1, vlans(100, "1,100")),
        (100, "", True, 5, vlans(100, "5,100")),
        (100, "", True, 0, vlans(100, "100")),
        (0, "101,200-210", False, 1, vlans(1, "1", "101,200-210")),
        (0, "101", False, 5, vlans(1, "1", "101")),
        (0, "101", True, 5, vlans(1, "1,5", "101")),
        (0, "1,101", False, 1, vlans(1, "1", "101")),
        (100, "101,200-210", False, 1, vlans(100, "100", "101,200-210")),
        (100, "99-101", False, 1, vlans(100, "100", "99,101")),
        (100, "1,101", True, 1, vlans(100, "1,100", "101")),
    ],
)
def test_the_vlans_of_a_port(vlan: int, trunk: str, preserve: bool, default: int, wanted: PortVlans | None) -> None:
    config = BridgeConfig(network="n", vlan=vlan, trunk=VidSet.parse(trunk), preserve_default_vlan=preserve)
    assert config.vlans(default) == wanted


def test_the_gateways_port_has_the_vlan_alone() -> None:
    config = BridgeConfig(network="n", bridge="br0", vlan=100, trunk=VidSet.parse("5-9"))
    assert config.gateway_vlans() == vlans(100, "100")
    assert config.gateway_link == "br0.100" and BridgeConfig(network="n", bridge="br0").gateway_link == "br0"


# Addresses ----------------------------------------------------------------------------------------


def test_addresses_are_the_pods_whatever_the_ipam_plugin_says() -> None:
    config = BridgeConfig(network="n", ipam="x")
    found = addressing(config, Result(ips=(Ip(address="10.1.2.3/24", interface=0),)), interface=2)
    assert found.ips == (Ip(address="10.1.2.3/24", interface=2),) and not found.gateways and not found.routes


def test_the_network_in_which_a_pod_is_known_by_its_address() -> None:
    addresses = ("10.52.1.7/24", "fd52:0:0:1::7/64")
    assert masqueraded(read_config(request(ipMasq=True)), addresses) == addresses
    wide = read_config(request(ipMasq=True, nonMasqueradeCIDRs=["10.52.0.0/16", "fd52::/48", "192.0.2.0/24"]))
    assert masqueraded(wide, addresses) == ("10.52.1.7/16", "fd52:0:0:1::7/48")
    narrow = read_config(request(ipMasq=True, nonMasqueradeCIDRs=["10.52.1.0/28", "10.99.0.0/16"]))
    assert masqueraded(narrow, addresses) == addresses, "its own subnet in any case"


def test_the_hosts_filter_sees_a_bridges_frames_where_that_is_said() -> None:
    assert read_config(request(bridgeNetfilter=True)).bridge_netfilter
    assert not read_config(request()).bridge_netfilter
    assert "bridgeNetfilter" in refused(bridgeNetfilter="yes").message


@pytest.mark.parametrize("wrong", ["10.52.0.0/16", [5], ["10.52.0.1/16"], ["x"]])
def test_networks_that_are_none(wrong: Any) -> None:
    error = refused(nonMasqueradeCIDRs=wrong)
    assert error.code == INVALID_CONFIG
    assert "nonMasqueradeCIDRs" in error.message


def test_no_address() -> None:
    with pytest.raises(CniError, match="IPAM plugin returned missing IP config"):
        addressing(BridgeConfig(network="n", ipam="x"), Result(), interface=2)


@pytest.mark.parametrize(
    ("address", "gateway", "wanted"),
    [
        ("10.1.2.3/24", "", "10.1.2.1/24"),
        ("10.1.2.3/24", "10.1.2.254", "10.1.2.254/24"),
        ("10.1.2.130/25", "", "10.1.2.129/25"),
        ("fd00::5/64", "", "fd00::1/64"),
    ],
)
def test_a_gateway_that_is_not_named_is_the_first_address(address: str, gateway: str, wanted: str) -> None:
    config = BridgeConfig(network="n", ipam="x", gateway=True)
    found = addressing(config, Result(ips=(Ip(address=address, gateway=gateway),)), interface=2)
    assert found.gateways == (wanted,) and found.ips[0].gateway == wanted.partition("/")[0]


@pytest.mark.parametrize(
    ("routes", "wanted"),
    [
        ((), ("0.0.0.0/0 10.1.2.1", "::/0 fd00::1")),
        ((Route(dst="0.0.0.0/0", gw="10.1.2.9"),), ("0.0.0.0/0 10.1.2.9", "::/0 fd00::1")),
        ((Route(dst="::/0", gw="fd00::9"),), ("::/0 fd00::9", "0.0.0.0/0 10.1.2.1")),
        # One that names no gateway is none yet.
        ((Route(dst="0.0.0.0/0"),), ("0.0.0.0/0 ", "0.0.0.0/0 10.1.2.1", "::/0 fd00::1")),
        ((Route(dst="10.0.0.0/8", gw="10.1.2.9"),), ("10.0.0.0/8 10.1.2.9", "0.0.0.0/0 10.1.2.1", "::/0 fd00::1")),
    ],
)
def test_default_routes(routes: tuple[Route, ...], wanted: tuple[str, ...]) -> None:
    config = BridgeConfig(network="n", ipam="x", gateway=True, default_gateway=True)
    ips = (Ip(address="10.1.2.3/24"), Ip(address="fd00::3/64"))
    found = addressing(config, Result(ips=ips, routes=routes), interface=2)
    assert tuple(f"{route.dst} {route.gw}" for route in found.routes) == wanted
    assert found.families == {"4", "6"}


def test_a_route_without_a_gateway_goes_by_the_first_one_of_its_family() -> None:
    ips = (
        Ip(address="10.1.2.3/24"),
        Ip(address="10.1.3.3/24", gateway="10.1.3.1"),
        Ip(address="10.1.4.3/24", gateway="10.1.4.1"),
    )
    routes = (Route(dst="10.9.0.0/16"), Route(dst="10.8.0.0/16", gw="10.1.4.9"), Route(dst="fd00:9::/64"))
    found = addressing(BridgeConfig(network="n", ipam="x"), Result(ips=ips, routes=routes), interface=2)
    assert [route.gw for route in with_gateways(found)] == ["10.1.3.1", "10.1.4.9", ""]


@pytest.mark.parametrize(
    ("wanted", "present", "found"),
    [
        ("10.1.2.1/24", (), ()),
        ("10.1.2.1/24", ("10.1.2.1/24", "10.7.7.1/24"), ()),
        ("10.1.2.1/24", ("10.7.7.1/24",), ("10.7.7.1/24",)),
        ("10.1.2.1/24", ("10.1.2.1/25",), ("10.1.2.1/25",)),
        ("10.1.2.1/24", ("fd00::1/64",), ()),
        ("fd00:1::1/64", ("fd00:2::1/64", "fe80::1/64", "10.1.2.1/24"), ()),
        ("fd00:1::1/64", ("fd00:1::9/64",), ("fd00:1::9/64",)),
        ("fd00:1::1/64", ("fd00::9/16",), ("fd00::9/16",)),
        ("fd00::1/16", ("fd00:5::9/64",), ("fd00:5::9/64",)),
    ],
)
def test_which_addresses_do_not_go_together(wanted: str, present: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert conflicts(BridgeConfig(network="n"), wanted, present) == found


# Identity -----------------------------------------------------------------------------------------


def test_an_attachment_has_one_name_and_another_one_another() -> None:
    assert host_end("c1", "eth0") == host_end("c1", "eth0") == "veth" + digest("c1", "eth0")[:8]
    assert len({digest("c1", "eth0"), digest("c1", "eth1"), digest("c1e", "th0"), digest("c2", "eth0")}) == 4
    assert digest("c1", "\udcff") != digest("c1", "\udcfe"), "names the kernel takes need not be UTF-8"
