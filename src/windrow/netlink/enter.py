"""Going into a network namespace for a moment: in a thread of its own that ends with the visit.

setns(2) moves one thread, and nothing can be left standing in the wrong namespace when that thread is gone. Apart from
`netns` because it loads quickly: a CNI plugin is started anew for every call.
"""

from __future__ import annotations

import ctypes
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import TypeVar

from windrow.netlink import errors

T = TypeVar("T")

CLONE_NEWNET = 0x4000_0000


def inside(fd: int, fn: Callable[[], T]) -> T:
    """What `fn` returns or raises inside the namespace of an open fd. Raises KernelError if it cannot be entered."""
    return in_thread(lambda: libc("setns", fd, CLONE_NEWNET, doing="enter network namespace"), fn)


def in_thread(enter: Callable[[], None], fn: Callable[[], T]) -> T:
    """`enter`, then `fn`, in a new thread; what `fn` returns, or what either raises."""
    results: list[T] = []
    failures: list[BaseException] = []
    done = allocate_lock()
    done.acquire()

    def work() -> None:
        try:
            enter()
            results.append(fn())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread below
            failures.append(error)
        finally:
            done.release()

    start_new_thread(work, ())
    with done:
        pass
    if failures:
        raise failures[0]
    return results[0]


def libc(function: str, *arguments: object, doing: str) -> None:
    """A function that returns 0 when it could. os.setns and os.unshare come with Python 3.12."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        raise errors.of(ctypes.get_errno(), doing)
