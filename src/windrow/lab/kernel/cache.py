"""What the lab keeps between two runs: what was compiled, and what kernels said that did not come up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from windrow.services import usercache

_KEPT = 8
"""So many files of what kernels said; the oldest goes."""


def directory() -> Path:
    """Raises OSError."""
    return usercache.directory("lab")


def keep_words(kernel: str, lines: Sequence[str]) -> Path | None:
    """Write what a kernel said to a file; None where that is not possible, which is no reason to fail."""
    with contextlib.suppress(OSError):
        place = directory()
        older = sorted(place.glob("*.log"), key=lambda p: p.stat().st_mtime)
        for path in older[: max(0, len(older) - _KEPT + 1)]:
            path.unlink(missing_ok=True)
        path = place / f"{kernel}-{os.getpid()}.log"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path
    return None
