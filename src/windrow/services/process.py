"""Programs that stay: started so that they outlive us, found again later, and ended.

A pid alone names nothing for long: with its start time (proc(5), field 22 of /proc/<pid>/stat, in ticks since boot) it
names one process until the next boot.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from windrow.model.processes import Process as Process
from windrow.services import ring
from windrow.services.account import Account
from windrow.services.errors import ServiceError

ROOT = Account(0)
KILLED_S = 10.0
"""A process that got SIGKILL may still have to close its devices."""
_PACKAGES = {
    "dnsmasq": "dnsmasq-base",
    "kea-dhcp4": "kea-dhcp4-server",
    "iptables-restore": "iptables",
    "ip6tables-restore": "iptables",
    "nft": "nftables",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
}
_LOG_END = 4096


class Program:
    """One that we started; the handle is worth something only in the process that did."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen, self._log = popen, log
        self.name = os.path.basename(os.fsdecode(popen.args[0]))  # type: ignore[index, arg-type]
        self.process = Process(pid=popen.pid, started=start_time(popen.pid) or 0)
        # Somebody must wait for it, or it stays a zombie for as long as we are there.
        threading.Thread(target=popen.wait, name=f"wait for {popen.pid}", daemon=True).start()

    @property
    def exit(self) -> int | None:
        """Its exit code, as a shell counts it; None while it runs."""
        code = self._popen.returncode
        return 128 - code if code is not None and code < 0 else code

    def died(self) -> ServiceError | None:
        """Why it is no longer there, in its own last words; None while it is."""
        if self.exit is None:
            return None
        said = last_words(self._log, self.name)
        return ServiceError(self.name, said or f"it ended with exit code {self.exit} and said nothing")


def start(
    argv: Sequence[str], *, directory: Path, log: Path, account: Account = ROOT, fds: Sequence[int] = ()
) -> Program:
    """Start a program in the calling thread's network namespace, with nothing of ours but its environment and `fds`.

    It gets a session of its own, no input, and `log` (started anew) for all it says; it works in `directory`, so that
    the paths of its sockets can be short (`sun_path` has 108 bytes). `account`: who it runs as. Raises ServiceError.
    """
    try:
        with open(log, "wb") as output:
            os.fchmod(output.fileno(), 0o600)
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                start_new_session=True,
                pass_fds=fds,
                **_as(account),
            )
    except OSError as error:
        raise not_started(argv[0], error) from error
    return Program(popen, log)


def _as(account: Account) -> dict[str, Any]:
    if account == ROOT:
        return {}
    return {"user": account.number, "group": account.number, "extra_groups": account.groups}


def may_read(paths: Iterable[str], account: Account) -> bool:
    """Whether it may read all of them, by the kernel's own answer: each directory on the way counts. What everybody may
    read needs no process to ask."""
    paths = [path for path in paths if not _may_everybody_read(path)]
    words = [word for path in paths for word in ("-a", "-r", path)][1:]
    return not words or subprocess.run(["test", *words], check=False, **_as(account)).returncode == 0


def _may_everybody_read(path: str) -> bool:
    """By the modes on the way; where a list says who else may or may not (acl(5)), they do not tell."""
    way = [os.path.realpath(path)]
    while way[-1] != "/":
        way.append(os.path.dirname(way[-1]))
    try:
        file, *directories = (os.stat(one).st_mode for one in way)
        open_to_all = file & stat.S_IROTH and all(mode & stat.S_IXOTH for mode in directories)
        return bool(open_to_all) and not any(map(_has_acl, way))
    except OSError:
        return False


def _has_acl(path: str) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError as error:
        return error.errno != errno.ENOTSUP


def start_ring(path: Path, *, size: int = ring.SIZE) -> int:
    """Keep the end of a log (`services.ring`), anew; returns the pipe's end to write to. Raises ServiceError."""
    Path(ring.older(os.fspath(path))).unlink(missing_ok=True)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    argv = [sys.executable, "-I", "-S", ring.__file__, os.fspath(path), str(size)]
    null = subprocess.DEVNULL
    try:
        popen = subprocess.Popen(argv, stdin=reading, stdout=null, stderr=null, cwd="/", start_new_session=True)
    except OSError as error:
        os.close(writing)
        raise not_started(argv[0], error) from error
    finally:
        os.close(reading)
    Program(popen, path)  # waits for it, so that it leaves no zombie
    return writing


def run(argv: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> str:
    """Run a program that ends, in the calling thread's network namespace; what it printed. Raises ServiceError."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(argv[0], f"it did not end within {timeout_s:.0f} s") from error
    except OSError as error:
        raise not_started(argv[0], error) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).replace("\n", "; ")
        raise ServiceError(argv[0], said or f"it ended with exit code {done.returncode} and said nothing")
    return done.stdout


def not_started(program: str, error: OSError) -> ServiceError:
    name = os.path.basename(program)
    hint = (
        f"install the package {_PACKAGES[name]}" if name in _PACKAGES and isinstance(error, FileNotFoundError) else ""
    )
    where = f" {error.filename}" if error.filename and error.filename != program else ""
    return ServiceError(name, f"cannot be started: {error.strerror}{where}", hint)


def last_words(log: Path, program: str = "") -> str:
    """The end of what a program said, on one line, without its own name before each."""
    try:
        text = log.read_bytes()[-_LOG_END:].decode(errors="replace")
    except OSError:
        return ""
    return "; ".join(line.strip().removeprefix(f"{program}: ") for line in text.strip().splitlines()[-5:])


# Finding and ending -------------------------------------------------------------------------------


def inherited(variable: str) -> str:
    """An environment variable of this process, or else of the nearest ancestor that has it: sudo keeps few of them
    (`env_reset`). Empty: none has it, or its environment may not be read."""
    if value := os.environ.get(variable):
        return value
    pid = os.getppid()
    while pid > 1:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        for entry in environment:
            name, _, value_bytes = entry.partition(b"=")
            if name == os.fsencode(variable) and value_bytes:
                return os.fsdecode(value_bytes)
        pid = int(stat[stat.rindex(")") + 2 :].split()[1])
    return ""


def start_time(pid: int) -> int | None:
    """None where there is no such process, or only its exit code is left (a zombie).

    A process that is killed shows as a zombie as soon as its first thread has ended, while the others still hold its
    files: QEMU its devices, a server its port. Only a zombie without more threads (field 20) has let go of them.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may have blanks and parentheses
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    return None if state in ("X", "x") or (state == "Z" and threads <= 1) else started


def found(pid: int) -> Process | None:
    """The process that has this pid now."""
    started = start_time(pid)
    return None if started is None else Process(pid=pid, started=started)


def alive(process: Process | None) -> bool:
    return process is not None and start_time(process.pid) == process.started


def end(process: Process | None, *, patience_s: float = 5.0) -> bool:
    """SIGTERM, and SIGKILL after `patience_s` seconds (0: at once). Whether it was there at all.

    Raises ServiceError if it does not even die of that.
    """
    with _held(process) as fd:
        if fd is None or process is None:
            return False
        if patience_s > 0:
            _signal(fd, signal.SIGTERM)
            if _gone(fd, patience_s):
                return True
        _signal(fd, signal.SIGKILL)
        if not _gone(fd, KILLED_S):
            raise ServiceError(f"process {process.pid}", f"is still there {KILLED_S:.0f} s after SIGKILL")
        return True


def hang_up(process: Process | None) -> None:
    """SIGHUP, if it is still there."""
    with _held(process) as fd:
        if fd is not None:
            _signal(fd, signal.SIGHUP)


def wait_for_end(process: Process | None, timeout_s: float) -> bool:
    """Whether it is gone after at most `timeout_s` seconds."""
    with _held(process) as fd:
        return fd is None or process is None or _gone(fd, timeout_s)


def in_netns(inode: int) -> tuple[Process, ...]:
    """Those that live in the network namespace of this inode number (`stat` of its file)."""
    seen = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(entry / "ns/net").st_ino == inode and (process := found(int(entry.name))):
                    seen.append(process)
    return tuple(seen)


def end_in_netns(inode: int, *, patience_s: float) -> None:
    """All of them, one after another; as `end`. Raises ServiceError."""
    for one in in_netns(inode):
        end(one, patience_s=patience_s)


@contextlib.contextmanager
def _held(process: Process | None) -> Iterator[int | None]:
    """A pidfd, by which a signal cannot hit another one; None where the process is gone."""
    fd: int | None = None
    if process is not None:
        with _unless_gone():
            fd = os.pidfd_open(process.pid)
    try:
        yield fd if alive(process) else None
    finally:
        if fd is not None:
            os.close(fd)


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """EINVAL: it is gone, and its number is still that of a session or process group (`pidfd_create`)."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EINVAL):
            raise


def _signal(fd: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)


def _gone(fd: int, timeout_s: float) -> bool:
    """A pidfd is readable once the last thread of its process has ended (`pidfd_poll`), whoever waits for it."""
    return bool(select.select([fd], [], [], timeout_s)[0])
