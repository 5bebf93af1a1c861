"""Run a program where something is not allowed: `python confined.py JSON PROGRAM ARGUMENT…`.

`places`: directories, and the mount options of an empty file system over each · `refuse`: system calls and the errno
that they get, 0: death by SIGSYS (a seccomp filter, as container engines set one) · `limits`: names of RLIMIT_* and
their values · `user`: an id to become · `namespace`: as root of a user namespace.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import sys

from windrow.lab.kernel import launch

NUMBERS = {"ptrace": 101, "unshare": 272}
"""Of x86_64."""
FLAGS = {"ro": 1, "noexec": 8}
"""Mount options that are flags of mount(2)."""
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 4, 22, 38, 2
_KILL, _ERRNO, _ALLOW = 0x8000_0000, 0x5_0000, 0x7FFF_0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(calls: dict[str, int]) -> None:
    """A filter (seccomp(2)) that lets everything through but `calls`."""
    steps = [(_LOAD, 0, 0, 0)]  # the number of the system call
    for name, code in calls.items():
        steps += [(_EQUAL, 0, 1, NUMBERS[name]), (_RETURN, 0, 0, _ERRNO | code if code else _KILL)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(raw))
    launch.check(launch.libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    launch.check(launch.libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program)), "seccomp")


def mount_over(place: str, options: list[str]) -> None:
    """An empty tmpfs."""
    flags = sum(value for name, value in FLAGS.items() if name in options)
    launch.mount("tmpfs", place, "tmpfs", flags=flags, options=",".join(o for o in options if o not in FLAGS))


def main() -> None:
    wanted = json.loads(sys.argv[1])
    if places := wanted.get("places"):
        launch.unshare(launch.CLONE_NEWNS)
        launch.mount("none", "/", flags=launch.MS_REC | launch.MS_PRIVATE)
        for place, options in places.items():
            mount_over(place, options.split(","))
    if "user" in wanted:
        os.setgroups([])
        os.setgid(wanted["user"])
        os.setuid(wanted["user"])
        launch.libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else what is in /proc/self is still root's
    if wanted.get("namespace"):
        launch.unshare(launch.CLONE_NEWNS | launch.CLONE_NEWNET)  # with a network of its own it is root inside
    for name, limit in wanted.get("limits", {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    refuse(wanted.get("refuse", {}))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
