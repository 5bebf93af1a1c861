"""Writes on their way to the API server: each in its own time, and none without the lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from windrow.kube.api import APPLY, CONFLICT, MERGE, Api
from windrow.kube.errors import KubeError
from windrow.kube.pace import Paces, few_at_once
from windrow.kube.resources import OF_POOLS, RESOURCES
from windrow.kube.writing import kinds_with_status
from windrow.model.values import Ref
from windrow.status.manager.stored import Apply, Delete, Document, Edit, Write

MANAGER = "windrow-manager"
EVENTS = "/api/v1/namespaces"


class Carrier:
    """`may`: whether it is our turn at this moment."""

    def __init__(
        self, api: Api, may: Callable[[], bool], troubled: Callable[[Ref, str], None], fought: Callable[[Ref], None]
    ) -> None:
        self._api, self._may = api, may
        # An edit that is refused waits for long, and what is applied to the same object does not wait for it.
        self._applying, self._editing = Paces(troubled, fought), Paces(troubled, fought)
        self._with_status: frozenset[str] | None = None

    def patience(self) -> float | None:
        due = (self._applying.patience(), self._editing.patience())
        return min((one for one in due if one is not None), default=None)

    async def carry(self, writes: Iterable[Write]) -> None:
        """Those whose time has come. Raises KubeError where nothing can be written at all."""
        if self._with_status is None:
            self._with_status = await kinds_with_status(self._api)
        self._applying.begin()
        self._editing.begin()
        await few_at_once(partial(self._in_its_time, write) for write in writes)

    async def tell(self, event: Document) -> None:
        """An event, of Kubernetes' kind. Raises KubeError."""
        meta = event["metadata"]
        await self._ask("PATCH", f"{EVENTS}/{meta['namespace']}/events/{meta['name']}", event, APPLY)

    async def _in_its_time(self, write: Write) -> None:
        paces = self._applying if isinstance(write, Apply) else self._editing
        await paces.in_its_time(write.ref, partial(self._one, write))

    async def _one(self, write: Write) -> None:
        match write:
            case Apply():
                await self._apply(write)
            case Edit():
                await self._edit(write)
            case Delete():
                path = RESOURCES[write.ref.kind].one(write.ref)
                await self._ask("DELETE", path, {"preconditions": {"uid": write.uid}})

    async def _apply(self, write: Apply) -> None:
        """The status goes where it belongs; of a kind without a place for it, with all the rest."""
        resource, document = RESOURCES[write.ref.kind], dict(write.document)
        status = document.pop("status", None) if self._apart(write.ref) else None
        if len(document["metadata"]) > 2 or status is None:
            stored = await self._ask("PATCH", resource.one(write.ref), document, APPLY)
            document["metadata"] = {"name": write.ref.name, "uid": stored["metadata"]["uid"]}
        if status is not None:
            await self._ask("PATCH", resource.one(write.ref, "status"), {**document, "status": status}, APPLY)

    async def _edit(self, write: Edit) -> None:
        meta = {**(write.patch.get("metadata") or {}), "uid": write.uid}
        if write.version:
            meta["resourceVersion"] = write.version
        part = "status" if "status" in write.patch and self._apart(write.ref) else ""
        await self._ask(
            "PATCH", RESOURCES[write.ref.kind].one(write.ref, part), {**write.patch, "metadata": meta}, MERGE
        )

    def _apart(self, ref: Ref) -> bool:
        """Of the DHCP add-on's kinds it always is."""
        return ref.kind in (self._with_status or ()) or ref.kind in OF_POOLS

    async def _ask(self, method: str, path: str, body: Document, kind: str = "application/json") -> dict[str, Any]:
        if not self._may():
            raise KubeError("it is another replica's turn", code=CONFLICT)
        params = {"fieldManager": MANAGER} if method == "PATCH" else {}
        params |= {"force": "true"} if kind == APPLY else {}
        return await self._api.ask(method, path, body, kind=kind, params=params)
