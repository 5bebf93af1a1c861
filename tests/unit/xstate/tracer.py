"""Trace a process and set its registers with an area of a given length, as User-Mode Linux does.

`python tracer.py PROGRAM LENGTH`, with LENGTH 0 for all of it. The program stops itself; then its register xmm0 is set
to bytes 0xAA. Prints JSON: the `size` of the whole area, the `errno` of setting it (0: taken), what was `printed`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

from windrow.lab.kernel.traced import NT_X86_XSTATE, PTRACE_GETREGSET, PTRACE_TRACEME, Iovec, libc

PTRACE_CONT, PTRACE_SETREGSET, PTRACE_PEEKUSER = 7, 0x4205, 3
XMM0_AT = 160
ORIG_RAX_AT = 15 * 8


def main() -> None:
    program, length = sys.argv[1], int(sys.argv[2])
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write_end, 1)
        libc.ptrace(PTRACE_TRACEME, 0, None, None)
        os.execve(program, [program], {})
    os.close(write_end)
    os.waitpid(child, 0)  # exec
    assert libc.ptrace(PTRACE_PEEKUSER, child, ORIG_RAX_AT, None) == 59  # execve: what passes through works, too
    libc.ptrace(PTRACE_CONT, child, None, None)
    os.waitpid(child, 0)  # int3
    buffer = ctypes.create_string_buffer(1 << 16)
    area = Iovec(ctypes.addressof(buffer), len(buffer))
    assert libc.ptrace(PTRACE_GETREGSET, child, NT_X86_XSTATE, ctypes.addressof(area)) == 0
    size = int(area.length)
    ctypes.memset(ctypes.addressof(buffer) + XMM0_AT, 0xAA, 16)
    area.length = length or size
    done = libc.ptrace(PTRACE_SETREGSET, child, NT_X86_XSTATE, ctypes.addressof(area))
    code = ctypes.get_errno() if done else 0
    libc.ptrace(PTRACE_CONT, child, None, None)
    os.waitpid(child, 0)
    print(json.dumps({"size": size, "errno": code, "printed": os.read(read_end, 4096).decode()}))


if __name__ == "__main__":
    main()
