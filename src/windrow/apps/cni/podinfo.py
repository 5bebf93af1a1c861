"""Where a pod's annotations come from.

    RuntimeArguments    the call itself: `runtimeConfig["io.kubernetes.cri.pod-annotations"]` (containerd and CRI-O send
                        it to a plugin that declares the capability), and `WINDROW_NETWORKS`, `WINDROW_DEFAULT_NETWORK`
                        in CNI_ARGS, for runtimes that have no pods
    PodFiles            `<runtime>/pods/<namespace>/<name>` with `.json` or `.yaml`: a Pod's manifest; `.annotations`:
                        its annotations as Kubernetes' downward API writes them (`key="value"`, one a line)

A cluster's API is one more, in `cluster`. The first source that knows the pod answers; nothing is mixed with another's
words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol

from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.model.spelling import is_path_safe
from windrow.port.errors import INVALID_CONFIG, IO_FAILURE, UNDECODABLE, CniError
from windrow.port.networks import DEFAULT_NETWORK, NETWORKS, NONE, WINDROW_DEFAULT_NETWORK
from windrow.port.request import Request

CAPABILITY = "io.kubernetes.cri.pod-annotations"
DEFAULT_NAMESPACE = "default"
CONFIG_SOURCE = "kubernetes.io/config.source"
"""On a static pod: its UID is not the one that the API has."""
_LINE = re.compile(r'(?P<key>[^="\s]+)=(?P<value>"(?:[^"\\]|\\.)*")')
_SIZE_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInfo:
    """`known`: a source said so; without, it is what CNI_ARGS name, and it has no annotations."""

    namespace: str = DEFAULT_NAMESPACE
    name: str = ""
    uid: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    known: bool = False

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""


class PodSource(Protocol):
    """Somebody who may know the pod that a call is about."""

    def find(self, request: Request) -> PodInfo | None:
        """None: this source does not know it. Raises CniError where it does and cannot be understood."""


def find_pod(request: Request, sources: Sequence[PodSource]) -> PodInfo:
    """The pod, as the first source that knows it says. Raises CniError, also when it is another pod of that name."""
    named = named_pod(request.args)
    found = next((pod for source in sources if (pod := source.find(request)) is not None), named)
    if named.uid and found.uid and named.uid != found.uid and CONFIG_SOURCE not in found.annotations:
        message = f"pod {found} is another one by now: the runtime means UID {named.uid}, and it has {found.uid}"
        raise CniError(INVALID_CONFIG, message)
    return found


def named_pod(args: Mapping[str, str]) -> PodInfo:
    """What CNI_ARGS say of the pod."""
    return PodInfo(
        namespace=args.get("K8S_POD_NAMESPACE") or DEFAULT_NAMESPACE,
        name=args.get("K8S_POD_NAME", ""),
        uid=args.get("K8S_POD_UID", ""),
    )


# What the runtime says ----------------------------------------------------------------------------


class RuntimeArguments:
    """The call itself."""

    def find(self, request: Request) -> PodInfo | None:
        runtime = request.config.get("runtimeConfig")
        sent = runtime.get(CAPABILITY) if isinstance(runtime, Mapping) else None
        annotations = texts(sent, f"runtimeConfig[{json.dumps(CAPABILITY)}]") if sent is not None else {}
        annotations |= _arguments(request.args)
        if sent is None and not annotations:
            return None
        named = named_pod(request.args)
        return PodInfo(namespace=named.namespace, name=named.name, uid=named.uid, annotations=annotations, known=True)


def _arguments(args: Mapping[str, str]) -> dict[str, str]:
    """CNI_ARGS cannot hold a semicolon; the short form of the annotation needs none."""
    found: dict[str, str] = {}
    if networks := args.get("WINDROW_NETWORKS"):
        found[NETWORKS] = networks
    if default := args.get("WINDROW_DEFAULT_NETWORK"):
        found[WINDROW_DEFAULT_NETWORK if default == NONE else DEFAULT_NETWORK] = default
    return found


# Files --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Below `directory`: `<namespace>/<name>` with one of the three suffixes."""

    directory: Path

    def find(self, request: Request) -> PodInfo | None:
        named = named_pod(request.args)
        if not all(is_path_safe(part) for part in (named.namespace, named.name)):
            return None  # no pod of Kubernetes, and nothing that could be a path
        for suffix in (".json", ".yaml", ".annotations"):
            path = self.directory / named.namespace / f"{named.name}{suffix}"
            text = _read(path)
            if text is None:
                continue
            if suffix == ".annotations":
                lines = _lines(text, path)
                return PodInfo(namespace=named.namespace, name=named.name, annotations=lines, known=True)
            return _manifest(_decoded(text, path), path, named)
        return None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_MAX + 1)
        if len(data) > _SIZE_MAX:
            raise CniError(UNDECODABLE, f"pod file {path} is larger than {_SIZE_MAX >> 20} MiB")
        return data.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise CniError(UNDECODABLE, f"pod file {path} is not UTF-8: save it as such") from error
    except OSError as error:
        raise CniError(IO_FAILURE, f"pod file {path} cannot be read: {error.strerror}") from error


def _decoded(text: str, path: Path) -> Any:
    try:
        if path.suffix == ".json":
            return jsontext.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(UNDECODABLE, f"pod file {path} is not JSON", str(error)) from error
    import yaml  # takes longer to load than everything else here

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CniError(UNDECODABLE, f"pod file {path} is not YAML", " ".join(str(error).split())) from error


def _manifest(document: Any, path: Path, named: PodInfo) -> PodInfo:
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    if not isinstance(metadata, Mapping):
        raise CniError(INVALID_CONFIG, f"pod file {path} is no Pod: it has no metadata")
    for key, wanted in (("name", named.name), ("namespace", named.namespace)):
        if metadata.get(key) not in (None, wanted):
            raise CniError(INVALID_CONFIG, f"pod file {path}: metadata.{key} is not {wanted}, as the file's place says")
    uid = metadata.get("uid")
    return PodInfo(
        namespace=named.namespace,
        name=named.name,
        uid=uid if isinstance(uid, str) else "",
        annotations=texts(metadata.get("annotations") or {}, f"pod file {path}: metadata.annotations"),
        known=True,
    )


def texts(value: object, about: str) -> dict[str, str]:
    """Annotations. Raises CniError for what are none."""
    if not isinstance(value, Mapping):
        raise CniError(INVALID_CONFIG, f"{about} must be an object whose values are texts")
    for key, entry in value.items():
        if not isinstance(key, str) or not isinstance(entry, str):
            raise CniError(INVALID_CONFIG, f"{about}: the value of {key} must be a text: put it in quotes")
    return dict(value)


def _lines(text: str, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        try:
            if match is None:
                raise ValueError
            found[match["key"]] = jsontext.loads(match["value"])
        except ValueError:
            raise CniError(UNDECODABLE, f'pod file {path}, line {number}: it must be key="value"') from None
    return found
