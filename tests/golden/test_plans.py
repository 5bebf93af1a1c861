"""Given a node and its manifests before and after: the plan, word for word.

A case is a folder: `node.yaml` (its NICs, what others made on it, its leases, the ports of its containers),
`before.yaml` (brought about first), `after.yaml`, and the expected `plan.txt`. A new case is a new folder; `pytest
tests/golden --update` writes what is expected, and its diff is for reading.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.golden.cases import CASES, NODE, manifests, start

from windrow.apps.engine import look, plan_node
from windrow.model.cluster import Cluster
from windrow.render.consequences import consequences_text
from windrow.render.plan import plan_text
from windrow.status.consequences import Here, consequences


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plan(case: Path, golden) -> None:  # type: ignore[no-untyped-def]
    kernel, known = start(case)
    old = case / "before.yaml"
    before, after = manifests(old) if old.exists() else Cluster.of(()), manifests(case / "after.yaml")
    sight = look(kernel, NODE, known)
    planned = plan_node(after, sight)
    here = Here(node=NODE, observed=sight.observed, plan=planned.plan, ports=sight.facts.ports)
    means = consequences_text(consequences(before, after, here))
    text = plan_text(planned.plan, node=NODE, problems=planned.compiled.problems)
    golden(case / "plan.txt", f"{text}\n{means}" if means else text)
