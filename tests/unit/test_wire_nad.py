"""The CNI configuration inside a NetworkAttachmentDefinition."""

from __future__ import annotations

import json
from typing import Any

import pytest

from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Severity
from windrow.model.values import VidSet
from windrow.model.wire import Loaded, dump, load_documents, yaml_text
from windrow.model.wire.nad import CONFIG_MAX

# The two of the Harvester documentation, the first one with the comma that it has there.
EXAMPLE_1 = """{ "cniVersion": "0.3.1", "name": "vlan100", "type": "bridge", "bridge": "mgmt-br",
  "promiscMode": true, "vlan": 100, }"""
EXAMPLE_2 = """{ "cniVersion": "0.3.1", "name": "untagged-network", "type": "bridge", "bridge": "oob-br",
  "promiscMode": true, "ipam": {} }"""


def load(config: str) -> Loaded:
    document = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "net"},
        "spec": {"config": config},
    }
    return load_documents(yaml_text(document))


def nad(config: Any) -> NetworkAttachmentDefinition:
    loaded = load(config if isinstance(config, str) else json.dumps(config))
    assert [p for p in loaded.problems if p.severity is Severity.ERROR] == []
    (obj,) = loaded.objects
    assert isinstance(obj, NetworkAttachmentDefinition)
    return obj


def codes(config: str) -> list[str]:
    return [p.code for p in load(config).problems]


def test_vlan_100_on_the_management_network() -> None:
    obj = nad(EXAMPLE_1)
    assert (obj.type, obj.bridge, obj.vid, obj.cluster_network) == (NetworkType.VLAN, "mgmt-br", 100, "mgmt")
    assert obj.vids == VidSet.of([100])
    assert obj.meta.namespace == "default"
    assert [(p.code, p.severity) for p in load(EXAMPLE_1).problems] == [("json-trailing-comma", Severity.WARNING)]
    assert dump(obj)["spec"]["config"] == EXAMPLE_1, "it loads unchanged"


def test_untagged_on_a_cluster_network_of_its_own() -> None:
    obj = nad(EXAMPLE_2)
    assert (obj.type, obj.bridge, obj.vid, obj.cluster_network) == (NetworkType.UNTAGGED, "oob-br", 0, "oob")
    assert not obj.vids
    assert codes(EXAMPLE_2) == []
    assert obj.config["promiscMode"] is True


@pytest.mark.parametrize(
    "text", ['{"bridge": "a-br", "x": [1, 2, ], }', '{"bridge": "a-br",\n\n}', '{"bridge": "a-br" , }']
)
def test_trailing_commas(text: str) -> None:
    assert nad(text).bridge == "a-br"
    assert set(codes(text)) == {"json-trailing-comma"}


def test_a_configuration_that_is_too_long_is_not_read() -> None:
    config = json.dumps({"bridge": "a-br", "x": "y" * CONFIG_MAX})
    assert codes(config) == ["json-too-long"]
    fits = CONFIG_MAX - len(json.dumps({"bridge": "a-br", "x": ""}))
    assert codes(json.dumps({"bridge": "a-br", "x": "y" * fits})) == []


def test_a_comma_in_a_text_is_a_comma_in_a_text() -> None:
    obj = nad(r'{"bridge": "a-br", "x": ",}", "y": "\",]"}')
    assert (obj.config["x"], obj.config["y"]) == (",}", '",]')
    assert codes(r'{"bridge": "a-br", "x": ",}", "y": "\",]"}') == []


@pytest.mark.parametrize(
    "text", [" ", "{", "{,}", '{"a" 1}', "[", '{"a": NaN}', "// {}", '{"a": 1,, }', "nul", '{"a": ' + "9" * 5000 + "}"]
)
def test_no_json(text: str) -> None:
    assert codes(text)[-1] == "json-syntax"


def test_the_line_of_a_problem_inside_the_text() -> None:
    loaded = load('{\n  "bridge": "oob-br",\n  "vlan": 4095\n}\n')
    (problem,) = loaded.problems
    assert (problem.path, problem.line) == ("spec.config.vlan", 9)
    (problem,) = load('{\n  "bridge": "oob-br",\n  "vlan": oops\n}\n').problems
    assert (problem.code, problem.line) == ("json-syntax", 9)


def test_keys_match_without_regard_to_case_as_in_go() -> None:
    obj = nad('{"Bridge": "a-br", "VLAN": 5, "MTU": 9000, "Type": "bridge"}')
    assert (obj.bridge, obj.vid, obj.mtu) == ("a-br", 5, 9000)
    assert set(obj.config) == {"Bridge", "VLAN", "MTU", "Type"}, "and stay as they are written"
    assert nad('{"bridge": "a-br", "vlan": 5, "Vlan": 6}').vid == 6, "the last one counts"


def test_a_key_twice_is_a_warning() -> None:
    loaded = load('{"bridge": "a-br", "vlan": 5, "vlan": 6}')
    assert [(p.code, p.severity) for p in loaded.problems] == [("json-duplicate-key", Severity.WARNING)]


def test_a_trunk() -> None:
    obj = nad(
        {
            "bridge": "a-br",
            "vlanTrunk": [{"minID": 10, "maxID": 12}, {"id": 20}, {"ID": 5, "minId": 7, "maxid": 7}, None],
        }
    )
    assert obj.type is NetworkType.TRUNK
    assert obj.vids == obj.trunk == VidSet.parse("5,7,10-12,20")


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({}, "trunk-empty"),
        ({"minID": 1}, "trunk-range"),
        ({"maxID": 1}, "trunk-range"),
        ({"minID": 3, "maxID": 2}, "trunk-range"),
        ({"id": 0}, "vid-range"),
        ({"id": 4095}, "vid-range"),
        ({"minID": 1, "maxID": 4095}, "vid-range"),
        ({"id": "7"}, "wrong-type"),
        (7, "wrong-type"),
    ],
)
def test_no_trunk(item: Any, code: str) -> None:
    assert codes(json.dumps({"bridge": "a-br", "vlanTrunk": [item]})) == [code]


def test_a_trunk_and_a_vlan_exclude_each_other() -> None:
    assert codes('{"bridge": "a-br", "vlan": 5, "vlanTrunk": [{"id": 7}]}') == ["trunk-and-vlan"]
    assert codes('{"bridge": "a-br", "vlan": 5, "vlanTrunk": []}') == []
    assert codes('{"bridge": "a-br", "vlan": 0, "vlanTrunk": [{"id": 7}]}') == []


@pytest.mark.parametrize("bridge", ["br", "-br", "oob", "oob-brx", "cni0", "br0"])
def test_a_bridge_of_no_cluster_network(bridge: str) -> None:
    obj = nad({"type": "bridge", "bridge": bridge, "vlan": 7})
    assert (obj.type, obj.bridge, obj.vid, obj.cluster_network) == (NetworkType.VLAN, bridge, 7, None)


def test_the_bridge_of_the_plugin_where_none_is_named() -> None:
    obj = nad({"cniVersion": "0.3.1", "type": "bridge", "isGateway": True})
    assert (obj.type, obj.bridge, obj.cluster_network) == (NetworkType.UNTAGGED, "cni0", None)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"bridge": ""}, "required"),
        ({"type": "bridge", "bridge": ""}, "required"),
        ({"cniVersion": "0.3.1"}, "required"),
        ({"bridge": "averylongname-br"}, "bridge-name"),
        ({"bridge": "a b-br"}, "bridge-name"),
        ({"bridge": "a/b"}, "bridge-name"),
    ],
)
def test_no_bridge(config: Any, code: str) -> None:
    assert codes(json.dumps(config)) == [code]


def test_an_mtu_of_no_cluster_network_is_the_plugins_business() -> None:
    assert nad({"type": "bridge", "bridge": "br0", "mtu": 65520}).mtu == 65520
    assert codes('{"type": "bridge", "bridge": "br0", "mtu": 65536}') == ["out-of-range"]


@pytest.mark.parametrize("spec", [None, {}, {"config": None}, {"config": ""}])
def test_without_a_configuration_it_stands_for_the_one_of_its_name(spec: Any) -> None:
    document = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "net"}}
    loaded = load_documents(yaml_text(document | ({"spec": spec} if spec is not None else {})))
    assert loaded.problems == ()
    (obj,) = loaded.objects
    assert isinstance(obj, NetworkAttachmentDefinition)
    assert (obj.type, obj.bridge, obj.config, obj.cluster_network) == (None, "", {}, None)


@pytest.mark.parametrize(
    ("vlan", "fine"), [(0, True), (1, True), (4094, True), (4095, False), (-1, False), (True, False)]
)
def test_vlan(vlan: Any, fine: bool) -> None:
    assert (codes(json.dumps({"bridge": "a-br", "vlan": vlan})) == []) is fine


@pytest.mark.parametrize("mtu", [0, 576, 9000])
def test_mtu(mtu: int) -> None:
    assert nad({"bridge": "a-br", "mtu": mtu}).mtu == mtu


@pytest.mark.parametrize("mtu", [1, 575, 9001, -1])
def test_no_mtu(mtu: int) -> None:
    assert codes(json.dumps({"bridge": "a-br", "mtu": mtu})) == ["mtu-range"]


def test_other_cni_types_are_kept_and_mean_nothing() -> None:
    assert nad({"type": "kube-ovn", "provider": "a.b.ovn"}).type is NetworkType.OVERLAY
    other = nad({"type": "macvlan", "master": "eth0"})
    assert (other.type, other.config["master"], other.cluster_network) == (None, "eth0", None)
    listed = nad({"cniVersion": "1.0.0", "plugins": [{"type": "macvlan", "master": "eth0"}, {"type": "tuning"}]})
    assert listed.type is None
    assert codes('{"type": "macvlan", "master": "eth0", "ipMasque": 1}') == [], "their keys are theirs"


@pytest.mark.parametrize("kind", ["bridge", "windrow-bridge"])
def test_a_bridge_in_a_list_of_plugins_counts(kind: str) -> None:
    plugin = {"type": kind, "bridge": "a-br", "VLAN": 100, "mtu": 1400}
    obj = nad({"cniVersion": "1.0.0", "name": "x", "plugins": [plugin, {"type": "tuning", "vlan": 7}]})
    assert (obj.type, obj.cluster_network, obj.vid, obj.mtu) == (NetworkType.VLAN, "a", 100, 1400)
    assert obj.place == "spec.config.plugins[0]"
    trunk = {"type": kind, "bridge": "a-br", "vlanTrunk": [{"id": 5}]}
    assert nad({"Plugins": [{"type": "sbr"}, trunk]}).vids == VidSet.of([5])


@pytest.mark.parametrize(
    ("plugins", "code", "where"),
    [
        ({}, "wrong-type", "plugins"),
        ([], "required", "plugins"),
        ([1], "wrong-type", "plugins[0]"),
        ([{"bridge": "a-br"}], "required", "plugins[0].type"),
        ([{"type": "tuning"}, {"type": "bridge", "vlan": 5000}], "vid-range", "plugins[1].vlan"),
    ],
)
def test_no_list_of_plugins(plugins: Any, code: str, where: str) -> None:
    (found,) = load(json.dumps({"plugins": plugins})).problems
    assert (found.code, found.path) == (code, f"spec.config.{where}")


def test_half_a_surrogate_pair_can_be_printed() -> None:
    obj = nad('{"bridge": "a-br", "x": ["\\ud800"], "\\udfff": {"y": "\\ud83d\\ude00"}}')
    assert json.dumps(obj.config, ensure_ascii=False).encode()


def test_deep_nesting_is_refused() -> None:
    assert codes('{"bridge": "a-br", "x": ' + "[" * 30_000 + "]" * 30_000 + "}") == ["json-syntax"]
