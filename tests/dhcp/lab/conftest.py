"""DHCP under load on nodes of a lab, inside its kernel: `make test-dhcp` boots one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.needs import lab_kernel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_kernel(items, Path(__file__).parent, "the tests of DHCP under load", "test-dhcp")
