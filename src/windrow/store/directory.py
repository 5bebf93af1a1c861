"""The manifest directory: read it whole, change single objects in it.

What comes back from a crash in the middle of `put` or `remove` is a directory in which some objects are new
and the others old, and every object that one names is there: cluster networks are added before what stands on
them and removed after it. Nothing is renamed before everything is written and flushed, so a full disk changes
nothing at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    Node,
    VlanConfig,
    VlanStatus,
)
from windrow.model.policies import MultiNetworkPolicy, Namespace, NetworkPolicy, Pod
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.model.wire import Loaded, dump, load_documents, without_doubles, yaml_text
from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.manifest import Manifest, as_written
from windrow.store.named import NotAFileError, read_named
from windrow.store.paths import Paths

SUFFIXES = (".yaml", ".yml", ".json")

_ORDER = [
    cls.KIND
    for cls in (
        ClusterNetwork,
        Node,
        Namespace,
        VlanConfig,
        NetworkAttachmentDefinition,
        HostNetworkConfig,
        IPPool,
        VirtualMachine,
        VirtualMachineInstance,
        VirtualMachineNetworkConfig,
        LinkMonitor,
        Pod,
        NetworkPolicy,
        MultiNetworkPolicy,
        VlanStatus,
    )
]
"""What stands on something else comes after it."""


def read_manifests(path: Path) -> Loaded:
    """All objects of a file, or of the manifests in a directory and below it. Raises StoreError."""
    if not _is_directory(path):
        return load_file(path)
    return without_doubles(load_file(file) for file in manifest_files(path))


def _is_directory(path: Path) -> bool:
    """Raises StoreError: one that may not be looked into is not one that is not there."""
    with explained(path, "look for manifests"):
        return path.is_dir()


def manifest_files(directory: Path) -> Iterator[Path]:
    """`*.yaml`, `*.yml`, `*.json`, sorted, also in directories below; hidden ones are not looked at, nor is a
    link beside the file that it leads to."""

    def fail(error: OSError) -> None:
        raise error

    with explained(directory, "read the directory"):
        found: list[Path] = []
        for place, below, files in os.walk(directory, onerror=fail):
            below[:] = sorted(d for d in below if not d.startswith("."))
            for name in sorted(files):
                if name.endswith(SUFFIXES) and not name.startswith("."):
                    found.append(Path(place, name))
        links = {path: os.path.realpath(path) for path in found if path.is_symlink()}
        targets = {os.path.realpath(path) for path in found if path not in links} if links else set()
    yield from (path for path in found if links.get(path) not in targets)


def load_file(path: Path) -> Loaded:
    """What one file holds. Raises StoreError where it cannot be read."""
    try:
        return load_documents(_read(path), str(path))
    except UnicodeDecodeError as error:
        return Loaded(problems=(_not_text(path, error),))


def _read(path: Path) -> str:
    with explained(path, "read the manifest"):
        try:
            return read_named(path).decode("utf-8-sig")
        except NotAFileError as error:
            raise StoreError(path, str(error.strerror), hint="pipe it into `-f -`") from error


def _left_out(path: Path, error: StoreError) -> Problem:
    message = f"{error.reason}; what is in this file is left out"
    hint = error.hint or "put it right, or take it away"
    if error.errno == errno.EACCES:
        message = "you may not read this file, and what is in it is left out"
        hint = "run it as root: machines' manifests may hold passwords, and are for nobody else"
    return Problem(code="file-unreadable", message=message, hint=hint, file=str(path))


def _not_text(path: Path, error: UnicodeDecodeError) -> Problem:
    line = bytes(error.object[: error.start]).count(b"\n") + 1
    return Problem(
        code="file-encoding",
        message=f"this is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}",
        hint="save the file as UTF-8",
        file=str(path),
        line=line,
    )


@dataclass(slots=True)
class _Change:
    """What one file shall hold: the changed objects, and its text (empty: the file is to go)."""

    path: Path
    refs: list[Ref] = field(default_factory=list)
    text: str = ""
    temp: str | None = None


class Store:
    """The manifests below one root. Use it from one thread; several processes take turns (flock)."""

    def __init__(self, paths: Paths | Path) -> None:
        self.paths = paths if isinstance(paths, Paths) else Paths(paths)

    def load(self) -> Loaded:
        """Every object that is there, and every problem. No directory is an empty store. Raises StoreError."""
        directory = self.paths.manifests
        return read_manifests(directory) if _is_directory(directory) else Loaded()

    def readable(self) -> Loaded:
        """The same, but that a file which cannot be read stops none of the others: an error for each that is left out
        (machines' files are root's; a link leads to nothing). Raises StoreError."""

        def load(path: Path) -> Loaded:
            try:
                return load_file(path)
            except StoreError as error:
                return Loaded(problems=(_left_out(path, error),))

        directory = self.paths.manifests
        return without_doubles(map(load, manifest_files(directory))) if _is_directory(directory) else Loaded()

    def put(self, objects: Iterable[AnyObject]) -> tuple[Ref, ...]:
        """Add or replace objects; those that changed. An object stays in the file where it is; a new one gets
        a file of its own. Raises StoreError, and then nothing has changed unless the disk itself failed."""
        objects = tuple(objects)
        documents = {obj.ref: dump(obj) for obj in objects}
        written = {obj.ref: text for obj in objects if (text := as_written(obj.source.text, documents[obj.ref]))}
        with self._locked():
            files = self._files(documents)
            homes = _homes(files, documents)
            news = {ref: doc for ref, doc in documents.items() if ref not in homes}
            changed: dict[Ref, Any] = {
                ref: doc for ref, doc in documents.items() if ref in homes and files[homes[ref]].objects()[ref] != doc
            }
            changes = _edits(files, homes, changed, written)
            for ref, document in news.items():
                path = self._free_path(ref, {*files, *(c.path for c in changes)})
                changes.append(_Change(path, [ref], written.get(ref) or yaml_text(document)))
            _write(changes, key=lambda c: min(map(_rank, c.refs)))
        return tuple(sorted(changed | news, key=_rank))

    def remove(self, refs: Iterable[Ref]) -> tuple[Ref, ...]:
        """Take objects out; those that were there. A file without objects goes too. Raises StoreError."""
        wanted = set(refs)
        if not _is_directory(self.paths.manifests):
            return ()
        with self._locked():
            files = self._files(wanted)
            homes = _homes(files, wanted)
            changes = _edits(files, homes, {ref: None for ref in wanted if ref in homes})
            _write(changes, key=lambda c: -max(map(_rank, c.refs)))
        return tuple(sorted(homes, key=_rank, reverse=True))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time. The lock is the directory itself: no file to leave behind."""
        directory = self.paths.manifests
        with explained(directory, "make the manifest directory"):
            records.make_place(directory)
        with explained(directory, "lock the manifest directory"):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except BaseException:
                os.close(fd)
                raise
        try:
            yield
        finally:
            with explained(directory, "unlock the manifest directory"):
                os.close(fd)

    def _files(self, wanted: Collection[Ref]) -> dict[Path, Manifest]:
        """Those that can be read. One that cannot is in nobody's way, unless a wanted object may be in it."""
        found: dict[Path, Manifest] = {}
        for path in manifest_files(self.paths.manifests):
            try:
                found[path] = _manifest(path)
            except StoreError:
                if _may_hold(path, wanted):
                    raise
        return found

    def _free_path(self, ref: Ref, taken: set[Path]) -> Path:
        """`vlanconfig-oob.yaml`, `networkattachmentdefinition-default-vlan100.yaml`."""
        stem = "-".join(filter(None, (ref.kind.lower(), ref.namespace, ref.name)))
        if len(stem) > _STEM_MAX:
            stem = f"{stem[: _STEM_MAX - 9]}-{zlib.crc32(stem.encode()):08x}"
        path, number = self.paths.manifests / f"{stem}.yaml", 1
        while path in taken or path.exists():
            number += 1
            path = self.paths.manifests / f"{stem}-{number}.yaml"
        return path


_STEM_MAX = 200
"""NAME_MAX is 255 bytes, and the temporary file beside it needs some more."""


def _rank(ref: Ref) -> int:
    return _ORDER.index(ref.kind)


def _manifest(path: Path) -> Manifest:
    try:
        manifest = Manifest.read(_read(path))
    except UnicodeDecodeError as error:
        raise StoreError(path, _not_text(path, error).message, "save the file as UTF-8") from error
    for complaint in manifest.complaints:
        message = f"line {complaint.line}: {complaint.message}"
        raise StoreError(path, message, "put this file right, or take it away, before anything is stored beside it")
    return manifest


def _may_hold(path: Path, wanted: Collection[Ref]) -> bool:
    """Whether one of their names is in it: then it would be in two places once the file is put right. A link to nothing
    holds nothing; nor does a pipe, a device or a socket, and to read it would last for ever."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return False
            text = file.read()
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT)  # a socket; a link to nothing, or gone by now
    return any(ref.name.encode() in text for ref in wanted)


def _homes(files: dict[Path, Manifest], wanted: Iterable[Ref]) -> dict[Ref, Path]:
    """The file of each wanted object that is there."""
    homes: dict[Ref, Path] = {}
    asked = set(wanted)
    for path, manifest in files.items():
        for ref in (ref for document in manifest.documents for ref in document.refs if ref in asked):
            if ref in homes:
                where = f"also in {homes[ref]}" if homes[ref] != path else "in it twice"
                raise StoreError(path, f"{ref} is {where}", "remove one of the two by hand")
            homes[ref] = path
    return homes


def _edits(
    files: dict[Path, Manifest], homes: dict[Ref, Path], changed: dict[Ref, Any], written: Mapping[Ref, str] = {}
) -> list[_Change]:
    changes: list[_Change] = []
    for path in dict.fromkeys(homes[ref] for ref in changed):
        here = {ref: document for ref, document in changed.items() if homes[ref] == path}
        try:
            text = files[path].edited(here, as_json=path.suffix == ".json", written=written)
        except ValueError as error:
            names = ", ".join(map(str, here))
            raise StoreError(path, f"cannot change {names} in it: {error}", "change the file by hand") from error
        changes.append(_Change(Path(os.path.realpath(path)), list(here), text))
    return changes


def _write(changes: Sequence[_Change], key: Callable[[_Change], int]) -> None:
    """All of them, by rising `key`: first everything is staged, then everything is put in place."""
    try:
        for change in changes:
            if change.text:
                with explained(change.path, "write the manifest"):
                    change.temp = _stage(change)
        for _, group in groupby(sorted(changes, key=key), key):
            _put_in_place(list(group))
    finally:
        for change in changes:
            if change.temp is not None:
                records.discard(change.temp)


_SECRET = frozenset({VirtualMachine.KIND, VirtualMachineInstance.KIND, Pod.KIND})


def _stage(change: _Change) -> str:
    """Mode and owner stay. A new file is for everybody's eyes, but for a machine's (cloud-init has passwords in it) and
    a pod's (its environment has)."""
    secret = any(ref.kind in _SECRET for ref in change.refs)
    mode, old = records.PRIVATE if secret else records.SHARED, None
    with suppress(FileNotFoundError):
        old = os.stat(change.path)
    return records.stage(change.path, change.text.encode(), mode=mode, like=old)


def _put_in_place(changes: list[_Change]) -> None:
    """Their directories are flushed before the next ones come, so that the order on the disk is the order here."""
    for change in changes:
        with explained(change.path, "write the manifest"):
            if change.temp is not None:
                records.commit(change.temp, change.path)
                change.temp = None
            else:
                os.unlink(change.path)
    for directory in {change.path.parent for change in changes}:
        with explained(directory, "flush the directory"):
            records.make_last(directory)
