"""The manifest directory for somebody who reads it again and again: only files that changed are read anew.

What cannot be read is never the end: it is said, and the rest counts.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from windrow.model.lazy import dataclass
from windrow.model.manifests import Found
from windrow.model.problems import Problem, Severity
from windrow.model.wire import Loaded, without_doubles
from windrow.store.directory import load_file, manifest_files
from windrow.store.errors import StoreError
from windrow.store.paths import Paths

YOUNG_S = 0.5
"""Who writes a file in several pieces, or moves an object from one to another, goes on within this time."""
SIZE_MAX = 64 << 20
"""Bytes. What is larger was put there by mistake, and reading it would keep the network waiting."""

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: Stamp
    loaded: Loaded
    whole: bool


EMPTY_HINT = "bring its objects back; if they are to go, take the file away, or leave a comment in it"


class ManifestFiles:
    """Remembers what it read of each file below one root."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.manifests
        self._known: dict[Path, _Read] = {}

    def found(self, now: float, *, patient: bool = True, complete: frozenset[Path] = frozenset()) -> Found:
        """All of it; `now` in Unix time. Never raises for what is in the directory.

        `patient`: a file that was written just now may still be half of it, and is left out; but for those that are
        `complete`, because somebody heard their writer close them or move them to their place. What is missing may be
        about to be written elsewhere all the same.
        """
        if not self._directory.is_dir():
            return Found(lost=_lost("the manifest directory is not there", self._directory, "manifests-missing"))
        try:
            files = list(manifest_files(self._directory))
        except StoreError as error:
            return Found(lost=_lost(error.reason, self._directory, "manifests-unreadable"))
        if not files:
            return Found(lost=_lost("there is no manifest in the directory", self._directory, "manifests-missing"))
        young = [path for path in files if _is_young(path, now)] if patient else []
        waiting = frozenset(young) - complete
        old = [path for path in files if path not in waiting]
        self._known = {path: self._read(path) for path in old}
        doubted = frozenset(str(path) for path in old if not self._known[path].whole)
        whole = frozenset(map(str, old)) - doubted
        loaded = without_doubles(self._known[path].loaded for path in old)
        return Found(loaded=loaded, doubted=doubted, whole=whole, young=bool(young))

    def _read(self, path: Path) -> _Read:
        try:
            stamp = _stamp(path)
        except OSError as error:  # it vanished since it was listed, or is a link to nothing
            return _Read((0, 0, 0, 0), Loaded(problems=(_unreadable(path, os.strerror(error.errno or 5)),)), False)
        known = self._known.get(path)
        if known is not None and known.stamp == stamp:
            return known
        return _fresh(path, stamp)


def _is_young(path: Path, now: float) -> bool:
    """A time in the future is a wrong clock, then or now: it says nothing."""
    try:
        return 0 <= now - os.stat(path).st_mtime < YOUNG_S
    except OSError:
        return False


def _fresh(path: Path, stamp: Stamp) -> _Read:
    if stamp[1] > SIZE_MAX:
        text = f"the file has {stamp[1] >> 20} MiB, and {SIZE_MAX >> 20} are the most"
        return _Read(stamp, Loaded(problems=(_unreadable(path, text, "split it, or take it away"),)), False)
    try:
        loaded = load_file(path)
    except StoreError as error:
        return _Read((0, 0, 0, 0), Loaded(problems=(_unreadable(path, error.reason, error.hint),)), False)
    if stamp[1] == 0:  # what a full disk or a power cut leaves of a file that is written in place
        return _Read(stamp, Loaded(problems=(_unreadable(path, "the file is empty", EMPTY_HINT),)), False)
    # A problem without an object: the text ends early, or an object's name is not known; so anything may be missing.
    whole = not any(p.about is None and p.severity is Severity.ERROR for p in loaded.problems)
    return _Read(stamp, loaded, whole)


def _stamp(path: Path) -> Stamp:
    found = os.stat(path)
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    return found.st_ino, size, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(path: Path, reason: str, hint: str = "") -> Problem:
    return Problem(
        code="manifest-unreadable",
        message=reason,
        hint=hint or "put it right, or take it away; until then its objects stay as they were",
        file=str(path),
    )


def _lost(reason: str, directory: Path, code: str) -> Problem:
    return Problem(
        code=code,
        message=f"{reason}; the network stays as it was",
        hint="bring the manifests back; if nothing is wanted any more, delete the objects with `windrow delete`, or "
        f"put a manifest without objects there: echo '# nothing' > {directory}/nothing.yaml",
        file=str(directory),
    )
