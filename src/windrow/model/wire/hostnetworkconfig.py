"""HostNetworkConfig: an address of the host itself in a VLAN of a cluster network."""

from __future__ import annotations

import ipaddress
from typing import Any

from windrow.model.objects import AddressMode, HostNetworkConfig, LabelSelector, Operator, Requirement
from windrow.model.values import VID_MAX, VID_MIN, Cidr
from windrow.model.wire.reader import Envelope, Field, Table
from windrow.model.wire.text import quoted

FIELDS = ("description", "clusterNetwork", "vlanID", "mode", "ips", "nodeSelector", "underlay")
MAX_IPS = 500
_CIDR_HINT = "an address with its prefix length, such as 192.0.2.10/24"


def read(spec: Table, envelope: Envelope) -> HostNetworkConfig:
    vid = spec.required("vlanID")
    mode = spec.required("mode", "static or dhcp")
    chosen = mode.choice(AddressMode) if mode else None
    ips = _ips(spec)
    if chosen is AddressMode.STATIC and "ips" not in spec:
        spec.report.add("required", "spec.ips", "is missing, and mode is static", "give each node an address")
    elif chosen is AddressMode.STATIC and spec["ips"].value == {}:
        spec["ips"].wrong("required", "is empty, and mode is static", "give each node an address")
    selector = spec.get("nodeSelector")
    return HostNetworkConfig(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        cluster_network=spec.text("clusterNetwork", required=True, hint="name a ClusterNetwork"),
        vid=(vid.integer(VID_MIN, VID_MAX, code="vid-range", hint=_VID_HINT) if vid else None) or VID_MIN,
        mode=chosen or AddressMode.STATIC,
        ips=ips,
        node_selector=_selector(selector) if selector else None,
        underlay=spec.flag("underlay"),
        description=spec.text("description"),
    )


_VID_HINT = "a host network is always tagged; 4095 is reserved (IEEE 802.1Q)"


def _ips(spec: Table) -> dict[str, Cidr]:
    table = spec.table("ips")
    if len(table.value) > MAX_IPS:
        spec["ips"].wrong("out-of-range", f"has {len(table.value)} entries, {MAX_IPS} is the most")
    pairs = ((node, field.parsed(parse_cidr, "address-invalid", _CIDR_HINT)) for node, field in table.fields())
    return {node: cidr for node, cidr in pairs if cidr is not None}


def parse_cidr(text: str) -> Cidr:
    """`10.0.0.1/24`, as Go's netip.ParsePrefix takes it: no netmask, no zone. Raises ValueError."""
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
        raise ValueError(f"{quoted(text)} has no prefix length")
    try:
        if "%" in address:
            raise ValueError("a zone")
        return Cidr(ipaddress.ip_interface(f"{address}/{length}").with_prefixlen)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address with a prefix length") from None


def _selector(field: Field) -> LabelSelector | None:
    """metav1.LabelSelector (apimachinery `LabelSelectorAsSelector`)."""
    table = field.table(("matchLabels", "matchExpressions"))
    if table is None:
        return None
    labels = [
        Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in table.texts("matchLabels").items()
    ]
    expressions = table.get("matchExpressions")
    found = [_requirement(item) for item in expressions.items()] if expressions else []
    return LabelSelector(requirements=(*labels, *(r for r in found if r)))


def _requirement(item: Field) -> Requirement | None:
    table = item.table(("key", "operator", "values"))
    if table is None:
        return None
    key = table.text("key", required=True)
    named = table.required("operator", "In, NotIn, Exists or DoesNotExist")
    operator = named.choice(Operator) if named else None
    values = table.get("values")
    texts = tuple(t for t in (v.text() for v in values.items()) if t is not None) if values else ()
    if operator is None:
        return None
    needs = operator in (Operator.IN, Operator.NOT_IN)
    given = bool(values and values.value)
    if needs and not given:
        table.report.add("required", f"{table.path}.values", f"is empty, and operator is {operator}", "list the values")
    if given and values and not needs:
        values.wrong("selector-invalid", f"must be empty with operator {operator}", "remove it")
    return Requirement(key=key, operator=operator, values=texts)


def write(config: HostNetworkConfig) -> dict[str, Any]:
    spec: dict[str, Any] = {"description": config.description} if config.description else {}
    spec |= {"clusterNetwork": config.cluster_network, "vlanID": config.vid, "mode": str(config.mode)}
    if config.ips:
        spec["ips"] = dict(config.ips)
    if config.node_selector is not None:
        expressions = [_expression(r) for r in config.node_selector.requirements]
        spec["nodeSelector"] = {"matchExpressions": expressions} if expressions else {}
    if config.underlay:
        spec["underlay"] = True
    return spec


def _expression(requirement: Requirement) -> dict[str, Any]:
    values = {"values": list(requirement.values)} if requirement.values else {}
    return {"key": requirement.key, "operator": str(requirement.operator), **values}
