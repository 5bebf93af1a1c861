"""Following a kind: what is told at once, and what is asked for now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from windrow.kube import follow
from windrow.kube.api import HEAD
from windrow.kube.cache import Cache
from windrow.kube.errors import KubeError
from windrow.kube.follow import Follower
from windrow.kube.resources import RESOURCES
from windrow.model.values import Ref


class Server:
    """`events`: what a watch tells. `asked`: which objects whole documents were asked for, `accepted`: how a watch was
    to tell them."""

    def __init__(self) -> None:
        self.lists = self.watches = 0
        self.items: list[dict[str, Any]] = [{"metadata": {"name": "nic"}, "spec": {}}]
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.accepted: list[str] = []

    async def pieces(self, _: str, query: Mapping[str, str] = {}) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        self.lists += 1
        chosen = query.get("fieldSelector", "")
        self.asked.append(chosen)
        yield [one for one in self.items if chosen in ("", f"metadata.name={one['metadata']['name']}")], "7"

    async def watch(self, _: str, __: str, ___: object, accept: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.watches += 1
        self.accepted.append(accept)
        yield "OPENED", {}
        for event in self.events:
            yield event
        await asyncio.sleep(60)


def following(server: Server, cache: Cache, troubles: list[tuple[str, str]]) -> Follower:
    return Follower(
        server,  # type: ignore[arg-type]
        RESOURCES["LinkMonitor"],
        cache,
        lambda _: None,
        lambda *said: troubles.append(said),
    )


def asked_in_a_crowd(server: Server, cache: Cache, enough: int, node: str = "") -> list[str]:
    """What a follower of what all agents write has asked for, a moment after there was enough of it."""

    async def work() -> list[str]:
        follower = following(server, cache, [])
        follower.shared, follower.node = lambda: True, node
        task = asyncio.create_task(follower.run())
        while len(server.asked) < enough:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        asked = list(server.asked)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return asked

    return asyncio.run(asyncio.wait_for(work(), 10))


def head(name: str, *writers: str, second: int = 1) -> dict[str, Any]:
    """The metadata of one; the last of the writers wrote last."""
    noted = [{"manager": who, "time": f"2026-11-30T08:00:0{second + n}Z"} for n, who in enumerate(writers)]
    return {"kind": "PartialObjectMetadata", "metadata": {"name": name, "resourceVersion": "8", "managedFields": noted}}


def test_of_what_all_agents_write_only_what_others_wrote_is_read() -> None:
    """A thousand that write into an object of a mebibyte would each tell a thousand others of all of it."""
    server, cache = Server(), Cache(["LinkMonitor"])
    troubles: list[tuple[str, str]] = []
    same_second = head("nic", "kubectl", "windrow-agents")
    same_second["metadata"]["managedFields"][0]["time"] = same_second["metadata"]["managedFields"][1]["time"]
    server.events = [
        *[("MODIFIED", head("nic", "kubectl", who)) for who in ("windrow-agents", "windrow-agent.n7")],
        ("MODIFIED", head("nic", "windrow-agents", "kubectl")),
        ("MODIFIED", same_second),
        ("ADDED", head("oob", "windrow-manager")),
        ("DELETED", head("nic", "windrow-agents")),
    ]

    async def work() -> None:
        follower = following(server, cache, troubles)
        follower.shared = lambda: True
        task = asyncio.create_task(follower.run())
        server.items.append({"metadata": {"name": "oob"}, "spec": {}})
        await asyncio.sleep(0.05)
        assert server.accepted == [HEAD]
        assert server.asked == ["", "metadata.name=nic", "metadata.name=nic", "metadata.name=oob"]
        assert cache.one(Ref("LinkMonitor", "nic")) is None and cache.one(Ref("LinkMonitor", "oob")) is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert not [why for _, why in troubles if why]


def noted(spec: dict[str, Any], *nodes: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Its author made it first, agents wrote last; whoever takes something away is not noted."""
    entries = [{"manager": "kubectl-create", "time": "2026-11-30T08:00:01Z", "fieldsV1": {"f:spec": spec}}]
    status = {"f:status": {"f:linkStatus": {f"f:{node}": {} for node in nodes}}}
    entries.append({"manager": "windrow-agents", "time": "2026-11-30T08:00:02Z", "fieldsV1": status})
    meta = {"name": "nic", "resourceVersion": "8", "managedFields": entries, **more}
    return "MODIFIED", {"kind": "PartialObjectMetadata", "metadata": meta}


def test_what_somebody_took_away_is_read_though_nobody_is_noted_for_it() -> None:
    """An API server notes who has set a field. A node selector that was taken out of a LinkMonitor went unheard, until
    somebody else set something in it."""
    server, cache = Server(), Cache(["LinkMonitor"])
    all_, less = {"f:nodeSelector": {"f:rack": {}}, "f:targetLinkRule": {}}, {"f:targetLinkRule": {}}
    server.items[0]["metadata"] = noted(all_)[1]["metadata"]
    server.events = [noted(all_), noted(less), noted(less), noted(less, deletionTimestamp="2026-11-30T08:00:03Z")]

    assert asked_in_a_crowd(server, cache, 3) == ["", "metadata.name=nic", "metadata.name=nic"]


def test_an_entry_of_ours_that_somebody_took_away_is_read() -> None:
    """A manager takes away those of a Node that is gone; one that was only registered anew never had its own again."""
    server, cache = Server(), Cache(["LinkMonitor"])
    spec = {"f:targetLinkRule": {}}
    server.items[0]["metadata"] = noted(spec, "n2")[1]["metadata"]
    server.events = [noted(spec, *nodes) for nodes in (("n1", "n2"), ("n1",), ("n1", "n2"), ("n2",), ("n1", "n2"))]

    assert asked_in_a_crowd(server, cache, 2, node="n1") == ["", "metadata.name=nic"]


def test_what_could_not_be_read_is_told_once_more_and_read_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AGAIN_S", 0.001)

    class Busy(Server):
        async def pieces(self, path: str, query: Mapping[str, str] = {}) -> AsyncIterator[Any]:
            if len(self.asked) == 1:
                self.asked.append("busy")
                raise KubeError("busy", code=429)
            async for piece in super().pieces(path, query):
                yield piece

    server, cache = Busy(), Cache(["LinkMonitor"])
    server.items[0]["metadata"] = noted({"f:nodeSelector": {}})[1]["metadata"]
    server.events = [noted({})]

    assert asked_in_a_crowd(server, cache, 3) == ["", "busy", "metadata.name=nic"]


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
