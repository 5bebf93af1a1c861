"""From a network's configuration and a pod's wishes to what each plugin reads; settings, default routes, status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from windrow.port.defaultroute import Claim, Turn, check, turned, turns
from windrow.port.delegates import (
    Network,
    Wishes,
    args_text,
    cni_args,
    plugin_configs,
    read_network,
    wishes_of,
    with_previous,
)
from windrow.port.errors import INVALID_CONFIG, CniError
from windrow.port.netstatus import entries, text
from windrow.port.networks import Bandwidth, PortMapping, Selection
from windrow.port.result import from_document
from windrow.port.settings import Settings, read_settings

BRIDGE = {"cniVersion": "0.3.1", "name": "web", "type": "bridge", "bridge": "oob-br", "vlan": 100, "ipam": {}}
LIST = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {"type": "bridge", "capabilities": {"ips": True, "mac": False}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ],
}


def network(config: dict[str, Any], **kwargs: Any) -> Network:
    return read_network(config, **{"name": "nad", "version": "1.0.0", "about": "network default/nad"} | kwargs)


def configs(config: dict[str, Any], **selection: Any) -> list[dict[str, Any]]:
    wishes = wishes_of(Selection(name="nad", namespace="default", **selection))
    return [json.loads(one) for one in plugin_configs(network(config), wishes, about="network default/nad")]


# Configurations -----------------------------------------------------------------------------------


def test_one_configuration() -> None:
    found = network(BRIDGE)
    assert (found.name, found.version, len(found.plugins), found.check, found.gc) == ("web", "0.3.1", 1, True, True)


def test_a_list() -> None:
    found = network(LIST)
    assert (found.name, found.version) == ("pods", "0.4.0")
    assert [plugin["type"] for plugin in found.plugins] == ["bridge", "portmap", "bandwidth"]


def test_what_it_lacks_is_given() -> None:
    found = network({"type": "bridge"})
    assert (found.name, found.version) == ("nad", "0.4.0"), "what plugins of others know, whatever the call speaks"


@pytest.mark.parametrize(("call", "wanted"), [("0.3.1", "0.3.1"), ("1.1.0", "0.4.0")])
def test_without_a_version_it_is_none_newer_than_the_call(call: str, wanted: str) -> None:
    assert network({"plugins": [{"type": "tuning"}]}, version=call).version == wanted


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"cniVersions": ["0.3.1", "1.0.0", "9.9.9"]}, "1.0.0"),
        ({"cniVersions": ["9.9.9"], "cniVersion": "0.4.0"}, "0.4.0"),
        ({"cniVersion": "0.4.0"}, "0.4.0"),
    ],
)
def test_of_several_versions_the_newest_that_is_known(more: dict[str, Any], wanted: str) -> None:
    assert network({"name": "a", "plugins": [{"type": "x"}]} | more).version == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(True, False), ("true", False), ("True", False), (False, True), (1, True)]
)
def test_disable_check_and_gc(value: Any, wanted: bool) -> None:
    found = network(LIST | {"disableCheck": value, "disableGC": value})
    assert (found.check, found.gc) == (wanted, wanted)


def test_keys_in_another_case() -> None:
    found = network({"CNIVersion": "0.3.1", "NAME": "web", "Type": "bridge", "Bridge": "oob-br"})
    assert (found.name, found.version) == ("web", "0.3.1")
    assert json.loads(plugin_configs(found, Wishes(), about="")[0]) == {
        "cniVersion": "0.3.1",
        "name": "web",
        "type": "bridge",
        "Bridge": "oob-br",
    }


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "has no type"),
        ({"type": 5}, "has no type"),
        ({"type": "../evil"}, "has no type"),
        ({"type": ".."}, "has no type"),
        ({"type": "windrow"}, "the meta plugin does not call itself"),
        ({"plugins": []}, "plugins must be a list with at least one"),
        ({"plugins": {"type": "bridge"}}, "plugins must be a list"),
        ({"plugins": [{"type": "bridge"}, 5]}, "plugins[1] is not a plugin's configuration"),
        ({"plugins": [{"type": "bridge"}, {}]}, "plugins[1] has no type"),
        ({"type": "bridge", "name": "a/b"}, '"a/b" is not a network name'),
        ({"type": "bridge", "name": 5}, "5 is not a network name"),
        ({"type": "bridge", "cniVersion": "one"}, '"one" is not a version'),
        ({"type": "bridge", "cniVersion": 1}, "1 is not a version"),
    ],
)
def test_configurations_that_are_none(config: dict[str, Any], said: str) -> None:
    with pytest.raises(CniError) as caught:
        network(config)
    assert said in caught.value.message
    assert caught.value.message.startswith("network default/nad")
    assert caught.value.code == INVALID_CONFIG


# Wishes -------------------------------------------------------------------------------------------


def test_a_configuration_reaches_its_plugin_as_it_is() -> None:
    assert configs(BRIDGE) == [BRIDGE]


def test_name_and_version_reach_every_plugin_of_a_list() -> None:
    for found in configs(LIST):
        assert (found["name"], found["cniVersion"]) == ("pods", "0.4.0")
        assert "plugins" not in found


def test_only_declared_capabilities_get_their_argument() -> None:
    found = configs(
        LIST,
        ips=("10.1.2.3/24",),
        mac="52:54:00:12:34:56",
        port_mappings=(PortMapping(host_port=80, container_port=8080, host_ip="10.0.0.1"),),
        bandwidth=Bandwidth(ingress_rate=8, ingress_burst=9),
    )
    assert [one.get("runtimeConfig") for one in found] == [
        {"ips": ["10.1.2.3/24"]},
        {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp", "hostIP": "10.0.0.1"}]},
        {"bandwidth": {"ingressRate": 8, "ingressBurst": 9}},
    ]


def test_addresses_and_mac_are_in_cni_args_whatever_is_declared() -> None:
    """That is how a bridge network without capabilities gets KubeVirt's MAC."""
    wishes = wishes_of(
        Selection(name="a", namespace="b", ips=("10.1.2.3/24",), mac="52:54:00:12:34:56")  # type: ignore[arg-type]
    )
    args = cni_args({"K8S_POD_NAME": "vm", "WINDROW_NETWORKS": "x", "WINDROW_DEFAULT_NETWORK": "none"}, wishes)
    assert args_text(args) == "IgnoreUnknown=1;K8S_POD_NAME=vm;IP=10.1.2.3/24;MAC=52:54:00:12:34:56"


def test_what_the_runtime_says_of_unknown_variables_stands() -> None:
    assert cni_args({"IgnoreUnknown": "true"}, Wishes()) == {"IgnoreUnknown": "true"}


def test_several_addresses_are_args_and_no_variable() -> None:
    """host-local refuses `IP=a,b`."""
    selection = Selection(name="a", namespace="b", ips=("10.1.2.3", "fd00::3"), cni_args={"x": 1})
    wishes = wishes_of(selection)
    assert wishes.args == {}
    assert wishes.cni == {"x": 1, "ips": ["10.1.2.3", "fd00::3"]}


def test_cni_args_are_merged_into_those_of_the_configuration() -> None:
    config = BRIDGE | {"args": {"cni": {"a": 1, "b": 2}, "other": 3}}
    (found,) = configs(config, cni_args={"b": 9, "c": 8})
    assert found["args"] == {"cni": {"a": 1, "b": 9, "c": 8}, "other": 3}


def test_a_device_is_the_first_plugins() -> None:
    first, second, _ = configs(LIST, device="0000:00:1f.6")
    assert (first["deviceID"], first["pciBusID"]) == ("0000:00:1f.6", "0000:00:1f.6")
    assert "deviceID" not in second


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"port_mappings": (PortMapping(host_port=1, container_port=1),)}, "portMappings"),
        ({"bandwidth": Bandwidth(ingress_rate=1, ingress_burst=1)}, "bandwidth"),
    ],
)
def test_what_no_plugin_can_give_is_refused(selection: dict[str, Any], said: str) -> None:
    with pytest.raises(CniError, match=f"no plugin of the network has the capability {said}"):
        configs(BRIDGE, **selection)


def test_no_limit_needs_no_capability() -> None:
    assert configs(BRIDGE, bandwidth=Bandwidth()) == [BRIDGE]


def test_the_result_before_it() -> None:
    document = with_previous(json.dumps(BRIDGE), {"cniVersion": "1.0.0", "interfaces": []})
    assert document["prevResult"] == {"cniVersion": "0.3.1", "interfaces": []}
    assert "prevResult" not in with_previous(json.dumps(BRIDGE), None)


# Settings -----------------------------------------------------------------------------------------


def test_settings_by_default() -> None:
    found = read_settings({"name": "x", "type": "windrow", "kubeconfig": "/etc/x", "logLevel": 5})
    assert found == Settings()
    assert found.may_use("a", "b")


def test_settings_of_a_configuration_for_multus() -> None:
    found = read_settings(
        {
            "clusterNetwork": "k8s-pod-network",
            "defaultNetworks": ["default/a"],
            "binDir": "/opt/bin",
            "confDir": "/etc/x",
            "namespaceIsolation": True,
            "globalNamespaces": "default, shared",
            "systemNamespaces": ["kube-system", "admin"],
            "multusNamespace": "admin",
            "readinessindicatorfile": "/run/x",
        }
    )
    assert found == Settings(
        cluster_network="k8s-pod-network",
        default_networks=("default/a",),
        bin_dir="/opt/bin",
        conf_dir="/etc/x",
        isolation=True,
        global_namespaces=("default", "shared"),
        system_namespace="admin",
        system_namespaces=("kube-system", "admin"),
        readiness_file="/run/x",
    )
    assert found.may_use("a", "a") and found.may_use("a", "shared") and not found.may_use("a", "b")


def test_all_wrong_settings_at_once() -> None:
    config = {
        "name": "x",
        "clusterNetwork": 5,
        "delegates": [5],
        "defaultNetworks": [""],
        "namespaceIsolation": "yes",
        "globalNamespaces": 7,
    }
    with pytest.raises(CniError) as caught:
        read_settings(config)
    assert caught.value.message == "configuration of the network x: 5 things are wrong"
    for key in config.keys() - {"name"}:
        assert key in caught.value.details


def test_two_default_networks_are_one_too_many() -> None:
    with pytest.raises(CniError, match="both name the default network"):
        read_settings({"clusterNetwork": "a", "delegates": [{"type": "bridge"}]})


# Default routes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "given", "wanted"),
    [
        ([None, None], [{4, 6}, {4}], [Turn(), Turn()]),
        (
            [None, ("10.1.2.1",)],
            [{4, 6}, ()],
            [Turn(lose=frozenset({4})), Turn(lose=frozenset({4}), gateways=("10.1.2.1",))],
        ),
        ([None, ()], [{4, 6}, {4, 6}], [Turn(lose=frozenset({4, 6})), Turn()]),
        ([None, ()], [{4, 6}, {4}], [Turn(lose=frozenset({4})), Turn()]),
        ([None, ()], [{4, 6}, {6}], [Turn(lose=frozenset({6})), Turn()]),
        ([None, ()], [{4, 6}, ()], [Turn(), Turn()]),
        ([(), ()], [{4}, {6}], [Turn(lose=frozenset({6})), Turn(lose=frozenset({4}))]),
        (
            [None, ("10.1.2.1",), ("fd00::1",)],
            [{4, 6}, {4}, ()],
            [
                Turn(lose=frozenset({4, 6})),
                Turn(lose=frozenset({4, 6}), gateways=("10.1.2.1",)),
                Turn(lose=frozenset({4, 6}), gateways=("fd00::1",)),
            ],
        ),
    ],
)
def test_who_has_the_default_route(claims: list[Claim], given: list[set[int]], wanted: list[Turn]) -> None:
    assert list(turns(claims, given, about="x")) == wanted


@pytest.mark.parametrize("claims", [[(), ()], [("10.1.2.1",), ()], [("10.1.2.1",), ("10.1.3.1",)]])
def test_one_default_route_for_each_family(claims: list[Claim]) -> None:
    with pytest.raises(CniError, match="two networks claim the default route of IPv4"):
        turns(claims, [{4}, {4}], about="x")


def test_what_can_be_known_before_is_refused_before() -> None:
    check([None, (), ("10.1.2.1",)], about="x")
    with pytest.raises(CniError, match="two networks claim the default route of IPv4"):
        check([("10.1.2.1",), ("10.1.3.1",)], about="x")


def test_the_results_routes_follow() -> None:
    result = {"routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0"}, {"dst": "10.9.0.0/16"}], "ips": []}
    assert turned(result, Turn(lose=frozenset({4}))) == {
        "ips": [],
        "routes": [{"dst": "::/0"}, {"dst": "10.9.0.0/16"}],
    }
    new = turned({"ips": []}, Turn(lose=frozenset({4}), gateways=("10.1.2.1", "fd00::1")))
    assert new["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0", "gw": "fd00::1"}]
    assert "routes" not in turned({"routes": [{"dst": "0.0.0.0/0"}]}, Turn(lose=frozenset({4})))


# Status -------------------------------------------------------------------------------------------

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "oob-br", "mac": "02:00:00:00:00:01"},
        {"name": "veth0", "mac": "02:00:00:00:00:02"},
        {"name": "eth0", "mac": "02:00:00:00:00:03", "sandbox": "/run/netns/x", "mtu": 1450},
    ],
    "ips": [{"interface": 2, "address": "10.1.2.3/24", "gateway": "10.1.2.1"}, {"address": "fd00::3/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "10.9.0.0/16", "gw": "10.1.2.9"}],
    "dns": {"nameservers": ["10.1.2.2"], "search": []},
}


def test_status_of_the_default_network() -> None:
    assert entries("pods", from_document(RESULT), ifname="eth0", default=True) == (
        {
            "name": "pods",
            "interface": "eth0",
            "ips": ["10.1.2.3", "fd00::3"],
            "mac": "02:00:00:00:00:03",
            "mtu": 1450,
            "default": True,
            "dns": {"nameservers": ["10.1.2.2"]},
            "gateway": ["10.1.2.1"],
        },
    )


def test_status_without_addresses() -> None:
    (found,) = entries("default/web", from_document({"interfaces": RESULT["interfaces"]}), ifname="net1")
    assert found == {"name": "default/web", "interface": "eth0", "mac": "02:00:00:00:00:03", "mtu": 1450, "dns": {}}


def test_status_of_a_device() -> None:
    device = {"type": "pci", "pci": {"pci-address": "0000:01:02.1"}}
    interfaces = from_document({"interfaces": RESULT["interfaces"]})
    (found,) = entries("default/vf", interfaces, ifname="net1", device=device)
    assert found["device-info"] == device


def test_status_of_two_interfaces_in_the_pod() -> None:
    interfaces = [{"name": f"net{n}", "sandbox": "/x"} for n in (1, 2)]
    ips = [{"address": "10.1.0.1/24", "interface": 0}, {"address": "10.2.0.1/24"}]
    first, second = entries("a/b", from_document({"interfaces": interfaces, "ips": ips}), ifname="net1", default=True)
    assert (first["ips"], first["default"]) == (["10.1.0.1"], True)
    assert (second["ips"], second.get("default")) == (["10.2.0.1"], None)


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"ips": [{"address": "10.1.0.1/24"}]}, "net1"),
        ({"interfaces": [{"name": "x"}], "ips": [{"address": "10.1.0.1/24", "interface": 0}]}, "x"),
    ],
)
def test_status_of_a_plugin_that_tells_little(document: dict[str, Any], wanted: str) -> None:
    (found,) = entries("a/b", from_document(document), ifname="net1")
    assert (found["interface"], found["ips"]) == (wanted, ["10.1.0.1"])


def test_the_annotation_is_entries_on_lines_of_their_own() -> None:
    written = text([{"name": "a", "dns": {}}, {"name": "b"}])
    assert written == '[{\n    "name": "a",\n    "dns": {}\n},{\n    "name": "b"\n}]'
    assert json.loads(written) == [{"name": "a", "dns": {}}, {"name": "b"}]
