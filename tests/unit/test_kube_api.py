"""A thread that waits for what another thread's loop asks of an API server: it waits so long, and no longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from windrow.kube.api import waited
from windrow.kube.errors import KubeError


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    found = asyncio.new_event_loop()
    thread = threading.Thread(target=found.run_forever)
    thread.start()
    yield found
    if not found.is_closed():
        found.call_soon_threadsafe(found.stop)
        thread.join()
        found.close()


async def _answer(after_s: float = 0.0) -> str:
    await asyncio.sleep(after_s)
    return "answer"


async def _refuse() -> str:
    raise KubeError("no", code=403)


def test_an_answer_and_a_refusal_come_through(loop: asyncio.AbstractEventLoop) -> None:
    assert waited(_answer(), loop, 5.0) == "answer"
    with pytest.raises(KubeError, match="no") as caught:
        waited(_refuse(), loop, 5.0)
    assert caught.value.code == 403


def test_what_comes_too_late_is_given_up(loop: asyncio.AbstractEventLoop) -> None:
    began = time.monotonic()
    ended = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(KubeError, match=r"does not answer within 0\.2 s"):
        waited(hang(), loop, 0.2)
    assert time.monotonic() - began < 5.0
    assert ended.wait(5.0), "nobody goes on asking"


def test_a_loop_that_gives_up_and_one_that_has_ended(loop: asyncio.AbstractEventLoop) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(KubeError, match="given up"):
        waited(cancelled(), loop, 5.0)
    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(KubeError, match="no connection"):
        waited(_answer(), closed, 5.0)
