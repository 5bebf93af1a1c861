"""`-f FILE|DIR|-`: manifests from files, directories and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from windrow.model.problems import Problem
from windrow.model.wire import Loaded, load_documents, without_doubles

SUFFIXES = (".yaml", ".yml", ".json")


def read(places: Sequence[str]) -> Loaded:
    """All objects of all places, and everything that is wrong with them."""
    problems: list[Problem] = []
    parts = [load_documents(text, name) for place in places for name, text in _texts(place, problems)]
    loaded = without_doubles(parts)
    return replace(loaded, problems=(*problems, *loaded.problems))


def _texts(place: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    if place == "-":
        files = [Path("-")]
    else:
        path = Path(place)
        if not path.is_dir():
            files = [path]
        else:
            files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
            if not files:
                problems.append(
                    Problem(
                        code="file-empty",
                        file=place,
                        message="no manifests in this directory",
                        hint=f"manifests end in {', '.join(SUFFIXES)}",
                    )
                )
    for file in files:
        try:
            data = sys.stdin.buffer.read() if place == "-" else file.read_bytes()
            yield ("<stdin>" if place == "-" else str(file)), data.decode()
        except OSError as error:
            problems.append(Problem(code="file-unreadable", file=str(file), message=error.strerror or str(error)))
        except UnicodeDecodeError as error:
            text = f"is not UTF-8 text: byte {error.start}"
            problems.append(Problem(code="file-unreadable", file=str(file), message=text))
