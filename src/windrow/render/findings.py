"""The network outside in the terminal: what passes at each node in each VLAN, and then each cause in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from windrow.model.evidence import Leg
from windrow.model.findings import Certainty, Diagnosis, Finding, Grade, PortFix, Row
from windrow.model.values import VidSet
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style, plural

PASSES, NOT_WANTED, NOT_KNOWN = "✓", "-", "?"
_UNTAGGED = "untagged"


def diagnosis_text(found: Diagnosis, style: Style = PLAIN) -> str:
    """The table, the findings by their numbers, and one line that counts."""
    parts = [
        matrix_text(found, style),
        *(finding_text(f, f"{n}.") for n, f in enumerate(found.findings, 1)),
        counted(found),
    ]
    return "\n".join(part for part in parts if part)


def counted(found: Diagnosis) -> str:
    grades = [(sum(f.grade is grade for f in found.findings), grade.value) for grade in Grade]
    told = ", ".join(plural(count, word) for count, word in grades if count)
    return f"{told}\n" if told else "Nothing is wrong with what was seen.\n"


# The table ----------------------------------------------------------------------------------------


def matrix_text(found: Diagnosis, style: Style = PLAIN) -> str:
    """A row for each node, a column for VLANs that are alike. A cell is ✓, or the numbers of what is wrong there."""
    if not found.rows:
        return ""
    vids = VidSet(0)
    for row in found.rows:
        vids |= row.wanted
    told = _numbers(found)
    columns = [(vid, tuple(_cell(row, vid, told) for row in found.rows)) for vid in vids]
    alike = [(VidSet.of(vid for vid, _ in group), cells) for cells, group in groupby(columns, key=lambda c: c[1])]
    headings = ["NETWORK", "NODE", *(_heading(group) for group, _ in alike)]
    rows = [[row.network, row.node, *(cells[i] for _, cells in alike)] for i, row in enumerate(found.rows)]
    return table(headings, rows, style)


_Numbers = dict[tuple[str, str], list[tuple[int, VidSet]]]
"""(Cluster network, node) -> the numbers of its findings, and in which VLANs; an empty set: in all."""


def _numbers(found: Diagnosis) -> _Numbers:
    told: _Numbers = {}
    for number, finding in enumerate(found.findings, 1):
        for node in dict.fromkeys(leg.node for leg in finding.legs):
            for row in found.rows:
                if row.node == node and (finding.switches or row.network == finding.network):
                    told.setdefault((row.network, node), []).append((number, finding.vids))
    return told


def _cell(row: Row, vid: int, told: _Numbers) -> str:
    if vid not in row.wanted:
        return NOT_WANTED
    here = [str(number) for number, vids in told.get((row.network, row.node), ()) if not vids or vid in vids]
    return ",".join(here) or (PASSES if vid in row.passes else NOT_KNOWN)


def _heading(vids: VidSet) -> str:
    tagged = vids - VidSet.of([0])
    return ",".join([*([_UNTAGGED] if 0 in vids else []), *([str(tagged)] if tagged else [])])


# Findings -----------------------------------------------------------------------------------------


def finding_text(finding: Finding, sign: str) -> str:
    """The cause, how sure it is, what was seen, and what to do. `sign`: its number, or a mark of a list."""
    return "\n".join(_lines(finding, sign)) + "\n"


def _lines(finding: Finding, sign: str) -> Iterator[str]:
    about = f" of {finding.about}" if finding.about else ""
    yield f"{sign} {finding.reason} ({finding.grade}, {_certainty(finding)}){about}"
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


def diagnosis_value(found: Diagnosis) -> dict[str, Any]:
    """For `-o json`. VLANs are written as ranges, `0` is without a tag."""
    return {
        "rows": [
            {"network": r.network, "node": r.node, "wanted": str(r.wanted), "passes": str(r.passes)} for r in found.rows
        ],
        "findings": [{"number": number, **finding_value(f)} for number, f in enumerate(found.findings, 1)],
    }


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
