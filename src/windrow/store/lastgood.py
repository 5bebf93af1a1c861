"""The last good desired state: what this node comes up from, whatever became of its manifests. Read before all else.

A JSON document with its own digest: a file that a failing disk changed is not half believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from windrow.model.manifests import LastGood
from windrow.model.meta import Source
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem
from windrow.model.wire import document_of, load_documents
from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths

VERSION = 1

Signature = tuple[int, int, int]
"""Inode, size, time of change: another process wrote it."""


def write_last_good(paths: Paths, objects: Iterable[AnyObject], now: float, *, node: str = "") -> None:
    """It is on the disk when this returns; `node`: which one this host was. Raises StoreError; then the old one is
    still there, whole."""
    path = paths.last_good
    listed = [{"file": obj.source.file, "document": document_of(obj)} for obj in _ordered(objects)]
    body = json.dumps(listed, separators=(",", ":"))
    data = json.dumps({"version": VERSION, "written": now, "digest": _digest(body), "node": node, "objects": body})
    with explained(path, "write the last good state"):
        records.make_directory(path.parent)
        # Command and agent may do this at the same moment: whoever writes it does not have to hold a lock.
        records.write(path, data.encode(), mode=records.PRIVATE, rivals=True)


def read_last_good(paths: Paths) -> LastGood | None:
    """None: there is none yet. Raises StoreError where it cannot be read, or is not what was written."""
    path = paths.last_good
    try:
        with explained(path, "read the last good state"):
            data = records.read_private(path)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    try:
        document = json.loads(data)
        if document["version"] != VERSION or document["digest"] != _digest(document["objects"]):
            raise ValueError("it is not as it was written")
        objects = tuple(_objects(json.loads(document["objects"])))
        return LastGood(objects=objects, written=float(document["written"]), node=str(document.get("node", "")))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        hint = "it is written anew after the next `windrow apply` that succeeds; until then only the manifests count"
        raise StoreError(path, f"this is no last good state: {type(error).__name__}: {error}", hint) from error


def signature(paths: Paths) -> Signature | None:
    """Which version of the file is there; None: none."""
    try:
        found = os.stat(paths.last_good)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _ordered(objects: Iterable[AnyObject]) -> list[AnyObject]:
    return sorted(objects, key=lambda obj: (obj.source.file, obj.ref))


def _digest(text: str) -> str:
    import hashlib  # slow to load (it loads OpenSSL), and who only reads manifests needs none of it

    return hashlib.sha256(text.encode()).hexdigest()


def _objects(listed: list[dict[str, Any]]) -> Iterator[AnyObject]:
    """By the same reader as manifests; what an older version wrote and this one does not read is an error."""
    for file, entries in groupby(listed, key=lambda entry: str(entry["file"])):
        items = [entry["document"] for entry in entries]
        loaded = load_documents(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        wrong: list[Problem] = [p for p in loaded.problems if p.severity == "error"]
        if wrong or len(loaded.objects) != len(items):
            raise ValueError(str(wrong[0]) if wrong else "an object is missing")
        for obj in loaded.objects:
            yield replace(obj, source=Source(file=file))
