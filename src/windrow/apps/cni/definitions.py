"""What a CNI call needs of the objects: the networks, and each node's pod addresses (`Known`). Here from manifests;
`cluster` has those of an API.

Reading manifests takes tens of milliseconds, most of them for loading what reads them. So what was found is kept as
JSON beside the runtime's other files, with the stat(2) of every manifest: as long as these are the same, so is it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from windrow import __version__
from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.port.errors import INVALID_CONFIG, IO_FAILURE, MISSING, CniError
from windrow.store import records
from windrow.store.paths import Paths

_SUFFIXES = (".yaml", ".yml", ".json")
_TOLD = 3

Stat = tuple[str, int, int, int, int, int]
"""Path, device, inode, size, mtime and ctime of a manifest. A file that is replaced has another inode, one that is
written to another ctime, whatever `touch` says."""


class Known(Protocol):
    """For one call."""

    @property
    def place(self) -> str:
        """Where the objects are, in words."""

    @property
    def nodes(self) -> tuple[str, ...]: ...
    @property
    def pod_cidrs(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def unread_nodes(self) -> Mapping[str, str]: ...
    @property
    def tunnels(self) -> Mapping[str, str]: ...
    @property
    def services(self) -> bool:
        """Whether pods ask for Services, whose addresses somebody's packet filter turns into those of pods."""

    def has(self, reference: str) -> bool:
        """Whether there is such a network, be it a wrong one."""

    def network(self, reference: str, wanted_by: str = "") -> Mapping[str, Any]:
        """The configuration of a network. Raises CniError: why there is none, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """`networks`: the CNI configuration of each NetworkAttachmentDefinition, by `namespace/name`."""

    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    """Those of which something is wrong, and what: one that stands in two places is neither of them."""
    problems: tuple[str, ...] = ()
    """What could not be read at all: any network may be in it."""
    pod_cidrs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Node -> the addresses of its pods."""
    nodes: tuple[str, ...] = ()
    unread_nodes: Mapping[str, str] = field(default_factory=dict)
    """Those among them of which something is wrong, and what."""
    tunnels: Mapping[str, str] = field(default_factory=dict)
    """The devices of the overlay -> the network of all pods, of one family."""

    @property
    def place(self) -> str:
        return "the manifests"

    @property
    def services(self) -> bool:
        return False

    def has(self, reference: str) -> bool:
        return reference in self.networks or reference in self.unread

    def network(self, reference: str, wanted_by: str = "") -> Mapping[str, Any]:
        if (config := self.networks.get(reference)) is not None:
            return config
        by = f", which {wanted_by} asks for," if wanted_by else ""
        if reason := self.unread.get(reference):
            message = f"NetworkAttachmentDefinition {reference}{by} is wrong: {reason}"
            raise CniError(INVALID_CONFIG, message)
        namespace, _, name = reference.partition("/")
        elsewhere = sorted(one for one in self.networks if one.partition("/")[2] == name)
        hint = (
            f"there is {elsewhere[0]}: name it with its namespace" if elsewhere else "put its manifest into the store"
        )
        unread = f"; {len(self.problems)} manifests cannot be read: {self.problems[0]}" if self.problems else ""
        message = f"NetworkAttachmentDefinition {reference}{by} is not there"
        raise CniError(MISSING, message, f"{hint}{unread}" if namespace else f"name it as <namespace>/{name}{unread}")


def load(paths: Paths) -> Definitions:
    """What the manifests say now. Raises CniError: they cannot be read."""
    try:
        stats = _stats(paths.manifests)
    except OSError as error:
        message = f"the manifests in {paths.manifests} cannot be read: {error.strerror}"
        raise CniError(IO_FAILURE, message) from error
    return _loaded(paths, stats) if stats else Definitions()


def _stats(directory: Path) -> tuple[Stat, ...]:
    """Of every file that `store.directory` reads; loading that room would cost what this saves."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    found: list[Stat] = []
    for place, below, files in os.walk(directory, onerror=fail):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                path = os.path.join(place, name)
                with suppress(FileNotFoundError):  # a link to nowhere, which the store complains about
                    one = os.stat(path)
                    found.append((path, one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns))
    return tuple(found)


@lru_cache(maxsize=4)
def _loaded(paths: Paths, stats: tuple[Stat, ...]) -> Definitions:
    """The same for the same files, so a server that stays does not read them again."""
    cache = paths.runtime / "definitions.json"
    if (kept := _kept(cache, stats)) is not None:
        return kept
    found = _read(paths)
    _keep(cache, stats, found)
    return found


def _read(paths: Paths) -> Definitions:
    from windrow.model.names import MGMT
    from windrow.model.objects import ClusterNetwork, NetworkAttachmentDefinition, Node
    from windrow.model.overlay import tunnels
    from windrow.model.problems import Severity
    from windrow.store.directory import Store
    from windrow.store.errors import StoreError

    try:
        loaded = Store(paths).readable()
    except StoreError as error:
        raise CniError(IO_FAILURE, "the manifests cannot be read", str(error)) from error
    nads = [obj for obj in loaded.objects if isinstance(obj, NetworkAttachmentDefinition)]
    nodes = [obj for obj in loaded.objects if isinstance(obj, Node)]
    managements = [obj for obj in loaded.objects if isinstance(obj, ClusterNetwork) and obj.name == MGMT]
    wrong = [problem for problem in loaded.problems if problem.severity is Severity.ERROR]
    unread: dict[str, str] = {}
    unread_nodes: dict[str, str] = {}
    for problem in wrong:
        ref, said = problem.about, _said(problem.file, problem.line, problem.message)
        if ref is not None and ref.kind == NetworkAttachmentDefinition.KIND:
            unread.setdefault(f"{ref.namespace}/{ref.name}", said)
        elif ref is not None and ref.kind == Node.KIND:
            unread_nodes.setdefault(ref.name, said)
    nowhere = [_said(p.file, p.line, p.message) for p in wrong if p.about is None]
    networks = {f"{nad.meta.namespace}/{nad.name}": dict(nad.config) for nad in nads}
    return Definitions(
        networks={reference: config for reference, config in networks.items() if reference not in unread},
        unread=unread,
        problems=tuple(nowhere[:_TOLD]),
        pod_cidrs={n.name: tuple(n.pod_cidrs) for n in nodes if n.pod_cidrs and n.name not in unread_nodes},
        nodes=tuple(dict.fromkeys((*(node.name for node in nodes), *unread_nodes))),
        unread_nodes=unread_nodes,
        tunnels=tunnels(managements[-1] if managements else None),
    )


def _said(file: str, line: int | None, message: str) -> str:
    place = f"{file}:{line}" if file and line else file
    return f"{place}: {message}" if place else message


def _kept(cache: Path, stats: tuple[Stat, ...]) -> Definitions | None:
    try:
        document = jsontext.loads(cache.read_bytes())
        if document["of"] != _of(stats):
            return None
        values = document["definitions"]
        return Definitions(
            networks=values["networks"],
            unread=values["unread"],
            problems=tuple(values["problems"]),
            pod_cidrs={node: tuple(cidrs) for node, cidrs in values["pod_cidrs"].items()},
            nodes=tuple(values["nodes"]),
            unread_nodes=values["unread_nodes"],
            tunnels=values["tunnels"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is only kept to be quick


def _keep(cache: Path, stats: tuple[Stat, ...], found: Definitions) -> None:
    """Whoever comes last wins; all have read the same. Not being able to is no failure."""
    data = json.dumps({"of": _of(stats), "definitions": asdict(found)}).encode()
    with suppress(OSError):
        records.make_directory(cache.parent, flush=False)
        records.write(cache, data, mode=records.PRIVATE, flush="nothing", rivals=True)


def _of(stats: tuple[Stat, ...]) -> list[Any]:
    return [__version__, *map(list, stats)]
