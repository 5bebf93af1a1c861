"""What `apply` holds: its turn, from the first look to the last acknowledgement, and the network, but for the waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

from windrow.netlink.lock import locked
from windrow.store.paths import Paths


class HostLock(AbstractContextManager["HostLock"]):
    """Two locks. `Paths.turn` lets one plan at a time be carried out, `Paths.lock` keeps CNI calls out, which share
    it among each other.

    A takeover waits up to 20 seconds for LACP; a container that starts meanwhile must not. So `waiting` lets the
    second one go and takes it again. What that means for the plan is said at `engine.execute`.

    `timeout_s`: how long to wait for either of them; `turn_timeout_s`: for the first one, where that is another time.
    Raises KernelError (EAGAIN: another one holds it).
    """

    def __init__(self, paths: Paths, *, timeout_s: float | None = None, turn_timeout_s: float | None = None) -> None:
        self._paths, self._timeout_s = paths, timeout_s
        self._turn_timeout_s = timeout_s if turn_timeout_s is None else turn_timeout_s
        self._turn, self._network = ExitStack(), ExitStack()

    def __enter__(self) -> HostLock:
        with ExitStack() as taken:
            taken.enter_context(locked(self._paths.turn, timeout_s=self._turn_timeout_s))
            self._take()
            self._turn = taken.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._network.close()
        self._turn.close()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Others may have the network within the block. One that raises ends without it."""
        self._network.close()
        yield
        self._take()

    def _take(self) -> None:
        self._network.enter_context(locked(self._paths.lock, timeout_s=self._timeout_s))
