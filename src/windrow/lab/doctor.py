"""What lab kernels this machine can run: each is booted for real, and ended again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from windrow.lab.errors import BootError, LabError
from windrow.lab.kernel.machine import Machine
from windrow.model.lazy import dataclass

Try = Callable[[], Machine]
"""Boots a kernel. Raises LabError where it does not come up."""

HEADINGS = ("KERNEL", "WORKS", "LINUX", "SECONDS", "REASON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one kernel. `seconds`: until it was up, or until it was clear that it will not be. `log`: what it said."""

    kernel: str
    works: bool
    seconds: float
    release: str = ""
    reason: str = ""
    todo: str = ""
    log: Path | None = None

    def row(self) -> tuple[str, ...]:
        """Cells for HEADINGS."""
        return (
            self.kernel,
            "yes" if self.works else "no",
            self.release or "-",
            f"{self.seconds:.1f}",
            self.reason or "-",
        )

    def words(self) -> list[str]:
        """What to do about it, in lines; empty where it works."""
        hint = [f"{self.kernel}: {self.todo}"] if self.todo else []
        return [*hint, *([f"{self.kernel}: what it said: {self.log}"] if self.log else [])]

    def to_json(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel,
            "works": self.works,
            "seconds": round(self.seconds, 3),
            "release": self.release,
            "reason": self.reason,
            "hint": self.todo,
            "log": str(self.log or ""),
        }


def examine(kernels: Sequence[tuple[str, Try]], *, first: bool = False) -> list[Verdict]:
    """Each kernel by its name and how it is booted, in turn; with `first`, only until one works."""
    found: list[Verdict] = []
    for name, boot in kernels:
        found.append(_try(name, boot))
        if first and found[-1].works:
            break
    return found


def _try(name: str, boot: Try) -> Verdict:
    started = time.monotonic()
    try:
        with boot() as machine:
            took = time.monotonic() - started
            return Verdict(kernel=name, works=True, seconds=took, release=str(machine.about["kernel"]))
    except LabError as error:
        took = time.monotonic() - started
        log = error.log if isinstance(error, BootError) else None
        return Verdict(kernel=name, works=False, seconds=took, reason=error.reason, todo=error.hint, log=log)
