"""Images for pods, without a registry: an OCI archive out of a static program.

The archive is that of the image specification (image-layout.md): `oci-layout`, `index.json`, and below `blobs/sha256`
a manifest, a configuration and one layer. Nothing in it depends on when it was made: the same files, the same archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

REGISTRY = "windrow.lab"
PAUSE, BUSYBOX = f"{REGISTRY}/pause:1", f"{REGISTRY}/busybox:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_OCI = "application/vnd.oci.image"
Blobs = dict[str, bytes]


def archive(commands: Mapping[str, Sequence[str]], layer: bytes) -> bytes:
    """Images that have their files in common. `commands`: what each starts, by its name (REGISTRY/…:TAG). `layer`: a
    tar of the files."""
    blobs: Blobs = {}
    found = [_image(blobs, name, layer, command) for name, command in commands.items()]
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": found}),
        **{f"blobs/sha256/{digest.partition(':')[2]}": data for digest, data in blobs.items()},
    }
    return _tar(_file(path, data) for path, data in files.items())


def _image(blobs: Blobs, name: str, layer: bytes, command: Sequence[str]) -> dict[str, Any]:
    """Its descriptor, and its blobs."""
    machine = os.uname().machine
    config = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": list(command), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _add(blobs, f"{_OCI}.config.v1+json", _json(config)),
        "layers": [_add(blobs, f"{_OCI}.layer.v1.tar", layer)],
    }
    found = _add(blobs, f"{_OCI}.manifest.v1+json", _json(manifest))
    return {**found, "annotations": {"io.containerd.image.name": name}}


def busybox_layer(program: bytes, applets: Sequence[str]) -> bytes:
    """busybox under all of its names, and the places that programs expect."""
    return _tar(
        [
            *(_directory(path) for path in ("bin", "dev", "etc", "proc", "sys", "tmp", "root")),
            _file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
            _file("bin/busybox", program, mode=0o755),
            *(_link(f"bin/{name}", "busybox") for name in sorted(set(applets)) if name != "busybox"),
        ]
    )


# The tar -------------------------------------------------------------------------------------------

Entry = tuple[tarfile.TarInfo, bytes]


def _file(path: str, data: bytes, *, mode: int = 0o644) -> Entry:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    return info, data


def _directory(path: str) -> Entry:
    info = tarfile.TarInfo(path)
    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
    return info, b""


def _link(path: str, target: str) -> Entry:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def _tar(entries: Iterable[Entry]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _add(blobs: Blobs, media_type: str, data: bytes) -> dict[str, Any]:
    """A blob, and the descriptor that names it."""
    digest = _digest(data)
    blobs[digest] = data
    return {"mediaType": media_type, "digest": digest, "size": len(data)}
