"""Run one program so that nothing of it is left when it, or the one who wanted it, is killed.

A script of its own (`python -I -S launch.py`), between the lab's owner and the kernel it runs:

    owner ──pipe (stdin)── launch ── program

- The program gets a process namespace of its own, where that is allowed: when its first process dies, the kernel
  kills the rest (`zap_pid_ns_processes`). With it comes a mount namespace in which everything is read-only.
- That first process is ours, unless the program says that it is an init. A program that ends itself by a signal (User-
  Mode Linux does at a panic, `uml_abort`) could never end as the first one: the kernel keeps from that what it does
  not handle (SIGNAL_UNKILLABLE, pid_namespaces(7)), and it would try for ever.
- Where it is not allowed, the program gets a session of its own, and `launch` kills that.
- The owner's end of the pipe closes with the owner, however that dies; then `launch` kills the program.
- When `launch` is killed, PR_SET_PDEATHSIG kills the program, and the owner kills its session.

The first line on stdout is JSON: the program's process id and what could be had. Only the standard library, and
little of it: this starts in 15 ms. The exit code is the program's; 256 - N: signal N ended it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import resource
import select
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1

_MEMORY_PLACES = ("/dev/shm", "/tmp")
_MEMORY_GOOD, _MEMORY_LEAST = 512 << 20, 128 << 20
"""Free bytes: from which on a place is taken for a kernel's memory, and below which it cannot be. A lab that has just
started is 90 MB, one with machines several times that."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, doing: str) -> None:
    """Raises OSError."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{doing}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    arguments = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode())
    check(libc.mount(*arguments), f"mount {target}")


def unshare(flags: int) -> None:
    """unshare(2); as a user without CAP_SYS_ADMIN, inside a new user namespace. Raises OSError."""
    try:
        check(libc.unshare(flags), "unshare")
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        check(libc.unshare(flags | CLONE_NEWUSER), "unshare with a user namespace")
        # One's own id, and no other, may be mapped without privilege (user_namespaces(7)). Inside the lab's
        # namespaces one must be root; UML has a root of its own, and needs the files' owners as they are.
        inside = 0 if flags & CLONE_NEWNET else user
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{inside} {user} 1")
        _write("/proc/self/gid_map", f"{0 if flags & CLONE_NEWNET else group} {group} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def make_read_only() -> None:
    """All mounts of this namespace, but for memory in /dev/shm. Raises OSError."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    done = libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )
    check(done, "make all mounts read-only")
    mount("tmpfs", "/dev/shm", "tmpfs")


def choose_memory_place() -> str:
    """A directory for the file that User-Mode Linux has as its memory: made, unlinked, grown and executed there.

    /dev/shm if that will do. In a container it is often small and noexec; then what is on disk is slower and works.
    Raises OSError where there is none.
    """
    rooms: dict[str, int] = {}
    refused = []
    for place in _MEMORY_PLACES:
        try:
            rooms[place] = _room_for_memory(place)
            refused.append(f"{place} has {rooms[place] >> 20} MB free and {_MEMORY_LEAST >> 20} are needed")
        except OSError as error:
            refused.append(f"{place}: {'mounted noexec' if error.errno == errno.EPERM else error.strerror}")
    most = max(rooms, key=lambda place: rooms[place], default="")
    best = next((place for place, room in rooms.items() if room >= _MEMORY_GOOD), most)
    if rooms.get(best, 0) < _MEMORY_LEAST:
        raise OSError(errno.ENOSPC, f"no place for the kernel's memory: {', '.join(refused)}")
    return best


def _room_for_memory(place: str) -> int:
    """Free bytes. Raises OSError; EPERM: nothing may be executed there (mmap(2))."""
    path = f"{place}/.windrow-{os.getpid()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)
        os.truncate(fd, mmap.PAGESIZE)
        mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
        free = os.fstatvfs(fd)
        return free.f_bavail * free.f_frsize
    finally:
        os.close(fd)


def main() -> int:
    """`launch.py FLAGS TRAITS PROGRAM ARGUMENT…`: FLAGS are the namespaces (CLONE_*). TRAITS of the program, joined by
    commas: `required`, the namespaces are; `init`, it may be the first process; `memory`, its memory is a file;
    `processor=N`, it keeps to this one."""
    flags, traits, program = int(sys.argv[1]), set(sys.argv[2].split(",")), sys.argv[3:]
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a panic is told, and leaves no file
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # The owner has our pid, and its end of stdin: a death signal from it is one more way to learn that it is gone.
    why = ""
    try:
        unshare(flags)
    except OSError as error:
        why = str(error)
        if "required" in traits:
            print(json.dumps({"error": why, "errno": error.errno}), flush=True)
            return 1
    ready_r, ready_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready_r)
        _run(program, traits, namespaces=not why, ready=ready_w)
    os.close(ready_w)
    note = os.read(ready_r, 4096).decode()
    print(json.dumps({"pid": child, "namespaces": not why, "note": why or note}), flush=True)
    return _watch(child)


def _run(program: list[str], traits: set[str], *, namespaces: bool, ready: int) -> None:
    """Become the program, or the first process before it. `ready` closes with exec."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(PermissionError):  # UML and a first process of its own session are leaders already
            os.setsid()
        if namespaces:
            try:
                make_read_only()
            except OSError as error:  # before Linux 5.12; the lab's own root is read-only all the same
                os.write(ready, str(error).encode())
        for number in (trait.partition("=")[2] for trait in traits if trait.startswith("processor=")):
            with contextlib.suppress(OSError):  # it is slower then
                os.sched_setaffinity(0, {int(number)})
        if "memory" in traits:
            os.environ["TMPDIR"] = choose_memory_place()
        if namespaces and "init" not in traits and (inner := os.fork()):
            _be_first(inner)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.execv(program[0], program)
    except OSError as error:
        os.write(2, f"{program[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _be_first(program: int) -> None:
    """The first process of the namespace: it reaps, and ends with the program; never returns."""
    os.closerange(0, 1 << 16)  # the channel has to close with the program
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _watch(child: int) -> int:
    """Until the program ends, or the owner does: then end the program. The program's exit code."""
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _kill(child))
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1
        if pid == child:
            _kill(child)  # what it left in its session
            return os.waitstatus_to_exitcode(status) & 0xFF
        if pid:
            continue
        readable, _, _ = select.select([0, wake_r], [], [])
        if wake_r in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_r, 64)
        if 0 in readable and not os.read(0, 64):
            _kill(child)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.waitpid(child, 0)
            return 137


def _kill(child: int) -> None:
    """The program and its session; in a process namespace the first one's death is everybody's."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
