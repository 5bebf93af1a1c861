"""What a process keeps of the kernel's memory though nothing is in it any more."""

from __future__ import annotations

import contextlib


def give_back() -> None:
    """The C library keeps what was freed for whatever comes next; after work that is done once nothing of that size
    comes (glibc's malloc_trim(3); where there is none, nothing happens)."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
