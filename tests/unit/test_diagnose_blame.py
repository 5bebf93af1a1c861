"""Whom evidence beside the probes speaks against is blamed first: a port, or all ports of a switch together."""

from __future__ import annotations

from itertools import product

import pytest

from windrow.diagnose.blame import Culprit, Ground, Scope, blame
from windrow.model.evidence import Leg
from windrow.model.values import IfName

A1, A2, B1, C1 = (Leg(node, IfName(nic)) for node, nic in (("a", "e1"), ("a", "e2"), ("b", "e1"), ("c", "e1")))
LEGS = (A1, A2, B1, C1)
SWITCHES = {A1: "s1", A2: "s1", B1: "s1", C1: "s2"}


@pytest.mark.parametrize(
    ("suspects", "blamed"),
    [
        ((A1, A2, B1), {Culprit(Scope.SWITCH, (), ("s1",))}),
        ((A1, B1), {Culprit(Scope.PORT, (A1,)), Culprit(Scope.PORT, (B1,))}),
    ],
    ids=["all ports of a switch: the switch", "some of them: each"],
)
def test_suspects(suspects: tuple[Leg, ...], blamed: set[Culprit]) -> None:
    ground = Ground(switches=SWITCHES, ends={leg: (leg,) for leg in LEGS}, suspects=frozenset(suspects))
    gone = set(suspects)
    failed = [(a, (b,)) for a, b in product(LEGS, LEGS) if a.node != b.node and (a in gone or b in gone)]
    arrived = [(a, b) for a, b in product(LEGS, LEGS) if a.node != b.node and not gone & {a, b}]
    found = blame(failed, arrived, ground)
    assert {verdict.culprit for verdict in found.verdicts} == blamed
    assert not found.left
