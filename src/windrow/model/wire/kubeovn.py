"""Subnet and Vpc of kube-ovn. Their other fields are kube-ovn's own business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.model.kubeovn import Subnet, Vpc
from windrow.model.wire.reader import Envelope, Table


def read_subnet(spec: Table, envelope: Envelope) -> Subnet:
    status = envelope.doc.get("status")
    return Subnet(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        provider=spec.text("provider"),
        vpc=spec.text("vpc"),
        dhcp=spec.flag("enableDHCP"),
        used=sum(_used(status)) if isinstance(status, Mapping) else 0,
    )


def _used(status: Mapping[str, Any]) -> list[int]:
    """kube-ovn writes them as floating point numbers (pkg/apis/kubeovn/v1, SubnetStatus)."""
    found = [status.get(key) for key in ("v4usingIPs", "v6usingIPs")]
    return [int(one) for one in found if isinstance(one, int | float) and 0 < one < _MOST]


_MOST = 2.0**128


def read_vpc(envelope: Envelope) -> Vpc:
    return Vpc(meta=envelope.meta, doc=envelope.doc, source=envelope.source)


def write_subnet(subnet: Subnet) -> dict[str, Any]:
    found = {"provider": subnet.provider, "vpc": subnet.vpc, "enableDHCP": subnet.dhcp}
    return {key: value for key, value in found.items() if value}
