"""What a lab cannot do.

LabError
├── BootError       the kernel did not come up; `log` is the file with what it said
└── LabGone         the lab ended while something was asked of it
"""

from __future__ import annotations

from pathlib import Path

from windrow.model.problems import WindrowError


class LabError(WindrowError):
    """`reason` says what is wrong, `hint` what to do about it; the text has both."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.reason, self.hint = message, hint
        super().__init__(f"{message}\n    hint: {hint}" if hint else message)


class BootError(LabError):
    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        self.log = log
        super().__init__(message, hint=hint)
        if log:
            self.args = (f"{self}\n    what it said: {log}",)


class LabGone(LabError):
    pass
