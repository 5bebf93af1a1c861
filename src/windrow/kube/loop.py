"""An event loop in a thread of its own, from `start` on, until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class LoopThread:
    """`live`: what runs in it. It is cancelled when the loop is closed, and is to look at `closing` then: a task that
    fails while it is cancelled turns the cancellation into its failure."""

    def __init__(self, name: str, live: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._live = live
        self.closing = False
        self.loop: asyncio.AbstractEventLoop | None = None
        """None: it has not been started."""
        self._main: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()
        self._begun.wait()

    def close(self, within_s: float) -> None:
        """It blocks until the thread has ended, and no longer than that."""
        if self.loop is not None and self._main is not None:
            self.closing = True
            self.call(self._main.cancel)
            self._thread.join(within_s)

    def call(self, work: Callable[[], object]) -> None:
        """In the thread; nothing where there is none, or none any more."""
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self.loop.call_soon_threadsafe(work)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError), asyncio.Runner() as runner:
            self.loop = runner.get_loop()
            runner.run(self._begin())

    async def _begin(self) -> None:
        self._main = asyncio.current_task()
        self._begun.set()
        await self._live()
