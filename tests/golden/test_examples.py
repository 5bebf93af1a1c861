"""The examples are admitted without a word, and come about on the nodes that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from windrow.apps.engine import converge, look
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.rules import changes_to, check
from windrow.store.directory import read_manifests
from windrow.testing.fake import FakeKernel

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/"))
NODES = ("node-0", "node-1")


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, node: str) -> None:
    kernel = FakeKernel()
    for number in range(6):
        kernel.add_nic(f"eth{number}", up=True)
    loaded = read_manifests(example)
    facts = look(kernel, node).facts
    empty = Cluster.of([])
    assert not loaded.problems
    assert not check(empty, changes_to(empty, loaded.objects), facts=facts)
    report = converge(Cluster.of(loaded.objects), kernel, node, knowing=lambda: Known(agent=True))
    assert report.ok, report.left
    assert not report.planned.compiled.problems
    assert [n for n in kernel.observe().state.links if n.endswith("-bo")], "no uplink was made"


def test_every_example_is_in_the_list() -> None:
    text = (Path(__file__).parents[2] / "examples" / "README.md").read_text()
    assert [e.name for e in EXAMPLES if f"({e.name}/" not in text] == []
    assert len(EXAMPLES) >= 5
