"""LinkMonitor: which links to watch. Its regular expressions are Go's, and stay texts."""

from __future__ import annotations

from typing import Any

from windrow.model.objects import LinkMonitor
from windrow.model.wire.reader import Envelope, Table

FIELDS = ("nodeSelector", "targetLinkRule")


def read(spec: Table, envelope: Envelope) -> LinkMonitor:
    rule = spec.table("targetLinkRule", ("typeRule", "nameRule"))
    return LinkMonitor(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        type_rule=rule.text("typeRule"),
        name_rule=rule.text("nameRule"),
        node_selector=spec.texts("nodeSelector"),
    )


def write(monitor: LinkMonitor) -> dict[str, Any]:
    rule = {"typeRule": monitor.type_rule, "nameRule": monitor.name_rule}
    spec: dict[str, Any] = {"targetLinkRule": {key: value for key, value in rule.items() if value}}
    if monitor.node_selector:
        spec["nodeSelector"] = dict(monitor.node_selector)
    return spec
