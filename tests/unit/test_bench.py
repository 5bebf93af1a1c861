"""The benchmarks of the pure rooms still measure what they say: their own assertions hold, and every row has a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from bench import __main__ as whole
from bench import frames, outside, pure, report, start
from bench.measure import Group, Row
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


def group(title: str, where: str = "here") -> Group:
    return Group(title=title, where=where, rows=(Row(what="a way", seconds=(1.0,)),))


def test_a_part_that_fails_costs_only_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever their titles are; what was measured before it, and after it, is on the page."""

    def broken() -> list[Group]:
        raise ValueError("no such thing")

    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    page.write_text(report.page("The machine: old.", [group("Broken things"), group("500 ports")]))
    monkeypatch.setattr(whole, "ROOT", tmp_path)
    monkeypatch.setattr(whole, "RESULT", page)
    monkeypatch.setattr("sys.argv", ["bench"])
    parts = {
        "first": ("one", lambda: [group("500 ports"), group("A thing of its own")]),
        "broken": ("two", broken),
        "last": ("three", lambda: [group("500 ports", "there")]),
    }
    monkeypatch.setattr(whole, "PARTS", parts)
    with pytest.raises(SystemExit, match="not measured: broken"):
        whole.main()
    titles = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    assert titles == ["## Broken things", "## 500 ports", "## A thing of its own", "## 500 ports"]
    parts.pop("broken")
    whole.main()
    titles = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    assert titles == ["## 500 ports", "## 500 ports", "## A thing of its own"], "the same on two grounds, side by side"
