"""Signals that end a command, so that what it began is undone first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import click


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C."""

    def stop(number: int, _: object) -> None:
        raise click.exceptions.Exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
