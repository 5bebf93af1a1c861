"""The agent's face: a thread of its own that answers over HTTP from the last snapshot, whatever the worker is doing,
and tells systemd that the agent is alive for as long as the worker is.

The two share nothing but values that never change: a snapshot goes one way, a pulse the same way.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

from windrow.apps.agent.http import Answer, Listener
from windrow.apps.agent.log import Log
from windrow.apps.agent.loop import Pulse
from windrow.apps.agent.snapshot import Snapshot

FAILED_S = 1.0


class Face:
    """Answers from when it is made until it is closed. `pulse`: what the worker says of itself; `notify`: what systemd
    is told; `watchdog_s`: how often it wants to hear of us."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        *,
        log: Log,
        pulse: Callable[[], Pulse] = Pulse,
        notify: Callable[[str], None] = lambda _: None,
        watchdog_s: float | None = None,
    ) -> None:
        self._listeners, self._log, self._pulse, self._notify = listeners, log, pulse, notify
        self._interval = watchdog_s / 2 if watchdog_s is not None else None
        self._heart = time.monotonic()
        self._started = False
        self._at_work = threading.Lock()
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="face", daemon=True)
        self._thread.start()

    def publish(self, snapshot: Snapshot) -> None:
        for listener in self._listeners:
            listener.publish(snapshot)

    def answer(self, path: str, answering: Callable[[str], Answer]) -> None:
        """From now on this path is answered, too, by a function of the query that does not block."""
        for listener in self._listeners:
            listener.answers[path] = answering

    def begun(self) -> None:
        """The first round is done: systemd hears READY, and from now on that we are alive."""
        self._notify("READY=1")
        self._started = True
        self._heart = time.monotonic()
        self._rouse()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """The thread sleeps within the block, and holds nothing: the process may be forked (fork(2) takes the calling
        thread alone along, and leaves the locks of the others locked)."""
        with self._at_work:
            yield

    def close(self) -> None:
        self._ending = True
        self._rouse()
        self._thread.join()
        for listener in self._listeners:
            listener.close()
        os.close(self._wake)
        os.close(self._woken)

    def _rouse(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b"x")

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - an answer that cannot be given ends nothing
                trace = traceback.format_exc()
                self._log.error(f"an answer over HTTP failed: {type(error).__name__}: {error}", trace=trace)
                time.sleep(FAILED_S)

    def _step(self) -> None:
        with selectors.PollSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            with self._at_work:
                for listener in self._listeners:
                    for fd, events in listener.fds().items():
                        selector.register(fd, events, listener)
                patience = self._patience()
            ready = selector.select(patience)
            with self._at_work:
                self._work([(key.fd, key.data) for key, _ in ready])

    def _work(self, ready: Sequence[tuple[int, Listener | None]]) -> None:
        for fd, listener in ready:
            if listener is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 64)
            else:
                listener.ready(fd)
        now = time.monotonic()
        for listener in self._listeners:
            if (at := listener.deadline()) is not None and now >= at:
                listener.ready(-1)
        if self._interval is not None and self._started and now >= self._heart + self._interval:
            self._heart = now
            until = self._pulse().until
            if until is None or now < until:
                self._notify("WATCHDOG=1")

    def _patience(self) -> float | None:
        due = [at for listener in self._listeners if (at := listener.deadline()) is not None]
        if self._interval is not None and self._started:
            due.append(self._heart + self._interval)
        return max(0.0, min(due) - time.monotonic()) if due else None
