"""What tests need of the kernel that they run in. Loudly, for a skipped test proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from windrow.lab.session import missing
from windrow.model.problems import WindrowError


def lab_kernel(items: Iterable[pytest.Item], below: Path, what: str, target: str = "test-kernel") -> None:
    """One that can be a lab, where a test below this directory is to run; `target`: of make, which boots one. Raises
    pytest.UsageError."""
    if not any(item.path.is_relative_to(below) for item in items):
        return
    try:
        lacks = missing()
    except WindrowError as error:
        raise pytest.UsageError(f"{what} need root: {error}. Run them with `make {target}`.") from error
    if lacks:
        raise pytest.UsageError(f"this kernel has no {', no '.join(lacks)}. Run them with `make {target}`.")
