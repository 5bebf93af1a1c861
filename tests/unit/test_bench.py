"""The benchmarks of the pure rooms still measure what they say: their own assertions hold, and every row has a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from bench import frames, outside, pure, start
from bench.measure import Group
from tests.unit.test_cli_look import Host


@pytest.mark.parametrize(
    ("module", "groups"), [(pure, pure.groups), (frames, frames.groups), (outside, outside.groups)]
)
def test_they_run(monkeypatch: pytest.MonkeyPatch, module: ModuleType, groups: Callable[[], list[Group]]) -> None:
    monkeypatch.setattr(module, "RUNS", 1)
    monkeypatch.setattr(outside, "NODES", 5)
    for group in groups():
        assert group.rows, group.title
        assert all(row.what for row in group.rows)


def test_the_manifests_of_the_start_can_be_planned(tmp_path: Path) -> None:
    """Otherwise what is measured is how fast an error comes."""
    host = Host(tmp_path)
    folder = tmp_path / "etc/windrow/manifests"
    folder.mkdir(parents=True)
    (folder / "nads.yaml").write_text(start.manifests())
    result = host.run("plan")
    assert result.exit_code == 0 and "error" not in result.output, result.output
