"""What was changed by hand: which objects, by whom, from where; and how to go back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.values import Ref

Documents = Mapping[Ref, Mapping[str, Any] | None]
"""None: there was no such object, or there is none any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One change of the store. `at`: Unix time. `origin`: the address of the SSH client; empty where there is none."""

    number: int
    at: float
    by: str
    origin: str
    command: str
    before: Documents
    after: Documents

    @property
    def who(self) -> str:
        return f"{self.by} from {self.origin}" if self.origin else self.by


def back_to_before(changes: Iterable[Applied], number: int) -> Documents:
    """The objects as they were before this change: those that it or a later one has changed."""
    found: dict[Ref, Mapping[str, Any] | None] = {}
    for one in sorted(changes, key=lambda c: c.number):
        if one.number >= number:
            found = {**one.before, **found}
    return found
