"""A pod's networks beside Multus' thin plugin over the reference plugin `bridge`: one call each, without a daemon.

    unshare --net python -m bench.multus EXECUTABLE          as root; EXECUTABLE: multus, thin, of version 4
    unshare --net python -m bench.multus EXECUTABLE cluster

Multus asks an API server. The one here knows the pod and its networks by heart, speaks plain HTTP and keeps nothing: a
real one takes longer, so Multus is at its best. With `cluster` it is a real one, and Windrow's server asks it as well:
for the pod, and to tell it what the pod has.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.cni import BRIDGE, REFERENCE, TOGETHER, Bench, Call, Caller, calling, in_turns, sandbox, serving
from bench.measure import Group
from bench.report import section
from windrow.kube.crds import crds
from windrow.kube.resources import RESOURCES
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.services.kubernetes.controlplane import ControlPlane

COUNTS = (1, 2, 4, 9)
RUNS = 40
PODS = "/api/v1/namespaces/default/pods"
NETWORK = "vlan"
"""The NetworkAttachmentDefinition that `calling` puts into the manifests."""


def make_bridge() -> None:
    lines = f"link add {BRIDGE} type bridge\nlink set {BRIDGE} up\nlink set lo up\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


def measure(multus: Path, where: str) -> Iterator[Group]:
    with tempfile.TemporaryDirectory(prefix="wb") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        make_bridge()
        sandboxes = [stack.enter_context(sandbox()) for _ in range(TOGETHER)]
        bench = Bench(where=where, sandboxes=sandboxes, directory=directory, filtering=False)
        served, _, _, alone = stack.enter_context(calling(bench))
        other = Caller(what="Multus, thin", plugins=multus.parent, root=directory)
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(json.dumps(stack.enter_context(api(bench))))
        for count in COUNTS:
            asked = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod_name(count - 1)}"
            theirs = Call(plugin=multus.name, config=json.dumps(config_of(bench, kubeconfig)), args=asked)
            ours = Call(plugin="windrow", config=json.dumps(our_config(bench, count - 1)), args=asked)
            title = f"a pod with {count} network{'s' if count > 1 else ''}"
            yield from in_turns(bench, RUNS, title, [(other, [theirs]), (alone, [ours]), (served, [ours])])


def measure_with_cluster(multus: Path, where: str) -> Iterator[Group]:
    """Everybody asks the same API server. It runs here as well, and what it does of its own is in all times."""
    with tempfile.TemporaryDirectory(prefix="wb") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        make_bridge()
        bench = Bench(where=where, sandboxes=[stack.enter_context(sandbox())], directory=directory, filtering=False)
        plane = stack.enter_context(ControlPlane(directory / "plane", lambda line: print(line, flush=True)))
        fill(plane, bench)
        kubeconfig = plane.kubeconfig()
        served, *_ = stack.enter_context(calling(bench))
        followed = Caller(
            what="windrow, server that follows the API", plugins=served.plugins, root=directory / "followed"
        )
        stack.enter_context(serving(followed.root, "--kubeconfig", str(kubeconfig)))
        other = Caller(what="Multus, thin", plugins=multus.parent, root=directory)
        for count in COUNTS:
            asked = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod_name(count - 1)}"
            theirs = Call(plugin=multus.name, config=json.dumps(config_of(bench, kubeconfig)), args=asked)
            mine = {**common(bench), "name": "pods", "type": "windrow", "kubernetes": True}
            ours = Call(plugin="windrow", config=json.dumps(mine), args=asked)
            sent = Call(plugin="windrow", config=json.dumps(our_config(bench, count - 1)), args=asked)
            title = f"a pod of an API server with {count} network{'s' if count > 1 else ''}"
            known = replace(served, what="windrow, server that asks nobody")
            yield from in_turns(bench, RUNS, title, [(other, [theirs]), (followed, [ours]), (known, [sent])])
            status = plane.request("GET", f"{PODS}/{pod_name(count - 1)}")["metadata"]["annotations"]
            if len(json.loads(status["k8s.v1.cni.cncf.io/network-status"])) != count:
                raise SystemExit(f"the pod was told of other networks: {status}")


def fill(plane: ControlPlane, bench: Bench) -> None:
    """The pods, and the network that they ask for."""
    resource = RESOURCES[NetworkAttachmentDefinition.KIND]
    for kind in crds():
        plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", kind)
    plane.wait_for(resource.path)
    plane.request("POST", f"{resource.base}/namespaces/default/{resource.plural}", nad(bench, NETWORK))
    for count in COUNTS:
        document = pod(pod_name(count - 1))
        document["spec"] = {"nodeName": "bench", "containers": [{"name": "c", "image": "none"}]}
        plane.request("POST", PODS, document)


def our_config(bench: Bench, more: int) -> dict[str, Any]:
    annotations = {"k8s.v1.cni.cncf.io/networks": ",".join([NETWORK] * more)}
    sent = {"io.kubernetes.cri.pod-annotations": annotations}
    return {**common(bench), "name": "pods", "type": "windrow", "runtimeConfig": sent}


def config_of(bench: Bench, kubeconfig: Path) -> dict[str, Any]:
    more = {"kubeconfig": str(kubeconfig), "binDir": str(REFERENCE), "cniDir": str(bench.directory / "multus")}
    return {**common(bench), "name": "multus", "type": "multus", **more}


def common(bench: Bench) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "delegates": [bench.addressed()]}


def pod_name(more: int) -> str:
    """Of a pod with so many networks besides its first."""
    return f"pod-{more}"


@contextlib.contextmanager
def api(bench: Bench) -> Iterator[dict[str, Any]]:
    """An API server for Multus; the kubeconfig that names it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, name = self.path.split("?")[0].rsplit("/", 2)[1:]
            document = pod(name) if kind == "pods" else nad(bench, name)
            self.say(200, json.dumps(document).encode(), "application/json")

        def do_PUT(self) -> None:
            self.give_back(200)

        def do_POST(self) -> None:
            self.give_back(201)

        def give_back(self, code: int) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.say(code, body, self.headers.get("Content-Type", "application/json"))

        def say(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {}}]
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users}
        yield {**config, "current-context": "x"}
    finally:
        server.shutdown()
        server.server_close()


def pod(name: str) -> dict[str, Any]:
    networks = ",".join([NETWORK] * int(name.rpartition("-")[2]))
    metadata = {"name": name, "namespace": "default", "annotations": {"k8s.v1.cni.cncf.io/networks": networks}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {}}


def nad(bench: Bench, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"config": json.dumps(bench.vlan())},
    }


if __name__ == "__main__":
    way = measure_with_cluster if sys.argv[2:] == ["cluster"] else measure
    for group in way(Path(sys.argv[1]).resolve(), "In this machine's own kernel"):
        print(section(group), flush=True)
