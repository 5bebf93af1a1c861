"""Requests to an API server: lists in pieces, watches with bookmarks, server-side apply; and its answers in words."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from windrow.kube.access import Access
from windrow.kube.errors import Gone, KubeError

if TYPE_CHECKING:
    import httpx2

Document = Mapping[str, Any]
Ask = Callable[..., Awaitable[dict[str, Any]]]
"""`Api.ask`, of (method, path, body): the answer's document. Raises KubeError."""
T = TypeVar("T")
PIECE = 500
"""So many objects of a list at once: memory is for objects, not for answers."""
PIECE_AGAIN_S = (1.0, 4.0, 16.0)
WATCH_S = 300
"""A watch ends by itself after that, and up to twice that, so that a thousand of them do not end at once."""
SILENT_S = 150.0
"""A server sends a bookmark every minute once it has seen an event of the kind (apiserver/pkg/storage/cacher,
defaultBookmarkFrequency). Longer silence may be a connection that is dead and does not know it, so another is made."""
OPENED = "OPENED"
FORBIDDEN, NOT_FOUND, CONFLICT = 403, 404, 409
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
ANY = "application/json"
HEAD = f"{ANY};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""What an answer is to be: whole documents, or their metadata alone."""
_HINTS = {
    401: "the token or certificate is not, or no longer, good",
    FORBIDDEN: "give this account the right to do so (RBAC)",
}


async def read_one(ask: Ask, path: str) -> dict[str, Any] | None:
    """None: there is none. Raises KubeError where that cannot be said."""
    try:
        return await ask("GET", path)
    except KubeError as error:
        if error.code == NOT_FOUND:
            return None
        raise


def waited(asking: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, within_s: float) -> T:
    """What comes of it in that loop, for another thread that waits. Raises KubeError, also where that takes longer."""
    try:
        future = asyncio.run_coroutine_threadsafe(asking, loop)
    except RuntimeError as error:  # the loop has ended
        asking.close()
        raise KubeError("there is no connection to the API server any more") from error
    try:
        return future.result(within_s)
    except CancelledError as error:
        raise KubeError("the connection to the API server was given up") from error
    except TimeoutError as error:
        future.cancel()
        raise KubeError(f"the API server does not answer within {within_s:.1f} s") from error


class Api:
    """One server. All methods raise KubeError."""

    def __init__(self, access: Access) -> None:
        self._access, self._stamp = access, access.stamp
        self._client = access.client()
        self._before: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        await self._client.aclose()
        if self._before is not None:
            await self._before.aclose()

    async def _look_again(self) -> None:
        """Something went wrong: the kubeconfig may be another one by now. What is under way goes on as it was."""
        stamp = self._access.stamp
        if stamp in (None, self._stamp):
            return
        fresh, self._stamp = self._access.client(), stamp
        outdated, self._before, self._client = self._before, self._client, fresh
        if outdated is not None:
            await outdated.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        kind: str = "application/json",
        params: Mapping[str, str] = {},
        accept: str = ANY,
    ) -> dict[str, Any]:
        """The answer's document. `accept`: all of it (ANY), or its metadata (HEAD)."""
        import httpx2

        content = json.dumps(body, separators=(",", ":")).encode() if body is not None else None
        try:
            with self._access.told():
                headers = {"Content-Type": kind, "Accept": accept}
                answer = await self._client.request(method, path, content=content, params=dict(params), headers=headers)
        except httpx2.HTTPError as error:
            await self._look_again()
            raise _silent(error) from error
        except KubeError:
            await self._look_again()
            raise
        if answer.status_code >= 400:
            await self._look_again()
            raise _refused(method, path, answer.status_code, answer.content)
        return decoded(answer.content)

    async def serves(self, path: str) -> bool:
        """Whether there is such a kind. A server that cannot say it now is taken to have it: it is asked again."""
        try:
            await self.ask("GET", path, params={"limit": "1"})
        except KubeError as error:
            return error.code != NOT_FOUND
        return True

    async def pieces(
        self, path: str, params: Mapping[str, str] = {}
    ) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """A list, piece by piece: objects, and the version that all pieces are of."""
        more = ""
        while True:
            asked = {"limit": str(PIECE), **params, **({"continue": more} if more else {})}
            found = await self._piece(path, asked)
            if "items" not in found:  # whatever answers in its place: an empty list would mean that all was deleted
                raise KubeError(f"the API server's answer to {path} is no list: {str(found)[:60]}")
            meta = found.get("metadata") or {}
            yield found.get("items") or [], str(meta.get("resourceVersion", ""))
            more = str(meta.get("continue") or "")
            if not more:
                return

    async def _piece(self, path: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """A later one that a busy server does not give in time is asked for again: to begin anew with the first one, as
        all agents of a large cluster would, keeps it busy for ever."""
        for pause in PIECE_AGAIN_S if "continue" in asked else ():
            try:
                return await self.ask("GET", path, params=asked)
            except KubeError as error:
                if not error.passes:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        return await self.ask("GET", path, params=asked)

    async def watch(
        self, path: str, version: str, params: Mapping[str, str] = {}, accept: str = ANY
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """OPENED when the server has agreed, then what happened after `version`: ADDED, MODIFIED, DELETED, BOOKMARK and
        the object, until one of the two ends it. Raises Gone where that is too long ago."""
        import httpx2

        seconds = WATCH_S + random.randrange(WATCH_S)
        asked = {**params, "watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        timeout = httpx2.Timeout(SILENT_S, connect=10.0)
        try:
            async with AsyncExitStack() as stack:
                with self._access.told():
                    asked["timeoutSeconds"] = str(seconds)
                    asking = self._client.stream("GET", path, params=asked, headers={"Accept": accept}, timeout=timeout)
                    answer = await stack.enter_async_context(asking)
                if answer.status_code >= 400:
                    raise _refused("watch", path, answer.status_code, await answer.aread())
                yield OPENED, {}
                async for line in _lines(answer):
                    event = decoded(line)
                    if event.get("type") == "ERROR":
                        status = event.get("object") or {}
                        raise _no("watch", path, int(status.get("code") or 500), status)
                    yield str(event.get("type")), event.get("object") or {}
        except httpx2.ReadTimeout:
            return
        except httpx2.HTTPError as error:
            await self._look_again()
            raise _silent(error) from error
        except KubeError:
            await self._look_again()
            raise


async def _lines(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Of a stream, as bytes: the library's own lines are texts, which costs as much again."""
    rest: list[bytes] = []
    async for data in answer.aiter_bytes():
        *whole, last = data.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line]) if rest else line
            rest.clear()
        if last:
            rest.append(last)


def decoded(data: bytes) -> dict[str, Any]:
    """An answer, or a line of a watch. Raises KubeError."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise KubeError(f"the API server's answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise KubeError(f"the API server's answer is no object: {data[:60]!r}")
    return found


def _silent(error: Exception) -> KubeError:
    return KubeError(f"the API server does not answer: {str(error) or type(error).__name__}")


def _refused(method: str, path: str, code: int, data: bytes) -> KubeError:
    try:
        status = decoded(data)
    except KubeError:
        status = {"message": data[:200].decode(errors="replace").strip()}
    return _no(method, path, code, status)


def _no(method: str, path: str, code: int, status: Document) -> KubeError:
    message = str(status.get("message") or "without a word")
    kind = Gone if code == 410 else KubeError
    return kind(
        f"the API server refuses {method} {path}: {message} [{code}]",
        _HINTS.get(code, ""),
        code=code,
        reason=str(status.get("reason") or ""),
    )
