"""The configuration files of another program that sets up links, below a root that tests move. Nothing here knows what
they say (`windrow.adopt` does)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from windrow.model.problems import Problem, Severity

SIZE_MAX = 1 << 20
"""A larger one was written by nobody who sets up links."""


def read_files(root: Path, places: Iterable[str]) -> tuple[list[tuple[str, str]], list[Problem]]:
    """(file, text) of all that match these patterns, in the order of the patterns, and what could not be read."""
    found: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(path for place in places for path in sorted(root.glob(place))):
        shown = f"/{path.relative_to(root)}"
        try:
            if not path.is_file():
                continue
            if path.stat().st_size > SIZE_MAX:
                raise OSError(f"it is larger than {SIZE_MAX >> 20} MiB")
            found.append((shown, path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            problems.append(
                Problem(
                    code="file-unreadable",
                    message=f"what it says of the links cannot be told: {reason}",
                    hint="run it as root" if isinstance(error, PermissionError) else "look at it by hand",
                    file=shown,
                    severity=Severity.WARNING,
                )
            )
    return found, problems
