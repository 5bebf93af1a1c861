"""The CNI configuration inside a NetworkAttachmentDefinition."""

from __future__ import annotations

import json
from typing import Any

import pytest

from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Severity
from windrow.model.values import VidSet
from windrow.model.wire import Loaded, dump, load_documents, yaml_text

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


def test_a_comma_in_a_text_is_a_comma_in_a_text() -> None:
    obj = nad(r'{"bridge": "a-br", "x": ",}", "y": "\",]"}')
    assert (obj.config["x"], obj.config["y"]) == (",}", '",]')
    assert codes(r'{"bridge": "a-br", "x": ",}", "y": "\",]"}') == []


@pytest.mark.parametrize(
    "text", ["", "{", "{,}", '{"a" 1}', "[", '{"a": NaN}', "// {}", '{"a": 1,, }', "nul", '{"a": ' + "9" * 5000 + "}"]
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


@pytest.mark.parametrize("bridge", ["", "br", "-br", "oob", "oob-brx", "averylongname-br", "a b-br"])
def test_no_bridge_of_a_cluster_network(bridge: str) -> None:
    assert codes(json.dumps({"bridge": bridge})) in (["bridge-name"], ["required"])


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
    for plugins in ([{"type": "macvlan"}], [{"type": "bridge", "bridge": "cni0"}], [], "x", [5]):
        config = {"cniVersion": "1.0.0", "plugins": plugins}
        assert nad(config).type is None and codes(json.dumps(config)) == ["nad-type"]
    assert codes('{"type": "macvlan"}') == ["nad-type"]


@pytest.mark.parametrize("kind", ["bridge", "windrow-bridge"])
@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, (NetworkType.UNTAGGED, 0, VidSet(), 0)),
        ({"vlan": 100, "mtu": 9000}, (NetworkType.VLAN, 100, VidSet(), 9000)),
        ({"VLAN": 100}, (NetworkType.VLAN, 100, VidSet(), 0)),
        ({"vlanTrunk": [{"minID": 5, "maxID": 7}]}, (NetworkType.TRUNK, 0, VidSet.span(5, 7), 0)),
    ],
)
def test_a_list_of_plugins_counts_like_its_bridge(kind: str, keys: dict[str, Any], wanted: Any) -> None:
    bridge = {"type": kind, "bridge": "oob-br", **keys}
    alone = nad(bridge)
    listed = [nad({"cniVersion": "1.0.0", key: [bridge, {"type": "tuning"}]}) for key in ("plugins", "Plugins")]
    after = nad({"plugins": [{"type": "tuning"}, bridge]})
    for found in (alone, *listed, after):
        assert (found.type, found.vid, found.trunk, found.mtu) == wanted
        assert (found.bridge, found.cluster_network) == ("oob-br", "oob")


def test_what_is_wrong_in_a_list_names_its_place() -> None:
    loaded = load(json.dumps({"plugins": [{"type": "tuning"}, {"type": "bridge", "bridge": "oob-br", "vlan": 5000}]}))
    (problem,) = loaded.problems
    assert (problem.code, problem.path) == ("vid-range", "spec.config.plugins[1].vlan")


def test_half_a_surrogate_pair_can_be_printed() -> None:
    obj = nad('{"bridge": "a-br", "x": ["\\ud800"], "\\udfff": {"y": "\\ud83d\\ude00"}}')
    assert json.dumps(obj.config, ensure_ascii=False).encode()


def test_deep_nesting_is_refused() -> None:
    assert codes('{"bridge": "a-br", "x": ' + "[" * 100_000 + "]" * 100_000 + "}") == ["json-syntax"]
