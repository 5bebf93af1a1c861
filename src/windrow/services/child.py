"""A program that is run to its end: input in, exit code and output back, and nothing of it left.

Not `subprocess`: that takes longer to load than a CNI plugin does its work. posix_spawn(3) starts the program in the
network namespace of the calling thread, and in a process group of its own, so that what it started ends with it.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Mapping, Sequence

from windrow.model.lazy import dataclass

OUTPUT_LIMIT = 8 * 1024 * 1024
_CHUNK = 65536
_SIGKILL, _SIGPIPE = 9, 13
"""On every Linux. `signal` makes enumerations of all its numbers while it is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """`exit`: negative, where a signal ended it."""

    exit: int
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes = b"", timeout_s: float, holding: int | None = None
) -> Ended:
    """Run `argv[0]`, a path. `holding`: an fd above 2 that it has, too, so that a lock on it is held until both of us
    have ended. Raises OSError: it cannot be started, TimeoutError, or EMSGSIZE (OUTPUT_LIMIT)."""
    with start(argv, env=env, holding=holding) as started:
        return started.finish(stdin, timeout_s)


def start(argv: Sequence[str], *, env: Mapping[str, str], holding: int | None = None) -> Started:
    """As `run`; it has no input yet. Raises OSError."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for is_input in (True, False, False):
            read, write = os.pipe2(os.O_CLOEXEC)
            ours.append(write if is_input else read)
            theirs.append(read if is_input else write)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(theirs)]
        if holding is not None:  # onto itself: so it is not closed by execve(2) (posix_spawn_file_actions_adddup2)
            actions.append((os.POSIX_SPAWN_DUP2, holding, holding))
        # Python ignores SIGPIPE, and what is ignored stays so across execve(2).
        pid = os.posix_spawn(
            argv[0], list(argv), env, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=(_SIGPIPE,)
        )
    except BaseException:
        _close(ours)
        raise
    finally:
        _close(theirs)
    return Started(pid, ours)


class Started:
    """A program that waits for its input. As a context it is ended, with all that it started, unless it has ended."""

    def __init__(self, pid: int, ours: list[int]) -> None:
        self._pid, self._ours = pid, ours
        self._has_ended = False
        self._input, *outputs = ours
        self._said: dict[int, list[bytes]] = {fd: [] for fd in outputs}
        self._poll = select.poll()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self._has_ended:
                self._kill()
        finally:
            _close(self._ours)

    def finish(self, stdin: bytes, timeout_s: float) -> Ended:
        """Feed it and listen to it at once, until it has ended. Raises OSError: TimeoutError, or EMSGSIZE."""
        ended = os.pidfd_open(self._pid)
        try:
            self._listen(stdin, ended, time.monotonic() + timeout_s)
            exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            self._has_ended = True
        finally:
            os.close(ended)
        stdout, stderr = (b"".join(parts) for parts in self._said.values())
        return Ended(exit=exit_code, stdout=stdout, stderr=stderr)

    def _listen(self, stdin: bytes, ended: int, end: float) -> None:
        """Until it has ended. Its own children may keep the pipes open: nobody waits for them."""
        for fd in self._ours:
            os.set_blocking(fd, False)
        self._poll.register(ended, select.POLLIN)
        for fd in self._said:
            self._poll.register(fd, select.POLLIN)
        rest = memoryview(stdin)
        self._poll.register(self._input, select.POLLOUT)
        while True:
            left = end - time.monotonic()
            ready = [fd for fd, _ in self._poll.poll(max(left, 0) * 1000)]
            if not ready and left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            for fd in ready:
                if fd in self._said:
                    self._hear(fd)
                elif fd == self._input:
                    rest = self._feed(rest)
            if ended in ready:
                for fd in [fd for fd in self._said if fd in self._ours]:
                    self._hear(fd)
                return

    def _feed(self, rest: memoryview) -> memoryview:
        try:
            rest = rest[os.write(self._input, rest) :]
        except BrokenPipeError:  # it does not want to know more
            rest = rest[:0]
        if not rest:
            self._close(self._input)
        return rest

    def _hear(self, fd: int) -> None:
        while True:
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._close(fd)
                return
            self._said[fd].append(data)
            if sum(map(len, self._said[fd])) > OUTPUT_LIMIT:
                raise OSError(errno.EMSGSIZE, f"it says more than {OUTPUT_LIMIT} bytes")

    def _close(self, fd: int) -> None:
        """It is no longer in `ours`."""
        self._poll.unregister(fd)
        self._ours.remove(fd)
        os.close(fd)

    def _kill(self) -> None:
        try:
            os.killpg(self._pid, _SIGKILL)
        except ProcessLookupError:
            os.kill(self._pid, _SIGKILL)
        os.waitpid(self._pid, 0)


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def find(program: str, directories: Sequence[str]) -> str | None:
    """The path of an executable file; the first of `directories` that has it."""
    for directory in directories:
        path = os.path.join(directory, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
