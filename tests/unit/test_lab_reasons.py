"""What lab kernels said before they ended, as it came, and what is made of it."""

from __future__ import annotations

import re
import signal
import string

import pytest

from windrow.lab.kernel.reasons import TABLE, ending, reason

ABORTED = ending(256 - signal.SIGABRT)

NOISE = """\
SELinux: CONFIG_SECURITY_SELINUX_CHECKREQPROT_VALUE is non-zero.  This is deprecated and will be rejected in a future.
make_umid - mkstemp(/dev/null/2iJiXf) failed: Not a directory
Failed to initialize umid "", trying with a random umid
mmapper_init - find_iomem failed
Failed to initialize ubd device 0 :Couldn't determine size of device's file"""
"""What User-Mode Linux says whenever it comes up; no reason for anything."""
STACK = """\
CPU: 0 PID: 1 Comm: swapper Not tainted 6.1.176 #1
Stack:
 606944ba 607e7fcd 6cc93e40 6067bb96
Call Trace:
 [<606931e5>] panic+0x197/0x376"""

SAID = {
    "amx": (
        f"{NOISE}\nuserspace - ptrace set fp regs failed, errno = 14\n"
        f"Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n{STACK}",
        ABORTED,
        "more registers than User-Mode Linux can set",
        "gcc libc6-dev",
    ),
    "amx, and a home that is noexec": (
        "ERROR: ld.so: object '/srv/a/.cache/windrow/lab/xstate-0123456789abcdef' from LD_PRELOAD cannot be preloaded "
        "(failed to map segment from shared object): ignored.\n"
        f"{NOISE}\nuserspace - ptrace set fp regs failed, errno = 14",
        ABORTED,
        "/srv/a/.cache/windrow/lab/xstate-0123456789abcdef, which this processor needs, cannot be loaded "
        "(failed to map segment from shared object)",
        "XDG_CACHE_HOME",
    ),
    "ptrace, before anything is started": (
        "PTRACE_TRACEME: Operation not permitted",
        "",
        "ptrace is forbidden",
        "SYS_PTRACE",
    ),
    "ptrace, killed by seccomp": ("PTRACE_TRACEME: killed by signal 31", "", "ptrace is forbidden", "seccomp"),
    "ptrace": (
        "Core dump limits :\n\tsoft - 0\n\thard - 0\nChecking that ptrace can change system call numbers..."
        "ptrace: Operation not permitted\ncheck_ptrace : expected SIGSTOP, got status = 256",
        "exit code 1",
        "ptrace is forbidden",
        "yama",
    ),
    "no place": (
        "/usr/bin/linux.uml: [Errno 28] no place for the kernel's memory: /dev/shm: mounted noexec, /tmp has 1 MB free "
        "and 128 are needed",
        "exit code 127",
        "(/dev/shm: mounted noexec, /tmp has 1 MB free and 128 are needed)",
        "/dev/shm",
    ),
    "memory that runs out": (
        f"{NOISE}\nBus error - the host /dev/shm or /tmp mount likely just ran out of space\n"
        "Kernel panic - not syncing: Kernel mode signal 7\nReceived SIGSEGV in SIGSEGV handler, aborting stack trace!",
        ABORTED,
        "too small or full",
        "size=1g",
    ),
    "memory that is refused": (
        "setup_physmem - mapping 787046400 bytes of memory at 0x(____ptrval____) failed - errno = -12",
        "exit code 1",
        "limited",
        "ulimit -v",
    ),
    "a file that must not grow": ("write: File too large", "exit code 1", "limited", "ulimit -f"),
    "too little": (
        "Too few physical memory! Needed=524288000, given=522137600",
        "exit code 1",
        "too little memory",
        "report it",
    ),
    "an interpreter that it may not read": (
        f"{NOISE}\nKernel panic - not syncing: Requested init /srv/priv/python failed (error -13).\n{STACK}",
        ABORTED,
        "may not read /srv/priv/python",
        "let this user read it",
    ),
    "an interpreter that is not there": (
        f"{NOISE}\nKernel panic - not syncing: Requested init /usr/nowhere/python failed (error -2).\n{STACK}",
        ABORTED,
        "does not find /usr/nowhere/python",
        "this host's own files",
    ),
    "an interpreter of another processor": (
        f"{NOISE}\nKernel panic - not syncing: Requested init /opt/python failed (error -8).\n{STACK}",
        ABORTED,
        "/opt/python is a program for another processor than this kernel's",
        "WINDROW_PYTHON",
    ),
    "a checkout that it may not read": (
        f"{NOISE}\n/usr/bin/python3.11: can't open file '/srv/priv/a/b/init.py': [Errno 13] Permission denied\n"
        f"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200\n{STACK}",
        ABORTED,
        "may not read /srv/priv/a/b/init.py",
        "let this user read it",
    ),
    "a checkout that is not there": (
        f"{NOISE}\npython3: can't open file '/usr/nowhere/a/b/init.py': [Errno 2] No such file or directory",
        ABORTED,
        "does not find /usr/nowhere/a/b/init.py",
        "not in a mount of its own",
    ),
    "a root that it may not read": (
        f"{NOISE}\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(98,0)\n{STACK}",
        ABORTED,
        "cannot mount its root file system",
        "read /",
    ),
    "no modules": (
        "the guest: FileNotFoundError: no kernel modules in /usr/lib/uml/modules/6.1.176",
        "",
        "/usr/lib/uml/modules/6.1.176 is not there, or may not be read",
        "--reinstall user-mode-linux",
    ),
    "a file that the guest may not read": (
        "the guest: PermissionError: [Errno 13] Permission denied: '/usr/lib/uml/modules/6.1.176/modules.dep'",
        "",
        "may not read /usr/lib/uml/modules/6.1.176/modules.dep",
        "let this user read it",
    ),
    "a package that the guest does not find": (
        "the guest: ModuleNotFoundError: No module named 'windrow'",
        "",
        "does not find the Python package windrow, or may not read it",
        "let this user read it",
    ),
    "a guest that fails": (
        "the guest: ValueError: what is this",
        "",
        "what it runs failed: ValueError: what is this",
        "trace",
    ),
    "a kernel of another processor": (
        "/usr/bin/linux.uml: [Errno 8] Exec format error",
        "exit code 127",
        "/usr/bin/linux.uml is a program for another processor than this machine's",
        "windrow lab doctor",
    ),
    "a kernel that may not be started": (
        "/usr/bin/linux.uml: [Errno 13] Permission denied",
        "exit code 127",
        "/usr/bin/linux.uml cannot be started: Permission denied",
        "--reinstall",
    ),
    "no processes": (
        "[Errno 11] Resource temporarily unavailable",
        "",
        "may not start more processes",
        "ulimit -u",
    ),
    "no namespaces": (
        "unshare with a user namespace: Operation not permitted",
        "",
        "may not make namespaces here (Operation not permitted)",
        "user.max_user_namespaces",
    ),
    "no more namespaces": (
        "unshare with a user namespace: No space left on device",
        "",
        "may not make namespaces here (No space left on device)",
        "user.max_user_namespaces",
    ),
    "a panic that is not known": (
        f"{NOISE}\nKernel panic - not syncing: Oh no\n{STACK}",
        ABORTED,
        "the kernel panicked: Oh no",
        "doctor",
    ),
    "killed": (NOISE, ending(256 - signal.SIGKILL), "something killed the kernel", "memory"),
    "silent": ("", "exit code 1", "without a word that is known (exit code 1)", "doctor"),
    "another signal": (NOISE, ending(256 - signal.SIGABRT), "(signal 6 (SIGABRT))", "doctor"),
    "nothing": ("", "", "says nothing", "doctor"),
}


@pytest.mark.parametrize("case", SAID)
def test_known_reasons(case: str) -> None:
    console, ended, why, todo = SAID[case]
    found = reason(console.splitlines(), ended)
    assert why in found.why
    assert todo in found.todo
    assert "\n" not in found.why + found.todo


@pytest.mark.parametrize("number", range(len(TABLE)))
def test_every_reason_is_reached(number: int) -> None:
    """A pattern above another one may hide it."""
    pattern = TABLE[number][0]
    texts = ["\n".join([console, ended]).rstrip() for console, ended, _, _ in SAID.values()]
    assert any(
        re.search(pattern, text) and not any(re.search(earlier, text) for earlier, _, _ in TABLE[:number])
        for text in texts
    )


def test_every_template_names_only_what_its_pattern_has() -> None:
    for pattern, why, _ in TABLE:
        wanted = {name for _, name, _, _ in string.Formatter().parse(why) if name}
        assert wanted <= set(re.compile(pattern).groupindex), why


def test_what_a_kernel_that_comes_up_says_is_no_reason() -> None:
    assert reason(NOISE.splitlines()).why == "the kernel closed its line and says nothing"


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (127, "exit code 127"), (250, "signal 6 (SIGABRT)"), (247, "signal 9 (SIGKILL)")],
)
def test_endings(code: int, words: str) -> None:
    assert ending(code) == words
