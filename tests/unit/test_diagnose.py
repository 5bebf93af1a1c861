"""The network outside, broken in each way of the catalogue: exactly that is found, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.unit.faultcatalogue import CASES, Case

from windrow.diagnose import diagnose
from windrow.model.findings import Finding
from windrow.testing.fabric import Fabric, cluster_of, evidence_of


def found_in(f: Fabric) -> tuple[Finding, ...]:
    return diagnose(cluster_of(f), evidence_of(f))


def shown(found: tuple[Finding, ...]) -> str:
    return "\n".join(f"{f.reason} {f.certainty} [{f.place}] {f.message} {f.vids}" for f in found)


def is_it(case: Case, finding: Finding) -> bool:
    return (
        finding.reason is case.reason
        and (not case.legs or finding.legs == case.legs)
        and finding.vids == case.expected()
        and all(words in finding.place for words in case.place)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_alone(case: Case) -> None:
    healthy = case.on.fabric()
    assert not found_in(healthy)
    found = found_in(case.fault(healthy))
    assert len(found) == 1, shown(found)
    assert is_it(case, found[0]), shown(found)
    assert case.certainty in (None, found[0].certainty)
    assert all(words in found[0].fix.words for words in case.fix), found[0].fix.words
    assert found[0].evidence or found[0].lacks


def pairs() -> list[tuple[Case, Case]]:
    """Two faults on one fabric, at different nodes and in different VLANs: neither hides the other, as two faults
    of one server would."""
    several = [case for case in CASES if not case.single]
    return [
        (one, other)
        for index, one in enumerate(several)
        for other in several[index + 1 :]
        if one.on == other.on and not {leg.node for leg in one.legs} & {leg.node for leg in other.legs}
        if one.legs or other.legs or one.vids != other.vids
    ]


@pytest.mark.parametrize("seed", range(200))
def test_two_faults_at_once(seed: int) -> None:
    one, other = random.Random(seed).choice(pairs())
    f = replace(one.on.fabric(nodes=5), seed=seed)
    found = found_in(other.fault(one.fault(f)))
    story = f"{one.name} + {other.name}:\n{shown(found)}"
    assert any(is_it(one, x) for x in found), story
    assert any(is_it(other, x) for x in found), story
    assert len(found) == 2, story
