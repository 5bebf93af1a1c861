"""The agent and safe changes on nodes of a lab, inside its kernel. `make test-kernel` boots one for all of them."""

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
            f"the tests of the agent need root: {error}. Run them with `make test-kernel`."
        ) from error
    if lacks:
        raise pytest.UsageError(f"this kernel has no {', no '.join(lacks)}. Run them with `make test-kernel`.")
