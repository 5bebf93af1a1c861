"""Network namespaces: the named ones of `/run/netns` (as `ip netns` keeps them), and going into one.

setns(2) moves one thread. Work in another namespace is done in a thread of its own that ends with it, so
nothing can be left standing in the wrong one. A socket stays in the namespace where it was opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from windrow.netlink import errors
from windrow.netlink.enter import CLONE_NEWNET, in_thread, inside, libc

T = TypeVar("T")

RUN_NETNS = Path("/run/netns")
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x2_0000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 1 << 20, 2
_OWN = "/proc/thread-self/ns/net"

Netns = str | int | None
"""None: the calling thread's namespace. str: a name under /run/netns, or a path. int: an open fd."""


@contextmanager
def opened(netns: Netns) -> Iterator[int]:
    """An fd of the namespace for as long as the block lasts. Raises KernelError."""
    if isinstance(netns, int):
        yield netns
        return
    path = _OWN if netns is None else netns if "/" in netns else str(RUN_NETNS / netns)
    with _mapped(f"open network namespace {netns or 'of this thread'}"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def opened_in(netns: Netns, fn: Callable[[], T]) -> T:
    """What `fn` returns or raises when it runs inside `netns`. Raises KernelError if that cannot be entered."""
    if netns is None:
        return fn()
    with opened(netns) as fd:
        return inside(fd, fn)


def in_new(fn: Callable[[], T]) -> T:
    """What `fn` returns inside a new, empty namespace that is gone when the last fd and socket of it are closed.

    Raises KernelError (EPERM without CAP_SYS_ADMIN).
    """
    return in_thread(_unshare, fn)


def new() -> int:
    """An fd of a new, empty namespace, the only thing that keeps it. Raises KernelError."""
    return in_new(lambda: os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC))


def create(name: str) -> None:
    """Make `/run/netns/<name>`, for every process of the host to see. Raises KernelError (EEXIST)."""
    path, doing = RUN_NETNS / name, f"create network namespace {name}"

    def keep() -> int:
        _mount(_OWN, str(path), _MS_BIND, doing)
        return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def make() -> int:
        _share_run_netns()
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        try:
            return in_new(keep)
        except BaseException:
            path.unlink()
            raise

    with _mapped(doing):
        fd = _among_first_mounts(make)
        try:
            if path.stat().st_dev == path.parent.stat().st_dev:  # the mount did not come through to here
                _mount(f"/proc/self/fd/{fd}", str(path), _MS_BIND, doing)
        finally:
            os.close(fd)


def delete(name: str) -> None:
    """Take the name away; the namespace goes with its last process and socket. Raises KernelError (ENOENT).

    Where it is mounted in other mount namespaces only, removing the file takes those mounts away
    (`vfs_unlink: detach_mounts`).
    """
    path = RUN_NETNS / name
    with _mapped(f"delete network namespace {name}"):
        try:
            libc("umount2", os.fsencode(path), _MNT_DETACH, doing=f"delete network namespace {name}")
        except errors.KernelError as error:
            if error.errno != errno.EINVAL:  # EINVAL: not a mount point here
                raise
        path.unlink()


def names() -> tuple[str, ...]:
    """The named namespaces."""
    with suppress(FileNotFoundError):
        return tuple(sorted(entry.name for entry in RUN_NETNS.iterdir()))
    return ()


def _share_run_netns() -> None:
    """As `ip netns add` does: mounts under /run/netns show in other mount namespaces, and go away there too."""
    RUN_NETNS.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        _mount("", str(RUN_NETNS), _MS_SHARED | _MS_REC, "prepare /run/netns")
    except errors.KernelError:
        # EINVAL: no mount point yet. os.path.ismount cannot tell: a bind mount of itself is on the same device,
        # and binding it again each time would double the mounts below it.
        _mount(str(RUN_NETNS), str(RUN_NETNS), _MS_BIND | _MS_REC, "prepare /run/netns")
        _mount("", str(RUN_NETNS), _MS_SHARED | _MS_REC, "prepare /run/netns")


def _among_first_mounts(fn: Callable[[], T]) -> T:
    """Run `fn` in the mount namespace of the host's first process, if that has our /run and lets us in.

    `ip netns exec` and others give each program a mount namespace of its own, out of which no mount comes: what
    it mounts is gone when it ends.
    """
    try:
        if os.stat("/proc/1/ns/mnt").st_ino == os.stat("/proc/thread-self/ns/mnt").st_ino or not _same_run():
            return fn()
        fd = os.open("/proc/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return fn()

    def enter() -> None:
        with suppress(errors.KernelError):  # not permitted: then here
            libc("unshare", _CLONE_FS, doing="leave the other threads' directory")
            libc("setns", fd, _CLONE_NEWNS, doing="enter mount namespace")

    try:
        return in_thread(enter, fn)
    finally:
        os.close(fd)


def _same_run() -> bool:
    places = [RUN_NETNS.parent, *([RUN_NETNS] if RUN_NETNS.exists() else [])]
    return all(os.path.samestat(os.stat(p), os.stat(f"/proc/1/root{p}")) for p in places)


def _unshare() -> None:
    libc("unshare", CLONE_NEWNET, doing="make a network namespace")


def _mount(source: str, target: str, flags: int, doing: str) -> None:
    libc("mount", os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), None, doing=doing)


@contextmanager
def _mapped(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.of(error.errno or 0, doing) from error
