"""Whatever comes in, the loader answers with objects and problems, and never with an exception."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windrow.model.cluster import Cluster
from windrow.model.objects import KINDS
from windrow.model.problems import errors
from windrow.model.wire import Loaded, dump, json_text, load_documents, yaml_text
from windrow.rules import Change, check

V1 = "network.harvesterhci.io/v1beta1"
CONFIG = {
    "cniVersion": "0.3.1",
    "type": "bridge",
    "bridge": "oob-br",
    "vlan": 100,
    "vlanTrunk": [{"id": 1, "minID": 2}],
}
GOOD: list[dict[str, Any]] = [
    {"apiVersion": V1, "kind": "ClusterNetwork", "metadata": {"name": "oob", "labels": {"a": "b"}, "annotations": {}}},
    {
        "apiVersion": V1,
        "kind": "VlanConfig",
        "metadata": {"name": "oob-all"},
        "spec": {
            "clusterNetwork": "oob",
            "nodeSelector": {"a": "b"},
            "uplink": {
                "nics": ["e0", {"mac": "52:54:00:12:34:56"}, {"pci": "0000:3b:00.1"}],
                "linkAttributes": {"mtu": 9000, "txQLen": -1, "hardwareAddr": "UlQAEjRW"},
                "bondOptions": {"mode": "active-backup", "miimon": 100, "primary": "e0", "arpIPTargets": ["10.0.0.1"]},
            },
        },
    },
    {
        "apiVersion": V1,
        "kind": "HostNetworkConfig",
        "metadata": {"name": "storage"},
        "spec": {
            "clusterNetwork": "oob",
            "vlanID": 300,
            "mode": "static",
            "ips": {"n1": "10.0.0.1/24"},
            "nodeSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
            "underlay": False,
        },
    },
    {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "v100", "namespace": "default"},
        "spec": {"config": json.dumps(CONFIG)},
    },
    {
        "apiVersion": V1,
        "kind": "LinkMonitor",
        "metadata": {"name": "nic"},
        "spec": {"targetLinkRule": {"typeRule": "x"}},
    },
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"a": "b"}}},
    {"apiVersion": V1, "kind": "VlanStatus", "metadata": {"name": "oob-n1"}, "status": {"node": "n1"}},
    {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "web", "namespace": "prod"},
        "spec": {
            "runStrategy": "Always",
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "hostname": "www",
                    "nodeSelector": {"a": "b"},
                    "networks": [
                        {"name": "default", "pod": {"vmNetworkCIDR": "10.0.3.0/24"}},
                        {"name": "v100", "multus": {"networkName": "default/v100", "default": False}},
                    ],
                    "volumes": [
                        {"name": "root", "hostDisk": {"path": "/srv/a.img", "type": "Disk"}},
                        {"name": "seed", "cloudInitNoCloud": {"userDataBase64": "YQ==", "networkData": "x"}},
                    ],
                    "domain": {
                        "cpu": {"cores": 2, "threads": 1, "model": "host-model"},
                        "memory": {"guest": "512Mi"},
                        "machine": {"type": "q35"},
                        "resources": {"requests": {"memory": "1Gi", "cpu": "500m"}},
                        "firmware": {"kernelBoot": {"container": {"kernelPath": "/k"}, "kernelArgs": "quiet"}},
                        "devices": {
                            "networkInterfaceMultiqueue": True,
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}, {"name": "seed", "cdrom": {}}],
                            "interfaces": [
                                {"name": "default", "masquerade": {}, "ports": [{"port": 80, "protocol": "TCP"}]},
                                {
                                    "name": "v100",
                                    "bridge": {},
                                    "model": "virtio",
                                    "macAddress": "02:00:00:00:00:01",
                                    "bootOrder": 1,
                                    "pciAddress": "0000:02:00.0",
                                    "dhcpOptions": {"privateOptions": [{"option": 240, "value": "x"}]},
                                },
                            ],
                        },
                    },
                },
            },
        },
    },
    {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "web"},
        "spec": {
            "domain": {"devices": {"interfaces": [{"name": "a", "binding": {"name": "managedtap"}}]}},
            "networks": [{"name": "a", "multus": {"networkName": "v100"}}],
        },
    },
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}, "spec": {"podCIDRs": ["10.52.0.0/24"]}},
]

texts = st.text(max_size=30)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-10, 5000),
    st.floats(),
    texts,
    st.sampled_from(
        ["", "oob", "mgmt", "e0", "802.3ad", "-br", "10.0.0.1/24", "0.0.0.0/0", "\0", "\ud800", "List", "1e3", "<<"]
    ),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=8),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
noise = st.lists(
    st.sampled_from(
        [
            *"{}[]:,-?|>&*!%@`'\"#~<=\n\t \0\r\u2028\ufeff\x1b",
            "&a ",
            "*a",
            "<<: ",
            "--- ",
            "\n...\n",
            "!!binary ",
            "\n- ",
        ]
    )
    | st.sampled_from(
        ["kind: ", "metadata: ", "name: ", "ClusterNetwork", "apiVersion: ", "spec:\n ", "%YAML 1.1\n", "items: "]
    )
    | st.characters(),
    max_size=60,
).map("".join)

relaxed = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


def sound(loaded: Loaded) -> Loaded:
    """What must be true of every answer: it can be printed, written, read again, compiled and judged."""
    for problem in loaded.problems:
        assert str(problem).encode()
        assert problem.code
        assert problem.message
    refs = [o.ref for o in loaded.objects]
    assert len(set(refs)) == len(refs) or errors(loaded.problems)
    for obj in loaded.objects:
        for text in (yaml_text(dump(obj)), json_text(dump(obj))):
            again = load_documents(text)
            assert again.objects == (obj,)
            assert dump(again.objects[0]) == dump(obj)
    for told in check(Cluster.of([]), [Change(None, o) for o in loaded.objects], unread=loaded.unread):
        assert str(told).encode()
    for told in check(Cluster.of(loaded.objects), [Change(o, None) for o in loaded.objects]):
        assert str(told).encode()
    return loaded


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, child in inner for p in places(child, (*path, key)))]


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    result = copy.deepcopy(document)
    target = result
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return result


def as_text(value: Any) -> str:
    """With PyYAML's tags for what YAML alone has."""
    return str(yaml.safe_dump(value))


@relaxed
@given(st.text() | noise)
def test_any_text(text: str) -> None:
    sound(load_documents(text))


@relaxed
@given(values)
def test_any_document(value: Any) -> None:
    sound(load_documents(as_text(value)))


@relaxed
@given(st.sampled_from(GOOD), st.data())
def test_anything_in_any_place_of_a_good_document(document: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(document)))
    sound(load_documents(as_text(put(document, path, data.draw(values)))))


@relaxed
@given(st.sampled_from(GOOD), st.dictionaries(texts, values, max_size=3), st.data())
def test_unknown_fields_are_kept(document: dict[str, Any], extra: dict[str, Any], data: st.DataObject) -> None:
    """In any map of a document, under any name that is not known there."""
    maps = [p for p in places(document) if isinstance(get(document, p), dict)]
    path = data.draw(st.sampled_from(maps))
    strange = {f"x-{key}": value for key, value in extra.items()}
    loaded = sound(load_documents(as_text(put(document, path, get(document, path) | strange))))
    for obj in loaded.objects:
        assert {f"x-{key}" for key in extra if "\ud800" not in key} <= set(get(dump(obj), path))


def get(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@relaxed
@given(st.sampled_from([*CONFIG]), values)
def test_anything_in_a_cni_configuration(key: str, value: Any) -> None:
    config = json.dumps(CONFIG | {key: value}, default=str)
    sound(load_documents(as_text(put(GOOD[3], ("spec", "config"), config))))


@relaxed
@given(texts | noise)
def test_any_text_as_a_cni_configuration(text: str) -> None:
    sound(load_documents(as_text(put(GOOD[3], ("spec", "config"), text))))


@relaxed
@given(st.lists(st.sampled_from(GOOD), max_size=5), st.sampled_from([f"{k.name}List" for k in KINDS] + ["List"]))
def test_a_list_is_what_is_in_it(items: list[Any], kind: str) -> None:
    listed = load_documents(as_text({"apiVersion": "v1", "kind": kind, "items": items}))
    apart = load_documents(yaml.safe_dump_all(items))
    assert listed.objects == apart.objects
    assert len(listed.problems) == len(apart.problems)


@pytest.mark.parametrize("document", GOOD, ids=lambda d: d["kind"])
def test_the_good_documents_are_good(document: dict[str, Any]) -> None:
    """Else the tests above would only ever see refusals."""
    loaded = sound(load_documents(as_text(document)))
    expected = ["trunk-range", "trunk-and-vlan"] if document["kind"].startswith("Network") else []
    if document["kind"] == "VlanConfig":
        expected = ["bond-option-needs"]  # arpIPTargets without arpInterval
    assert sorted(p.code for p in loaded.problems) == sorted(expected)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a: " + "[" * 60 + "]" * 60,
        "a: " + "[" * 80 + "]" * 80,
        "? " * 1000,
        "&a " * 100,
        "a: &a {b: *a}",
        "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" if i else "a0: &a0 [x]\n" for i in range(64)),
        "".join(f"a{i}: &a{i} [*a{i - 1}]\n" if i else "a0: &a0 [x]\n" for i in range(500)),
        "<<: [*x]",
        "<<: &a\n  <<: *a",
        "\0" * 10,
        "\ud800",
        "a: \ud800",
        "\ufeffkind: x",
        "kind: \x85",
        "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nx: " + "9" * 10_000,
        "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nx: -0b_",
        "kind: List\nitems: " + "[{kind: List, items: " * 20 + "[]" + "}]" * 20,
        "!!python/object:os.system {}",
        "%TAG ! tag:x,2000:\n---\n!foo bar",
        "%YAML 3.0\n---\na",
        "a: !!int x\nb: !!float y\nc: !!bool z\nd: !!null n\ne: !!timestamp t",
        "{? {a: b} : c, ? [1] : d, ? *x : e}",
        "x" * 1_000_000,
    ],
    ids=range(26),
)
def test_known_traps(text: str) -> None:
    sound(load_documents(text))
