"""Which specs of Kubernetes' suite are decided upon and how, and what its reports say."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.suite import (
    LIST,
    PASSED,
    Decided,
    Group,
    Outcome,
    Passed,
    decided,
    focus,
    listed,
    outcomes,
    passed,
    record,
)

PODS = "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [Conformance]"
SCTP = "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: sctp [LinuxOnly]"
PRINTED = f"""\
The following spec names can be used with 'ginkgo run --focus/skip':
    test/e2e/common/network/networking.go:85: {PODS}
    test/e2e/common/network/networking.go:135: {SCTP}
    test/e2e/common/network/networking.go:85: {PODS}
    test/e2e/storage/volume.go:7: [sig-storage] Volumes hold data
"""
REPORT = f"""<testsuites><testsuite>
<testcase name="[SynchronizedBeforeSuite]" time="1"><failure message="no"/></testcase>
<testcase name="[It] {PODS} [sig-network, Conformance]" time="12.5"></testcase>
<testcase name="[It] {SCTP} [sig-network, Feature:SCTPConnectivity]" time="3">
<failure message="pod   cannot&#10;connect">trace</failure></testcase>
<testcase name="[It] [sig-storage] Volumes hold data [sig-storage]" time="0"><skipped message="skipped"/></testcase>
</testsuite></testsuites>"""


def test_each_spec_of_the_universe_is_decided_by_the_first_group_that_names_it() -> None:
    known = decided(LIST.read_text())
    found = known.by_group(listed(PRINTED))
    assert found["pods"] == [PODS] and found["sctp"] == [SCTP]
    assert sum(map(len, found.values())) == 2, "storage is none of our business"
    assert all(group.why for group in known.groups) and {group.within for group in known.groups} == {True, False}


def test_a_spec_that_nobody_has_decided_upon_is_an_error() -> None:
    nobody = Decided(re.compile("network"), [Group("pods", [re.compile("http")], within=True, why="ours")])
    with pytest.raises(ValueError, match="sctp"):
        nobody.by_group([PODS, SCTP])


def test_a_focus_means_these_specs_alone() -> None:
    assert re.search(focus([PODS]), f"suite {PODS}")
    assert not re.search(focus([PODS]), SCTP)
    assert not re.search(focus(["a (b) c"]), "a b c")


def test_what_became_of_the_specs_that_ran() -> None:
    assert outcomes(REPORT) == (Outcome(PODS, 12.5), Outcome(SCTP, 3.0, "pod cannot connect"))


@pytest.mark.parametrize(
    ("cause", "lacked"),
    [
        ("", False),
        ("pod cannot connect", False),
        ("had 3 wrong results in reachability matrix", False),
        ("Timed out after 60.000s. Expected Pod to be in running", True),
        ("client rate limiter Wait returned an error: context deadline exceeded", True),
        ("error waiting for pod: timed out waiting for the condition", True),
        ("it did not end within 1020 s", True),
    ],
)
def test_a_spec_that_lacked_time_is_one_that_a_fixed_time_has_failed(cause: str, lacked: bool) -> None:
    assert Outcome(PODS, 60.0, cause).lacked_time is lacked


def test_the_record_of_those_that_passed_is_read_as_it_is_written() -> None:
    there = [Passed(SCTP, "uml", 1003), Passed(PODS, "qemu", 7)]
    text = record("v1.34.4", there)
    assert passed(text) == {one.spec: one for one in there}
    assert record("v1.34.4", passed(text).values()) == text, "in the order of their names, whichever came first"


def test_what_is_recorded_is_in_the_list() -> None:
    known = decided(LIST.read_text())
    within = {group.name for group in known.groups if group.within}
    found = known.by_group(passed(PASSED.read_text()))
    assert {name for name, specs in found.items() if specs} <= within


def test_the_sample_of_every_day_is_five_specs_that_have_passed_three_of_them_about_policies() -> None:
    known = decided(LIST.read_text())
    there = known.by_group(passed(PASSED.read_text()))
    found = [
        (group, spec) for one in known.sample for group, specs in there.items() for spec in specs if one.search(spec)
    ]
    assert [group for group, _ in found] == ["pods", "dual stack", "policies", "policies", "policies"]


# The runner ----------------------------------------------------------------------------------------


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    path = Path(__file__).parents[2] / "scripts/conformance"
    loader = SourceFileLoader("conformance_script", str(path))
    made = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(made)
    monkeypatch.setattr(made, "ROOT", tmp_path)
    monkeypatch.setattr(made, "PLACE", tmp_path)
    return made


class FakeLab:
    """Its suite ends so, run by run: with this report, or not within its time (empty)."""

    def __init__(self, *reports: str) -> None:
        self.reports, self.runs = list(reports), 0

    def run(self, *words: str, log: Path, limit_s: float) -> str:
        self.runs += 1
        log.write_text(" ".join(words))
        return "" if self.reports[self.runs - 1] else f"it did not end within {limit_s:.0f} s"

    def read(self, path: str) -> str:
        return self.reports[self.runs - 1]


GROUP = Group("pods", [], within=True, why="")
HUNG = ""
SLOW = REPORT.replace('time="12.5">', 'time="61"><failure message="Timed out after 60.000s."/>')


@pytest.mark.parametrize(
    ("reports", "runs", "cause"),
    [
        ([REPORT], 1, ""),
        ([SLOW, REPORT], 2, ""),
        ([HUNG, REPORT], 2, ""),
        ([SLOW, SLOW], 2, "Timed out after 60.000s."),
        ([HUNG, HUNG], 2, "it did not end within 1020 s"),
    ],
)
def test_a_spec_that_lacked_time_is_run_once_more(runner: Any, reports: list[str], runs: int, cause: str) -> None:
    lab = FakeLab(*reports)
    assert runner.tried(lab, Path("e2e.test"), GROUP, PODS).cause == cause
    assert lab.runs == runs


def test_a_spec_that_fails_is_not(runner: Any) -> None:
    lab = FakeLab(REPORT)
    assert runner.tried(lab, Path("e2e.test"), GROUP, SCTP).cause == "pod cannot connect"
    assert lab.runs == 1


def test_a_report_of_an_earlier_run_is_none_of_this_one(runner: Any) -> None:
    """In a lab that stays up a suite that died at once passed, as it had before."""
    reports: dict[str, str] = {}

    class Dying(FakeLab):
        def run(self, *words: str, log: Path, limit_s: float) -> str:
            log.write_text("killed")
            if not reports:
                reports[next(word for word in words if "junit-report" in word).partition("junit-report=")[2]] = REPORT
            return ""

        def read(self, path: str) -> str:
            return reports.get(path, "")

    causes = [runner.run(Dying(), Path("e2e.test"), GROUP, PODS).cause for _ in range(2)]
    assert causes[0] == "" and "there is no report of it" in causes[1]


def test_what_a_spec_said_is_in_files_of_its_own(runner: Any, tmp_path: Path) -> None:
    for spec in (PODS, SCTP):
        runner.tried(FakeLab(REPORT), Path("e2e.test"), GROUP, spec)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4 and {name.rpartition(".")[2] for name in names} == {"log", "xml"}
    assert all(name.startswith("pods-networking-granular-checks-pods-should-function") for name in names)


def test_two_runs_at_once_note_what_passed_in_one_record(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PASSED", tmp_path / "passed.txt")
    mine, theirs = Passed("a", "uml", 12), Passed("b", "uml", 13)
    assert not runner.noted()
    runner.note(theirs)
    runner.note(mine)
    assert runner.noted() == {"a": mine, "b": theirs}
