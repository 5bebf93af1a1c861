"""What clients of a pool are told, on the wire, by dnsmasq. By Kea, too: tests/dhcp."""

from __future__ import annotations

from tests.dhcp.acked import check_everything, check_nothing

from windrow.model.pools import Program


def test_all_that_a_pool_says() -> None:
    check_everything(Program.DNSMASQ)


def test_nothing_that_it_does_not_say() -> None:
    check_nothing(Program.DNSMASQ)
