"""CustomResourceDefinitions of the objects, from what the model knows of them. Pure.

Fields of Harvester's have Harvester's limits, so that whatever is stored there is taken here; fields beyond it have all
of Windrow's. What is wrong beside other objects is for the webhook to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from windrow.model import names
from windrow.model.bonding import OPTIONS, BondOption
from windrow.model.fieldwords import WORDS
from windrow.model.lazy import dataclass
from windrow.model.objects import KINDS, AddressMode, Kind
from windrow.model.pools import LEASE_S_MIN, Program
from windrow.model.selectors import LABEL_OPERATORS
from windrow.model.values import MTU_MAX, MTU_MIN, VID_MAX
from windrow.model.wire.bonds import MAX_TARGETS
from windrow.model.wire.hostnetworkconfig import MAX_IPS, MAX_ROUTES, METRIC_MAX
from windrow.model.wire.pools import DNS_MAX, ENTRIES_MAX, LEASE_S_MAX, NAME_MAX, NTP_MAX, ROUTES_MAX

Schema = dict[str, Any]

_CIDRS_MAX = 50
"""Characters of one of `spec.ips` (Harvester)."""


def _object(properties: Mapping[str, Schema], *, required: Sequence[str] = (), **more: Any) -> Schema:
    needed = {"required": sorted(required)} if required else {}
    return {"type": "object", **needed, "properties": dict(properties), **more}


def _text(**more: Any) -> Schema:
    return {"type": "string", **more}


def _integer(low: int | None = None, high: int | None = None, **more: Any) -> Schema:
    limits = {key: value for key, value in (("minimum", low), ("maximum", high)) if value is not None}
    wide = {"format": "int64"} if high is not None and high >= 2**31 else {}
    return {"type": "integer", **wide, **limits, **more}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _map(values: Schema, **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": values, **more}


_FLAG: Schema = {"type": "boolean"}
PRESERVE = "x-kubernetes-preserve-unknown-fields"
_ANYTHING: Schema = {PRESERVE: True}
"""A value of whatever type: a text or a map."""


def _rule(rule: str, message: str) -> Schema:
    return {"rule": rule, "message": message}


def _immutable(what: str) -> Schema:
    return _rule("self == oldSelf", f"{what} cannot change: delete this object and make another")


_CONDITIONS = _list(
    _object(
        {key: _text() for key in ("type", "status", "lastUpdateTime", "lastTransitionTime", "reason", "message")},
        required=["type", "status"],
    )
)
_LABELS = _map(_text())
_LABEL_SELECTOR = _object(
    {
        "matchLabels": _LABELS,
        "matchExpressions": _list(
            _object(
                {
                    "key": _text(),
                    "operator": _text(enum=[str(o) for o in LABEL_OPERATORS]),
                    "values": _list(_text(), **{"x-kubernetes-list-type": "atomic"}),
                },
                required=["key", "operator"],
            ),
            **{"x-kubernetes-list-type": "atomic"},
        ),
    },
    **{"x-kubernetes-map-type": "atomic"},
)


# network.harvesterhci.io/v1beta1 -----------------------------------------------------------------


def _cluster_network() -> Schema:
    return {"status": _object({"conditions": _CONDITIONS})}


def _bond_option(option: BondOption) -> Schema:
    match option.name:
        case "mode":
            return _text(enum=list(map(str, option.choices)))
        case "miimon":
            return _integer(-1, option.high)
        case "arp_ip_target" | "ns_ip6_target":
            return _list(_text(), maxItems=MAX_TARGETS)
        case _ if option.choices == ("off", "on"):
            return dict(_ANYTHING)  # also a boolean: YAML reads on and off without quotes so
        case _ if option.choices:
            return _text(enum=list(option.choices))
        case _ if option.text:
            return _text()
        case _:
            return _integer(option.low, option.high)


def _vlan_config() -> Schema:
    attributes = {"mtu": _integer(0), "txQLen": _integer(-1), "hardwareAddr": _text()}
    uplink = {
        "nics": _list(_ANYTHING),
        "linkAttributes": _object(attributes),
        "bondOptions": _object({option.wire: _bond_option(option) for option in OPTIONS.values()}),
    }
    spec = {
        "description": _text(),
        "clusterNetwork": _text(),
        "nodeSelector": _LABELS,
        "uplink": _object(uplink),
    }
    return {"spec": _object(spec, required=["clusterNetwork", "uplink"])}


def _vlan_status() -> Schema:
    areas = _list(_object({"vlanID": _integer(), "cidr": _text()}))
    named = ("clusterNetwork", "vlanConfig", "linkMonitor", "node")
    fields = {**{key: _text() for key in named}, "localAreas": areas, "conditions": _CONDITIONS}
    return {"status": _object(fields, required=named)}


def _link_monitor() -> Schema:
    rule = _object({"typeRule": _text(), "nameRule": _text()})
    link = _object(
        {
            **{key: _text() for key in ("name", "type", "mac", "state")},
            **{key: _integer() for key in ("index", "masterIndex")},
            "promiscuous": _FLAG,
        }
    )
    return {
        "spec": _object({"nodeSelector": _LABELS, "targetLinkRule": rule}),
        "status": _object({"linkStatus": _map(_list(link)), "conditions": _CONDITIONS}),
    }


def _host_network_config() -> Schema:
    each = _text(
        maxLength=_CIDRS_MAX * 2,
        **{
            "x-kubernetes-validations": [
                _rule(
                    "self.split(',', 3).all(one, isCIDR(one.trim()))",
                    "must be an address with its prefix length, or an IPv4 and then an IPv6 one with a comma between",
                )
            ]
        },
    )
    route = {"to": _text(), "via": _text(), "metric": _integer(0, METRIC_MAX), "onLink": _FLAG}
    spec = {
        "description": _text(),
        "nodeSelector": _LABEL_SELECTOR,
        "clusterNetwork": _text(minLength=1, **{"x-kubernetes-validations": [_immutable("the cluster network")]}),
        "underlay": {**_FLAG, "default": False},
        "vlanID": _integer(0, VID_MAX),
        "mode": _text(enum=[str(mode) for mode in AddressMode]),
        "ips": _map(each, maxProperties=MAX_IPS),
        "gateway": _text(),
        "gatewayOnLink": _FLAG,
        "metric": _integer(0, METRIC_MAX),
        "routes": _list(_object(route, required=["to"]), maxItems=MAX_ROUTES),
        "defaultRoute": _FLAG,
        "routerAdvertisements": _FLAG,
        "mtu": _integer(MTU_MIN, MTU_MAX),
    }
    rules = [
        _rule("self.mode != 'static' || (has(self.ips) && self.ips.size() > 0)", "mode static needs spec.ips"),
        _rule(
            f"self.clusterNetwork == '{names.MGMT}' || self.vlanID == oldSelf.vlanID",
            "the VLAN cannot change: delete this object and make another",
        ),
    ]
    node = _object(
        {
            "clusterNetwork": _text(),
            "vlanID": _integer(),
            "mode": _text(),
            "conditions": _CONDITIONS,
            "interface": _text(),
            "addresses": _list(_text()),
            "lease": dict(_ANYTHING, type="object"),
        }
    )
    return {
        "spec": _object(spec, required=["clusterNetwork", "vlanID", "mode"], **{"x-kubernetes-validations": rules}),
        "status": _object({"conditions": _CONDITIONS, "nodeStatus": _map(node)}),
    }


# network.harvesterhci.io/v1alpha1 ----------------------------------------------------------------


def _ip_pool() -> Schema:
    route = _object({"to": _text(), "via": _text()}, required=["to", "via"])
    ipv4 = {
        "cidr": _text(**{"x-kubernetes-validations": [_immutable("the network")]}),
        "serverIP": _text(),
        "pool": _object({"start": _text(), "end": _text(), "exclude": _list(_text())}),
        "router": _text(),
        "dns": _list(_text(), maxItems=DNS_MAX),
        "domainName": _text(),
        "domainSearch": _list(_text()),
        "ntp": _list(_text(), maxItems=NTP_MAX),
        "leaseTime": _integer(1, LEASE_S_MAX, description=f"seconds; dnsmasq takes {LEASE_S_MIN} at least"),
        "mtu": _integer(MTU_MIN, MTU_MAX),
        "routes": _list(route, maxItems=ROUTES_MAX),
    }
    spec = {
        "ipv4Config": _object(ipv4, required=["cidr"]),
        "networkName": _text(maxLength=NAME_MAX, **{"x-kubernetes-validations": [_immutable("the network")]}),
        "paused": _FLAG,
        "hosts": _list(
            _object({"macAddress": _text(), "ipAddress": _text(), "hostname": _text()}, required=["macAddress"])
        ),
        "nodes": _list(_text()),
        "program": _text(enum=[str(program) for program in Program]),
        "routerAdvertisement": dict(_ANYTHING, type="object"),
    }
    pod = _object({key: _text() for key in ("namespace", "name", "image", "uid")})
    allocated = _object({"allocated": _LABELS, "used": _integer(), "available": _integer()})
    status = {"lastUpdate": _text(), "ipv4": allocated, "agentPodRef": pod, "conditions": _CONDITIONS}
    return {
        "spec": _object(spec, required=["ipv4Config", "networkName"]),
        "status": _object(status, **_ANYTHING),
    }


def _virtual_machine_network_config() -> Schema:
    claim = {
        "networkName": _text(maxLength=NAME_MAX),
        "macAddress": _text(maxLength=len("00:00:00:00:00:00")),
        "ipAddress": _text(),
    }
    spec = {
        "vmName": _text(maxLength=NAME_MAX, **{"x-kubernetes-validations": [_immutable("the machine")]}),
        "networkConfigs": _list(_object(claim, required=["networkName", "macAddress"]), maxItems=ENTRIES_MAX),
        "paused": _FLAG,
    }
    given = _object({key: _text() for key in ("allocatedIPAddress", "macAddress", "networkName", "state")})
    status = {"networkConfigs": _list(given), "conditions": _CONDITIONS}
    return {
        "spec": _object(spec, required=["networkConfigs", "vmName"]),
        "status": _object(status, **_ANYTHING),
    }


# k8s.cni.cncf.io/v1 ------------------------------------------------------------------------------


def _network() -> Schema:
    """As the Network Plumbing Working Group defines it."""
    return {"spec": _object({"config": _text()})}


# The documents -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resource:
    kind: str
    schema: Schema
    """`spec` and `status`."""
    columns: tuple[tuple[str, str, str], ...] = ()
    """(title, type, path)."""
    status: bool = False
    """Whether the status is written by itself. Harvester's controllers write that of the others with the object."""


_AGE = ("Age", "date", ".metadata.creationTimestamp")


def _condition(name: str) -> tuple[str, str, str]:
    return name, "string", f".status.conditions[?(@.type=='{name}')].status"


def _resources() -> tuple[_Resource, ...]:
    cn = ("ClusterNetwork", "string")
    return (
        _Resource(kind="ClusterNetwork", schema=_cluster_network()),
        _Resource(
            kind="VlanConfig",
            schema=_vlan_config(),
            columns=((*cn, ".spec.clusterNetwork"), ("Description", "string", ".spec.description"), _AGE),
        ),
        _Resource(
            kind="VlanStatus",
            schema=_vlan_status(),
            columns=(
                (*cn, ".status.clusterNetwork"),
                ("VlanConfig", "string", ".status.vlanConfig"),
                ("Node", "string", ".status.node"),
                ("Description", "string", ".spec.description"),
                _AGE,
            ),
        ),
        _Resource(kind="LinkMonitor", schema=_link_monitor()),
        _Resource(
            kind="HostNetworkConfig",
            schema=_host_network_config(),
            columns=(
                (*cn, ".spec.clusterNetwork"),
                ("VLAN", "integer", ".spec.vlanID"),
                ("Mode", "string", ".spec.mode"),
                _AGE,
            ),
            status=True,
        ),
        _Resource(
            kind="IPPool",
            schema=_ip_pool(),
            columns=(
                ("Network", "string", ".spec.networkName"),
                ("Available", "integer", ".status.ipv4.available"),
                ("Used", "integer", ".status.ipv4.used"),
                *map(_condition, ("Registered", "CacheReady", "AgentReady")),
                _AGE,
            ),
            status=True,
        ),
        _Resource(kind="VirtualMachineNetworkConfig", schema=_virtual_machine_network_config(), status=True),
        _Resource(kind="NetworkAttachmentDefinition", schema=_network()),
    )


def schemas() -> dict[str, Schema]:
    """Kind -> its `spec` and `status`, without words for people."""
    return {resource.kind: resource.schema for resource in _resources()}


def crds() -> tuple[dict[str, Any], ...]:
    """A CustomResourceDefinition for each kind of ours, and for NetworkAttachmentDefinition, which Multus has too."""
    kinds = {kind.name: kind for kind in KINDS}
    return tuple(_document(kinds[resource.kind], resource) for resource in _resources())


def _document(kind: Kind, resource: _Resource) -> dict[str, Any]:
    group, _, version = kind.cls.API_VERSION.partition("/")
    columns = [{"name": name, "type": type_, "jsonPath": path} for name, type_, path in resource.columns]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": _singular(kind),
                "shortNames": list(kind.short),
            },
            "scope": "Namespaced" if kind.cls.NAMESPACED else "Cluster",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _schema(resource)},
                    **({"subresources": {"status": {}}} if resource.status else {}),
                    **({"additionalPrinterColumns": columns} if columns else {}),
                }
            ],
        },
    }


def _schema(resource: _Resource) -> Schema:
    """VlanStatus has no spec, and its status is required: it is all that it is."""
    top = {"apiVersion": _text(), "kind": _text(), "metadata": {"type": "object"}}
    needed = {"VlanConfig": ["spec"], "HostNetworkConfig": ["spec"], "IPPool": ["spec"]}.get(resource.kind, ())
    return described(_object({**top, **resource.schema}, required=needed), WORDS[resource.kind])


METADATA = "metadata"
"""An API server knows it better, and takes no description of it ("must not specify anything other than name")."""


def described(schema: Schema, words: Mapping[str, str], path: str = "") -> Schema:
    """With what each field is for."""
    found = _with_members(schema, words, path)
    if path in words and path != METADATA and "description" not in found:
        found["description"] = words[path]
    return found


def _with_members(schema: Schema, words: Mapping[str, str], path: str) -> Schema:
    """What is in it described, and it itself not. Members of lists and maps have the path of their list."""
    found = dict(schema)
    for part in ("items", "additionalProperties"):
        if isinstance(found.get(part), dict):
            found[part] = _with_members(found[part], words, path)
    if "properties" in found:
        below = f"{path}." if path else ""
        found["properties"] = {
            key: described(value, words, f"{below}{key}") for key, value in found["properties"].items()
        }
    return found


def _singular(kind: Kind) -> str:
    return kind.plural.removesuffix("s") if "-" in kind.plural else kind.name.lower()
