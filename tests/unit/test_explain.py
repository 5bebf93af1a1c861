"""`windrow explain` and the descriptions of the definitions: every field has words, and no words are about no field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_cli_look import Host

from windrow.kube.crds import METADATA, crds
from windrow.model.fieldwords import WORDS

SCHEMAS = {one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for one in crds()}


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    inner = schema
    while part := next((p for p in ("items", "additionalProperties") if isinstance(inner.get(p), Mapping)), None):
        inner = inner[part]
    for key, member in inner.get("properties", {}).items():
        yield from fields(member, f"{path}.{key}" if path else key)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_field_has_words_and_all_words_have_a_field(kind: str) -> None:
    found = dict(fields(SCHEMAS[kind]))
    assert [path for path, schema in found.items() if not schema.get("description")] == [METADATA]
    assert WORDS[kind].keys() - found.keys() == set()
    assert all(
        schema["description"].endswith((".", ":", "least")) for path, schema in found.items() if path != METADATA
    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_field_as_kubectl_shows_it(host: Host) -> None:
    assert host.run("explain", "hnc.spec.mode").stdout == (
        "GROUP:      network.harvesterhci.io\n"
        "KIND:       HostNetworkConfig\n"
        "VERSION:    v1beta1\n"
        "\n"
        "FIELD: mode <string> -required-\n"
        "\n"
        "DESCRIPTION:\n"
        "    static: the addresses of ips; dhcp: the agent asks a server.\n"
        "    one of: static, dhcp\n"
    )


def test_members_of_lists_and_maps_are_reached_by_their_list(host: Host) -> None:
    assert "FIELD: via <string>" in host.run("explain", "hnc.spec.routes.via").stdout
    assert "FIELD: state <string>" in host.run("explain", "linkmonitor.status.linkStatus.state").stdout


def test_recursive_is_a_tree(host: Host) -> None:
    lines = host.run("explain", "vlanconfigs", "--recursive").stdout.splitlines()
    assert "    uplink\t<Object> -required-" in lines and "        lacpRate\t<string>" in lines


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("hnc.spec.vlan", 1, "there is no field 'vlan' in HostNetworkConfig.spec hint: its fields are description,"),
        ("hnc.spec.mode.x", 1, "there is no field 'x' in HostNetworkConfig.spec.mode hint: it has no fields"),
        ("nosuch", 2, "there is no kind 'nosuch'"),
        ("vm", 1, "a VirtualMachine is KubeVirt's"),
        ("no", 1, "a Node is Kubernetes' own"),
    ],
)
def test_what_is_not_there(host: Host, path: str, code: int, said: str) -> None:
    result = host.run("explain", path)
    assert result.exit_code == code and said in " ".join(result.stderr.split()), result.output
