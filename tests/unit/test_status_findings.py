"""What is told of the findings of one sweep: by which node, and when it is certain enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.faultcatalogue import leg

from windrow.diagnose import diagnose
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.values import Ref
from windrow.status.findings import NOT_PROBED, Outside, concerning, finding_events, outside_faults, standing
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import cluster_of, evidence_of, fabric

HERE = Ref("Node", "node-1")
CONFIG = Ref("VlanConfig", "oob")


@pytest.fixture
def missing() -> Finding:
    f = faults.vlan_missing(leg(2, 1), 101)(fabric())
    (found,) = diagnose(cluster_of(f), evidence_of(f))
    assert found.reason is Reason.VLAN_MISSING
    return found


def test_each_node_tells_of_its_own_ports(missing: Finding) -> None:
    assert concerning([missing], "node-2") == (missing,)
    assert concerning([missing], "node-1") == ()


def test_what_is_about_no_object_is_about_the_node(missing: Finding) -> None:
    (found,) = concerning([replace(missing, legs=(), about=None)], "node-1")
    assert found.about == HERE


def test_what_is_likely_has_to_stand(missing: Finding) -> None:
    """While a fault comes the reports differ, and one sweep may show another fault than the next."""
    likely = replace(missing, certainty=Certainty.LIKELY)
    other = replace(likely, reason=Reason.ONE_WAY)
    assert standing((), (likely,)) == ()
    assert standing((other,), (likely,)) == ()
    assert standing((likely,), (likely,)) == (likely,)
    sure = replace(missing, certainty=Certainty.SURE)
    assert standing((), (sure,)) == (sure,)


def test_what_is_not_certain_wakes_nobody(missing: Finding) -> None:
    unknown = replace(missing, certainty=Certainty.UNKNOWN)
    assert finding_events((), (unknown,), 1.0, HERE) == ()
    assert outside_faults((), Outside(findings=(unknown,)), 1.0, HERE) == ()
    (condition,) = Outside(findings=(unknown,)).conditions
    assert condition.status is None


def test_a_fault_keeps_its_time(missing: Finding) -> None:
    known = Outside(findings=(missing,))
    first = outside_faults((), known, 100.0, HERE)
    two = Outside(findings=(replace(missing, message="now in two VLANs"),))
    (second,) = outside_faults(first, two, 200.0, HERE)
    assert second.since == 100.0
    assert "now in two VLANs" in second.message
    (again,) = outside_faults(outside_faults(first, Outside(), 300.0, HERE), known, 400.0, HERE)
    assert again.since == 400.0


def test_where_nothing_is_known_nothing_is_over(missing: Finding) -> None:
    known = Outside(findings=(missing,), objects=(CONFIG,))
    lost = Outside(unknown="no sockets").after(known)
    assert lost.findings == known.findings
    assert {(c.status, c.reason, c.message) for c in lost.conditions} == {(None, NOT_PROBED, "no sockets")}
    assert {c.about for c in lost.conditions} == {CONFIG, missing.about}
    (fault,) = outside_faults((), lost, 1.0, HERE)
    assert fault.message.endswith("when it was last probed)")
    assert Outside().after(lost) == Outside()
