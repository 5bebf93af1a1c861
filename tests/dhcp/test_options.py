"""What clients are told, on the wire, by dnsmasq and by Kea. The same by dnsmasq alone: tests/kernel."""

from __future__ import annotations

import pytest
from tests.dhcp.acked import check_everything, check_longest, check_nothing

from windrow.model.pools import Program


@pytest.mark.parametrize("program", Program, ids=str)
def test_all_that_a_pool_says(program: Program) -> None:
    check_everything(program)


@pytest.mark.parametrize("program", Program, ids=str)
def test_nothing_that_it_does_not_say(program: Program) -> None:
    check_nothing(program)


@pytest.mark.parametrize("program", Program, ids=str)
def test_the_longest_lists(program: Program) -> None:
    check_longest(program)
