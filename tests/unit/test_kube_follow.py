"""Following a kind: what is told at once, and what is asked for now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from windrow.kube import follow
from windrow.kube.api import ANY, HEADS
from windrow.kube.cache import Cache
from windrow.kube.errors import KubeError
from windrow.kube.follow import Follower
from windrow.kube.resources import RESOURCES
from windrow.model.values import Ref


class Server:
    def __init__(self) -> None:
        self.lists = self.watches = 0
        self.items: list[dict[str, Any]] = [{"metadata": {"name": "nic", "resourceVersion": "1"}, "spec": {}}]
        self.asked: list[str] = []
        """What whole documents were asked for."""

    async def pieces(
        self, _: str, query: Mapping[str, str] = {}, accept: str = ANY
    ) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        self.lists += 1
        if accept == HEADS:
            yield [{"metadata": one["metadata"], "kind": "PartialObjectMetadata"} for one in self.items], "7"
            return
        chosen = query.get("fieldSelector", "")
        self.asked.append(chosen)
        yield [one for one in self.items if chosen in ("", f"metadata.name={one['metadata']['name']}")], "7"

    async def watch(self, *_: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.watches += 1
        yield "OPENED", {}
        await asyncio.sleep(60)


def following(server: Server, cache: Cache, troubles: list[tuple[str, str]]) -> Follower:
    return Follower(
        server,  # type: ignore[arg-type]
        RESOURCES["LinkMonitor"],
        cache,
        lambda _: None,
        lambda *said: troubles.append(said),
    )


def test_what_is_looked_at_rarely_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RARELY_S", 0.02)
    server, cache, crowded = Server(), Cache(["LinkMonitor"]), True
    troubles: list[tuple[str, str]] = []

    async def work() -> None:
        nonlocal crowded
        follower = following(server, cache, troubles)
        follower.rarely = lambda: crowded
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(0.2)
        assert server.lists >= 3 and server.watches == 0
        assert server.asked == [""], "what is as it was is not read again"
        server.items = [
            {"metadata": {"name": "nic", "resourceVersion": "2"}, "spec": {}},
            {"metadata": {"name": "oob", "resourceVersion": "3"}, "spec": {}},
        ]
        await asyncio.sleep(0.2)
        assert server.asked == ["", "metadata.name=nic", "metadata.name=oob"]
        assert cache.one(Ref("LinkMonitor", "oob")) is not None
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


def test_a_kind_that_is_not_there_when_the_server_answers_at_last_is_empty_and_asked_for_again() -> None:
    """Whoever began while nobody answered took it for one that is there, and waited for its list for ever: and with it
    for all other kinds."""

    class Restarted(Server):
        def __init__(self) -> None:
            super().__init__()
            self.answers = [KubeError("nobody answers"), KubeError("404 page not found", code=404)]

        async def pieces(self, *asked: Any) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
            if self.answers:
                self.lists += 1
                raise self.answers.pop(0)
            async for piece in super().pieces(*asked):
                yield piece

    server, cache = Restarted(), Cache(["LinkMonitor"])
    troubles: list[tuple[str, str]] = []

    async def work() -> None:
        follower = following(server, cache, troubles)
        task = asyncio.create_task(follower.run(absent_s=0.2))
        while server.lists < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert cache.complete and cache.one(Ref("LinkMonitor", "nic")) is None
        while server.watches < 1:
            await asyncio.sleep(0.01)
        assert cache.one(Ref("LinkMonitor", "nic")) is not None, "it came, and is followed"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(work(), 10))
    assert not [why for _, why in troubles if why]
