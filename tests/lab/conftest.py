"""Tests of the lab from inside its kernel. `make test-kernel` boots one for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.needs import lab_kernel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_kernel(items, Path(__file__).parent, "the lab tests")
