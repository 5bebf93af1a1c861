"""The last changes that were made by hand, a file for each: for `windrow history` and `windrow rollback`.

They hold whole objects, passwords of machines included, so they are root's. Nothing is decided by them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windrow.model.history import Applied
from windrow.model.values import Ref
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths

KEPT = 50


class History:
    """Whoever adds or forgets holds the lock of the host. All methods raise StoreError."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.history

    def all(self) -> tuple[Applied, ...]:
        """The newest last; a file that cannot be understood is passed over: `unreadable` names it."""
        found = []
        for number, path in self._files():
            with explained(path, "read the change"):
                text = path.read_text(encoding="utf-8")
            try:
                found.append(_read(number, json.loads(text)))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return tuple(found)

    def unreadable(self) -> tuple[int, ...]:
        """The numbers of the changes whose files cannot be understood."""
        understood = {change.number for change in self.all()}
        return tuple(number for number, _ in self._files() if number not in understood)

    def add(self, change: Applied) -> None:
        """With the next number, whatever it has."""
        files = self._files()
        number = files[-1][0] + 1 if files else 1
        path = self._path(number)
        with explained(path, "write the change"):
            records.make_directory(self._directory, mode=records.PRIVATE_DIRECTORY)
            records.write(path, json.dumps(records.stamped(_document(change))).encode(), mode=records.PRIVATE)
            for _, old in files[: max(0, len(files) + 1 - KEPT)]:
                old.unlink(missing_ok=True)

    def forget_since(self, at: float) -> None:
        """What was made since then was undone."""
        for change in self.all():
            if change.at >= at:
                path = self._path(change.number)
                with explained(path, "take away the change"):
                    path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:06}.json"

    def _files(self) -> list[tuple[int, Path]]:
        with explained(self._directory, "read the directory"):
            if not self._directory.is_dir():
                return []
            names = (re.fullmatch(r"([0-9]{6,})\.json", path.name) for path in self._directory.iterdir())
            return sorted((int(found[1]), self._directory / found[0]) for found in names if found)


def _document(change: Applied) -> dict[str, Any]:
    return {
        "at": change.at,
        "by": change.by,
        "origin": change.origin,
        "command": change.command,
        "objects": [
            {
                "kind": ref.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "before": change.before.get(ref),
                "after": after,
            }
            for ref, after in change.after.items()
        ],
    }


def _read(number: int, value: Mapping[str, Any]) -> Applied:
    records.understand(value)
    return Applied(
        number=number,
        at=float(value["at"]),
        by=str(value["by"]),
        origin=str(value["origin"]),
        command=str(value["command"]),
        before=dict(_documents(value, "before")),
        after=dict(_documents(value, "after")),
    )


def _documents(value: Mapping[str, Any], which: str) -> Iterator[tuple[Ref, Any]]:
    for one in value["objects"]:
        yield Ref(one["kind"], one["name"], one["namespace"]), one[which]
