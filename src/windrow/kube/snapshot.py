"""A cluster's objects, listed once: for commands that only look."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from windrow.kube.access import Access
from windrow.kube.api import NOT_FOUND, Api
from windrow.kube.errors import KubeError
from windrow.kube.resources import OPTIONAL, POLICIES, RESOURCES, SELECTED, SHOWN, Resource


def listed(access: Access, kinds: Sequence[str] = SHOWN) -> tuple[dict[str, Any], ...]:
    """The documents of these kinds as the server has them, but for `managedFields`; whom policies select only where
    there is a policy. A kind of others that the cluster does not have is empty. Raises KubeError."""
    return asyncio.run(_listed(access, kinds))


def events(access: Access) -> tuple[dict[str, Any], ...]:
    """All that agents told, of all nodes: documents of Kubernetes' kind Event. Raises KubeError."""
    return asyncio.run(_events(access))


async def _listed(access: Access, kinds: Sequence[str]) -> tuple[dict[str, Any], ...]:
    api = Api(access)
    try:
        found = await _kinds(api, [kind for kind in kinds if kind not in SELECTED])
        if any(document["kind"] in POLICIES for document in found):
            found += await _kinds(api, SELECTED)
    finally:
        await api.close()
    return tuple(found)


async def _kinds(api: Api, kinds: Sequence[str]) -> list[dict[str, Any]]:
    found = await asyncio.gather(*(_kind(api, RESOURCES[kind]) for kind in kinds))
    return [document for documents in found for document in documents]


async def _kind(api: Api, resource: Resource) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        async for piece, _ in api.pieces(resource.path):
            for document in piece:
                document["metadata"].pop("managedFields", None)
                found.append(resource.whole(document))
    except KubeError as error:
        if error.code != NOT_FOUND or resource.kind not in OPTIONAL:
            raise
    return found


async def _events(access: Access) -> tuple[dict[str, Any], ...]:
    api = Api(access)
    try:
        query = {"fieldSelector": "source=windrow"}
        return tuple([one async for piece, _ in api.pieces("/api/v1/events", query) for one in piece])
    finally:
        await api.close()
