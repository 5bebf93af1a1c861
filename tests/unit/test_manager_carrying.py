"""The manager's writes on their way: where each goes, and that none goes without the lease."""

from __future__ import annotations

import asyncio
from typing import Any

from windrow.apps.manager.carrying import MANAGER, Carrier
from windrow.kube.api import APPLY, MERGE
from windrow.kube.errors import KubeError
from windrow.model.values import Ref
from windrow.status.manager.stored import Apply, Delete, Edit, Write

BASE = "/apis/network.harvesterhci.io/v1beta1"
OOB = Ref("ClusterNetwork", "oob")
SAID = {
    "apiVersion": "network.harvesterhci.io/v1beta1",
    "kind": "ClusterNetwork",
    "metadata": {"name": "oob", "uid": "u"},
}


class Server:
    def __init__(self, *subresources: str) -> None:
        self.subresources = subresources
        self.asked: list[tuple[str, str, Any, Any]] = []
        self.no: KubeError | None = None

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        if path == BASE:
            return {"resources": [{"name": name} for name in self.subresources]}
        self.asked.append((method, path.removeprefix(BASE), body, more))
        if self.no is not None:
            raise self.no
        return {"metadata": {"uid": "u"}}


class Run:
    def __init__(self, *subresources: str) -> None:
        self.server, self.ours = Server(*subresources), True
        self.troubles: dict[str, str] = {}
        self.carrier = Carrier(
            self.server,  # type: ignore[arg-type]
            lambda: self.ours,
            lambda ref, why: self.troubles.__setitem__(str(ref), why),
            lambda ref: None,
        )

    def carry(self, *writes: Write) -> list[tuple[str, str]]:
        asyncio.run(self.carrier.carry(writes))
        return [(method, path) for method, path, _, _ in self.server.asked]


STATUS = {**SAID, "status": {"conditions": []}}


def test_a_status_goes_with_the_rest_or_to_a_place_of_its_own() -> None:
    together = Run()
    assert together.carry(Apply(ref=OOB, document=STATUS)) == [("PATCH", "/clusternetworks/oob")]
    (_, _, body, more) = together.server.asked[0]
    assert body == STATUS and more["kind"] == APPLY
    assert more["params"] == {"fieldManager": MANAGER, "force": "true"}

    apart = Run("clusternetworks/status")
    annotated = {**STATUS, "metadata": {**SAID["metadata"], "annotations": {"a": "b"}}}  # type: ignore[dict-item]
    assert apart.carry(Apply(ref=OOB, document=annotated)) == [
        ("PATCH", "/clusternetworks/oob"),
        ("PATCH", "/clusternetworks/oob/status"),
    ]
    assert "status" not in apart.server.asked[0][2]
    assert apart.server.asked[1][2]["metadata"] == {"name": "oob", "uid": "u"}


def test_an_edit_names_whom_it_means() -> None:
    run = Run("hostnetworkconfigs/status")
    host = Ref("HostNetworkConfig", "h")
    patch = {"status": {"nodeStatus": {"n1": None}}}
    assert run.carry(Edit(ref=host, patch=patch, uid="u")) == [("PATCH", "/hostnetworkconfigs/h/status")]
    _, _, body, more = run.server.asked[0]
    assert body["metadata"] == {"uid": "u"} and more["kind"] == MERGE and "force" not in more["params"]
    run.carry(Edit(ref=OOB, patch={"metadata": {"finalizers": []}}, uid="u", version="7"))
    assert run.server.asked[1][2]["metadata"] == {"finalizers": [], "uid": "u", "resourceVersion": "7"}


def test_without_the_lease_nothing_is_sent() -> None:
    run = Run()
    run.ours = False
    writes = (Apply(ref=OOB, document=SAID), Delete(ref=Ref("LinkMonitor", "x"), uid="u"))
    assert run.carry(*writes) == [] and run.troubles == {}


def test_a_refusal_is_told_and_another_writers_change_is_not() -> None:
    run = Run()
    run.server.no = KubeError("machines run", code=422)
    run.carry(Edit(ref=OOB, patch={}, uid="u"))
    assert run.troubles == {"ClusterNetwork/oob": "machines run"}
    run.server.no = KubeError("it has changed", code=409)
    run.carry(Delete(ref=Ref("LinkMonitor", "x"), uid="u"))
    assert run.troubles == {"ClusterNetwork/oob": "machines run"}
    assert run.carrier.patience() is not None, "what was refused is tried again"
    run.server.no = None
    run.server.asked.clear()
    assert run.carry(Apply(ref=OOB, document=SAID)), "and holds up nothing that is applied"
