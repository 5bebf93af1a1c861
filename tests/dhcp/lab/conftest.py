"""DHCP under load on nodes of a lab, inside its kernel: `make test-dhcp` boots one."""

from __future__ import annotations

from pathlib import Path

import pytest

from windrow.lab.session import missing
from windrow.model.problems import WindrowError

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No kernel, no tests: and loudly, for a skipped test proves nothing."""
    if not any(item.path.is_relative_to(HERE) for item in items):
        return
    try:
        lacks = missing()
    except WindrowError as error:
        raise pytest.UsageError(
            f"the tests of DHCP under load need root: {error}. Run them with `make test-dhcp`."
        ) from error
    if lacks:
        raise pytest.UsageError(f"this kernel has no {', no '.join(lacks)}. Run them with `make test-dhcp`.")
