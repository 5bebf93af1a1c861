"""The one door by which text leaves: standard output and standard error, whoever writes to them.

Names and messages come from manifests, from the kernel and from the wire; a terminal would obey what is in them. What
is meant for a terminal (`control`), and bytes that are relayed (a guest's console, a program in the lab), go past it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from windrow.model.problems import WindrowError
from windrow.render.text import shown


class Unwritable(WindrowError):
    """What was asked for cannot be printed."""


class Door:
    """A text stream that shows control characters as what they are. `colour`: ours may pass."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self.behind, self._colour = stream, colour

    def write(self, text: str) -> int:
        with self._told():
            self.behind.write(shown(text, colour=self._colour))
        return len(text)

    def flush(self) -> None:
        with self._told():
            self.behind.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A full disk is not ours to report as a fault of Windrow. A reader who went away (`| head`) is no fault."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritable(f"{self.behind.name} cannot be written: {error.strerror}") from error

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def close_doors(*, output: bool = False, errors: bool = False) -> None:
    """From now on both streams have one; colours may pass where they are asked for."""
    sys.stdout, sys.stderr = _through(sys.stdout, output), _through(sys.stderr, errors)


def _through(stream: TextIO, colour: bool) -> TextIO:
    behind = _behind(stream)
    if (behind.encoding or "").lower() in ("ascii", "ansi_x3.4-1968", "us-ascii") and hasattr(behind, "reconfigure"):
        behind.reconfigure(encoding="utf-8")  # click would open a way of its own beside this one
    return cast(TextIO, Door(behind, colour=colour))


def _behind(stream: TextIO) -> TextIO:
    return stream.behind if isinstance(stream, Door) else stream


def control(text: str) -> None:
    """To the terminal of standard output as it stands: moves of the cursor. Foreign text in it has been `shown`."""
    stream = _behind(sys.stdout)
    stream.write(text)
    stream.flush()
