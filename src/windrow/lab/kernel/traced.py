"""Whether a process may trace another one here, how large its XSAVE area is, and whether that is too much: by doing it.

A script of its own (`python -I -S traced.py`), since a process with threads cannot well fork. It prints JSON: `size`,
in bytes (0: the processor has none), and whether User-Mode Linux `needs_help` with it (`xstate.c`); or `error`.
User-Mode Linux traces its processes the same way.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

PTRACE_TRACEME, PTRACE_GETREGSET = 0, 0x4204
NT_X86_XSTATE = 0x202
KEPT = 2696
"""Bytes of it that User-Mode Linux 6.1 keeps (HOST_FP_SIZE in arch/x86/um/user-offsets.c)."""
_LARGEST = 1 << 20

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def area_size(child: int) -> int:
    """Of a stopped child; this is the number that `xstateregs_set` asks for. Raises OSError."""
    buffer = ctypes.create_string_buffer(_LARGEST)
    room = Iovec(ctypes.addressof(buffer), _LARGEST)
    if libc.ptrace(PTRACE_GETREGSET, child, NT_X86_XSTATE, ctypes.addressof(room)) == 0:
        return int(room.length)
    code = ctypes.get_errno()
    if os.uname().machine not in ("x86_64", "i686"):
        return 0  # EINVAL: no such register set
    raise OSError(code, f"PTRACE_GETREGSET: {os.strerror(code)}")


def traced_child() -> int:
    """The pid of a child that is traced, and stopped. Raises OSError where that is not allowed."""
    child = os.fork()
    if child == 0:
        if libc.ptrace(PTRACE_TRACEME, 0, None, None) != 0:
            os._exit(ctypes.get_errno())
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSTOPPED(status):
        return child
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
    raise OSError(code, f"PTRACE_TRACEME: {os.strerror(code) if code else f'killed by signal {os.WTERMSIG(status)}'}")


def main() -> int:
    try:
        child = traced_child()
        try:
            size = area_size(child)
            print(json.dumps({"size": size, "needs_help": size > KEPT}))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    except OSError as error:
        print(json.dumps({"error": error.strerror}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
