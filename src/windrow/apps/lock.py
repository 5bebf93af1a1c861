"""What a round holds: its turn, from the first look to the last acknowledgement, and the network while it acts."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.store.paths import Paths


class HostLock(AbstractContextManager["HostLock"]):
    """Two locks. `Paths.turn` lets one plan at a time be carried out, `Paths.lock` keeps CNI calls out, which share
    it among each other.

    A takeover waits up to 20 seconds for LACP; a container that starts meanwhile must not. So `waiting` lets the
    second one go and takes it again. What that means for the plan is said at `engine.execute`.

    `timeout_s`: how long to wait for either of them; `turn_timeout_s`: for the first one, where that is another time.
    `turn_only`: the second one is taken by `network`. Raises KernelError (EAGAIN: another one holds it).
    """

    def __init__(
        self,
        paths: Paths,
        *,
        timeout_s: float | None = None,
        turn_timeout_s: float | None = None,
        turn_only: bool = False,
    ) -> None:
        self._paths, self._timeout_s, self._turn_only = paths, timeout_s, turn_only
        self._turn_timeout_s = timeout_s if turn_timeout_s is None else turn_timeout_s
        self._turn, self._network = ExitStack(), ExitStack()

    def __enter__(self) -> HostLock:
        with ExitStack() as taken:
            taken.enter_context(locked(self._paths.turn, timeout_s=self._turn_timeout_s))
            if not self._turn_only:
                self._take()
            self._turn = taken.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._network.close()
        self._turn.close()

    @contextmanager
    def network(self) -> Iterator[None]:
        """No CNI call has the network within the block. Raises KernelError."""
        self._take()
        try:
            yield
        finally:
            self._network.close()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Others may have the network within the block. Also one that raises ends with it taken again: whoever undoes
        something then has it. Where it is not to be had in time, the exception goes on without it."""
        self._network.close()
        try:
            yield
        except BaseException:
            with suppress(KernelError):
                self._take()
            raise
        self._take()

    def _take(self) -> None:
        self._network.enter_context(locked(self._paths.lock, timeout_s=self._timeout_s))


def is_free(paths: Paths) -> bool:
    """Whether nobody has one of the two locks at this moment: cheap, for whoever asks again and again. The files are
    opened for reading only: who watches for their being closed after writing hears nothing of it."""
    return all(map(_is_free, (paths.turn, paths.lock)))


def _is_free(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
