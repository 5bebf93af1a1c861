"""Who is at the other end of each NIC: as a table, and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windrow.model.evidence import Identity, LacpSide, NicEvidence, NodeEvidence, SwitchPort
from windrow.model.values import VidSet
from windrow.render.events import age
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style, shown

HEADINGS = ("NIC", "SWITCH", "PORT", "PVID", "VLANS", "AGGREGATE", "VIA", "AGE")
WIDE = ("SPEED", "LACP PARTNER", "FRAME", "ADDRESS", "DESCRIPTION")
TEXT_MAX = 40
"""Characters of what a neighbour may write into a column."""


def neighbours_text(found: NodeEvidence, *, wide: bool = False, style: Style = PLAIN) -> str:
    """A line for each neighbour and for each NIC without one; then what could not be had, and why."""
    lines = [line for nic in found.nics.values() for line in _lines(nic, found.at)]
    keep = len(HEADINGS) + (len(WIDE) if wide else 0)
    text = table((*HEADINGS, *WIDE)[:keep], [line[:keep] for line in lines], style) if lines else "no NIC\n"
    if found.absent:
        reasons = dict.fromkeys(shown(one.reason) for one in found.absent)
        text += "\n" + "".join(f"{style.dim('not known:')} {reason}\n" for reason in reasons)
    return text


def _lines(nic: NicEvidence, now: float) -> Iterator[list[str]]:
    for port in nic.neighbours or (None,):
        said = _said(port, now) if port else ["", "", "", "", "", "", ""]
        partner = nic.lacp.sent or nic.lacp.partner if nic.lacp else None
        more = [
            f"{nic.speed} Mb/s" if nic.speed else "",
            f"{partner.system} key {partner.key} port {partner.port}" if partner and _is_there(partner) else "",
            str(port.max_frame or "") if port else "",
            ", ".join(port.management) if port else "",
            _text(port.system_description) if port else "",
        ]
        name = f"{nic.name} (of {nic.bond})" if nic.bond else nic.name
        yield [shown(name), *said, *more]


def _said(port: SwitchPort, now: float) -> list[str]:
    return [
        _text(port.switch),
        _text(port.port.text),
        "not told" if port.pvid is None else str(port.pvid or "none"),
        _vlans(port),
        _aggregate(port),
        port.source.value,
        age(max(0.0, now - port.heard)),
    ]


def _vlans(port: SwitchPort) -> str:
    if not port.vlans:
        return "not told"
    return f"{VidSet.of(port.vlans)}{', and maybe more' if port.vlans_cut else ''}"


def _aggregate(port: SwitchPort) -> str:
    if port.aggregation is None:
        return "not told"
    return f"in {port.aggregation.port_id}" if port.aggregation.active else "in none"


def _text(words: str) -> str:
    """On one line, not longer than a column, and without what a terminal obeys: it is anybody's to write."""
    line = shown(" ".join(words.split()))
    return line if len(line) <= TEXT_MAX else f"{line[: TEXT_MAX - 1]}…"


def _is_there(side: LacpSide) -> bool:
    return side.system != "00:00:00:00:00:00"


def neighbours_value(found: NodeEvidence) -> dict[str, Any]:
    """The same, for scripts; times are Unix seconds."""
    return {
        "node": found.node,
        "at": found.at,
        "nics": [_nic_value(nic) for nic in found.nics.values()],
        "notKnown": [
            {"kind": one.kind.value, "reason": one.reason, **({"nic": one.nic} if one.nic else {})}
            for one in found.absent
        ],
    }


def _nic_value(nic: NicEvidence) -> dict[str, Any]:
    lacp = nic.lacp
    return {
        "name": nic.name,
        "mac": nic.mac,
        "carrier": nic.carrier,
        "bond": nic.bond,
        "active": nic.active,
        "speed": nic.speed,
        "driver": nic.driver,
        "neighbors": [_port_value(port) for port in nic.neighbours],
        "lacp": None
        if lacp is None
        else {
            "aggregator": lacp.aggregator,
            "actor": _side_value(lacp.actor),
            "partner": _side_value(lacp.partner),
            "sent": _side_value(lacp.sent),
            "aboutUs": _side_value(lacp.about_us),
            "received": lacp.received,
        },
    }


def _port_value(port: SwitchPort) -> dict[str, Any]:
    aggregation = port.aggregation
    return {
        "source": port.source.value,
        "chassis": _identity_value(port.chassis),
        "port": _identity_value(port.port),
        "system": port.system,
        "systemDescription": port.system_description,
        "portDescription": port.port_description,
        "bridge": port.is_bridge,
        "pvid": port.pvid,
        "vlans": [{"vid": vid, "name": name} for vid, name in port.vlans.items()],
        "vlansMayBeCut": port.vlans_cut,
        "aggregation": None
        if aggregation is None
        else {"capable": aggregation.capable, "active": aggregation.active, "port": aggregation.port_id},
        "maxFrame": port.max_frame,
        "management": list(port.management),
        "holdSeconds": port.hold_s,
        "heard": port.heard,
    }


def _identity_value(one: Identity) -> dict[str, str]:
    return {"kind": one.kind, "text": one.text}


def _side_value(side: LacpSide | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"system": side.system, "key": side.key, "port": side.port, "state": side.state}
