"""Whether something below some directories changed: inotify(7), without a package. It only says that one should look.

A directory that is watched may be missing, vanish, come back or be replaced by another: all that is on the way to it is
watched for the next step. A queue that overflowed means: something changed.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag
from pathlib import Path
from struct import Struct

from windrow.store.errors import StoreError


class In(IntFlag):
    """IN_*, include/uapi/linux/inotify.h."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    ISDIR = 0x40000000


_WAY = In.CREATE | In.DELETE | In.MOVED_TO | In.MOVED_FROM | In.DELETE_SELF | In.MOVE_SELF | In.ONLYDIR
_CONTENT = _WAY | In.CLOSE_WRITE | In.ATTRIB
"""A file counts when its writer closes it: until then it is half written, and tells of itself on every write."""
_EVENT = Struct("=iIII")
_READ = 64 * 1024
_HIDDEN_WRITES = In.CREATE | In.CLOSE_WRITE | In.ATTRIB | In.MOVED_FROM
"""What is written beside a file, to be renamed over it, is news only then. A hidden directory to which visible links
lead counts when it is replaced (`..data` of a mounted ConfigMap)."""


class Watch:
    """Some directories, with all below them where `deep`. Never blocks; a file descriptor for a selector."""

    def __init__(self, directories: Iterable[Path], *, deep: bool = True) -> None:
        """Raises StoreError where the kernel gives no more instances (fs.inotify.max_user_instances)."""
        self._directories = tuple(Path(os.path.abspath(d)) for d in directories)
        self._deep = deep
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error(Path("inotify"), "watch for changes", ctypes.get_errno())
        self._names: dict[int, frozenset[bytes] | None] = {}
        """Watch -> which names in it matter; None: all."""
        self._places: dict[int, Path] = {}
        """Watch -> the directory, where all in it matters."""
        self._complete: set[Path] = set()
        self.complete = True
        """Whether everything is watched (fs.inotify.max_user_watches may not allow it)."""
        self._watch()

    def close(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bool:
        """Whether something changed since the last time."""
        changed = False
        anew = False
        while (data := self._receive()) is not None:
            start = 0
            while start < len(data):
                wd, mask, _, length = _EVENT.unpack_from(data, start)
                name = data[start + _EVENT.size : start + _EVENT.size + length].rstrip(b"\0")
                start += _EVENT.size + length
                relevant = self._relevant(wd, In(mask), name)
                if relevant and mask & (In.CLOSE_WRITE | In.MOVED_TO) and wd in self._places:
                    self._complete.add(self._places[wd] / os.fsdecode(name))
                changed |= relevant
                anew |= relevant and bool(
                    mask & (In.ISDIR | In.DELETE_SELF | In.MOVE_SELF | In.Q_OVERFLOW | In.UNMOUNT)
                )
        if anew:
            self._watch()
        return changed

    def take_complete(self) -> frozenset[Path]:
        """The files that were closed by who wrote them, or moved to their place, since the last time this was asked."""
        found, self._complete = frozenset(self._complete), set()
        return found

    def _relevant(self, wd: int, mask: In, name: bytes) -> bool:
        if mask & In.Q_OVERFLOW:
            return True
        if mask & In.IGNORED:
            self._names.pop(wd, None)
            return False
        names = self._names.get(wd, frozenset())
        if names is not None:
            return name in names or bool(mask & (In.DELETE_SELF | In.MOVE_SELF | In.UNMOUNT))
        return not (name.startswith(b".") and mask & _HIDDEN_WRITES)

    def _receive(self) -> bytes | None:
        try:
            return os.read(self._fd, _READ) or None
        except BlockingIOError:
            return None

    # Watches --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Watch what is there now. A directory that came while this looked is seen, for it is listed after its watch
        was set. inotify gives the same watch for the same directory; those of directories that went, it takes back."""
        old, self._names, self._places = self._names, {}, {}
        self.complete = True
        for directory in self._directories:
            self._way(directory)
            self._content(directory)
        for wd in old.keys() - self._names.keys():
            self._libc.inotify_rm_watch(self._fd, wd)  # of one that is gone: EINVAL, which is fine

    def _way(self, directory: Path) -> None:
        for above in reversed(directory.parents):
            step = os.fsencode(directory.relative_to(above).parts[0])
            wd = self._add(above, _WAY)
            if wd is None:
                return
            names = self._names.get(wd, frozenset())
            if names is not None:  # None: it is the content of another one, all of which matters
                self._names[wd] = names | {step}

    def _content(self, directory: Path) -> None:
        todo = [directory]
        while todo:
            place = todo.pop()
            wd = self._add(place, _CONTENT)
            if wd is None:
                continue
            self._names[wd] = None
            self._places[wd] = place
            if self._deep:
                todo += _below(place)

    def _add(self, path: Path, mask: In) -> int | None:
        """None: it is not there, or no directory, or there may be no more watches."""
        # The same directory may be content for one and on the way for another: the kernel adds up with IN_MASK_ADD.
        wd = self._libc.inotify_add_watch(self._fd, os.fsencode(path), int(mask) | _MASK_ADD)
        if wd >= 0:
            return int(wd)
        if ctypes.get_errno() in (errno.ENOSPC, errno.ENOMEM, errno.EACCES):
            self.complete = False
        return None


_MASK_ADD = 0x20000000


class FileWatch:
    """Whether somebody wrote to some files, sysctls for example, of which nobody else tells. One that is missing, or is
    another file by now under the same name, is looked for again by `watch_missing`.

    inotify hears of writes below /proc/sys as of any others (`vfs_write: fsnotify_modify`), as long as the inode stays
    the same; so the file is held open.
    """

    def __init__(self, paths: Iterable[str], mask: In = In.MODIFY) -> None:
        """`mask`: what there is to hear of. Raises StoreError."""
        self._held: dict[str, tuple[int, int] | None] = {}
        """Path -> its descriptor, and inotify's of it."""
        self._mask = mask
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error(Path("inotify"), "watch for changes", ctypes.get_errno())
        self.hold(paths)

    def close(self) -> None:
        for held in self._held.values():
            if held is not None:
                os.close(held[0])
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def hold(self, paths: Iterable[str]) -> None:
        """These are the files from now on."""
        wanted = dict.fromkeys(paths)
        for path in [path for path in self._held if path not in wanted]:
            self._drop(path)
            del self._held[path]
        self._held = wanted | self._held
        self.watch_missing()

    def watch_missing(self) -> None:
        for path, held in list(self._held.items()):
            if held is not None and _is_file(path, held[0]):
                continue
            self._drop(path)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # its module is not loaded, its link not there
            self._held[path] = fd, self._libc.inotify_add_watch(self._fd, os.fsencode(path), int(self._mask))

    def _drop(self, path: str) -> None:
        if (held := self._held[path]) is not None:
            self._libc.inotify_rm_watch(self._fd, held[1])
            os.close(held[0])
            self._held[path] = None

    def read(self) -> bool:
        """Whether one was written to since the last time."""
        heard = False
        with suppress(BlockingIOError):
            while data := os.read(self._fd, _READ):
                at = 0
                while at < len(data):
                    _, mask, _, length = _EVENT.unpack_from(data, at)
                    at += _EVENT.size + length
                    heard |= bool(mask & int(self._mask | In.Q_OVERFLOW))
        return heard


def _is_file(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def _below(place: Path) -> list[Path]:
    """As `store.directory` walks: not into hidden ones, not through links."""
    try:
        with os.scandir(place) as entries:
            return [Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _error(path: Path, doing: str, code: int) -> StoreError:
    return StoreError(path, f"cannot {doing}: {os.strerror(code)} [{errno.errorcode.get(code, code)}]", errno=code)
