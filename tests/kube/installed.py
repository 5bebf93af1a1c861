"""The chart on an API server: what helm renders is stored there, and parts of Windrow run under its very accounts."""

from __future__ import annotations

import functools
import json
import subprocess
import urllib.error
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from windrow.services.kubernetes import parts
from windrow.services.kubernetes.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart"
NAMESPACE = "harvester-system"
Document = dict[str, Any]
Right = tuple[str, str, str]
"""API group, resource (with its subresource) and verb."""
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
ACCOUNTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    path = parts.build(["helm"], print)["helm"]
    command = [str(path), "template", "windrow", str(CHART), "--namespace", NAMESPACE, "--kube-version"]
    command += [parts.version(), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@functools.cache
def rendered(*words: str) -> Sequence[Document]:
    done = helm(*words)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def collection(plane: ControlPlane, document: Document) -> str:
    """Where objects of its kind are, as the server itself says."""
    version = document["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    found = plane.request("GET", base)["resources"]
    resource = next(one for one in found if one["kind"] == document["kind"] and "/" not in one["name"])
    place = f"/namespaces/{document['metadata'].get('namespace', 'default')}" if resource["namespaced"] else ""
    return f"{base}{place}/{resource['name']}"


def store(plane: ControlPlane, documents: Iterable[Document]) -> None:
    for document in documents:
        said = refusal(plane, "POST", collection(plane, document), document)
        assert not said, said


def namespace(plane: ControlPlane) -> None:
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    plane.request("POST", "/api/v1/namespaces", made)


def definitions(plane: ControlPlane, documents: Iterable[Document]) -> None:
    """Stored, and served."""
    kinds = [one for one in documents if one["kind"] == "CustomResourceDefinition"]
    store(plane, kinds)
    for one in kinds:
        spec = one["spec"]
        plane.wait_for(f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}")


def token(plane: ControlPlane, part: str, node: str = "") -> str:
    """Of the account of a part; `node`: bound to a pod there, as a kubelet has it."""
    accounts, pods = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", f"/api/v1/namespaces/{NAMESPACE}/pods"
    spec: Document = {}
    if node:
        name = f"windrow-{part}-{node}"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "nodeName": node,
                "serviceAccountName": f"windrow-{part}",
                "containers": [{"name": "a", "image": "a"}],
            },
        }
        uid = plane.request("POST", pods, pod)["metadata"]["uid"]
        spec = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = plane.request("POST", f"{accounts}/windrow-{part}/token", request)
    return str(answer["status"]["token"])


# Rights ------------------------------------------------------------------------------------------


def granted(documents: Iterable[Document], part: str) -> set[Right]:
    roles = [one for one in documents if one["kind"] in ("ClusterRole", "Role")]
    rules = [rule for one in roles if one["metadata"]["name"] == f"windrow-{part}" for rule in one["rules"]]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _asked(log: Path, part: str) -> Iterator[Document]:
    account = f"system:serviceaccount:{NAMESPACE}:windrow-{part}"
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] == account and "objectRef" in event:
            yield event


def _right(event: Document, verb: str) -> Right:
    about = event["objectRef"]
    whole = "/".join(filter(None, (about["resource"], about.get("subresource", ""))))
    return about.get("apiGroup", ""), whole, verb


def used(log: Path, part: str) -> set[Right]:
    """What the server let it do. Applying what was not there is making it, and needs that right."""
    found = set()
    for event in _asked(log, part):
        code = event.get("responseStatus", {}).get("code", 0)
        if code != 403:
            found.add(_right(event, event["verb"]))
        if event["verb"] == "patch" and code == 201:
            found.add(_right(event, "create"))
    return found


def denied(log: Path, part: str) -> set[Right]:
    return {_right(e, e["verb"]) for e in _asked(log, part) if e.get("responseStatus", {}).get("code") == 403}


def refusal(plane: ControlPlane, method: str, path: str, body: Document | None = None, **more: str) -> str:
    """What the server says against it; empty: it does it."""
    try:
        plane.request(method, path, body, **more)
    except urllib.error.HTTPError as error:
        with error:
            return str(json.loads(error.read()).get("message"))
    return ""
