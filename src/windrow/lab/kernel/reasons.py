"""Why a lab kernel ended, from what it said and how it ended; and what to do about it. Pure: text in, text out.

One table for all kernels, from the particular to the general: the first line that matches is the reason. What stands
here was provoked (tests/boot/test_lab_reasons.py); the texts as they came are in tests/unit/test_lab_reasons.py.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from windrow.model.lazy import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One line each: what is wrong, and what to do."""

    why: str
    todo: str


_OTHER_KERNEL = "windrow lab doctor shows which kernel works here"
_MEMORY = "give this machine or container more memory, or run a smaller scenario"
_SHM = "mount -o remount,exec,size=1g /dev/shm (docker: --tmpfs /dev/shm:exec,size=1g), or allow user namespaces"

_READABLE = "let this user read it and every directory above it, or move it to a place that is readable"

TABLE: tuple[tuple[str, str, str], ...] = (
    # The processor. Only where `xstate.c` could not be used: else it has made the area whole.
    (
        r"(?P<file>\S*xstate\S*)' from LD_PRELOAD cannot be preloaded \((?P<reason>.*?)\)",
        "{file}, which this processor needs, cannot be loaded ({reason})",
        "let XDG_CACHE_HOME name a directory on a file system that is not mounted noexec",
    ),
    (
        r"ptrace set fp regs failed, errno = 14",
        "this processor has more registers than User-Mode Linux can set, and the function that helps was not loaded",
        "apt-get install gcc libc6-dev, then try again",
    ),
    # Namespaces of this host's kernel.
    (
        r"unshare.*: (?P<reason>Operation not permitted|No space left on device|Invalid argument|Permission denied)",
        "this user may not make namespaces here ({reason})",
        "run it as root, or allow it: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns; in a container, another seccomp profile",
    ),
    # ptrace(2), which User-Mode Linux is made of.
    (
        r"check_ptrace : expected SIGSTOP, got status|(?:PTRACE_TRACEME|ptrace): Operation not permitted"
        r"|(?:stop_ptraced_child|check_ptrace) : ptrace failed|PTRACE_(?:TRACEME|OLDSETOPTIONS|GETREGS) failed"
        r"|PTRACE_TRACEME: |check_ptrace : failed to modify system call|signal 31 \(SIGSYS\)",
        "ptrace is forbidden here, and User-Mode Linux is made of it",
        "allow it: docker --cap-add SYS_PTRACE, a seccomp profile with ptrace, or sysctl kernel.yama.ptrace_scope=1",
    ),
    # The file that is its memory.
    (
        r"no place for the kernel's memory: (?P<reason>.+)",
        "there is no place for the file that is the kernel's memory ({reason})",
        _SHM,
    ),
    (
        r"Bus error - the host /dev/shm or /tmp mount likely just ran out of space|No space left on device"
        r"|signal 7 \(SIGBUS\)",
        "/dev/shm and /tmp are too small or full, and the kernel's memory is a file there",
        _SHM,
    ),
    (
        r"setup_physmem - mapping .* failed - errno = -?12|Cannot allocate memory|write: File too large",
        "the memory that this process may have is limited to less than the kernel's",
        "raise the limit (ulimit -v, ulimit -f; systemd: LimitAS=, LimitFSIZE=)",
    ),
    (
        r"Too few physical memory!|Out of memory and no killable processes|System is deadlocked on memory",
        "the kernel was given too little memory for itself",
        "report it: `windrow lab` gives a kernel what its scenario needs",
    ),
    # The files that it runs from.
    (
        r"Requested init (?P<file>\S+) failed \(error -13\)|(?P<script>/\S+)': \[Errno 13\]",
        "the kernel may not read {file}{script}",
        _READABLE,
    ),
    (
        r"Requested init (?P<file>\S+) failed \(error -(?:2|20)\)|(?P<script>/\S+)': \[Errno 2\]",
        "the kernel does not find {file}{script}",
        "it sees this host's own files: the interpreter and the checkout have to be there, not in a mount of its own",
    ),
    (
        r"Requested init (?P<file>\S+) failed \(error -8\)",
        "{file} is a program for another processor than this kernel's",
        "use a Python for this kernel's processor (WINDROW_PYTHON=/usr/bin/python3 make setup)",
    ),
    (
        r"VFS: Unable to mount root fs",
        "the kernel cannot mount its root file system",
        "apt-get install --reinstall user-mode-linux; this user has to be allowed to read /",
    ),
    (
        r"the guest: .*no kernel modules in (?P<directory>\S+)",
        "the kernel's modules are missing: {directory} is not there, or may not be read",
        "apt-get install --reinstall user-mode-linux",
    ),
    (
        r"the guest: PermissionError: .*?'(?P<file>.*?)'",
        "the kernel may not read {file}",
        _READABLE,
    ),
    (
        r"the guest: ModuleNotFoundError: No module named '(?P<name>windrow|click|yaml)'",
        "the kernel does not find the Python package {name}, or may not read it",
        _READABLE,
    ),
    (r"the guest: (?P<what>.+)", "what it runs failed: {what}", "the file below has the whole trace; report it"),
    # The kernel itself as a program.
    (
        r"(?P<file>\S+): \[Errno 8\] Exec format error",
        "{file} is a program for another processor than this machine's",
        _OTHER_KERNEL,
    ),
    (
        r"(?P<file>\S+): \[Errno \d+\] (?P<reason>[^:\n]+)(?:: .*)?\nexit code 127",
        "{file} cannot be started: {reason}",
        "apt-get install --reinstall the package that it is from",
    ),
    (
        r"Resource temporarily unavailable",
        "this user may not start more processes",
        "raise the limit (ulimit -u; a container's pids limit)",
    ),
    # How it ended, where it did not say why.
    (
        r"Kernel panic - not syncing: (?P<reason>.+)",
        "the kernel panicked: {reason}",
        _OTHER_KERNEL,
    ),
    (
        r"signal 9 \(SIGKILL\)",
        "something killed the kernel; mostly that is this machine's or this container's lack of memory",
        _MEMORY,
    ),
    (r"(?P<how>(?:exit code|signal) .+)$", "the kernel ended without a word that is known ({how})", _OTHER_KERNEL),
)
_UNKNOWN = Reason("the kernel closed its line and says nothing", _OTHER_KERNEL)


def reason(console: Sequence[str], ended: str = "") -> Reason:
    """`console`: its lines; `ended`: words of `ending`, empty where it has not ended."""
    text = "\n".join([*console, ended]).rstrip()
    for pattern, why, todo in TABLE:
        if found := re.search(pattern, text):
            named = {name: value or "" for name, value in found.groupdict().items()}
            return Reason(why.format_map(named), todo)
    return _UNKNOWN


def ending(code: int) -> str:
    """In words, the exit code of `launch.py`: the program's, or 256 less the signal that ended it."""
    number = 256 - code
    if code < 256 - signal.NSIG:
        return f"exit code {code}"
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
