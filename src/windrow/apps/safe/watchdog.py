"""The watchdog: a process of its own that undoes a change nobody keeps.

It is forked off twice into a session of its own, so neither the end of a terminal nor that of whoever made the change
ends it, and it waits for the first step until it is at work. All it will need is loaded by then, and tried: it looks
at the network and plans the way back, which is empty as long as nothing has changed. After that it needs the kernel's
sockets and one small file.

    the changer is gone in the middle         undone at once
    the deadline has passed                   undone; a changer that hangs and keeps the locks is killed first
    SIGTERM                                   undone: whoever ends the watchdog wants no change that nobody watches
    not all of it could be undone             tried again, after a pause that grows
    decided                                   it ends
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import replace

# Not used by name: loaded so that an undo needs no file of ours any more.
import windrow.apps.herald
import windrow.netlink.execute
import windrow.netlink.options
import windrow.netlink.sysctl  # noqa: F401
from windrow.apps.lock import HostLock
from windrow.apps.safe.undo import PENDING, plan_back, restore, rewind, undo
from windrow.apps.site import Site, real_announcing
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.problems import WindrowError
from windrow.model.processes import Process
from windrow.netlink.errors import KernelError
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints

READY_S = 30.0
GRACE_S = 5.0
"""After the deadline of a change that is still under way: its own undo comes first."""
LOCK_S = 5.0
AGAIN_S, AGAIN_MAX_S = 1.0, 60.0
"""What could not be undone is tried again after so long; the pause doubles."""
_LOOK_S = 0.5
_STANDARD = 3


class WatchdogError(WindrowError):
    """The watchdog did not start; then nothing is changed."""


Still = Callable[[], AbstractContextManager[None]]
"""Within it no other thread of this process holds a lock: fork(2) would leave that locked in the child for ever."""


def start(site: Site, checkpoint: Checkpoint, *, still: Still = nullcontext) -> Process:
    """Start the watchdog of a checkpoint, which need not be on disk yet; returns when it is at work. Raises
    WatchdogError."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with still(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which are `still`
        pid = os.fork()
        if pid == 0:
            _leave(site, checkpoint, write)
    os.close(write)
    try:
        said = _heard(read)
    finally:
        os.close(read)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it has nothing left to do, and one that hangs must not be waited for
        os.waitpid(pid, 0)
    word, _, rest = said.partition(" ")
    if word != "ready":
        raise WatchdogError(
            f"the watchdog did not start: {rest or 'it said nothing'}\n    hint: nothing was changed; try again"
        )
    pid_text, _, started = rest.partition(" ")
    return Process(pid=int(pid_text), started=int(started))


def _heard(read: int) -> str:
    """All that is said within `READY_S`, until the other end is closed."""
    parts: list[bytes] = []
    end = time.monotonic() + READY_S
    while (left := end - time.monotonic()) > 0 and select.select([read], [], [], left)[0]:
        if not (data := os.read(read, 4096)):
            break
        parts.append(data)
    return b"".join(parts).decode(errors="replace")


def _leave(site: Site, checkpoint: Checkpoint, write: int) -> None:
    """In the first child: a new session, and a second child that belongs to nobody. Never returns."""
    try:
        os.setsid()
        if os.fork() == 0:
            gc.disable()  # what the parent left behind is not to be closed here: its fds are others now
            gc.freeze()
            become_nobody(write)
            _live(site, checkpoint, write)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is told, and must not run the parent's code
        with suppress(OSError):
            os.write(write, f"failed {type(error).__name__}: {error}".encode())
    finally:
        os._exit(0)


def become_nobody(keep: int) -> None:
    """No terminal, no files of others: a lock that the parent holds is held by whoever has its fd (flock(2))."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(_STANDARD):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        if (fd := int(name)) >= _STANDARD and fd != keep:
            with suppress(OSError):
                os.close(fd)
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _live(site: Site, checkpoint: Checkpoint, write: int) -> None:
    file = Checkpoints(site.paths)
    # An agent announces by itself, for as long as it lives; this is for when it does not.
    site = replace(site, kernel=site.open_kernel(), announcing=real_announcing)
    plan_back(checkpoint.want, site.kernel.observe())
    watchdog = _Watchdog(site, file, checkpoint)
    signal.signal(signal.SIGTERM, watchdog.told_to_end)
    own = process.found(os.getpid())
    os.write(write, f"ready {os.getpid()} {own.started if own else 0}".encode())
    os.close(write)
    watchdog.run()


class _Watchdog:
    def __init__(self, site: Site, file: Checkpoints, checkpoint: Checkpoint) -> None:
        self.site, self.file = site, file
        self.last = checkpoint
        self.stored = False
        """Whether it was on disk yet; before that nothing has changed."""
        self.ended = False
        self.again, self.pause_s = 0.0, AGAIN_S
        """When what could not be undone is tried again (CLOCK_BOOTTIME), and after how long the next time."""

    def told_to_end(self, *_: object) -> None:
        self.ended = True

    def run(self) -> None:
        while (now := self._checkpoint()) is not None:
            if why := self._why(now):
                self._undo(now, why)
                if not self._nobody_decided():
                    return
                self.again, self.pause_s = boot.seconds() + self.pause_s, min(2 * self.pause_s, AGAIN_MAX_S)
            self._wait(now)

    def _checkpoint(self) -> Checkpoint | None:
        """The checkpoint as it is; the last one seen where the file cannot be read, for then nothing is decided."""
        try:
            found = self.file.get()
        except WindrowError:
            found = None
        if found is None or (found.id != self.last.id and not self.stored):
            return self.last if self.stored or process.alive(self.last.changer) else None
        if found.id != self.last.id or not found.stage.pending:
            return None
        self.last, self.stored = found, True
        return found

    def _why(self, now: Checkpoint) -> str:
        """Why it is to be undone now; empty: not yet."""
        if now.left:
            return now.said if boot.seconds() >= self.again else ""
        alive = process.alive(now.changer)
        if now.stage is not Stage.WAITING and not alive:
            return "whoever made the change is gone in the middle of it"
        grace = GRACE_S if now.stage is not Stage.WAITING else 0.0
        if boot.seconds() >= now.deadline + grace:
            return f"nobody confirmed it within {now.allowed_s:.0f} s"
        return "the watchdog was told to end" if self.ended else ""

    def _wait(self, now: Checkpoint) -> None:
        """Until something may be different."""
        due = self.again if now.left else now.deadline
        left = min(_LOOK_S, max(0.01, due - boot.seconds())) if due > boot.seconds() else _LOOK_S
        fd = -1
        if now.changer is not None and now.stage is not Stage.WAITING:
            with suppress(OSError):
                fd = os.pidfd_open(now.changer.pid)
        try:
            select.select([fd] if fd >= 0 else [], [], [], left)
        finally:
            if fd >= 0:
                os.close(fd)

    def _undo(self, now: Checkpoint, why: str) -> None:
        """Told first, then done: a changer that only waits for an answer lets its locks go."""
        with suppress(WindrowError):
            self.file.move(now.id, Stage.UNDOING, since=PENDING, said=why)
        with ExitStack() as held:
            lock = self._lock(now, held)
            done = None
            with suppress(WindrowError):  # the disk may refuse: the network is worth more than its file
                done = undo(self.site, now, why, waiting=lock.waiting if lock else nullcontext)
            if done is None and self._nobody_decided():
                rewind(self.site, now.want)
                restore(self.site, now)

    def _nobody_decided(self) -> bool:
        """Also where the file is gone, or the disk does not let it be written: then it is tried again, which costs
        nothing once the network is as it was."""
        try:
            found = self.file.get()
        except WindrowError:
            return True
        return found is None or (found.id == self.last.id and found.stage.pending)

    def _lock(self, now: Checkpoint, held: ExitStack) -> HostLock | None:
        """The host's locks; from a changer that keeps them, by force; and if nothing helps, without them."""
        lock = HostLock(self.site.paths, timeout_s=LOCK_S)
        for attempt in range(2):
            with suppress(KernelError):
                return held.enter_context(lock)
            if attempt == 0 and now.changer is not None and not now.left:
                with suppress(WindrowError):
                    process.end(now.changer, patience_s=0)
        return None
