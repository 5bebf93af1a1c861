"""The list of faults in docs/user/findings.md: what it says is shown by frames in the lab is a test there."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab import test_fault_catalogue as switches
from tests.lab import test_fault_services as services
from tests.unit.faultcatalogue import CASES, IN_LAB

PAGE = Path(__file__).parents[2] / "docs/user/findings.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end of faults -->"


def table() -> str:
    lines = ["| fault | found as | by frames |", "|---|---|---|"]
    for case in CASES:
        shown = f"`{IN_LAB[case.name]}`" if case.name in IN_LAB else "in the model"
        lines.append(f"| {case.name} | `{case.reason}` | {shown} |")
    return "\n".join(lines) + "\n"


def test_the_list_is_that_of_the_tests() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("WINDROW_UPDATE"):
        PAGE.write_text(before + BEGIN + table() + END + after)
    assert shown == table(), "WINDROW_UPDATE=1 writes it"
    assert f"{len(IN_LAB)} of these {len(CASES)} faults" in before + after


def test_what_is_said_to_be_shown_in_the_lab_is_a_test_there() -> None:
    there = {fault.shown: fault.reason for faults in switches.FAULTS for fault in faults} | services.SHOWN
    cases = {case.name: case.reason for case in CASES}
    assert IN_LAB.keys() <= cases.keys()
    assert {name: there.get(words) for name, words in IN_LAB.items()} == {name: cases[name] for name in IN_LAB}
