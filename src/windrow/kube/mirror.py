"""The thread that keeps a cluster's objects at hand and says what became of them.

It sleeps in one event loop over all its connections. Whoever wants to hear of news reads `news`, an eventfd.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from windrow.kube.access import Access, library
from windrow.kube.api import Api, waited
from windrow.kube.cache import Cache
from windrow.kube.errors import KubeError
from windrow.kube.follow import Follower
from windrow.kube.loop import LoopThread
from windrow.kube.resources import FOLLOWED, POLICIES, RESOURCES, SELECTED
from windrow.kube.restless import EACH_S, Restless
from windrow.kube.trim import Document
from windrow.kube.troubles import Troubles
from windrow.kube.writing import Writer
from windrow.model import names
from windrow.model.manifests import Found
from windrow.model.objects import LinkMonitor, Node, VlanStatus
from windrow.model.policies import MultiNetworkPolicy, Pod
from windrow.model.pools import IPPool
from windrow.model.values import Ref

ACCESS = "access to the API server"
OF_AGENTS = (*FOLLOWED, *POLICIES)
SELDOM: Mapping[str, float] = {MultiNetworkPolicy.KIND: 300.0, IPPool.KIND: 300.0}
"""Kinds that most clusters never have: a thousand agents ask for them."""
AGAIN_S = 10.0
STILL_S = 10.0
LINGER_S = 60.0
"""So long after the last policy went, whom policies select is followed still. Whoever has a namespace makes policies
and deletes them, and each first one would have every agent list all pods of the cluster."""
_QUERIES = {Pod.KIND: {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}}
"""What has ended for good has no address any more: the server says nothing of it, and that it went when it ends."""
CLOSE_S = 5.0
"""How long an agent that ends waits for its connections to be closed."""

Troubled = Callable[[str, str], None]
"""What, and why it does not work; an empty text: it does."""


class Mirror:
    """From `start` on, until it is closed. `host`: what this host is called; which Node that is, the cluster says.
    `kinds`: those that are followed, Node among them; `optional`: of them, those that a cluster may be without, and
    after how many seconds it is asked for them again. `paced`: of what changes again and again not every version is
    taken in (`Restless`).

    `troubled` is called in the mirror's own thread.
    """

    def __init__(
        self,
        access: Access,
        host: str,
        troubled: Troubled,
        kinds: Collection[str] = OF_AGENTS,
        optional: Mapping[str, float] = SELDOM,
        *,
        paced: bool = False,
    ) -> None:
        self._access, self._host, self._troubled = access, host, troubled
        self._kinds, self._optional = kinds, optional
        self.cache = Cache(kinds, Restless() if paced else None)
        self.cache.node = names.node_name(host)
        self.news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Can be read when objects changed, or the trouble did."""
        self.untold = ""
        """Why something is not written; empty: all is."""
        self._api: Api | None = None
        self._writer: Writer | None = None
        self._said: list[Document] | None = None
        self._heard = asyncio.Event()
        self._out_of_date, self._unwritten = Troubles(), Troubles()
        self._holding = asyncio.Event()
        """Something has to wait."""
        self._told_of: set[Ref] = set()
        """That has waited, and is not calm yet."""
        self._thread = LoopThread("kube", self._live)

    def start(self) -> None:
        """It follows the cluster from now on, as soon as that answers: a kubeconfig may come later, too. Raises
        KubeError without the library."""
        library()
        self._thread.start()

    # From other threads ---------------------------------------------------------------------------

    def found(self) -> Found:
        return self.cache.found()

    def take(self) -> None:
        """What there was to hear has been heard."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.news)

    def want(self, documents: Iterable[Document]) -> None:
        """All that is to be said of objects now."""
        listed = self._said = list(documents)
        self._call(lambda writer: writer.want(listed))

    def happened(self, events: Iterable[Document]) -> None:
        listed = list(events)
        self._call(lambda writer: writer.happened(listed))

    def ask(
        self, method: str, path: str, body: Document | None = None, *, kind: str = "application/json", within_s: float
    ) -> dict[str, Any]:
        """The answer's document. Raises KubeError, also where there is none in time."""
        api, loop = self._api, self._thread.loop
        if api is None or loop is None or not self._thread.alive:
            raise KubeError(self.cache.trouble or "there is no connection to the API server yet")
        return waited(api.ask(method, path, body, kind=kind), loop, within_s)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """The thread holds nothing within the block: the process may be forked."""
        if not self._thread.alive:
            yield
            return
        at_rest, go_on = threading.Event(), threading.Event()

        def rest() -> None:
            at_rest.set()
            go_on.wait()

        self._thread.call(rest)
        at_rest.wait(STILL_S)
        try:
            yield
        finally:
            go_on.set()

    def close(self) -> None:
        self._thread.close(CLOSE_S)
        os.close(self.news)

    def _call(self, work: Callable[[Writer], None]) -> None:
        def there() -> None:
            if self._writer is not None:
                work(self._writer)
                self._writer.wake()

        self._thread.call(there)

    # The thread -----------------------------------------------------------------------------------

    async def _live(self) -> None:
        while not self._thread.closing:
            try:
                api = Api(self._access)
                try:
                    self._reading(ACCESS, "")
                    self._api = api
                    await self._work(api)
                finally:
                    self._api = None
                    await api.close()
            except KubeError as error:  # a kubeconfig that somebody is writing
                self._reading(ACCESS, error.message)
            except Exception as error:  # noqa: BLE001 - the network is kept right without the cluster's objects
                self._reading(ACCESS, f"Windrow itself failed: {type(error).__name__}: {error}")
                traceback.print_exc()
            if not self._thread.closing:
                await asyncio.sleep(AGAIN_S)

    async def _work(self, api: Api) -> None:
        self._writer = Writer(api, self.cache, self._writing, self._shared)
        if self._said is not None:
            self._writer.want(self._said)
        async with asyncio.TaskGroup() as group:
            await self._follow(api, group)
            if VlanStatus.KIND in self._kinds:  # else no status is said here
                group.create_task(self._writer.run())
            group.create_task(self._writer.tell())
            group.create_task(self._take_in_held())

    async def _take_in_held(self) -> None:
        """Sleeps as long as nothing waits."""
        while True:
            self._holding.clear()
            held = self.cache.held
            for ref in held.keys() - self._told_of:
                self._troubled(str(ref), f"changes again and again: it is followed every {EACH_S:.0f} s")
            self._told_of = {ref for ref in self._told_of | held.keys() if not self.cache.is_calm(ref)}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(held.values()) if held else None):
                    await self._holding.wait()
            if self.cache.take_in_held():
                self._changed(news=True)

    async def _follow(self, api: Api, group: asyncio.TaskGroup) -> None:
        """Nodes first: they say which one this is."""
        nodes = self._follower(api, Node.KIND, {})
        group.create_task(nodes.run())
        await nodes.listed.wait()
        self.cache.node = names.node_name(self._host, self.cache.nodes())
        ours = {"labelSelector": f"{names.LABEL_NODE}={names.label_value(self.cache.node)}"}
        for kind in self._kinds:
            if kind != Node.KIND:
                follower = self._follower(api, kind, ours if kind == VlanStatus.KIND else {})
                group.create_task(follower.run(self._optional.get(kind)))
        group.create_task(self._follow_selected(api))

    def _follower(self, api: Api, kind: str, query: Mapping[str, str]) -> Follower:
        follower = Follower(api, RESOURCES[kind], self.cache, self._changed, self._reading, query)
        follower.shared, follower.node = functools.partial(self._shared, kind), self.cache.node
        return follower

    async def _follow_selected(self, api: Api) -> None:
        """Whom policies select: for as long as there is one, and a while longer."""
        while True:
            await self._until(policed=True)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._follower(api, k, _QUERIES.get(k, {})).run()) for k in SELECTED]
                await self._until_no_more()
                for task in tasks:
                    task.cancel()
            self.cache.unfollowed(SELECTED)
            for kind in SELECTED:
                self._reading(kind, "")

    async def _until_no_more(self) -> None:
        """Until there has been no policy for a while."""
        while True:
            await self._until(policed=False)
            try:
                async with asyncio.timeout(LINGER_S):
                    await self._until(policed=True)
            except TimeoutError:
                return

    async def _until(self, *, policed: bool) -> None:
        while self.cache.policed != policed:
            self._heard.clear()
            await self._heard.wait()

    def _shared(self, kind: str) -> bool:
        """Whether all agents of a large cluster write into each object of the kind."""
        return kind == LinkMonitor.KIND and self.cache.crowded

    def _changed(self, news: bool) -> None:
        self._heard.set()
        if news:
            os.eventfd_write(self.news, 1)
        if self._writer is not None:
            self._writer.wake()
        if self.cache.held:
            self._holding.set()

    def _reading(self, what: str, why: str) -> None:
        if self._out_of_date.noted(what, why):
            self.cache.trouble = self._out_of_date.words()
            self._tell(what, why)

    def _writing(self, what: str, why: str) -> None:
        if self._unwritten.noted(what, why):
            self.untold = self._unwritten.words()
            self._tell(what, why)

    def _tell(self, what: str, why: str) -> None:
        """Whoever wakes up by it finds the words there already."""
        self._troubled(what, why)
        os.eventfd_write(self.news, 1)
