"""One kind, followed: listed, then watched from the version of the list on; resumed where a watch ends, listed anew
where the server has forgotten what came after."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from windrow.kube import trim
from windrow.kube.api import ANY, FORBIDDEN, HEAD, NOT_FOUND, OPENED, PIECE, Api, Document
from windrow.kube.errors import Gone, KubeError
from windrow.kube.memory import give_back
from windrow.kube.resources import Resource
from windrow.model import names
from windrow.model.lazy import dataclass
from windrow.model.values import Ref

AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
"""After a failure; the pause doubles. A watch that ends sooner than the first of them is none."""

FEW = 10
"""So many objects of a list at once where each has an entry of every node, a mebibyte."""

DIGESTED_S = 10.0
"""So long after a long list whoever reads it is done with it, and memory is given back."""

_LIST_ANEW = (400, 404, 504)
"""The version is one that the server cannot know: its kinds were made anew, or its store was put back to an older one
(`ResourceVersionTooLarge`)."""

Changed = Callable[[bool], None]
"""Is called with whether that is news for who reads objects; else it is only for who says something of them."""


class Kept(Protocol):
    """What is filled with what the API server tells; each answers whether that is news (`Cache`)."""

    def put(self, document: Document) -> bool: ...

    def drop(self, ref: Ref) -> bool: ...

    def listed(self, kind: str, there: Collection[Ref]) -> bool: ...


class Follower:
    """`query`: which objects of the kind (a label selector); `troubled`: is called with why it does not go on, and with
    an empty text when it does again."""

    shared: Callable[[], bool] = staticmethod(lambda: False)
    """Whether so many agents write into its objects that of a change only the metadata is told; what somebody else has
    written is read then."""
    node = ""
    """The Node whose entries are ours: an object that somebody took ours out of is read, too."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        cache: Kept,
        changed: Changed,
        troubled: Callable[[str, str], None],
        query: Mapping[str, str] = {},
    ) -> None:
        self._api, self._resource, self._cache, self._query = api, resource, cache, query
        self._changed, self._troubled = changed, troubled
        self._version = ""
        """Up to which the cache knows; empty: it has to be listed."""
        self._outlines: dict[str, _Outline] = {}
        """By name, of what is `shared`, as the cache knows it."""
        self.listed = asyncio.Event()
        self.forbidden = False
        """The server does not let us read them."""

    async def run(self, absent_s: float | None = None) -> None:
        """For ever, until it is cancelled. `absent_s`: of a kind that a cluster may get later, after how many seconds
        it is asked for again; until then there are none. None: that it is not there is a trouble."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                began = time.monotonic()
                shared = self.shared()
                events = self._api.watch(self._resource.path, self._version, self._query, HEAD if shared else ANY)
                async for type_, document in events:
                    if type_ == OPENED:
                        failures, self.forbidden = 0, False
                        self._troubled(self._resource.kind, "")
                    if shared and type_ in _CHANGED:
                        await self._take_head(document)
                    else:
                        self._take(type_, document)
                if time.monotonic() - began < AGAIN_S:
                    await asyncio.sleep(AGAIN_S)
            except Gone:
                self._version = ""
            except KubeError as error:
                self.forbidden = error.code == FORBIDDEN
                if error.code == NOT_FOUND and absent_s is not None and not self._version:
                    failures = 0
                    self._troubled(self._resource.kind, "")
                    self._changed(self._cache.listed(self._resource.kind, ()))
                    await asyncio.sleep(absent_s)
                    continue
                if error.code in _LIST_ANEW:
                    self._version = ""
                # A server that is started anew, a watch that was cut: the next try says more.
                if failures or self.forbidden:
                    self._troubled(self._resource.kind, error.message)
                pause = min(AGAIN_S * 2**failures, AGAIN_MAX_S)
                failures += 1
                # Not all agents of a cluster at the same moment.
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    async def _list(self) -> None:
        there: set[Ref] = set()
        news, version = False, ""
        self._outlines.clear()
        query = {**self._query, "limit": str(FEW)} if self.shared() else self._query
        async for piece, of in self._api.pieces(self._resource.path, query):
            version = of
            for document in piece:
                whole = self._resource.whole(document)
                there.add(trim.ref_of(whole))
                self._note(whole["metadata"])
                news |= self._cache.put(whole)
        news |= self._cache.listed(self._resource.kind, there)
        self._version = version
        self.listed.set()
        self._changed(news)
        if len(there) > PIECE:
            asyncio.get_running_loop().call_later(DIGESTED_S, give_back)

    def _take(self, type_: str, document: dict[str, Any]) -> None:
        meta = document.get("metadata")
        if isinstance(meta, dict) and meta.get("resourceVersion"):
            self._version = str(meta["resourceVersion"])
        if type_ in _CHANGED:
            self._changed(self._cache.put(document))
        elif type_ == "DELETED":
            ref = trim.ref_of({**document, "kind": self._resource.kind})
            self._outlines.pop(ref.name, None)
            self._changed(self._cache.drop(ref))

    async def _take_head(self, head: dict[str, Any]) -> None:
        """By a list of one, for who may list need not be allowed to get. The version counts only then: who is cut off
        in between is told once more."""
        meta = head["metadata"]
        if self._has_to_be_read(meta):
            query = {**self._query, "fieldSelector": f"metadata.name={meta['name']}"}
            async for piece, _ in self._api.pieces(self._resource.path, query):
                for document in piece:
                    self._changed(self._cache.put(self._resource.whole(document)))
        self._note(meta)
        self._version = str(meta["resourceVersion"])

    def _has_to_be_read(self, meta: Mapping[str, Any]) -> bool:
        """Nobody is noted as a writer who takes a field away (apimachinery, managedFieldsUpdater.Update)."""
        before, now = self._outlines.get(meta["name"]), _outline(meta, self.node)
        if before is None or before.outside != now.outside or (before.ours and not now.ours):
            return True
        return not _is_by_agents(meta)

    def _note(self, meta: Mapping[str, Any]) -> None:
        if self.shared():
            self._outlines[meta["name"]] = _outline(meta, self.node)


_CHANGED = ("ADDED", "MODIFIED")


def _is_by_agents(meta: Mapping[str, Any]) -> bool:
    """Whether the last one who wrote it was an agent; of several within the same second, whether all were."""
    noted = [(str(one.get("time", "")), str(one["manager"])) for one in meta.get("managedFields") or ()]
    last = max((at for at, _ in noted), default="")
    return bool(noted) and all(who.startswith(names.AGENT) for at, who in noted if at == last)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """`outside`: which fields an object has outside of its status, and whether it is to go; `ours`: whether its status
    has an entry of our node."""

    outside: object
    ours: bool


def _outline(meta: Mapping[str, Any], node: str) -> _Outline:
    each = [entry.get("fieldsV1") or {} for entry in meta.get("managedFields") or ()]
    outside = [{key: value for key, value in fields.items() if key != "f:status"} for fields in each]
    entries = (entries for fields in each for entries in (fields.get("f:status") or {}).values())
    return _Outline(
        outside=(meta.get("deletionTimestamp"), [fields for fields in outside if fields]),
        ours=any(f"f:{node}" in one for one in entries),
    )
