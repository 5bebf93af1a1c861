"""`-f FILE|DIR|URL|-` and `-k DIR`: manifests from files, directories, servers, standard input, and from kustomize."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from windrow.model.problems import Problem
from windrow.model.wire import Loaded, load_documents, without_doubles
from windrow.services.errors import ServiceError
from windrow.store.directory import SUFFIXES, read_manifests
from windrow.store.errors import StoreError

STDIN = "<stdin>"


class Kustomization(str):
    """A place that `-k` names: a directory for kustomize."""


def read(places: Sequence[str]) -> Loaded:
    """All objects of all places, and everything that is wrong with them. Raises nothing that a user can cause."""
    problems: list[Problem] = []
    parts: list[Loaded] = []
    for place in places:
        try:
            part = _found(place)
        except ServiceError as error:
            problems.append(Problem(code="not-fetched", file=place, message=error.reason, hint=error.hint))
            continue
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


def _found(place: str) -> Loaded:
    """Raises StoreError, ServiceError."""
    if place == "-":
        return _stdin()
    if isinstance(place, Kustomization):
        from windrow.services.manifesttexts import kustomized

        return load_documents(kustomized(place), place)
    if place.startswith(("http://", "https://")):
        from windrow.services.manifesttexts import fetched  # slow to load: it loads TLS

        return _text(fetched(place), place)
    return read_manifests(Path(place))


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
    return _text(sys.stdin.buffer.read(), STDIN)


def _text(data: bytes, place: str) -> Loaded:
    try:
        return load_documents(data.decode("utf-8-sig"), place)
    except UnicodeDecodeError as error:
        message = f"this is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}"
        return Loaded(problems=(Problem(code="file-encoding", message=message, file=place),))
