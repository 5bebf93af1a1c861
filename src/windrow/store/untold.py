"""Of which containers a cluster's API is still to be told what they have: a file for each, gone once it knows.

What it is to be told is in the container's record, as of then. On tmpfs, with the containers.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.store import records
from windrow.store.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """`pod`: `namespace/name`. `uid`: of the pod, which is another one where that differs."""

    container_id: str
    pod: str
    uid: str


def note(paths: Paths, one: Untold) -> None:
    """Raises OSError."""
    path = _path(paths, one.container_id)
    records.make_directory(path.parent, records.PRIVATE_DIRECTORY, flush=False)
    data = json.dumps(records.stamped({"pod": one.pod, "uid": one.uid})).encode()
    records.write(path, data, mode=records.PRIVATE, flush="nothing", rivals=True)


def forget(paths: Paths, container_id: str) -> None:
    """It is told, or nobody is there any more who could be."""
    with suppress(FileNotFoundError):
        _path(paths, container_id).unlink()


def all_of(paths: Paths) -> tuple[Untold, ...]:
    """The oldest first: of two containers of a pod the later one has its network. What cannot be read is none."""
    found: list[tuple[int, Untold]] = []
    with suppress(FileNotFoundError):
        for path in paths.untold.iterdir():
            if path.suffix == _SUFFIX and not path.name.startswith("."):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    document = jsontext.loads(path.read_bytes())
                    records.understand(document)
                    one = Untold(container_id=path.stem, pod=str(document["pod"]), uid=str(document["uid"]))
                    found.append((os.stat(path).st_mtime_ns, one))
    return tuple(one for _, one in sorted(found, key=lambda pair: pair[0]))


_SUFFIX = ".json"


def _path(paths: Paths, container_id: str) -> Path:
    return paths.untold / f"{container_id}{_SUFFIX}"
