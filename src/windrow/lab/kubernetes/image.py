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

from windrow.model.lazy import dataclass

REGISTRY = "windrow.lab"
PAUSE, BUSYBOX = f"{REGISTRY}/pause:1", f"{REGISTRY}/busybox:1"
SUITE_REGISTRY = f"{REGISTRY}/e2e"
"""For the images of Kubernetes' own test suite, by the names and tags that it lists (`e2e.test --list-images`)."""
SUITE_AGNHOST, SUITE_BUSYBOX, SUITE_PAUSE = (
    f"{SUITE_REGISTRY}/{name}" for name in ("agnhost:2.56", "busybox:1.37.0-1", "pause:3.10.1")
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_OCI = "application/vnd.oci.image"
Blobs = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Start:
    """What a container starts: `entrypoint` always, and `arguments` where its pod names none."""

    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()


SLEEP = Start(["/bin/sleep", "2147483647"])
AGNHOST = Start(["/agnhost"], ["pause"])
SHELL = Start((), ["/bin/sh"])


def archive(starts: Mapping[str, Start], layer: bytes) -> bytes:
    """Images that have their files in common, by name (REGISTRY/…:TAG). `layer`: a tar of the files."""
    blobs: Blobs = {}
    found = [_image(blobs, name, layer, start) for name, start in starts.items()]
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": found}),
        **{f"blobs/sha256/{digest.partition(':')[2]}": data for digest, data in blobs.items()},
    }
    return _tar(_file(path, data) for path, data in files.items())


def _image(blobs: Blobs, name: str, layer: bytes, start: Start) -> dict[str, Any]:
    """Its descriptor, and its blobs."""
    machine = os.uname().machine
    config = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "Entrypoint": list(start.entrypoint),
            "Cmd": list(start.arguments),
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin:/"],
        },
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


def busybox_layer(program: bytes, applets: Sequence[str], more: Mapping[str, bytes] = {}) -> bytes:
    """busybox under all of its names, and the places that programs expect; `more`: programs and libraries besides, by
    path, also in the place of one of its names."""
    names = sorted(name for name in set(applets) - {"busybox"} if f"/bin/{name}" not in more)
    return _tar(
        [
            *(_directory(path) for path in ("bin", "dev", "etc", "proc", "sys", "tmp", "root")),
            _file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
            _file("bin/busybox", program, mode=0o755),
            *(_link(f"bin/{name}", "busybox") for name in names),
            *(_file(path.lstrip("/"), data, mode=0o755) for path, data in sorted(more.items())),
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
