"""One kind, followed: listed, then watched from the version of the list on; resumed where a watch ends, listed anew
where the server has forgotten what came after."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from windrow.kube import trim
from windrow.kube.api import HEADS, NOT_FOUND, OPENED, Api, Document
from windrow.kube.errors import Gone, KubeError
from windrow.kube.resources import Resource
from windrow.model.values import Ref

AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
"""After a failure; the pause doubles. A watch that ends sooner than the first of them is none."""

RARELY_S = 300.0
"""So often, on average, what is not watched is looked at."""
FEW = 10
"""So many of them at once: each may have an entry of every node, a mebibyte."""

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

    rarely: Callable[[], bool] = staticmethod(lambda: False)
    """Whether it is looked at now and then, and not watched."""

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
        self._versions: dict[Ref, str] = {}
        """Of each that is not watched, the version that the cache has."""
        self.listed = asyncio.Event()

    async def run(self, absent_s: float | None = None) -> None:
        """For ever, until it is cancelled. `absent_s`: of a kind that a cluster may get later, after how many seconds
        it is asked for again; until then there are none. None: that it is not there is a trouble."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                if self.rarely():
                    failures = 0
                    self._troubled(self._resource.kind, "")
                    await asyncio.sleep(RARELY_S * random.uniform(0.5, 1.5))
                    await self._look()
                    continue
                if self._versions:  # it was not watched until now
                    self._versions, self._version = {}, ""
                    continue
                began = time.monotonic()
                async for type_, document in self._api.watch(self._resource.path, self._version, self._query):
                    if type_ == OPENED:
                        failures = 0
                        self._troubled(self._resource.kind, "")
                    self._take(type_, document)
                if time.monotonic() - began < AGAIN_S:
                    await asyncio.sleep(AGAIN_S)
            except Gone:
                self._version = ""
            except KubeError as error:
                if error.code == NOT_FOUND and absent_s is not None and not self._version:
                    failures = 0
                    self._troubled(self._resource.kind, "")
                    self._changed(self._cache.listed(self._resource.kind, ()))
                    await asyncio.sleep(absent_s)
                    continue
                if error.code in _LIST_ANEW:
                    self._version = ""
                if failures:  # a server that is started anew, a watch that was cut: the next try says more
                    self._troubled(self._resource.kind, error.message)
                pause = min(AGAIN_S * 2**failures, AGAIN_MAX_S)
                failures += 1
                # Not all agents of a cluster at the same moment.
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    async def _list(self) -> None:
        there: dict[Ref, str] = {}
        news, version = False, ""
        query = {**self._query, "limit": str(FEW)} if self.rarely() else self._query
        async for piece, of in self._api.pieces(self._resource.path, query):
            version = of
            for document in piece:
                news |= self._put(document, there)
        news |= self._cache.listed(self._resource.kind, there)
        self._version, self._versions = version, there if self.rarely() else {}
        self.listed.set()
        self._changed(news)

    def _put(self, document: dict[str, object], there: dict[Ref, str]) -> bool:
        """One of a list. Whether that is news."""
        whole = self._resource.whole(document)
        there[trim.ref_of(whole)] = str(whole["metadata"].get("resourceVersion", ""))
        return self._cache.put(whole)

    async def _look(self) -> None:
        """Which ones there are; what is not as it was is read, one by one."""
        there: dict[Ref, str] = {}
        async for piece, _ in self._api.pieces(self._resource.path, self._query, HEADS):
            for one in piece:
                meta: Mapping[str, object] = one["metadata"]
                ref = Ref(self._resource.kind, str(meta["name"]), str(meta.get("namespace", "")))
                there[ref] = str(meta.get("resourceVersion", ""))
        news = False
        for ref in [ref for ref, version in there.items() if self._versions.get(ref) != version]:
            # By a list of one, for who may list need not be allowed to get.
            query = {**self._query, "fieldSelector": f"metadata.name={ref.name}"}
            async for piece, _ in self._api.pieces(self._resource.path, query):
                for document in piece:
                    news |= self._put(document, there)
        news |= self._cache.listed(self._resource.kind, there)
        self._versions = there
        self._changed(news)

    def _take(self, type_: str, document: dict[str, object]) -> None:
        meta = document.get("metadata")
        if isinstance(meta, dict) and meta.get("resourceVersion"):
            self._version = str(meta["resourceVersion"])
        if type_ in ("ADDED", "MODIFIED"):
            self._changed(self._cache.put(document))
        elif type_ == "DELETED":
            self._changed(self._cache.drop(trim.ref_of(document)))
