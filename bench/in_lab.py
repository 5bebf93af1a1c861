"""The way into the lab kernel: `windrow lab test` runs pytest there, so this is a test in form only."""

from __future__ import annotations

from bench import inside
from windrow.netlink import netns


def test_measure() -> None:
    netns.in_new(lambda: inside.measure("the lab kernel"))
