"""Manifests that are not in a file of this host: behind an address, or built by kustomize."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType

from windrow.services import process
from windrow.services.errors import ServiceError

WAIT_S = 10.0
SIZE_MAX = 10 << 20
"""More than this is no manifest."""
BUILDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"kustomize": ("kustomize", "build"), "kubectl": ("kubectl", "kustomize")}
)


def fetched(url: str) -> bytes:
    """What is behind an http or https address. Raises ServiceError."""
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:  # follows what it is sent on to, as curl -L
            data: bytes = answer.read(SIZE_MAX + 1)
            cut = len(data) <= SIZE_MAX and answer.length  # a `read` with a size says nothing of what is missing
    except urllib.error.HTTPError as error:
        raise ServiceError(url, f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ServiceError(url, f"it cannot be fetched: {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ServiceError(url, f"it cannot be fetched: {error}") from error
    if cut:
        raise ServiceError(url, "it cannot be fetched: the connection ended before all of it was here")
    if len(data) > SIZE_MAX:
        raise ServiceError(url, f"it has more than {SIZE_MAX >> 20} MiB, which is no manifest")
    return data


def kustomized(directory: str) -> str:
    """What kustomize makes of a directory. Raises ServiceError."""
    command = next((words for program, words in BUILDERS.items() if shutil.which(program)), None)
    if command is None:
        hint = "install kustomize, or kubectl, which has it; or elsewhere: kustomize build DIR | windrow apply -f -"
        raise ServiceError("kustomize", "it is not on this host, and neither is kubectl", hint)
    return process.run([*command, directory])
