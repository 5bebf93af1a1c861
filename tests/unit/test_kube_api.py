"""Asking an API server: a thread waits for another one's loop so long, and no longer; a list comes in pieces."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from windrow.kube import api
from windrow.kube.api import Api, waited
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


class Busy(Api):
    """Gives the first piece of two, and the second one after so many refusals."""

    def __init__(self, *refusals: KubeError) -> None:
        self.refusals, self.asked = list(refusals), list[str]()

    async def ask(self, method: str, path: str, *_: Any, params: Mapping[str, str] = {}, **__: Any) -> dict[str, Any]:
        self.asked.append(params.get("continue", "first"))
        if "continue" not in params:
            return {"items": [{"a": 1}], "metadata": {"resourceVersion": "7", "continue": "second"}}
        if self.refusals:
            raise self.refusals.pop(0)
        return {"items": [{"a": 2}], "metadata": {"resourceVersion": "7"}}

    def list(self) -> int:
        async def work() -> int:
            return sum([len(piece) async for piece, _ in self.pieces("/x")])

        return asyncio.run(work())


def test_a_list_goes_on_where_a_busy_server_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand agents that begin anew with the first piece would keep it busy for ever."""
    monkeypatch.setattr(api, "PIECE_AGAIN_S", (0.0, 0.0))
    busy = Busy(KubeError("silent"), KubeError("too many", code=429))
    assert busy.list() == 2 and busy.asked == ["first", "second", "second", "second"]
    for no in ([KubeError("silent")] * 3, [KubeError("too old", code=410)]):
        with pytest.raises(KubeError):
            Busy(*no).list()
