"""What `k8s.v1.cni.cncf.io/network-status` would say of a pod, as a file for everybody to read.

It has a directory of its own, `Paths.pod_status`, with the same name as the pod's manifest in `Paths.pods`. Older
versions put it beside the manifest, as `<name>.status.json`, which is also the manifest of a pod `<name>.status`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from windrow.model import jsontext
from windrow.model.spelling import is_path_safe
from windrow.port import netstatus
from windrow.store import records
from windrow.store.attachments import status
from windrow.store.paths import Paths


def path_of(paths: Paths, pod: str) -> Path | None:
    """`pod`: `namespace/name`. None: it is no pod of Kubernetes, and has no file."""
    namespace, _, name = pod.partition("/")
    if not (is_path_safe(namespace) and is_path_safe(name)):
        return None
    return paths.pod_status / namespace / f"{name}.json"


def is_there(paths: Paths, pod: str) -> bool:
    path = path_of(paths, pod)
    return path is not None and path.exists()


def write(paths: Paths, pod: str, container_id: str) -> None:
    """Of all calls for this container; where there is nothing to say, the file goes. Raises OSError, StoreError."""
    path = path_of(paths, pod)
    if path is None:
        return
    _forget_old(paths.pods / path.parent.name / f"{path.stem}.status.json")
    found = status(paths, container_id)
    if found:
        records.write_with_directory(path, netstatus.text(found).encode(), mode=records.SHARED, rivals=True)
    else:
        records.remove_with_directory(path)


def _forget_old(path: Path) -> None:
    """A status is a list, a manifest an object: that one stays."""
    with suppress(OSError, ValueError, RecursionError):
        if isinstance(jsontext.loads(path.read_bytes()), list):
            path.unlink()
