"""What is wrong outside, in plain words and as values; below the table of who passes frames in which VLAN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from windrow.model.evidence import Leg
from windrow.model.findings import Certainty, Finding, PortFix, Reason
from windrow.render.text import PLAIN, Style
from windrow.render.vlanmatrix import Row, matrix_text

MARK = "-"


def checked_text(
    rows: Iterable[Row],
    found: Iterable[Finding],
    notes: Iterable[str] = (),
    *,
    style: Style = PLAIN,
    columns: int | None = None,
) -> str:
    """The table, each cause once, and whatever else there is to say. That switches send no LLDP is one of the notes."""
    told = [finding_text(one) for one in found if one.reason is not Reason.LLDP_UNHEARD]
    return "\n".join(part for part in (matrix_text(rows, style, columns), *told, *notes) if part)


def finding_text(finding: Finding) -> str:
    """The cause, how sure it is, what was seen, and what to do."""
    return "\n".join(_lines(finding)) + "\n"


def _lines(finding: Finding) -> Iterator[str]:
    about = f" of {finding.about}" if finding.about else ""
    yield f"{MARK} {finding.reason} ({finding.grade}, {_certainty(finding)}){about}"
    yield f"   {_sentence(finding.message)}"
    for said in finding.evidence:
        yield f"   seen: {said}"
    if finding.lacks:
        yield f"   not known: {finding.lacks}"
    yield f"   fix: {finding.fix.words}"


def _certainty(finding: Finding) -> str:
    return "not certain" if finding.certainty is Certainty.UNKNOWN else finding.certainty.value


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" if text[:4] == "the " else text


# As a document ------------------------------------------------------------------------------------


def finding_value(finding: Finding) -> dict[str, Any]:
    return {
        "reason": finding.reason.text,
        "grade": finding.grade.value,
        "certainty": finding.certainty.value,
        "message": finding.message,
        "about": str(finding.about) if finding.about else None,
        "network": finding.network or None,
        "place": finding.place,
        "switches": list(finding.switches),
        "nics": list(map(_leg_value, finding.legs)),
        "vlans": str(finding.vids),
        "evidence": list(finding.evidence),
        "lacks": finding.lacks or None,
        "fix": {"words": finding.fix.words, "ports": list(map(_port_value, finding.fix.ports))},
    }


def _leg_value(leg: Leg) -> dict[str, str]:
    return {"node": leg.node, "nic": leg.nic}


def _port_value(port: PortFix) -> dict[str, Any]:
    return {
        **_leg_value(port.leg),
        "switch": port.switch or None,
        "port": port.port or None,
        "tagged": str(port.tagged),
        "untagged": port.untagged,
        "channel": port.channel,
        "mtu": port.mtu,
    }
