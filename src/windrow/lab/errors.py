"""What a lab cannot do.

LabError
├── BootError       the kernel did not come up; `console` has its last words
└── LabGone         the lab ended while something was asked of it
"""

from __future__ import annotations

from windrow.model.problems import WindrowError


class LabError(WindrowError):
    """`hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.hint = hint
        super().__init__(f"{message}\n    hint: {hint}" if hint else message)


class BootError(LabError):
    def __init__(self, message: str, *, console: str = "", hint: str = "") -> None:
        self.console = console
        super().__init__(message, hint=hint)


class LabGone(LabError):
    pass
