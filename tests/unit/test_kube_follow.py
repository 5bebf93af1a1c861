"""Following a kind: what is told at once, and what is asked for now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from windrow.kube import follow
from windrow.kube.cache import Cache
from windrow.kube.follow import Follower
from windrow.kube.resources import RESOURCES
from windrow.model.values import Ref


class Server:
    def __init__(self) -> None:
        self.lists = self.watches = 0
        self.items: list[dict[str, Any]] = [{"metadata": {"name": "nic"}, "spec": {}}]

    async def pieces(self, *_: Any) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        self.lists += 1
        yield self.items, "7"

    async def watch(self, *_: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.watches += 1
        yield "OPENED", {}
        await asyncio.sleep(60)


def test_what_is_looked_at_rarely_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RARELY_S", 0.02)
    server, cache, crowded = Server(), Cache(["LinkMonitor"]), True
    troubles: list[tuple[str, str]] = []

    async def work() -> None:
        nonlocal crowded
        follower = Follower(
            server,  # type: ignore[arg-type]
            RESOURCES["LinkMonitor"],
            cache,
            lambda _: None,
            lambda *said: troubles.append(said),
        )
        follower.rarely = lambda: crowded
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(0.2)
        assert server.lists >= 3 and server.watches == 0
        server.items = []
        await asyncio.sleep(0.2)
        assert cache.one(Ref("LinkMonitor", "nic")) is None, "what is in the list no more is gone"
        crowded = False
        await asyncio.sleep(0.1)
        assert server.watches == 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert not [why for _, why in troubles if why]
