"""The CustomResourceDefinitions: field by field what Harvester's five have, and nothing that an API server refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from windrow.kube.crds import crds
from windrow.model import names
from windrow.model.bonding import OPTIONS
from windrow.model.wire import dump, hostnetworkconfig, linkmonitor, pools, vlanconfig
from windrow.store.directory import read_manifests

KINDS = {document["spec"]["names"]["kind"]: document for document in crds()}
EXAMPLES = Path(__file__).parents[2] / "examples"
CORPUS = Path(__file__).parents[1] / "golden" / "corpus" / "harvester"

HARVESTER: dict[str, dict[str, str]] = {
    # Kind -> field -> type and limits, as Harvester's five have them. `[]`: each of a list, `{}`: each of a map.
    "ClusterNetwork": {"status.conditions[]": "object"},
    "VlanConfig": {
        "spec": "object required",
        "spec.description": "string",
        "spec.clusterNetwork": "string required",
        "spec.nodeSelector{}": "string",
        "spec.uplink": "object required",
        "spec.uplink.nics[]": "anything",  # string
        "spec.uplink.linkAttributes.mtu": "integer 0..",
        "spec.uplink.linkAttributes.txQLen": "integer -1..",
        "spec.uplink.linkAttributes.hardwareAddr": "string",
        "spec.uplink.bondOptions.mode": "string balance-rr|active-backup|balance-xor|broadcast|802.3ad|balance-tlb"
        "|balance-alb",
        "spec.uplink.bondOptions.miimon": "integer -1..",
    },
    "VlanStatus": {
        "status.clusterNetwork": "string required",
        "status.vlanConfig": "string required",
        "status.linkMonitor": "string required",
        "status.node": "string required",
        "status.localAreas[].vlanID": "integer",
        "status.localAreas[].cidr": "string",
        "status.conditions[]": "object",
    },
    "LinkMonitor": {
        "spec.nodeSelector{}": "string",
        "spec.targetLinkRule.typeRule": "string",
        "spec.targetLinkRule.nameRule": "string",
        **{f"status.linkStatus{{}}[].{key}": "string" for key in ("name", "type", "mac", "state")},
        **{f"status.linkStatus{{}}[].{key}": "integer" for key in ("index", "masterIndex")},
        "status.linkStatus{}[].promiscuous": "boolean",
        "status.conditions[]": "object",
    },
    "HostNetworkConfig": {
        "spec.description": "string",
        "spec.nodeSelector.matchLabels{}": "string",
        "spec.nodeSelector.matchExpressions[].key": "string required",
        "spec.nodeSelector.matchExpressions[].values[]": "string",
        "spec.clusterNetwork": "string required",
        "spec.underlay": "boolean",
        "spec.vlanID": "integer required 0..4094",  # 1..4094
        "spec.mode": "string required static|dhcp",
        "spec.ips{}": "string",
        "status.conditions[]": "object",
        "status.nodeStatus{}.clusterNetwork": "string",
        "status.nodeStatus{}.vlanID": "integer",
        "status.nodeStatus{}.mode": "string",
        "status.nodeStatus{}.conditions[]": "object",
    },
}
BEYOND = {
    "VlanConfig": {f"spec.uplink.bondOptions.{o.wire}" for o in OPTIONS.values()},
    "HostNetworkConfig": {
        *(f"spec.{key}" for key in ("gateway", "gatewayOnLink", "metric", "routes", "defaultRoute", "mtu")),
        "spec.routerAdvertisements",
        *(f"status.nodeStatus{{}}.{key}" for key in ("interface", "addresses", "lease")),
        "spec.nodeSelector.matchExpressions[].operator",
    },
}
CONDITION = ("type", "status", "lastUpdateTime", "lastTransitionTime", "reason", "message")


def schema_of(kind: str) -> dict[str, Any]:
    return KINDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def fields(schema: Mapping[str, Any], path: str = "", needed: bool = False) -> Iterator[tuple[str, str]]:
    """(path, what it says) of every field, those with fields of their own included."""
    if path:
        yield path, _said(schema, needed)
    for key, inner in (schema.get("properties") or {}).items():
        yield from fields(inner, f"{path}.{key}" if path else key, key in schema.get("required", ()))
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from fields(schema["additionalProperties"], f"{path}{{}}")


def _said(schema: Mapping[str, Any], needed: bool) -> str:
    words = [str(schema.get("type", "anything")), "required" if needed else ""]
    if "minimum" in schema:
        high = schema.get("maximum", "")
        words.append(f"{schema['minimum']}..{'' if high in (2**31 - 1, '') else high}")
    words.append("|".join(schema.get("enum", ())))
    return " ".join(filter(None, words))


@pytest.mark.parametrize("kind", HARVESTER)
def test_every_field_of_harvesters_is_there_with_its_limits(kind: str) -> None:
    ours = dict(fields(schema_of(kind)))
    theirs = HARVESTER[kind]
    assert {path: ours.get(path) for path in theirs} == theirs
    conditions = [path for path in ours if path.endswith("conditions[]")]
    assert conditions or kind == "VlanConfig"
    for path in conditions:
        assert [key for key in CONDITION if ours.get(f"{path}.{key}", "").split()[0] != "string"] == []


@pytest.mark.parametrize("kind", HARVESTER)
def test_what_is_beyond_harvester_is_listed(kind: str) -> None:
    leaves = {p for p, said in fields(schema_of(kind)) if "conditions" not in p and p not in ("apiVersion", "kind")}
    known = {*HARVESTER[kind], *BEYOND.get(kind, ())}
    rest = {p for p in leaves - known if not any(k.startswith((f"{p}.", f"{p}[", f"{p}{{")) for k in known)}
    assert {p for p in rest if not any(p.startswith(f"{k}[") for k in known)} == {"metadata"}


def test_names_scopes_columns_and_subresources() -> None:
    said = {}
    for kind, document in KINDS.items():
        spec, (version,) = document["spec"], document["spec"]["versions"]
        columns = " ".join(column["name"] for column in version.get("additionalPrinterColumns", ()))
        status = "status" if version.get("subresources") else ""
        called = f"{document['metadata']['name']}/{version['name']} {spec['names']['singular']}"
        said[kind] = (called, spec["scope"], " ".join(spec["names"]["shortNames"]), columns, status)
    group = names.API_GROUP
    assert said == {
        "ClusterNetwork": (f"clusternetworks.{group}/v1beta1 clusternetwork", "Cluster", "cn cns", "", ""),
        "VlanConfig": (
            *(f"vlanconfigs.{group}/v1beta1 vlanconfig", "Cluster", "vc vcs"),
            *("ClusterNetwork Description Age", ""),
        ),
        "VlanStatus": (
            *(f"vlanstatuses.{group}/v1beta1 vlanstatus", "Cluster", "vs vss"),
            *("ClusterNetwork VlanConfig Node Description Age", ""),
        ),
        "LinkMonitor": (f"linkmonitors.{group}/v1beta1 linkmonitor", "Cluster", "lm lms", "", ""),
        "HostNetworkConfig": (
            *(f"hostnetworkconfigs.{group}/v1beta1 hostnetworkconfig", "Cluster", "hnc hncs"),
            *("ClusterNetwork VLAN Mode Age", "status"),
        ),
        "IPPool": (
            *(f"ippools.{group}/v1alpha1 ippool", "Namespaced", "ippl ippls"),
            *("Network Available Used Registered CacheReady AgentReady Age", "status"),
        ),
        "VirtualMachineNetworkConfig": (
            f"virtualmachinenetworkconfigs.{group}/v1alpha1 virtualmachinenetworkconfig",
            *("Namespaced", "vmnetcfg vmnetcfgs", "", "status"),
        ),
        "NetworkAttachmentDefinition": (
            "network-attachment-definitions.k8s.cni.cncf.io/v1 network-attachment-definition",
            *("Namespaced", "nad nads net-attach-def", "", ""),
        ),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_structural(kind: str) -> None:
    """Every value has a type, or keeps whatever it is (apiextensions.k8s.io, structural schemas)."""
    for path, said in fields(schema_of(kind)):
        anything = said.startswith("anything")
        assert not anything or path.endswith(("nics[]", *(f".{o.wire}" for o in OPTIONS.values()))), path


@pytest.mark.parametrize(
    ("kind", "place", "known"),
    [
        ("VlanConfig", "spec", vlanconfig.FIELDS),
        ("HostNetworkConfig", "spec", hostnetworkconfig.FIELDS),
        ("LinkMonitor", "spec", linkmonitor.FIELDS),
        ("IPPool", "spec", pools.POOL_FIELDS),
        ("VirtualMachineNetworkConfig", "spec", pools.CONFIG_FIELDS),
    ],
)
def test_whatever_is_read_is_kept(kind: str, place: str, known: tuple[str, ...]) -> None:
    """An API server drops what the schema does not have."""
    assert set(schema_of(kind)["properties"][place]["properties"]) == set(known)


def dropped(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What an API server would drop of a value, as its pruning does."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or path == "metadata":
        return
    if isinstance(value, dict):
        each = schema.get("additionalProperties")
        for key, inner in value.items():
            known = (schema.get("properties") or {}).get(key, each)
            if known is None:
                yield f"{path}.{key}"
            else:
                yield from dropped(inner, known, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from dropped(item, schema.get("items") or {}, f"{path}[]")


@pytest.mark.parametrize("directory", [*sorted(EXAMPLES.iterdir()), CORPUS], ids=lambda path: path.name)
def test_nothing_of_the_examples_is_dropped(directory: Path) -> None:
    files = sorted(directory.rglob("*.yaml")) if directory.is_dir() else []
    loaded = [read_manifests(path) for path in files]
    told = {problem.about for one in loaded for problem in one.problems if problem.code.endswith(("-field", "-effect"))}
    seen = [obj for one in loaded for obj in one.objects if obj.KIND in KINDS and obj.ref not in told]
    for obj in seen:
        assert list(dropped(dump(obj), schema_of(obj.KIND))) == [], obj.ref
    assert seen or not directory.is_dir()
