"""The agent's loop: one thread that sleeps until a file descriptor or a deadline wakes it.

What is heard is collected: a round begins when nothing has been heard for a moment, or after a fifth of a second of
noise. A round decides by a full look; what woke it decides nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from windrow.apps.agent.interest import interest_of
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.lock import is_free
from windrow.apps.round import Report
from windrow.apps.site import Ended
from windrow.model.lazy import dataclass
from windrow.model.problems import WindrowError
from windrow.netlink.events import Events
from windrow.netlink.modules import ModuleEvents
from windrow.store.inotify import FileWatch, In, Watch
from windrow.store.paths import Paths

R = TypeVar("R")
QUIET_S, NOISE_S = 0.02, 0.2
ALONE_S = 0.01
"""After one manifest that is complete: long enough to hear whether another one follows."""
MANY_S = 1.0
"""Manifests that follow each other closely are one wish: as long as they do, and at most for so long."""
FAILED_S, FAILED_MAX_S = 1.0, 60.0
ROUND_S = 300.0
"""A round that takes longer hangs: a plan has two minutes, a probe one, and waits for locks are short."""


class Part(Protocol):
    """Something that lives in the loop."""

    def fds(self) -> Mapping[int, int]:
        """File descriptor -> selector events. May differ from one time to the next."""

    def ready(self, fd: int) -> bool:
        """`fd` has news, or (-1) the deadline has come. True: look at the network again."""

    def deadline(self) -> float | None:
        """In seconds of time.monotonic()."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the worker says of itself: it will be heard again before `until` (time.monotonic()); None: it sleeps until
    something happens."""

    until: float | None = None


class Loop:
    """`after`: is called with what each round found. `started`: once, when the first round is done."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        log: Log,
        mono: Callable[[], float],
        parts: Sequence[Part] = (),
        after: Callable[[Keeper, Report | None], None] = lambda _keeper, _round: None,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.keeper = keeper
        self._log, self._mono, self._parts, self._after, self._started = log, mono, parts, after, started
        # poll(2), not epoll(7): a part may close a descriptor and get the same number again, and epoll would have
        # forgotten it while the selector has not.
        self._selector = selectors.PollSelector()
        self._owners: dict[int, Part] = {}
        self._due: float | None = mono()
        self._since: float | None = None
        self._reread = self._news = True
        self._failures = 0
        self._stopping = self._ready = self._within = self._owed = False
        self.pulse = Pulse()

    def stop(self) -> None:
        """From a part, or a signal handler: the loop ends after what it does now."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`. The first round is done before anything is waited for."""
        try:
            self._round(self.keeper.boot)
            while not self._stopping:
                self._work()
                if not self._stopping:  # it may have been told to while a plan waited: then nothing more is heard
                    self._hear(self._patience())
        finally:
            self._selector.close()

    def _work(self) -> None:
        """A round, where one is due."""
        now = self._mono()
        if self._due is not None and now >= self._due:
            self._due = self._since = None
            reread, news, self._reread, self._news = self._reread, self._news, False, False
            self._round(lambda: self.keeper.round(reread=reread, news=news))
            if not self._ready:
                self._ready = True
                self._started()

    # News -----------------------------------------------------------------------------------------

    def news(self, *, reread: bool = False, quiet_s: float = QUIET_S) -> None:
        """Something changed: there will be a round soon, when nothing has been heard for `quiet_s`. `reread`: the
        manifests changed."""
        now = self._mono()
        self._reread |= reread
        self._news = True
        self._since = now if self._since is None else self._since
        self._due = min(now + quiet_s, self._since + (MANY_S if self._reread else NOISE_S))

    def heard_of_manifests(self, complete: frozenset[Path]) -> None:
        """`complete`: files that their writer has closed, or moved to their place."""
        self.keeper.heard(complete)
        alone = len(complete) == 1 and self._since is None
        self.news(reread=True, quiet_s=ALONE_S if alone else QUIET_S)

    def _round(self, work: Callable[[], None]) -> None:
        """A kernel that refuses to be looked at, and a mistake of ours, do not end the agent: the next round comes."""
        self.pulse = Pulse(self._mono() + ROUND_S)
        try:
            work()
            self._after(self.keeper, self.keeper.last)
        except Ended:
            self._log.info("told to end in the middle of a change: the watchdog undoes what is not decided")
        except WindrowError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(f"Windrow itself failed: {type(error).__name__}: {error}", traceback.format_exc())
        else:
            self._failures = 0
        self.pulse = Pulse()
        if self._owed:
            self._owed = False
            self.news()

    def meanwhile(self, seconds: float = 0.0) -> None:
        """While a plan waits, for so many seconds or less: parts are heard, and what the plan is not about is repaired.
        Afterwards a round of its own looks at everything once more. Raises Ended where the loop is to end."""
        if self._within:
            time.sleep(seconds)
            return
        self._within = True
        try:
            self._hear(min(seconds, self._patience() or seconds))
            if self._due is not None and self._mono() >= self._due:
                self._due = self._since = None
                self._owed = True
                self.keeper.meanwhile()
        except Exception as error:  # noqa: BLE001 - the plan that waits must not suffer from it
            self._owed = True
            self._log.error(f"while a plan waits: {type(error).__name__}: {error}", trace=traceback.format_exc())
        finally:
            self._within = False
        if self._stopping:
            raise Ended

    def _hear(self, patience: float | None) -> None:
        self._register()
        for key, _ in self._selector.select(patience):
            if key.fd in self._owners and self._owners[key.fd].ready(key.fd):
                self.news()
        self._pass_deadlines()

    def _failed(self, why: str, where: str = "") -> None:
        pause = min(FAILED_S * 2**self._failures, FAILED_MAX_S)
        self._failures += 1
        self._reread = self._news = True
        self._log.error(why, next_try_s=pause, trace=where)
        self._due = self._mono() + pause

    # Waiting --------------------------------------------------------------------------------------

    def _patience(self) -> float | None:
        """None: for ever. Without a deadline nothing wakes it but news. While rounds fail, the next try is all that is
        due."""
        own = None if self._failures or self._within else self.keeper.deadline()
        due = [at for at in (self._due, own, *(part.deadline() for part in self._parts)) if at is not None]
        return max(0.0, min(due) - self._mono()) if due else None

    def _pass_deadlines(self) -> None:
        """The clock is read after each deadline: a part may have read it for its own, and never be due otherwise."""
        for part in self._parts:
            if (at := part.deadline()) is not None and self._mono() >= at and part.ready(-1):
                self.news()
        at, now = self.keeper.deadline(), self._mono()
        if at is not None and now >= at and not self._failures and not self._within:
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


P = TypeVar("P", bound=Part)


class Kept(Generic[P]):
    """A part that may fail: then it is closed and opened again, after a pause that grows, and what it may have missed
    is looked for. A deadline that it leaves in the past is its mistake, too: it does not come again at once."""

    def __init__(self, what: str, open_: Callable[[], P], log: Log, mono: Callable[[], float]) -> None:
        """Raises what `open_` raises: an agent that cannot begin says so."""
        self._what, self._open, self._log, self._mono = what, open_, log, mono
        self.part: P | None = open_()
        self._failures = 0
        self._again = self._not_before = 0.0

    def fds(self) -> Mapping[int, int]:
        return self._guarded(lambda part: part.fds(), {})

    def ready(self, fd: int) -> bool:
        if self.part is None:
            return self._reopen()
        found = self._guarded(lambda part: part.ready(fd), True)
        if fd == -1 and self.part is not None:
            at, now = self._guarded(lambda part: part.deadline(), None), self._mono()
            self._not_before = now + FAILED_S if at is not None and at <= now else 0.0
        return found

    def deadline(self) -> float | None:
        if self.part is None:
            return self._again
        at = self._guarded(lambda part: part.deadline(), None)
        return at if at is None else max(at, self._not_before)

    def close(self) -> None:
        if self.part is not None:
            self.part.close()

    def use(self, work: Callable[[P], None]) -> None:
        """Have it do something, if it is at work."""
        self._guarded(work, None)

    def _guarded(self, work: Callable[[P], R], otherwise: R) -> R:
        if self.part is None:
            return otherwise
        try:
            return work(self.part)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the agent
            self._failed(error)
            return otherwise

    def _failed(self, error: Exception) -> None:
        part, self.part = self.part, None
        pause = min(FAILED_S * 2**self._failures, FAILED_MAX_S)
        self._failures += 1
        self._again = self._mono() + pause
        trace = "".join(traceback.format_exception(error))
        self._log.error(f"{self._what}: {type(error).__name__}: {error}; it is opened again", in_s=pause, trace=trace)
        if part is not None:
            with contextlib.suppress(Exception):
                part.close()

    def _reopen(self) -> bool:
        if self._mono() < self._again:
            return False
        try:
            self.part = self._open()
        except Exception as error:  # noqa: BLE001 - it is tried again
            self._failed(error)
            return False
        self._log.info(f"{self._what}: at work again")
        return True


class KernelNews:
    """The kernel's announcements. `interest` is set anew after each round.

    `announced`: is told of the links (ifindex) that the kernel spoke of, worth a round or not."""

    def __init__(self, events: Events, log: Log, announced: Callable[[frozenset[int]], None] = lambda _: None) -> None:
        self._events, self._log, self._announced = events, log, announced

    def fds(self) -> Mapping[int, int]:
        return {self._events.fileno(): selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        heard = self._events.read()
        if heard.lost:
            self._log.warning("the kernel's announcements came too fast: looking at everything again")
        if heard.announced:
            self._announced(heard.announced)
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

    def hold(self, paths: Iterable[str]) -> None:
        """These are the files that are to be watched; they may have come since."""
        assert isinstance(self._watch, FileWatch)
        self._watch.hold(paths)

    def close(self) -> None:
        self._watch.close()


class ModuleNews:
    """A module came, and with it settings that were not there before."""

    def __init__(self, events: ModuleEvents) -> None:
        self._events = events

    def fds(self) -> Mapping[int, int]:
        return {self._events.fileno(): selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        return self._events.read()

    def deadline(self) -> float | None:
        return None

    def close(self) -> None:
        self._events.close()


class LockNews:
    """Another one lets a lock go: its file is closed (flock(2) itself tells nobody). Listens only while somebody waits
    for it; what we close ourselves is heard too, and found to be no news."""

    def __init__(self, paths: Paths, waiting: Callable[[], bool]) -> None:
        self._paths, self._waiting = paths, waiting
        self._watch = FileWatch(map(str, (paths.turn, paths.lock)), In.CLOSE_WRITE)
        self._again: float | None = None
        """The kernel tells of the close before it lets the lock go (`__fput` in fs/file_table.c): look once more."""

    def fds(self) -> Mapping[int, int]:
        if not self._waiting():
            return {}
        self._watch.watch_missing()
        return {self._watch.fileno(): selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        heard = fd == -1 or self._watch.read()
        free = heard and is_free(self._paths)
        self._again = time.monotonic() + QUIET_S if heard and not free and fd != -1 else None
        return free

    def deadline(self) -> float | None:
        return self._again

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
