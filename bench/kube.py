"""A cluster's objects: 5,000 of them from a real API server, listed and watched by Windrow's cache and by the library
that it uses, and what they cost in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.measure import Group, Way, compare
from windrow.kube.access import Access
from windrow.kube.api import Api, decoded
from windrow.kube.cache import Cache
from windrow.kube.resources import RESOURCES
from windrow.services.kubernetes.controlplane import ControlPlane

OBJECTS = 5000
RUNS = 3
KIND = "NetworkAttachmentDefinition"
GROUP = "k8s.cni.cncf.io"
MEMORY = """
import sys, resource
def used():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 10
import bench.kube as k
k.{load}(sys.argv[1])
import asyncio
before = used()
kept = k.{what}(sys.argv[1])
print(before, used())
"""


def groups() -> list[Group]:
    with tempfile.TemporaryDirectory() as directory, ControlPlane(Path(directory, "plane"), _say) as plane:
        _fill(plane)
        config, lines = str(plane.kubeconfig()), _events(plane)
        ways = [
            Way(what=f"list {OBJECTS} NADs into Windrow's cache", run=lambda: ours_listed(config)),
            Way(what="the same with lightkube alone, which decodes and keeps", run=lambda: lightkube_listed(config)),
            Way(what=f"take in {OBJECTS} events of a watch, into Windrow's cache", run=lambda: ours_heard(lines)),
            Way(what="the same with lightkube alone, which decodes and drops", run=lambda: lightkube_heard(lines)),
        ]
        rows = compare(RUNS, ways)
        return [Group(title="Kubernetes: objects", where="On this machine", rows=rows, note=_memory(config))]


def _say(line: str) -> None:
    print(f"bench: {line}", flush=True)


def _fill(plane: ControlPlane) -> None:
    names = {"kind": KIND, "plural": RESOURCES[KIND].plural, "singular": KIND.lower()}
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }
    plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    plane.wait_for(RESOURCES[KIND].path)
    path = f"{RESOURCES[KIND].base}/namespaces/default/{RESOURCES[KIND].plural}"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: plane.request("POST", path, nad(n)), range(OBJECTS)))


def _events(plane: ControlPlane) -> list[bytes]:
    """As a watch would send them."""
    whole = {"apiVersion": f"{GROUP}/v1", "kind": KIND}
    items = plane.request("GET", RESOURCES[KIND].path)["items"]
    return [json.dumps({"type": "ADDED", "object": {**whole, **one}}).encode() for one in items]


def nad(number: int) -> dict[str, object]:
    """As Harvester's manager leaves it."""
    vid = number % 4093 + 2
    config = {"cniVersion": "0.3.1", "name": f"v{number}", "type": "bridge", "bridge": "oob-br", "promiscMode": True}
    prefix = "network.harvesterhci.io"
    labels = {"type": "L2VlanNetwork", "vlan-id": str(vid), "clusternetwork": "oob", "ready": "true"}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": KIND,
        "metadata": {"name": f"v{number}", "labels": {f"{prefix}/{key}": value for key, value in labels.items()}},
        "spec": {"config": json.dumps({**config, "vlan": vid, "ipam": {}})},
    }


def ours_loaded(config: str) -> None:
    Access(kubeconfig=config).client()


def ours_listed(config: str) -> Cache:
    async def work() -> Cache:
        api, cache, resource = Api(Access(kubeconfig=config)), Cache([KIND]), RESOURCES[KIND]
        async for piece, _ in api.pieces(resource.path):
            for document in piece:
                cache.put({"apiVersion": resource.version, "kind": resource.kind, **document})
        await api.close()
        return cache

    return asyncio.run(work())


def ours_heard(lines: list[bytes]) -> Cache:
    cache = Cache([KIND])
    for line in lines:
        cache.put(decoded(line)["object"])
    return cache


def lightkube_loaded(config: str) -> None:
    from lightkube import AsyncClient, KubeConfig

    AsyncClient(KubeConfig.from_file(config))


def lightkube_listed(config: str) -> list[object]:
    from lightkube import AsyncClient, KubeConfig

    async def work() -> list[object]:
        client = AsyncClient(KubeConfig.from_file(config))
        found: list[object] = [one async for one in client.list(_generic(), namespace="*", chunk_size=500)]
        await client.close()
        return found

    return asyncio.run(work())


def lightkube_heard(lines: list[bytes]) -> None:
    """As its watch does with each line."""
    from lightkube.core.generic_client import BasicRequest, WatchDriver

    driver: Any = WatchDriver(BasicRequest("GET", "", _generic()), None, True)
    for line in lines:
        driver.process_one_line(line)


def _generic() -> Any:
    from lightkube.generic_resource import create_namespaced_resource

    return create_namespaced_resource(GROUP, "v1", KIND, RESOURCES[KIND].plural)


def _memory(config: str) -> str:
    ours, theirs = (_measured(f"{who}_loaded", f"{who}_listed", config) for who in ("ours", "lightkube"))
    return (
        f"Memory: {ours[1] - ours[0]:.0f} MB for {OBJECTS} objects in Windrow's cache, as values that are ready to "
        f"plan with; {theirs[1] - theirs[0]:.0f} MB as lightkube keeps them. A process with the library loaded and "
        f"nothing in it: {ours[0]:.0f} MB."
    )


def _measured(load: str, what: str, config: str) -> tuple[float, float]:
    """MB before and after, in a process of its own."""
    program = MEMORY.format(load=load, what=what)
    done = subprocess.run([sys.executable, "-c", program, config], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    return before / 1024, after / 1024
