"""`python -m tests.scale.nodes KUBECONFIG NODE…`: the agents of many nodes in one process.

Of each the connection is the real one (`Mirror`: lists, watches, cache, statuses), and so is what a round makes of the
objects (`compile_node`, `published`); its kernel is taken to do at once all that is wanted. What all of them read alike
is read once: only so do hundreds fit into a process. Commands come as lines (`start`, `stop`, `say`, `expect VID`),
each answer is a line of JSON.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from tests.scale.objects import EVERYWHERE

from windrow.compile import compile_node
from windrow.kube import api, cache, trim
from windrow.kube.access import Access
from windrow.kube.mirror import Mirror
from windrow.model.cluster import Cluster
from windrow.model.facts import Nic, NodeFacts
from windrow.model.host import HostState, Observed, Runtime
from windrow.model.objects import AnyObject
from windrow.model.values import IfName, Mac
from windrow.model.wire import Loaded, load_value
from windrow.status.published import published
from windrow.status.report import NodeReport
from windrow.testing.builders import link

NICS = 7
QUIET_S = 0.02
UPLINK = IfName(f"{EVERYWHERE}-bo")
Document = dict[str, Any]


class Shared:
    """What all nodes read alike."""

    def __init__(self) -> None:
        self._documents: dict[tuple[Any, str], Document] = {}
        self._loaded: dict[int, Loaded] = {}
        self._cluster: tuple[tuple[int, ...], Cluster] = ((), Cluster.of(()))
        self._wanted, self._bounded = trim.wanted, trim.bounded

    def install(self) -> None:
        api.decoded = functools.lru_cache(256)(api.decoded)
        trim.wanted = self.wanted
        trim.bounded = lambda wanted: wanted  # it is already
        cache.load_value = self.loaded

    def wanted(self, document: trim.Document) -> Document:
        key = trim.ref_of(document), str(document["metadata"].get("resourceVersion"))
        found = self._documents.get(key)
        if found is None:
            found = self._documents[key] = self._bounded(self._wanted(document))
            self._loaded[id(found)] = load_value(found)
        return found

    def loaded(self, document: Document) -> Loaded:
        return self._loaded[id(document)]

    def cluster(self, objects: tuple[AnyObject, ...]) -> Cluster:
        key = tuple(map(id, objects))
        if self._cluster[0] != key:
            self._cluster = (key, Cluster.of(objects))
        return self._cluster[1]


class Agent(Mirror):
    """Of one node. `heard`, `planned`: when its objects, and its plan, first had what is expected."""

    def __init__(self, access: Access, name: str, pending: set[Agent]) -> None:
        super().__init__(access, name, self._say)
        self._pending, self._loop = pending, asyncio.get_running_loop()
        nics = {IfName(f"eth{n}"): Nic(name=IfName(f"eth{n}"), mac=Mac(f"52:54:00:00:00:{n:02x}")) for n in range(NICS)}
        self._facts = NodeFacts(node=name, nics=nics, links=frozenset(nics))
        self.troubles: list[str] = []
        self.rounds, self.heard, self.planned = 0, 0.0, 0.0

    def _say(self, what: str, why: str) -> None:
        self.troubles.append(f"{what}: {why}")

    def _changed(self, news: bool) -> None:
        super()._changed(news)
        if news:
            self._pending.add(self)

    def round(self, shared: Shared, vid: int) -> None:
        """As the real one's, on a kernel that does what it is told."""
        objects = self.found().loaded.objects
        expected = any(ref.name == f"v{vid}x" for ref in self.cache._entries) if vid and not self.heard else False
        if expected:
            self.heard = time.time()
        cluster = shared.cluster(objects)
        compiled = compile_node(cluster, self._facts)
        state = HostState(links={**{name: link(name) for name in self._facts.nics}, **compiled.state.links})
        runtime = {name: Runtime(ifindex=2 + n, carrier=True, oper="up") for n, name in enumerate(sorted(state.links))}
        observed = Observed(state=state, runtime=runtime)
        report = NodeReport(node=self._facts.node, observed=observed, problems=compiled.problems)
        self.want(published(cluster, report))
        self.rounds += 1
        uplink = compiled.state.links.get(UPLINK)
        if vid and not self.planned and uplink is not None and uplink.vlans is not None and vid in uplink.vlans.tagged:
            self.planned = time.time()


class Nodes:
    def __init__(self, config: str, names: Iterable[str]) -> None:
        self._access, self._names = Access(kubeconfig=config), list(names)
        self._shared, self._pending = Shared(), set[Agent]()
        self._agents: list[Agent] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._vid = 0

    async def work(self) -> None:
        self._shared.install()
        planner = asyncio.create_task(self._plan())
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command, *words = line.decode().split()
            if command == "start":
                self._start()
            elif command == "stop":
                await self._stop()
            elif command == "expect":
                self._expect(int(words[0]))
            if planner.done():
                planner.result()  # what went wrong in it
            print(json.dumps(self._said()), flush=True)
        planner.cancel()
        await self._stop()

    def _start(self) -> None:
        self._agents = [Agent(self._access, name, self._pending) for name in self._names]
        self._tasks = [asyncio.create_task(agent._live()) for agent in self._agents]

    async def _stop(self) -> None:
        for agent, task in zip(self._agents, self._tasks, strict=True):
            agent._closing = True
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for agent in self._agents:
            os.close(agent.news)
        self._agents, self._tasks = [], []
        self._pending.clear()

    def _expect(self, vid: int) -> None:
        self._vid = vid
        for agent in self._agents:
            agent.heard = agent.planned = 0.0

    async def _plan(self) -> None:
        """Those that heard something, one after the other; in between, connections have their turn."""
        while True:
            await asyncio.sleep(QUIET_S)
            for agent in list(self._pending):
                self._pending.discard(agent)
                if agent.cache.complete:
                    agent.round(self._shared, self._vid)
                await asyncio.sleep(0)

    def _said(self) -> Document:
        """`heard`, `planned`: of each that has it, at what time."""
        troubles = [trouble for agent in self._agents for trouble in agent.troubles if not trouble.endswith(": ")]
        return {
            "complete": sum(agent.cache.complete and agent.rounds > 0 for agent in self._agents),
            "rounds": sum(agent.rounds for agent in self._agents),
            "pending": len(self._pending),
            "heard": [agent.heard for agent in self._agents if agent.heard],
            "planned": [agent.planned for agent in self._agents if agent.planned],
            "troubles": troubles[:3],
            "untold": sorted({agent.untold for agent in self._agents if agent.untold})[:3],
        }


if __name__ == "__main__":
    asyncio.run(Nodes(sys.argv[1], sys.argv[2:]).work())
