"""The agent's loop: one thread that sleeps until a file descriptor or a deadline wakes it.

What is heard is collected: a round begins when nothing has been heard for a moment, or after a fifth of a second of
noise. A round decides by a full look; what woke it decides nothing.
"""

from __future__ import annotations

import errno
import os
import selectors
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from windrow.apps.agent.interest import interest_of
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.round import Report
from windrow.model.problems import WindrowError
from windrow.netlink.events import Events
from windrow.store.inotify import FileWatch, Watch

QUIET_S, NOISE_S = 0.02, 0.2
FAILED_S, FAILED_MAX_S = 1.0, 60.0


class Part(Protocol):
    """Something that lives in the loop."""

    def fds(self) -> Mapping[int, int]:
        """File descriptor -> selector events. May differ from one time to the next."""

    def ready(self, fd: int) -> bool:
        """`fd` has news, or (-1) the deadline has come. True: look at the network again."""

    def deadline(self) -> float | None:
        """In seconds of time.monotonic()."""

    def close(self) -> None: ...


class Loop:
    """`after`: is called with what each round found. `notify`: what systemd is told; `watchdog_s`: how often it wants
    to hear of us."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        log: Log,
        mono: Callable[[], float],
        parts: Sequence[Part] = (),
        after: Callable[[Keeper, Report | None], None] = lambda _keeper, _round: None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.keeper = keeper
        self._log, self._mono, self._parts, self._after, self._notify = log, mono, parts, after, notify
        # poll(2), not epoll(7): a part may close a descriptor and get the same number again, and epoll would have
        # forgotten it while the selector has not.
        self._selector = selectors.PollSelector()
        self._owners: dict[int, Part] = {}
        self._due: float | None = mono()
        self._since: float | None = None
        self._reread = True
        self._failures = 0
        self._stopping = False
        self._alive: float | None = None
        self.watchdog_s: float | None = None

    def stop(self) -> None:
        """From a part, or a signal handler: the loop ends after what it does now."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`. The first round is done before anything is waited for, and then systemd hears READY."""
        try:
            self._round(self.keeper.boot)
            while not self._stopping:
                self._step()
        finally:
            self._selector.close()

    def _step(self) -> None:
        now = self._mono()
        if self._due is not None and now >= self._due:
            self._due = self._since = None
            reread, self._reread = self._reread, False
            self._round(lambda: self.keeper.round(reread=reread))
            self._say_ready()
        self._register()
        for key, _ in self._selector.select(self._patience()):
            if key.fd in self._owners and self._owners[key.fd].ready(key.fd):
                self.news()
        self._pass_deadlines()

    def _say_ready(self) -> None:
        if self._alive is None:
            self._notify("READY=1")
            self._alive = self._mono()

    # News -----------------------------------------------------------------------------------------

    def news(self, *, reread: bool = False) -> None:
        """Something changed: there will be a round soon. `reread`: the manifests changed."""
        now = self._mono()
        self._reread |= reread
        self._since = now if self._since is None else self._since
        self._due = min(now + QUIET_S, self._since + NOISE_S)

    def _round(self, work: Callable[[], None]) -> None:
        """A kernel that refuses to be looked at, and a mistake of ours, do not end the agent: the next round comes."""
        try:
            work()
        except WindrowError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(f"Windrow itself failed: {type(error).__name__}: {error}", traceback.format_exc())
        else:
            self._failures = 0
            self._after(self.keeper, self.keeper.last)

    def _failed(self, why: str, where: str = "") -> None:
        pause = min(FAILED_S * 2**self._failures, FAILED_MAX_S)
        self._failures += 1
        self._reread = True
        self._log.error(why, next_try_s=pause, trace=where)
        self._due = self._mono() + pause

    # Waiting --------------------------------------------------------------------------------------

    def _deadlines(self) -> list[float]:
        due = [self._due, self.keeper.deadline(), *(part.deadline() for part in self._parts)]
        if self.watchdog_s is not None and self._alive is not None:
            due.append(self._alive + self.watchdog_s / 2)
        return [at for at in due if at is not None]

    def _patience(self) -> float | None:
        """None: for ever. Without a deadline nothing wakes it but news."""
        deadline = min(self._deadlines(), default=None)
        return None if deadline is None else max(0.0, deadline - self._mono())

    def _pass_deadlines(self) -> None:
        now = self._mono()
        if self.watchdog_s is not None and self._alive is not None and now >= self._alive + self.watchdog_s / 2:
            self._notify("WATCHDOG=1")
            self._alive = now
        for part in self._parts:
            if (at := part.deadline()) is not None and now >= at and part.ready(-1):
                self.news()
        at = self.keeper.deadline()
        if at is not None and now >= at and not self._failures:
            self._due = min(now, self._due) if self._due is not None else now

    def _register(self) -> None:
        wanted = {fd: (events, part) for part in self._parts for fd, events in part.fds().items()}
        have = {key.fd: key.events for key in self._selector.get_map().values()}
        for fd, events in have.items():
            if fd not in wanted or wanted[fd][0] != events or self._owners[fd] is not wanted[fd][1]:
                self._selector.unregister(fd)
                del self._owners[fd]
        for fd, (events, part) in wanted.items():
            if fd not in self._owners:
                self._selector.register(fd, events)
                self._owners[fd] = part


# The parts that every agent has ------------------------------------------------------------------


class KernelNews:
    """The kernel's announcements. `interest` is set anew after each round."""

    def __init__(self, events: Events, log: Log) -> None:
        self._events, self._log = events, log

    def fds(self) -> Mapping[int, int]:
        return {self._events.fileno(): selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        heard = self._events.read()
        if heard.lost:
            self._log.warning("the kernel's announcements came too fast: looking at everything again")
        return heard.anything

    def deadline(self) -> float | None:
        return None

    def after(self, found: Report) -> None:
        self._events.interest = interest_of(found.sight, found.left.compiled)

    def close(self) -> None:
        self._events.close()


class DiskNews:
    """Changes below some directories. `changed`: what to do about them, instead of a round."""

    def __init__(self, watch: Watch | FileWatch, changed: Callable[[], None] | None = None) -> None:
        self._watch, self._changed = watch, changed

    def fds(self) -> Mapping[int, int]:
        return {self._watch.fileno(): selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        if not self._watch.read():
            return False
        if self._changed is None:
            return True
        self._changed()
        return False

    def deadline(self) -> float | None:
        return None

    def close(self) -> None:
        self._watch.close()


class Signals:
    """The read end of a pipe that `signal.set_wakeup_fd` writes to; `handle` gets each signal's number."""

    def __init__(self, fd: int, handle: Callable[[int], bool]) -> None:
        self._fd, self._handle = fd, handle

    def fds(self) -> Mapping[int, int]:
        return {self._fd: selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        try:
            data = os.read(self._fd, 64)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return False
            raise
        wanted = [self._handle(number) for number in data]
        return any(wanted)

    def deadline(self) -> float | None:
        return None

    def close(self) -> None:
        pass
