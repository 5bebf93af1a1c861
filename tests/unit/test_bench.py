"""The benchmarks of the pure rooms still measure what they say: their own assertions hold, and every row has a time."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from bench import frames, outside, pure
from bench.measure import Group


@pytest.mark.parametrize(
    ("module", "groups"), [(pure, pure.groups), (frames, frames.groups), (outside, outside.groups)]
)
def test_they_run(monkeypatch: pytest.MonkeyPatch, module: ModuleType, groups: Callable[[], list[Group]]) -> None:
    monkeypatch.setattr(module, "RUNS", 1)
    monkeypatch.setattr(outside, "NODES", 5)
    for group in groups():
        assert group.rows, group.title
        assert all(row.what for row in group.rows)
