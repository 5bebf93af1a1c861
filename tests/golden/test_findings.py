"""Broken networks in plain words: the table, the findings, the document, and what objects and events say of them.

`findings/catalogue.txt` has the finding of each fault of the catalogue. The page's table of reasons is written from the
values. `pytest tests/golden --update` writes what is expected.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.unit.faultcatalogue import CASES, Healthy, leg

from windrow.apps.check.told import Told, rows
from windrow.diagnose import diagnose
from windrow.model.agentstatus import OutsideFault
from windrow.model.findings import Finding, Reason
from windrow.model.values import Ref, VidSet
from windrow.render.findings import checked_text, finding_text, finding_value
from windrow.render.vlanmatrix import Row, matrix_value
from windrow.status.conditions import update
from windrow.status.findings import Outside, finding_counts, finding_events, outside_conditions, outside_faults
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import Fabric, cluster_of, evidence_of

HERE = Path(__file__).parent / "findings"
PAGE = Path(__file__).parents[2] / "docs/user/findings.md"
BEGIN, END = "<!-- reasons -->\n", "<!-- end of reasons -->\n"
NODE = Ref("Node", "node-1")


def diagnosed(f: Fabric) -> tuple[Finding, ...]:
    return diagnose(cluster_of(f), evidence_of(f))


def listed(f: Fabric) -> tuple[Row, ...]:
    """The table, as node-1 shows it."""
    evidence, wanted = evidence_of(f), dict[str, VidSet]()
    own = evidence.nodes["node-1"]
    for nic in own.nics.values():
        wanted[nic.cluster_network] = wanted.get(nic.cluster_network, VidSet()) | own.probed.get(nic.name, VidSet())
    return rows(Told(node="node-1", at=own.at, evidence=evidence, wanted=wanted), cluster_of(f))


def broken() -> Fabric:
    """Three causes: a VLAN on a port, a VLAN between the switches, a native VLAN of the management network."""
    f = faults.vlan_missing(leg(2, 1), 101)(Healthy().fabric(nodes=4))
    return faults.port(leg(1, 0), native=1)(faults.vlan_missing_on_link(103)(f))


def test_each_fault_of_the_catalogue(golden) -> None:  # type: ignore[no-untyped-def]
    parts = []
    for case in CASES:
        found = diagnosed(case.fault(case.on.fabric()))
        told = "".join(map(finding_text, found))
        parts.append(f"== {case.name} ==\n{told}")
    golden(HERE / "catalogue.txt", "\n".join(parts))


def test_the_table_and_the_findings(golden) -> None:  # type: ignore[no-untyped-def]
    golden(HERE / "broken.txt", checked_text(listed(broken()), diagnosed(broken())))


def test_nothing_is_wrong(golden) -> None:  # type: ignore[no-untyped-def]
    healthy = Healthy(services=True).fabric()
    golden(HERE / "healthy.txt", checked_text(listed(healthy), diagnosed(healthy)))


def test_the_document(golden) -> None:  # type: ignore[no-untyped-def]
    value = {
        "matrix": matrix_value(listed(broken())),
        "findings": [finding_value(found) for found in diagnosed(broken())],
    }
    golden(HERE / "broken.json", json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def test_conditions_and_events(golden) -> None:  # type: ignore[no-untyped-def]
    """Three looks: three causes, one of them put right, all well."""
    objects = (Ref("VlanConfig", "mgmt"), Ref("VlanConfig", "oob"))
    looks = (broken(), faults.vlan_missing(leg(2, 1), 101)(Healthy().fabric(nodes=4)), Healthy().fabric(nodes=4))
    lines: list[str] = []
    conditions, before = update((), (), 0.0)[0], diagnosed(Healthy().fabric())
    told: tuple[OutsideFault, ...] = ()
    for now, f in enumerate(looks, 1):
        findings = diagnosed(f)
        conditions, _ = update(conditions, outside_conditions(findings, objects), 100.0 * now)
        events = finding_events(before, findings, 100.0 * now, NODE)
        told = outside_faults(told, Outside(findings=findings), 100.0 * now, NODE)
        said = {
            "conditions": [{**asdict(c), "about": str(c.about)} for c in conditions],
            "events": [{**asdict(e), "about": str(e.about)} for e in events],
            "outside": [{**asdict(f), "about": str(f.about)} for f in told],
            "counts": {" ".join(key): count for key, count in finding_counts(findings).items()},
        }
        lines.append(json.dumps(said, indent=2, ensure_ascii=False))
        before = findings
    golden(HERE / "status.json", "\n".join(lines) + "\n")


def test_the_page_has_the_catalogue(golden) -> None:  # type: ignore[no-untyped-def]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    rows = "".join(f"| `{reason}` | {reason.grade} | {reason.meaning} |\n" for reason in Reason)
    golden(PAGE, f"{before}{BEGIN}| reason | | what it means |\n|---|---|---|\n{rows}{END}{after}")


def test_each_reason_is_brought_about_or_said_to_be_rare() -> None:
    """Reasons that the catalogue does not bring about are tested by themselves in tests/unit/test_diagnose_parts.py."""
    by_themselves = {
        Reason.PAIRS_APART,
        Reason.LACP_INDIVIDUAL,
        Reason.LACP_NOT_IN_SYNC,
        Reason.MTU_ANNOUNCED_WRONG,
        Reason.NOBODY_TO_HEAR,
    }
    assert set(Reason) - {case.reason for case in CASES} == by_themselves
