"""Windrow's image, and another one: the same with one more layer."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.image import making

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "image"
"""Not in /tmp: a lab has one of its own."""
REPOSITORY = "docker.io/library/windrow"
MARK = "/usr/share/windrow/mark"
"""A file that only the other image has."""
LAYER = "application/vnd.oci.image.layer.v1.tar"


def make() -> Path:
    """As the chart asks for it, of this checkout."""
    making.make(PLACE)
    return PLACE / "windrow.tar"


def with_another(archive: Path, tag: str) -> Path:
    """An archive of both, which have all other layers in common. The other one has `MARK`, which says the tag."""
    with tarfile.open(archive) as found:
        files = {one.name: found.extractfile(one).read() for one in found if one.isfile()}  # type: ignore[union-attr]
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = _blob(files, entry)
    config = _blob(files, manifest["config"])
    layer = _tar({MARK.lstrip("/"): f"{tag}\n".encode()})
    config["rootfs"]["diff_ids"].append(_digest(layer))
    config.pop("history", None)  # it has an entry for each layer, or is not there
    manifest["layers"].append(_add(files, LAYER, layer))
    manifest["config"] = _add(files, manifest["config"]["mediaType"], _json(config))
    named = {"annotations": {"org.opencontainers.image.ref.name": f"{REPOSITORY}:{tag}"}}
    made = {**_add(files, entry["mediaType"], _json(manifest)), **named}
    files["index.json"] = _json({"schemaVersion": 2, "manifests": [entry, made]})
    target = archive.with_name("both.tar")
    target.write_bytes(_tar(files))
    return target


def _blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> Any:
    return json.loads(files[_path(descriptor["digest"])])


def _add(files: dict[str, bytes], media_type: str, data: bytes) -> dict[str, Any]:
    """A blob, and the descriptor that names it."""
    digest = _digest(data)
    files[_path(digest)] = data
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()
