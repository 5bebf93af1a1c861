"""`-f FILE|DIR|-`: manifests from files, directories and standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from windrow.model.problems import Problem
from windrow.model.wire import Loaded, load_documents, without_doubles
from windrow.store.directory import SUFFIXES, read_manifests
from windrow.store.errors import StoreError

STDIN = "<stdin>"


def read(places: Sequence[str]) -> Loaded:
    """All objects of all places, and everything that is wrong with them. Raises nothing that a user can cause."""
    problems: list[Problem] = []
    parts: list[Loaded] = []
    for place in places:
        try:
            part = _stdin() if place == "-" else read_manifests(Path(place))
        except StoreError as error:
            problems.append(
                Problem(code="file-unreadable", file=str(error.path), message=error.reason, hint=error.hint)
            )
            continue
        parts.append(part)
        if part == Loaded():
            problems.append(_nothing(place))
    loaded = without_doubles(parts)
    return replace(loaded, problems=(*problems, *loaded.problems))


def _nothing(place: str) -> Problem:
    """To apply nothing is a mistake: a wrong name, or a program before the pipe that failed."""
    if place == "-":
        return Problem(code="file-empty", file=STDIN, message="there is no manifest here", hint="nothing came in")
    hint = f"manifests end in {', '.join(SUFFIXES)}" if Path(place).is_dir() else "the file is empty, or all comment"
    return Problem(code="file-empty", file=place, message="there is no manifest here", hint=hint)


def _stdin() -> Loaded:
    if sys.stdin is None:  # closed by whoever started us: Python then has none
        hint = "`windrow plan -f - < FILE`, or name the file"
        return Loaded(problems=(Problem(code="file-unreadable", file=STDIN, message="it is closed", hint=hint),))
    try:
        return load_documents(sys.stdin.buffer.read().decode("utf-8-sig"), STDIN)
    except UnicodeDecodeError as error:
        message = f"this is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}"
        return Loaded(problems=(Problem(code="file-encoding", message=message, file=STDIN),))
