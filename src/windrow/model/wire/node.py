"""Node: of its spec, the addresses of its pods."""

from __future__ import annotations

import ipaddress
from typing import Any

from windrow.model.objects import Node
from windrow.model.values import Cidr
from windrow.model.wire.reader import Envelope, Field, Table
from windrow.model.wire.text import quoted

FIELDS = ("podCIDR", "podCIDRs", "providerID", "unschedulable", "taints", "configSource", "externalID")
_HINT = "a network, such as 10.52.0.0/24"


def read(spec: Table, envelope: Envelope) -> Node:
    return Node(meta=envelope.meta, doc=envelope.doc, source=envelope.source, pod_cidrs=_pod_cidrs(spec))


def _pod_cidrs(spec: Table) -> tuple[Cidr, ...]:
    """Kubernetes' rules: one of each family at most, and `podCIDR` is the first of `podCIDRs`."""
    single, several = spec.get("podCIDR"), spec.get("podCIDRs")
    first = single.parsed(parse_network, "address-invalid", _HINT) if single and single.value != "" else None
    found = _list(several) if several else []
    if single and first and found and found[0] != first:
        single.wrong("podcidr-differs", f"is {first}, and podCIDRs starts with {found[0]}", "remove podCIDR")
    return tuple(found) or ((first,) if first else ())


def _list(field: Field) -> list[Cidr]:
    found: list[Cidr] = []
    for item in field.items("a list of networks"):
        cidr = item.parsed(parse_network, "address-invalid", _HINT)
        if cidr is None:
            continue
        version = ipaddress.ip_network(cidr).version
        if any(ipaddress.ip_network(other).version == version for other in found):
            item.wrong("duplicate", f"is the second network of IPv{version}", "one of each family")
        else:
            found.append(cidr)
    return found


def parse_network(text: str) -> Cidr:
    """`10.52.0.0/24`; an address inside it stands for it. Raises ValueError."""
    address, slash, length = text.partition("/")
    try:
        if not slash or not (length.isascii() and length.isdigit()) or "%" in address:
            raise ValueError("no length, a netmask, a zone")
        return Cidr(str(ipaddress.ip_network(text, strict=False)))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a network with a prefix length") from None


def write(node: Node) -> dict[str, Any]:
    return {"podCIDR": node.pod_cidrs[0], "podCIDRs": list(node.pod_cidrs)} if node.pod_cidrs else {}
