"""Going into a network namespace for a moment: in a thread of its own that ends with the visit.

setns(2) moves one thread, and nothing can be left standing in the wrong namespace when that thread is gone. Apart from
`netns` because it loads quickly: a CNI plugin is started anew for every call.
"""

from __future__ import annotations

import _ctypes
import _socket as socket  # quicker to load than `socket`, see `sock`
import os
import sys
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import TypeVar

from windrow.netlink import errors

T = TypeVar("T")

_SO_NETNS_COOKIE = 71
CLONE_NEWNET = 0x4000_0000
_OWN = "/proc/thread-self/ns/net"
_SETNS = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "setns")  # type: ignore[arg-type]
"""`ctypes` around it takes longer to load than a visit: it is for what fails, and what is called seldom (`libc`)."""


def inside(fd: int, fn: Callable[[], T]) -> T:
    """What `fn` returns or raises inside the namespace of an open fd. Raises KernelError if it cannot be entered."""
    return in_thread(lambda: _enter(fd), fn)


def opened_inside(fd: int, open_: Callable[[], T]) -> T:
    """What `open_` returns inside the namespace, a socket: in this very thread, which goes there and comes back.

    A tenth of what a thread costs, for a system call that ends at once. Whoever cannot come back would do all the
    rest in the wrong namespace, so the process ends; setns(2) into a namespace that is open fails for lack of memory.
    """
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(fd)
        try:
            return open_()
        finally:
            if _setns(own) != 0:
                os.abort()
    finally:
        os.close(own)


def cookie(fd: int) -> int | None:
    """The number of a namespace, which no other one gets until the next boot; its inode's number comes back. None
    where the kernel does not tell it (before 5.14) or the fd is of none."""
    try:
        visitor = opened_inside(fd, lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    except (errors.KernelError, OSError):
        return None
    try:
        return int.from_bytes(visitor.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
    except OSError:
        return None
    finally:
        visitor.close()


def in_thread(enter: Callable[[], None], fn: Callable[[], T]) -> T:
    """`enter`, then `fn`, in a new thread; what `fn` returns, or what either raises."""

    def work() -> T:
        enter()
        return fn()

    return beside(work)()


def beside(fn: Callable[[], T]) -> Callable[[], T]:
    """Begin `fn` in a new thread, which is where this one is. What comes back waits for it, as often as it is called,
    and returns or raises what `fn` did."""
    results: list[T] = []
    failures: list[BaseException] = []
    done = allocate_lock()
    done.acquire()

    def work() -> None:
        try:
            results.append(fn())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread below
            failures.append(error)
        finally:
            done.release()

    def outcome() -> T:
        with done:
            pass
        if failures:
            raise failures[0]
        return results[0]

    start_new_thread(work, ())
    return outcome


def _setns(fd: int) -> int:
    """0, if it could; why not is not known."""
    result: int = _ctypes.call_function(_SETNS, (fd, CLONE_NEWNET))
    return result


def _enter(fd: int) -> None:
    """What has failed is done again, to hear why. Raises KernelError."""
    if _setns(fd) != 0:
        libc("setns", fd, CLONE_NEWNET, doing="enter network namespace")


def libc(function: str, *arguments: object, doing: str) -> None:
    """A function that returns 0 when it could. os.setns and os.unshare come with Python 3.12."""
    import ctypes

    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        raise errors.of(ctypes.get_errno(), doing)
