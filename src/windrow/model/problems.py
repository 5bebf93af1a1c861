"""Problems: what is wrong, where, why, and what to do. They are collected, never raised one by one.

The exception tree of Windrow:

    WindrowError               anything Windrow itself has to say; exit code 1
    ├── ProblemsError          one or more Problems stop the work
    └── (edges)                netlink.KernelError, store.StoreError, lab.LabError
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum

from windrow.model.errors import WindrowError as WindrowError  # of this module, too: the tree above
from windrow.model.lazy import dataclass
from windrow.model.values import Ref


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    `code` is stable, for scripts (`vid-range`); `path` is the place inside the document
    (`spec.uplink.nics[1]`); `file` and `line` the place on disk, where there is one.
    """

    code: str
    message: str
    hint: str = ""
    path: str = ""
    about: Ref | None = None
    file: str = ""
    line: int | None = None
    severity: Severity = Severity.ERROR
    others: tuple[Ref, ...] = field(default=(), compare=False, repr=False)
    """The objects that stand in the way, or are missing: whoever may be told of them late looks again at these."""

    def __str__(self) -> str:
        """`oob.yaml:12: VlanConfig/oob: spec.uplink.nics[1]: eth9 is not a NIC of this node (hint: …)`"""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        parts = [p for p in (place, str(self.about or ""), self.path) if p]
        text = ": ".join([*parts, self.message])
        return f"{text}\n    hint: {self.hint}" if self.hint else text


class ProblemsError(WindrowError):
    """Work stopped at a gate; `problems` says all there is to say, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(p for p in problems if p.severity is Severity.ERROR)


WITHOUT_EFFECT = "field-without-effect"


def lasting(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Without what is worth saying once, when an object comes: that a field of it means nothing here. A hundred
    machines with such a field would drown all the rest."""
    return tuple(p for p in problems if p.code != WITHOUT_EFFECT)
