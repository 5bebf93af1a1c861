"""What was adopted on this host (`model.adopted`), on disk before the first link is marked: for `windrow adopt
--undo`, and for whoever finds that an adoption was cut off."""

from __future__ import annotations

import json
from typing import Any

from windrow.model.adopted import Adopted, AdoptedLink
from windrow.model.values import IfName, Ref
from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths


def read_adopted(paths: Paths) -> Adopted:
    """Empty: nothing was. Raises StoreError: it cannot be read."""
    with explained(paths.adopted, "read what was adopted"):
        try:
            data = records.read_private(paths.adopted)
        except FileNotFoundError:
            return Adopted()
    try:
        return _read(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        hint = "take the marks off by hand, if they are to go: see the page on adopting"
        raise StoreError(paths.adopted, f"this is not what was adopted: {error}", hint) from error


def _read(document: Any) -> Adopted:
    records.understand(document)
    return Adopted(
        marked=tuple(
            AdoptedLink(
                link=IfName(one["link"]), name=IfName(one["name"]), group=int(one["group"]), at=int(one.get("at", 0))
            )
            for one in document["marked"]
        ),
        objects=tuple(Ref(one["kind"], one["name"], one.get("namespace", "")) for one in document["objects"]),
    )


def write_adopted(paths: Paths, adopted: Adopted) -> None:
    """Raises StoreError."""
    document = {
        "marked": [{"link": one.link, "name": one.name, "group": one.group, "at": one.at} for one in adopted.marked],
        "objects": [{"kind": one.kind, "name": one.name, "namespace": one.namespace} for one in adopted.objects],
    }
    with explained(paths.adopted, "write down what is adopted"):
        records.make_directory(paths.adopted.parent)
        records.write(paths.adopted, json.dumps(records.stamped(document), indent=1).encode(), mode=records.PRIVATE)


def forget_adopted(paths: Paths) -> None:
    """Raises StoreError."""
    with explained(paths.adopted, "forget what was adopted"):
        paths.adopted.unlink(missing_ok=True)
