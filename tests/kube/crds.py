"""Harvester's kinds and Multus', as far as a client sees them: names, scope, status subresources, and schemas of what
Windrow writes, so that a field that Harvester does not have is refused here, too."""

from __future__ import annotations

from typing import Any

GROUP = "network.harvesterhci.io"
TEXT, NUMBER, ANYTHING = (
    {"type": "string"},
    {"type": "integer"},
    {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
)


def shape(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": fields}
    return {**found, "required": list(required)} if required else found


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def by_name(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": value}


CONDITIONS = listed(
    shape(
        ("status", "type"),
        type=TEXT,
        status=TEXT,
        reason=TEXT,
        message=TEXT,
        lastUpdateTime=TEXT,
        lastTransitionTime=TEXT,
    )
)
LINK = shape(
    name=TEXT, index=NUMBER, type=TEXT, mac=TEXT, promiscuous={"type": "boolean"}, state=TEXT, masterIndex=NUMBER
)
STATUS = {
    "ClusterNetwork": shape(conditions=CONDITIONS),
    "VlanConfig": ANYTHING,
    "VlanStatus": shape(
        ("clusterNetwork", "linkMonitor", "node", "vlanConfig"),
        clusterNetwork=TEXT,
        vlanConfig=TEXT,
        linkMonitor=TEXT,
        node=TEXT,
        localAreas=listed(shape(vlanID=NUMBER, cidr=TEXT)),
        conditions=CONDITIONS,
    ),
    "LinkMonitor": shape(linkStatus=by_name(listed(LINK)), conditions=CONDITIONS),
    "HostNetworkConfig": shape(
        conditions=CONDITIONS,
        nodeStatus=by_name(shape(clusterNetwork=TEXT, vlanID=NUMBER, mode=TEXT, conditions=CONDITIONS)),
    ),
}
NAMES = {
    "ClusterNetwork": ("clusternetworks", "cn"),
    "VlanConfig": ("vlanconfigs", "vc"),
    "VlanStatus": ("vlanstatuses", "vs"),
    "LinkMonitor": ("linkmonitors", "lm"),
    "HostNetworkConfig": ("hostnetworkconfigs", "hnc"),
}
WITH_STATUS = {"HostNetworkConfig"}


def crd(group: str, version: str, kind: str, plural: str, short: str, **more: Any) -> dict[str, Any]:
    """`more`: `status`, its schema; `namespaced`; `subresource`."""
    fields = {"spec": ANYTHING, **({"status": more["status"]} if "status" in more else {})}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": shape(**fields)}}
    if more.get("subresource"):
        served["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": [short]},
            "scope": "Namespaced" if more.get("namespaced") else "Cluster",
            "versions": [served],
        },
    }


ALL = [
    *(
        crd(GROUP, "v1beta1", kind, plural, short, status=STATUS[kind], subresource=kind in WITH_STATUS)
        for kind, (plural, short) in NAMES.items()
    ),
    crd(
        "k8s.cni.cncf.io",
        "v1",
        "NetworkAttachmentDefinition",
        "network-attachment-definitions",
        "net-attach-def",
        namespaced=True,
    ),
]
