"""A cluster handed over from Harvester's network controller to Windrow, and back: what becomes of the kinds, of the
controllers' workloads and locks, and of their registrations at the API server.

Harvester's controllers tear nothing down when they end, and neither do Windrow's; so between the two the network is
nobody's and stays. What must never be is both at once: Harvester's manager ends first, and both locks are held before
anything else is done. Each step is absolute, so whoever was cut off begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from windrow.apps.incluster import loaded
from windrow.apps.manager.known import read
from windrow.apps.manager.lease import Lease, Leases, holder
from windrow.apps.webhook.configurations import NAME as WINDROW_WEBHOOK
from windrow.kube.api import MERGE, NOT_FOUND, Api, read_one
from windrow.kube.crds import crds
from windrow.kube.errors import KubeError
from windrow.kube.resources import FOLLOWED, RESOURCES
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.values import Ref
from windrow.rules.secondlook import clashes
from windrow.status.manager.handover import against, unfinished
from windrow.status.manager.stored import Stored

KEEP = {"helm.sh/resource-policy": "keep"}
"""Helm leaves what says so when a release goes, or no longer has it."""
STOPPED, REPLICAS = "windrow.io/handed-over", "windrow.io/replicas-before"
"""No node has the label by which Harvester's agents are stopped. The annotation says how many replicas there were."""
LOOK_S = 0.5
_REGISTRATIONS = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations" for kind in ("validating", "mutating")
)
_KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_WINDROWS = "app.kubernetes.io/name=windrow"
_OF_WINDROW = {
    "daemonset": "/apis/apps/v1/daemonsets",
    "deployment": "/apis/apps/v1/deployments",
    "pod": "/api/v1/pods",
}

Say = Callable[[str], None]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """Of Harvester's chart."""

    plural: str
    name: str

    @property
    def path(self) -> str:
        return f"/apis/apps/v1/namespaces/{names.SYSTEM_NAMESPACE}/{self.plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.plural.removesuffix('s')} {self.name}"


MANAGERS = Workload("deployments", "harvester-network-controller-manager")
AGENTS = Workload("daemonsets", "harvester-network-controller")
WEBHOOKS = Workload("deployments", names.HARVESTER_WEBHOOK)
WORKLOADS = (MANAGERS, AGENTS, WEBHOOKS)
"""In the order in which they end; whoever decides for others is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`lease`: of Windrow's manager, namespace and name. `identity`: whom the locks name meanwhile. `patience_s`: for
    pods to end, and for a lock whose holder is gone (Harvester's lasts 45 s)."""

    lease: tuple[str, str]
    identity: str
    patience_s: float


class Handing:
    """All methods raise KubeError, and ProblemsError with all that speaks against it: then nothing was changed."""

    def __init__(self, api: Api, settings: Settings, say: Say) -> None:
        self._api, self._settings, self._say = api, settings, say
        self._held: Leases | None = None

    # There ----------------------------------------------------------------------------------------

    async def check(self) -> tuple[Problem, ...]:
        """What speaks against it (errors), and what is worth knowing."""
        kinds = [await read_one(self._api.ask, path) for path in _kinds()]
        if None in kinds:
            text = "this cluster does not have Harvester's kinds, so there is nothing to take over"
            return (Problem(code="no-harvester", message=text, hint="install Windrow's chart as it is"),)
        cluster, there, wrong = await self._objects()
        found = (*wrong, *against(cluster, there), *clashes(cluster, cluster.objects))
        return (*found, *[p async for p in self._missing(WORKLOADS)])

    async def begin(self) -> None:
        """Harvester's controllers end, and nothing else does."""
        if found := errors(await self.check()):
            raise ProblemsError(found)
        for path in _kinds():
            await self._merge(path, {"metadata": {"annotations": KEEP}})
        self._say("the kinds and all objects stay, whatever becomes of Harvester's chart")
        await self._stop(MANAGERS)
        async with self._locks(self._settings.lease, names.HARVESTER_LOCK):
            await self._stop(AGENTS)
            await self._stop(WEBHOOKS)
            await self._unregister(names.HARVESTER_WEBHOOK)

    async def finish(self) -> tuple[Problem, ...]:
        """What is not Windrow's yet. Nothing is changed."""
        cluster, there, wrong = await self._objects()
        found = [*wrong, *unfinished(cluster, there)]
        for path in _kinds():
            meta = (await self._api.ask("GET", path))["metadata"]
            if not KEEP.items() <= (meta.get("annotations") or {}).items():
                found.append(_again(f"{meta['name']} and all its objects would be deleted with Harvester's chart"))
        for workload in WORKLOADS:
            if pods := await self._pods(await read_one(self._api.ask, workload.path)):
                found.append(_again(f"{workload} still runs: {', '.join(pods)}"))
        if await self._registered(names.HARVESTER_WEBHOOK):
            found.append(_again(f"the registration {names.HARVESTER_WEBHOOK} is there"))
        if not await self._registered(WINDROW_WEBHOOK):
            text = f"the registration {WINDROW_WEBHOOK} is not there: objects are stored without being checked"
            found.append(Problem(code="no-webhook", message=text, hint="have the chart's webhook.enabled be true"))
        return (*found, *[p async for p in self._unheld()])

    async def _unheld(self) -> AsyncIterator[Problem]:
        ours, theirs = [await holder(self._api.ask, p) for p in (self._settings.lease, names.HARVESTER_LOCK)]
        if not ours or ours != theirs:
            text = f"Windrow's manager does not hold both locks: {ours or 'nobody'} and {theirs or 'nobody'} do"
            yield Problem(code="lock", message=text, hint="install Windrow's chart with handover.enabled=true")

    # And back -------------------------------------------------------------------------------------

    async def back(self) -> None:
        """Harvester's controllers go on where they ended. Its manager may lead already, Windrow's does not."""
        if found := [p async for p in self._still_here()] + [p async for p in self._missing(WORKLOADS)]:
            raise ProblemsError(found)
        async with self._locks(self._settings.lease):
            await self._unregister(WINDROW_WEBHOOK)
            await self._start(WEBHOOKS)
            await self._start(AGENTS)
        await self._start(MANAGERS)

    async def _still_here(self) -> AsyncIterator[Problem]:
        """A workload that is gone may have left pods that are ending."""
        for what, path in _OF_WINDROW.items():
            found = await self._api.ask("GET", path, params={"labelSelector": _WINDROWS})
            for one in found["items"]:
                meta = one["metadata"]
                text = f"{what} {meta['namespace']}/{meta['name']} is still there"
                hint = "helm uninstall windrow, and wait for its pods to end: two agents never share a node"
                yield Problem(code="still-here", message=text, hint=hint)

    # Workloads ------------------------------------------------------------------------------------

    async def _missing(self, workloads: tuple[Workload, ...]) -> AsyncIterator[Problem]:
        for workload in workloads:
            if await read_one(self._api.ask, workload.path) is None:
                text = f"{workload} is not in {names.SYSTEM_NAMESPACE}"
                hint = "enable Harvester's chart: harvester-network-controller.enabled=true"
                yield Problem(code="no-workload", message=text, hint=hint)

    async def _stop(self, workload: Workload) -> None:
        """And wait until the last of its pods has ended."""
        document = await self._api.ask("GET", workload.path)
        if patch := _stopping(document):
            await self._merge(workload.path, patch)
        end = time.monotonic() + self._settings.patience_s
        while pods := await self._pods(document):
            if time.monotonic() > end:
                raise KubeError(
                    f"{workload}: {', '.join(pods)} did not end within {self._settings.patience_s:.0f} s",
                    "windrow handover begin goes on where it ended, windrow handover back starts it again",
                )
            await asyncio.sleep(LOOK_S)
        self._say(f"{workload} has ended")

    async def _start(self, workload: Workload) -> None:
        if patch := _starting(await self._api.ask("GET", workload.path)):
            await self._merge(workload.path, patch)
        self._say(f"{workload} starts")

    async def _pods(self, document: Document | None) -> list[str]:
        """The names of those of this workload."""
        if document is None:
            return []
        labels = document["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        path = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
        found = await self._api.ask("GET", path, params={"labelSelector": selector})
        return sorted(str(pod["metadata"]["name"]) for pod in found["items"])

    # Registrations --------------------------------------------------------------------------------

    async def _registered(self, name: str) -> bool:
        return any([await read_one(self._api.ask, f"{path}/{name}") is not None for path in _REGISTRATIONS])

    async def _unregister(self, name: str) -> None:
        """Those of this name, and no other's."""
        for path in _REGISTRATIONS:
            try:
                await self._ask("DELETE", f"{path}/{name}")
            except KubeError as error:
                if error.code != NOT_FOUND:
                    raise
        self._say(f"the API server no longer asks {name}")

    # Locks and requests ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _locks(self, *places: tuple[str, str]) -> AsyncIterator[None]:
        locks = Leases([Lease(self._api.ask, place, self._settings.identity) for place in places])
        try:
            await self._wait_for(locks)
            renewing = asyncio.create_task(_renew(locks))
            self._held = locks
            self._say(
                f"locks held: {' '.join(map('/'.join, places))}; a manager that needs one writes nothing meanwhile"
            )
            try:
                yield
            finally:
                self._held = None
                renewing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await renewing
        finally:
            with contextlib.suppress(KubeError):  # they run out by themselves, and what was done is done
                await locks.release()

    async def _wait_for(self, locks: Leases) -> None:
        end = time.monotonic() + self._settings.patience_s
        while not await locks.turn():
            if time.monotonic() > end:
                raise KubeError("another manager leads, and does not let go", "end it, and try again")
            await asyncio.sleep(locks.again_s)

    async def _merge(self, path: str, patch: Document) -> None:
        await self._ask("PATCH", path, patch, MERGE)

    async def _ask(self, method: str, path: str, body: Document | None = None, kind: str = "application/json") -> None:
        if self._held is not None and self._held.left_s <= 0:
            raise KubeError(
                "the locks are lost: another manager may lead", "try again: the command goes on where it stopped"
            )
        await self._api.ask(method, path, body, kind=kind)

    async def _objects(self) -> tuple[Cluster, dict[Ref, Stored], tuple[Problem, ...]]:
        """All that Windrow reads, and what is wrong with it."""
        documents = [one for kind in FOLLOWED for one in await self._listed(kind)]
        found = loaded(tuple(documents))
        kept = {one.obj.ref: one for one in map(read, documents) if one is not None}
        return Cluster.of(found.objects), kept, found.problems

    async def _listed(self, kind: str) -> list[dict[str, Any]]:
        resource = RESOURCES[kind]
        return [resource.whole(one) async for piece, _ in self._api.pieces(resource.path) for one in piece]


async def _renew(locks: Leases) -> None:
    while True:
        await asyncio.sleep(locks.again_s)
        with contextlib.suppress(KubeError):  # whether they are ours still is asked before each request
            await locks.turn()


def _kinds() -> list[str]:
    """Harvester's five."""
    every = [one["metadata"]["name"] for one in crds()]
    return [f"{_KINDS}/{name}" for name in every if name.partition(".")[2] == names.API_GROUP]


def _stopping(document: Document) -> dict[str, Any]:
    """The patch after which it has no pods; empty: it is so already."""
    spec = document["spec"]
    if "replicas" not in spec:
        selector = spec["template"]["spec"].get("nodeSelector") or {}
        return {} if STOPPED in selector else _selecting("true")
    if spec["replicas"] == 0:
        return {}
    return {"metadata": {"annotations": {REPLICAS: str(spec["replicas"])}}, "spec": {"replicas": 0}}


def _starting(document: Document) -> dict[str, Any]:
    """The patch that undoes it; empty: it was not stopped here."""
    spec, notes = document["spec"], document["metadata"].get("annotations") or {}
    if "replicas" not in spec:
        selector = spec["template"]["spec"].get("nodeSelector") or {}
        return _selecting(None) if STOPPED in selector else {}
    if REPLICAS not in notes:
        return {}
    return {"metadata": {"annotations": {REPLICAS: None}}, "spec": {"replicas": int(notes[REPLICAS])}}


def _selecting(value: str | None) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"nodeSelector": {STOPPED: value}}}}}


def _again(text: str) -> Problem:
    return Problem(code="not-begun", message=text, hint="windrow handover begin does the rest")
