"""What a call has done so far, for taking it back when a later part fails."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from windrow.model.errors import WindrowError


class Undo:
    """A context: an exception that leaves it runs what was noted, last first; one that fails does not stop the others.

    `last` is done after all of it, and only if all of it could be done: for the record that says what is to be undone.
    """

    def __init__(self) -> None:
        self._notes: list[Callable[[], object]] = []
        self.last: Callable[[], object] = lambda: None

    def note(self, undo: Callable[[], object]) -> None:
        self._notes.append(undo)

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            return
        done = [_done(undo) for undo in reversed(self._notes)]
        if all(done):
            _done(self.last)


def _done(undo: Callable[[], object]) -> bool:
    try:
        undo()
    except (WindrowError, OSError):
        return False
    return True
