"""What is said of objects, written where it differs from what is there: by server-side apply, each in its own time.

`want` hands over all that is to be said. An object is written when it says something else, whoever changed it: so a
status that somebody else overwrites is corrected, and our own writing, which comes back as an event, is found to be
what it should be.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from windrow.kube import trim
from windrow.kube.api import APPLY, HEAD, MERGE, Api
from windrow.kube.cache import Cache
from windrow.kube.errors import KubeError
from windrow.kube.pace import Paces, Work, few_at_once
from windrow.kube.resources import RESOURCES
from windrow.kube.trim import Document, Said
from windrow.model import names
from windrow.model.objects import PER_NODE, LinkMonitor, VlanStatus
from windrow.model.values import Ref

LOOK_AGAIN_S = 10.0
EVENTS_KEPT = 200
EVENT_S, EVENTS_AGAIN_S = 0.1, 10.0
TURN_S, FIRST_TURN_S = 0.06, 0.001
"""For each node of a large cluster, and for each pair of them: within so much time all of them write into one object,
where what they say has changed, and where all of them begin. A write takes an API server a millisecond for each entry
that is there (a second of a processor with a thousand)."""
_IDENTITY = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


@dataclass(slots=True)
class Writer:
    """In the thread of an event loop; `want` and `happened` hand over from another one, which calls `wake` then.
    `shared`: whether all nodes of a large cluster write into each object of a kind."""

    api: Api
    cache: Cache
    troubled: Callable[[str, str], None]
    shared: Callable[[str], bool] = lambda _: False
    _wanted: Mapping[Ref, Document] | None = None
    _events: deque[Document] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    _with_status: frozenset[str] | None = None
    _turns: dict[Ref, float] = field(default_factory=dict)
    """When it is our turn to write into what all write into."""
    _awake: asyncio.Event = field(default_factory=asyncio.Event)
    _happened: asyncio.Event = field(default_factory=asyncio.Event)
    _paces: Paces = field(init=False)

    def __post_init__(self) -> None:
        self._paces = Paces(lambda ref, why: self.troubled(str(ref), why))

    def want(self, documents: Iterable[Document]) -> None:
        self._wanted = {trim.ref_of(document): document for document in documents}

    def happened(self, events: Iterable[Document]) -> None:
        """The oldest are dropped where too many wait."""
        self._events.extend(events)
        self._happened.set()

    def wake(self) -> None:
        self._awake.set()

    async def run(self) -> None:
        """For ever, until it is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: until Python 3.12 it may lose a cancellation that comes with its timeout.
                async with asyncio.timeout(self._paces.patience()):
                    await self._awake.wait()
            self._awake.clear()
            if self.cache.complete:
                await self._write()

    async def tell(self) -> None:
        """Events, one after the other and never many at once. For ever, until it is cancelled."""
        while True:
            await self._happened.wait()
            self._happened.clear()
            while self._events:
                document = self._events.popleft()
                if self.cache.complete and await self._told(document):
                    await asyncio.sleep(EVENT_S)
                else:
                    self._events.appendleft(document)
                    await asyncio.sleep(EVENTS_AGAIN_S)

    async def _told(self, document: Document) -> bool:
        """Whether it need not be told again: it is stored, or refused for good."""
        meta = document["metadata"]
        try:
            await self._apply(f"/api/v1/namespaces/{meta['namespace']}/events/{meta['name']}", document)
        except KubeError as error:
            self.troubled("events", error.message)
            return not error.passes
        self.troubled("events", "")
        return True

    # Statuses -------------------------------------------------------------------------------------

    async def _write(self) -> None:
        self._paces.begin()
        if self._with_status is None and not await self._look():
            return
        differing = {ref: document for ref, document in (self._wanted or {}).items() if self._differs(ref, document)}
        # A turn that came when nothing was to be said any more is none for what comes next, on all nodes at once.
        self._turns = {ref: at for ref, at in self._turns.items() if ref in differing}
        works: list[tuple[Ref, Work]] = [
            (ref, partial(self._say, ref, document))
            for ref, document in differing.items()
            if not self.shared(ref.kind) or self._is_our_turn(ref)
        ]
        works += [(ref, partial(self._remove, ref, said)) for ref, said in self._left_over()]
        await few_at_once(partial(self._paces.in_its_time, ref, work) for ref, work in works)

    async def _look(self) -> bool:
        """Which kinds have a status of their own. Whether that is known."""
        try:
            self._with_status = await kinds_with_status(self.api)
        except KubeError as error:
            self.troubled("statuses", error.message)
            self._paces.come_back(Ref(VlanStatus.KIND, ""), LOOK_AGAIN_S)
            return False
        return True

    def _differs(self, ref: Ref, document: Document) -> bool:
        there = self.cache.said_of(ref)
        if there is None:  # only a VlanStatus is made by us, and only where its VlanConfig is there
            return ref.kind == VlanStatus.KIND and self._owned(document) is not None
        if self.shared(ref.kind):
            return _links(there.document) != _links(document)
        return differs(document, there)

    def _is_our_turn(self, ref: Ref) -> bool:
        """Where all nodes of a large cluster write into an object, each does so at a moment of its own."""
        now, there = time.monotonic(), self.cache.said_of(ref)
        if ref not in self._turns:
            count = len(self.cache.nodes())
            begins = there is not None and not there.document.get("status")
            self._turns[ref] = now + random.uniform(0, FIRST_TURN_S * count**2 if begins else TURN_S * count)
        if (left := self._turns[ref] - now) > 0:
            self._paces.come_back(ref, left)
        return left <= 0

    def _left_over(self) -> list[tuple[Ref, Said]]:
        """VlanStatuses of this node that nothing speaks of any more."""
        if self._wanted is None:
            return []
        return [(ref, said) for ref, said in self.cache.said(VlanStatus.KIND).items() if ref not in self._wanted]

    async def _say(self, ref: Ref, document: Document) -> None:
        there = self.cache.said_of(ref)
        if there is not None and self.shared(ref.kind):
            await self._say_among_many(ref, document, there)
            return
        resource, whole = RESOURCES[ref.kind], dict(document)
        if there is not None:  # applying makes what is not there: never one that was deleted meanwhile
            whole["metadata"] = {**whole["metadata"], "uid": there.uid}
        if ref.kind == VlanStatus.KIND and (owned := self._owned(document)) is not None:
            whole["metadata"] = {**whole["metadata"], "ownerReferences": [owned]}
        part = "status" if ref.kind in (self._with_status or ()) else ""
        if part and ref.kind == VlanStatus.KIND:
            await self._apply(resource.one(ref), {key: value for key, value in whole.items() if key != "status"})
        if part:
            whole["metadata"] = {key: whole["metadata"][key] for key in ("name", "uid") if key in whole["metadata"]}
        await self._apply(resource.one(ref, part), whole)

    async def _say_among_many(self, ref: Ref, document: Document, there: Said) -> None:
        """Our entry alone, as a patch: to apply it, the server would note each node as a writer of its own. Of the
        answer, which has all nodes' entries, nothing is wanted."""
        self._turns.pop(ref, None)
        status = document.get("status") or {}
        entries = {PER_NODE[ref.kind]: status.get(PER_NODE[ref.kind]) or {self.cache.node: None}}
        part = "status" if ref.kind in (self._with_status or ()) else ""
        path, patch = RESOURCES[ref.kind].one(ref, part), {"metadata": {"uid": there.uid}, "status": entries}
        await self.api.ask("PATCH", path, patch, kind=MERGE, params={"fieldManager": names.AGENTS}, accept=HEAD)
        self.cache.wrote(ref, Said(uid=there.uid, document={"status": status} if status else {}))

    def _owned(self, document: Document) -> Document | None:
        """Goes with its VlanConfig. None: that is gone."""
        owner = Ref("VlanConfig", str(trim.at(document, ("status", "vlanConfig"))))
        uid = self.cache.uid(owner)
        version = RESOURCES[owner.kind].version
        return {"apiVersion": version, "kind": owner.kind, "name": owner.name, "uid": uid} if uid else None

    async def _remove(self, ref: Ref, there: Said) -> None:
        await self.api.ask("DELETE", RESOURCES[ref.kind].one(ref), {"preconditions": {"uid": there.uid}})

    async def _apply(self, path: str, document: Document) -> Document:
        params = {"fieldManager": names.field_manager(self.cache.node), "force": "true"}
        return await self.api.ask("PATCH", path, document, kind=APPLY, params=params)


async def kinds_with_status(api: Api) -> frozenset[str]:
    """The kinds of Harvester's group whose status is a part of its own. Raises KubeError."""
    found = await api.ask("GET", RESOURCES[VlanStatus.KIND].base)
    plurals = {str(one["name"]) for one in found.get("resources") or ()}
    return frozenset(kind for kind, r in RESOURCES.items() if f"{r.plural}/status" in plurals)


def _links(document: Document) -> Document:
    """The entries of a LinkMonitor. Where a node has no link of it, an entry says as much as none: of fifty cluster
    networks a node has a few, and would write into the monitors of all."""
    entries = trim.at(document, ("status", PER_NODE[LinkMonitor.KIND])) or {}
    return {node: links for node, links in entries.items() if links}


def differs(document: Document, there: Said) -> bool:
    """Whether something is to be written: a value is another one, or is there by our own hand and no longer said."""
    wanted = {place: value for place, value in trim.places(document) if place not in _IDENTITY}
    if any(trim.at(there.document, place) != value for place, value in wanted.items()):
        return True
    return any(place not in wanted and place[:2] != ("metadata", "ownerReferences") for place in there.ours)
