"""What `diagnose` found, for people and for programs: each cause with where it is, how sure it is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from windrow.model.findings import Certainty, Finding, Grade, PortFix
from windrow.render.text import PLAIN, Style

NOTHING = "nothing is found to be wrong"


def finding_lines(found: Iterable[Finding], style: Style = PLAIN) -> Iterator[str]:
    """`error: VLAN 20 is missing on p5 of s2 … (VlanMissing, likely)`, with the fix and the evidence below it."""
    colours = {Grade.ERROR: style.red, Grade.WARNING: style.yellow, Grade.NOTE: style.dim}
    for one in found:
        about = f"{one.about}: " if one.about else ""
        yield f"{colours[one.grade](f'{one.grade}:')} {about}{one.message} ({one.reason}, {one.certainty})"
        yield f"    {style.cyan('fix:')} {one.fix.words}"
        for seen in one.evidence:
            yield f"    {style.dim('seen:')} {seen}"
        if one.lacks:
            to_know = "to know" if one.certainty is Certainty.UNKNOWN else "to be sure"
            yield f"    {style.dim(f'{to_know}:')} {one.lacks}"


def finding_value(one: Finding) -> dict[str, Any]:
    return {
        "reason": one.reason.text,
        "grade": one.grade.value,
        "certainty": one.certainty.value,
        "message": one.message,
        "place": one.place,
        "object": str(one.about) if one.about else None,
        "clusterNetwork": one.network,
        "legs": [{"node": leg.node, "nic": leg.nic} for leg in one.legs],
        "vlans": str(one.vids),
        "evidence": list(one.evidence),
        "lacks": one.lacks,
        "fix": {"words": one.fix.words, "ports": [_port_value(port) for port in one.fix.ports]},
    }


def _port_value(port: PortFix) -> dict[str, Any]:
    return {
        "node": port.leg.node,
        "nic": port.leg.nic,
        "switch": port.switch,
        "port": port.port,
        "tagged": str(port.tagged),
        "untagged": port.untagged,
        "channel": port.channel,
        "mtu": port.mtu,
    }
