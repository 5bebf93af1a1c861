"""What the agent knows besides: since when a condition is so, and conditions that no single look can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from windrow.model.events import Condition
from windrow.model.objects import ClusterNetwork, HostNetworkConfig, VlanConfig, VlanStatus
from windrow.model.values import Ref
from windrow.render.text import timestamp
from windrow.status.conditions import READY
from windrow.status.report import NodeReport

STATUS = {True: "True", False: "False", None: "Unknown"}


def stamped(document: dict[str, Any], reports: Sequence[NodeReport]) -> dict[str, Any]:
    """The document with `lastTransitionTime` in its conditions, and with those that the agent adds.

    A condition that the agent saw otherwise than it is now has changed since, nobody knows when.
    """
    for report in reports:
        known = report.agent.conditions if report.agent is not None else ()
        about = [c for c in known if c.about == _about(document)]
        if about:
            _stamp(document, report.node, about)
    return document


def _about(document: Mapping[str, Any]) -> Ref:
    """A VlanStatus is about its VlanConfig."""
    meta = document["metadata"]
    if document["kind"] == VlanStatus.KIND:
        return Ref(VlanConfig.KIND, str(document.get("status", {}).get("vlanConfig", "")))
    return Ref(document["kind"], meta["name"], meta.get("namespace", ""))


def _stamp(document: dict[str, Any], node: str, about: Sequence[Condition]) -> None:
    match document["kind"]:
        case HostNetworkConfig.KIND:
            place = document.get("status", {}).get("nodeStatus", {}).get(node)
        case ClusterNetwork.KIND | VlanStatus.KIND:
            place = document.setdefault("status", {})
        case _:
            about = [c for c in about if c.type != READY]  # Harvester keeps it elsewhere
            place = document.setdefault("status", {}) if about else None
    if place is not None:
        place["conditions"] = list(_merged(place.get("conditions", ()), about))


def _merged(have: Sequence[Mapping[str, Any]], about: Sequence[Condition]) -> Iterator[dict[str, Any]]:
    by_type = {condition.type: condition for condition in about}
    for document in have:
        known = by_type.pop(document.get("type", ""), None)
        same = known is not None and STATUS[known.status] == document.get("status")
        yield (
            {**document, "lastTransitionTime": timestamp(known.since)} if known is not None and same else dict(document)
        )
    for condition in by_type.values():
        if condition.type != READY:
            yield _document(condition)


def _document(condition: Condition) -> dict[str, Any]:
    found = {
        "type": condition.type,
        "status": STATUS[condition.status],
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": timestamp(condition.since),
    }
    return {key: value for key, value in found.items() if value}
