"""The generated definitions on a real API server: it takes them, keeps all of our objects, and refuses wrong ones."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.admissioncases import cn, edited, hnc, vc

from windrow.kube.crds import crds
from windrow.model.objects import KINDS
from windrow.model.wire import dump
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.store.directory import read_manifests

ROOT = Path(__file__).parents[2]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OURS = {document["spec"]["names"]["kind"] for document in crds()}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("definitions"), print) as plane:
        for document in crds():
            plane.request("POST", DEFINITIONS, document)
        for document in crds():
            settled(plane, document["metadata"]["name"])
        yield plane


def settled(plane: ControlPlane, name: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = plane.request("GET", f"{DEFINITIONS}/{name}").get("status", {}).get("conditions") or []
        said = {one["type"]: (one["status"], one.get("message")) for one in found}
        assert "NonStructuralSchema" not in said, said
        if said.get("Established", ("", ""))[0] == "True":
            return
        time.sleep(0.05)
    pytest.fail(f"{name} is not served: {said}")


def collection(document: Document) -> str:
    kind = next(k for k in KINDS if k.name == document["kind"])
    where = f"/namespaces/{document['metadata'].get('namespace', 'default')}" if kind.cls.NAMESPACED else ""
    version = document["apiVersion"]
    return f"/{'apis' if '/' in version else 'api'}/{version}{where}/{kind.plural}"


def refusal(plane: ControlPlane, method: str, path: str, document: Document) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as found:
        plane.request(method, path, document)
    return found.value.code, json.loads(found.value.read())["message"]


def test_all_examples_are_taken_whole(served: ControlPlane) -> None:
    """No field is dropped, none is refused; a second server-side look says so too (`fieldValidation=Strict`)."""
    seen = set()
    files = sorted((ROOT / "examples").rglob("*.yaml"))
    for obj in (obj for file in files for obj in read_manifests(file).objects if obj.KIND in OURS):
        document = dump(obj)
        path = collection(document)
        stored = served.request("POST", f"{path}?fieldValidation=Strict", document)
        assert {key: stored["spec"][key] for key in document.get("spec", {})} == document.get("spec", {})
        served.request("DELETE", f"{path}/{obj.name}")
        seen.add(obj.KIND)
    assert seen >= {"ClusterNetwork", "VlanConfig", "NetworkAttachmentDefinition", "HostNetworkConfig"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (edited(vc(), clusterNetwork=None), "spec.clusterNetwork: Required value"),
        (edited(vc(), uplink=None), "spec.uplink: Required value"),
        (vc(mode="fast"), "Unsupported value"),
        (vc(lacpRate=1), "must be of type string"),
        (vc(miimon=-2), "should be greater than or equal to -1"),
        (edited(hnc(), vlanID=4095), "should be less than or equal to 4094"),
        (edited(hnc(), mode="auto"), "Unsupported value"),
        (edited(hnc(), mode="static"), "mode static needs spec.ips"),
        (edited(hnc(), ips={"n1": "10.0.0.1"}), "must be an address with its prefix length"),
        (edited(hnc(), ips={"n1": "10.0.0.1/24,fd00::1"}), "must be an address with its prefix length"),
        (edited(hnc(), clusterNetwork=""), "at least 1 chars long"),
        ({**cn(), "metadata": {"name": "Big"}}, "lowercase RFC 1123"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_ones_are_refused(served: ControlPlane, document: Document, words: str) -> None:
    code, message = refusal(served, "POST", collection(document), document)
    assert code == 422
    assert words in message


def test_what_cannot_change(served: ControlPlane) -> None:
    path = collection(hnc())
    stored = served.request("POST", path, edited(hnc(), ips={"n1": "10.0.0.1/24, fd00::1/64"}))
    here = f"{path}/{stored['metadata']['name']}"
    assert "the VLAN cannot change" in refusal(served, "PUT", here, edited(stored, vlanID=301))[1]
    assert "the cluster network cannot change" in refusal(served, "PUT", here, edited(stored, clusterNetwork="b"))[1]
    served.request("PUT", here, edited(stored, description="x"))
    served.request("DELETE", here)
    stored = served.request("POST", path, hnc("m", 300, "mgmt"))
    served.request("PUT", f"{path}/m", edited(stored, vlanID=301))
    served.request("DELETE", f"{path}/m")


def test_a_status_is_where_harvesters_controllers_write_it(served: ControlPlane) -> None:
    ready = {"conditions": [{"type": "ready", "status": "True"}]}
    assert served.request("POST", collection(cn()), {**cn(), "status": ready})["status"] == ready
    assert "status" not in served.request("POST", collection(hnc("s")), {**hnc("s"), "status": ready})
