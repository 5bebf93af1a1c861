"""Pods of a real API server get their networks: the CNI server as a process in a host of its own, called as a runtime
calls it. No kubelet is there; pods are objects, and their namespaces are made here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.kube import crds
from tests.kube.cluster import PATHS, Api, account, document, is_served, wait
from tests.kube.line import Line

from windrow.apps.cni.install import CONFLIST, Origin, install
from windrow.apps.cni.podinfo import CAPABILITY
from windrow.apps.cni.server import about
from windrow.model.ports import PORT_GROUP
from windrow.model.wire.nad import CONFIG_MAX
from windrow.netlink import netns
from windrow.netlink.errors import may_administer
from windrow.netlink.kernel import Kernel
from windrow.netlink.links import create, set_link
from windrow.port.errors import FORBIDDEN, INVALID_CONFIG, MISSING, NOT_AVAILABLE, TRY_AGAIN
from windrow.port.networks import DEFAULT_NETWORK, NETWORK_STATUS, NETWORKS
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.store.attachments import AttachmentRecords
from windrow.store.paths import Paths

PLUGINS = "/usr/lib/cni"
PODS = "/api/v1/namespaces/default/pods"
NADS = PATHS["NetworkAttachmentDefinition"]
MAC = "52:54:00:12:34:56"
RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
]
"""All that the server needs besides reading Nodes and networks: docs/user/kubernetes.md says so."""
READS = {
    "": ["nodes"],
    "k8s.cni.cncf.io": ["network-attachment-definitions"],
    "network.harvesterhci.io": ["clusternetworks"],
}
SLOW = """\
#!/bin/sh
[ $CNI_COMMAND = ADD ] && touch {root}/begun && sleep 60
exec {plugins}/host-local
"""
DEVICE = """\
#!{python}
import json, os, sys
config = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "ADD":
    path = config["runtimeConfig"]["CNIDeviceInfoFile"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump({{"type": "pci", "version": "1.0.0", "pci": {{"pci-address": "0000:01:02.1"}}}}, file)
    print(json.dumps({{"cniVersion": config["cniVersion"], "interfaces": []}}))
"""


pytestmark = pytest.mark.skipif(not may_administer(), reason="only root makes network namespaces")


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed once: the compiler takes its time."""
    home = tmp_path_factory.mktemp("shims")
    install(Paths(home), Origin(node="n1"), home)
    return home


@dataclass
class Host:
    """A network namespace with a bridge, in which a server runs that reaches the API by `line`."""

    root: Path
    shims: Path
    plane: ControlPlane
    fd: int = field(default_factory=netns.new)
    pods: list[int] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.fd)
        self.kernel.rtnl.run(set_link("lo", up=True), create("oob-br", "bridge", data={}, up=True))
        self.line = netns.opened_in(self.fd, lambda: Line(self.plane.port))
        # A file of its own: a server reads it again when it is not answered.
        self.kubeconfig = account(self.plane, f"cni-{self.line.port}", READS, self.line.port, RULES)
        self.conf, self.log = self.root / "net.d", self.root / "server.log"

    def close(self) -> None:
        if self.server is not None:
            self.end(signal.SIGKILL)
        self.kernel.close()
        for fd in (self.fd, *self.pods):
            os.close(fd)

    # The server -----------------------------------------------------------------------------------

    def serve(self) -> None:
        words = ["--root", str(self.root), "--node", "n1", "--kubeconfig", str(self.kubeconfig)]
        argv = [sys.executable, "-m", "windrow.apps.cli.main", *words, "cni", "serve", "--conf-dir", str(self.conf)]
        with self.log.open("ab") as log:
            self.server = netns.opened_in(self.fd, lambda: subprocess.Popen(argv, stderr=log, stdin=subprocess.DEVNULL))
        wait(lambda: about(Paths(self.root)) is not None, self.said)

    def ready(self) -> None:
        """As a runtime finds it."""
        wait((self.conf / CONFLIST).exists, self.said)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.server is not None
        self.server.send_signal(number)
        code = self.server.wait(60)
        self.server = None
        return code

    def said(self) -> str:
        return self.log.read_text()

    # A runtime ------------------------------------------------------------------------------------

    def sandbox(self) -> str:
        self.pods.append(netns.new())
        return f"/proc/{os.getpid()}/fd/{self.pods[-1]}"

    def start(
        self, command: str, pod: dict[str, Any], sandbox: str, sent: dict[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[bytes]:
        meta = pod.get("metadata", {})
        whole = command in ("STATUS", "GC")
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "" if whole else f"c-{Path(sandbox).name}",
            "CNI_NETNS": sandbox,
            "CNI_IFNAME": "" if whole else "eth0",
            "CNI_PATH": f"{self.root}/bin:{PLUGINS}",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={meta.get('name')};"
            f"K8S_POD_UID={meta.get('uid')}",
            "PATH": os.environ["PATH"],
            "WINDROW_ROOT": str(self.root),
        }
        pipe = subprocess.PIPE
        shim = self.shims / "windrow"
        started = netns.opened_in(self.fd, lambda: subprocess.Popen([shim], env=env, stdin=pipe, stdout=pipe))
        assert started.stdin
        started.stdin.write(json.dumps(self.config(sent, **more)).encode())
        started.stdin.close()
        started.stdin = None
        return started

    def config(self, sent: dict[str, str] | None, **more: Any) -> dict[str, Any]:
        """What a runtime makes of the configuration that the server has written."""
        found = json.loads((self.conf / CONFLIST).read_text())
        (plugin,) = found["plugins"]
        runtime = {"runtimeConfig": {CAPABILITY: sent}} if sent is not None else {}
        return {**plugin, "name": found["name"], "cniVersion": "1.1.0", "clusterNetwork": "none", **runtime, **more}

    def call(self, command: str, pod: dict[str, Any], sandbox: str, *of: Any, **more: Any) -> dict[str, Any]:
        """The document that the plugin prints, an error's included."""
        started = self.start(command, pod, sandbox, *of, **more)
        stdout, _ = started.communicate(timeout=60)
        found: dict[str, Any] = json.loads(stdout) if stdout else {}
        assert started.returncode == (1 if "code" in found else 0), found
        return found

    def add(self, pod: dict[str, Any], sandbox: str, *of: Any, **more: Any) -> dict[str, Any]:
        found = self.call("ADD", pod, sandbox, *of, **more)
        assert "code" not in found, f"{found}\n{self.said()}"
        return found

    def delete(self, pod: dict[str, Any], sandbox: str) -> None:
        assert self.call("DEL", pod, sandbox) == {}
        assert self.clean(), "nothing of it is left"

    # What is there --------------------------------------------------------------------------------

    def clean(self) -> bool:
        links = self.kernel.observe()
        ports = [name for name in links.state.links if links.runtime[name].group == PORT_GROUP]
        leases = list((self.root / "leases").rglob("10.*"))
        return ports == leases == list(AttachmentRecords(Paths(self.root)).all()[0]) == []

    def inside(self, sandbox: str) -> dict[str, str]:
        """Name and MAC of each interface of a pod."""
        fd = int(Path(sandbox).name)
        with contextlib.closing(Kernel(fd)) as kernel:
            links = kernel.observe().state.links
        return {str(name): str(link.mac) for name, link in links.items() if name != "lo"}

    def ipam(self, kind: str = "host-local") -> dict[str, Any]:
        return {"type": kind, "ranges": [[{"subnet": "10.9.0.0/24"}]], "dataDir": str(self.root / "leases")}


class Cluster(Api):
    """And pods."""

    def pod(self, name: str, networks: object = "", **annotations: str) -> dict[str, Any]:
        if networks:
            annotations[NETWORKS] = networks if isinstance(networks, str) else json.dumps(networks)
        spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "none"}], "terminationGracePeriodSeconds": 0}
        meta = {"name": name, "annotations": annotations}
        return self.plane.request("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    def gone(self, name: str) -> None:
        self.plane.request("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")

    def network(self, name: str, namespace: str = "default", **config: Any) -> None:
        whole = {"cniVersion": "0.3.1", "name": name, "type": "bridge", "bridge": "oob-br", "ipam": {}, **config}
        self.raw_network(name, json.dumps(whole), namespace)

    def raw_network(self, name: str, config: str, namespace: str = "default") -> None:
        path = f"/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions"
        body = document("NetworkAttachmentDefinition", name, {"config": config}, namespace=namespace)
        self.plane.request("POST", path, body)

    def status(self, name: str) -> list[dict[str, Any]]:
        meta = self.plane.request("GET", f"{PODS}/{name}")["metadata"]
        found: list[dict[str, Any]] = json.loads(meta.get("annotations", {}).get(NETWORK_STATUS, "[]"))
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        query = f"?fieldSelector=involvedObject.name={name}"
        found: list[dict[str, Any]] = self.plane.request("GET", f"/api/v1/namespaces/default/events{query}")["items"]
        return found


@pytest.fixture
def cluster(api: ControlPlane) -> Cluster:
    found = Cluster(api)
    api.request("DELETE", f"{PODS}?gracePeriodSeconds=0")
    found.make(document("Node", "n1"))
    found.network("vlan100")
    return found


@contextlib.contextmanager
def made(root: Path, shims: Path, plane: ControlPlane) -> Iterator[Host]:
    found = Host(root, shims, plane)
    with found.line:
        try:
            yield found
        finally:
            found.close()


@pytest.fixture(scope="module")
def _shared(plane: ControlPlane, shims: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with made(tmp_path_factory.mktemp("host"), shims, plane) as found:
        found.serve()
        found.ready()
        yield found


@pytest.fixture
def host(cluster: Cluster, _shared: Host) -> Iterator[Host]:
    """With a server that no test ends."""
    yield _shared
    _shared.line.mend()
    _shared.call("GC", {}, "", **{"cni.dev/valid-attachments": []})
    assert _shared.clean()
    shutil.rmtree(_shared.root / "bin", ignore_errors=True)


@pytest.fixture
def bare(cluster: Cluster, tmp_path: Path, shims: Path) -> Iterator[Host]:
    """Without a server."""
    with made(tmp_path, shims, cluster.plane) as found:
        yield found


@pytest.fixture
def mortal(bare: Host) -> Host:
    """With a server that may be killed."""
    bare.serve()
    bare.ready()
    return bare


def hashed(network: str) -> str:
    """What KubeVirt calls the pod's interface of a machine's network."""
    return f"pod{hashlib.sha256(network.encode()).hexdigest()[:11]}"


# -- pods get their networks -----------------------------------------------------------------------


def test_a_pod_as_kubevirt_makes_it(cluster: Cluster, host: Host) -> None:
    cluster.network("pods", ipam=host.ipam(), isGateway=True)
    networks = [{"name": "vlan100", "namespace": "default", "mac": MAC, "interface": hashed("nic-1")}]
    pod = cluster.pod("virt-launcher", networks, **{DEFAULT_NETWORK: "default/pods"})
    sandbox = host.sandbox()
    result = host.add(pod, sandbox)
    assert [one["name"] for one in result["interfaces"] if one.get("sandbox")] == ["eth0"]
    there = host.inside(sandbox)
    assert (set(there), there[hashed("nic-1")]) == ({"eth0", hashed("nic-1")}, MAC)
    first, second = cluster.status("virt-launcher")
    address = result["ips"][0]["address"].partition("/")[0]
    assert (first["name"], first["interface"], first["ips"], first["default"]) == (
        "default/pods", "eth0", [address], True)  # fmt: skip
    assert second == {**second, "name": "default/vlan100", "interface": hashed("nic-1"), "mac": MAC, "dns": {}}
    assert "default" not in second and "ips" not in second
    host.delete(pod, sandbox)
    assert cluster.events("virt-launcher") == []


def test_a_network_is_there_as_soon_as_it_was_applied(cluster: Cluster, host: Host) -> None:
    """The pod comes right behind it, before any watch may have told of it."""
    for number in range(20):
        cluster.network(f"new{number}")
        pod, sandbox = cluster.pod(f"p{number}", f"new{number}@db0"), host.sandbox()
        host.add(pod, sandbox)
        assert set(host.inside(sandbox)) == {"db0"}
        host.delete(pod, sandbox)


def test_isolation_of_namespaces_and_the_list_of_plugins(cluster: Cluster, host: Host) -> None:
    with contextlib.suppress(urllib.error.HTTPError):
        cluster.plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    with contextlib.suppress(urllib.error.HTTPError):
        cluster.network("theirs", "other")
    cluster.network("stealing", type="host-device", device="eth0")
    for networks, more in (("other/theirs", {"namespaceIsolation": True}), ("stealing", {})):
        pod = cluster.pod(networks.replace("/", "-"), networks)
        error = host.call("ADD", pod, host.sandbox(), **more)
        assert error["code"] == FORBIDDEN, error
    assert host.clean()
    host.add(cluster.pod("free", "other/theirs"), host.sandbox())


def test_a_pod_that_was_made_anew_or_is_gone(cluster: Cluster, host: Host) -> None:
    old = cluster.pod("db-0", "vlan100")
    cluster.gone("db-0")
    assert host.call("ADD", old, host.sandbox())["code"] == MISSING
    new = cluster.pod("db-0", "vlan100")
    assert host.call("ADD", old, host.sandbox())["code"] == INVALID_CONFIG
    assert host.clean() and cluster.status("db-0") == []
    sandbox = host.sandbox()
    host.add(new, sandbox)
    assert [one["interface"] for one in cluster.status("db-0")] == ["net1"]


def test_why_a_pod_has_no_network_is_an_event_of_it(cluster: Cluster, host: Host) -> None:
    pod = cluster.pod("lost", "nowhere")
    for _ in range(3):
        assert host.call("ADD", pod, host.sandbox())["code"] == MISSING
    wait(lambda: cluster.events("lost"), host.said)
    (event,) = cluster.events("lost")
    assert (event["type"], event["reason"], event["source"]) == (
        "Warning", "NetworkNotAttached", {"component": "windrow", "host": "n1"})  # fmt: skip
    assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
    assert "NetworkAttachmentDefinition default/nowhere" in event["message"]


def test_which_device_a_pod_was_handed(cluster: Cluster, host: Host) -> None:
    (host.root / "bin").mkdir()
    (host.root / "bin/device").write_text(DEVICE.format(python=sys.executable))
    (host.root / "bin/device").chmod(0o755)
    cluster.network("vf", type="device", cniVersion="1.0.0", capabilities={"CNIDeviceInfoFile": True})
    pod, sandbox = cluster.pod("web", "vf,vlan100"), host.sandbox()
    assert host.call("ADD", pod, sandbox)["code"] == FORBIDDEN
    host.add(pod, sandbox, pluginTypes=["device", "bridge"])
    first, second = cluster.status("web")
    assert first["device-info"] == {"type": "pci", "version": "1.0.0", "pci": {"pci-address": "0000:01:02.1"}}
    assert "device-info" not in second
    (file,) = Paths(host.root).device_info.iterdir()
    assert host.call("DEL", pod, sandbox) == {}
    assert not file.exists()


def test_a_cluster_without_the_kind_has_pods_all_the_same(new_plane: ControlPlane, tmp_path: Path, shims: Path) -> None:
    """Whatever installs it may be a pod."""
    crds_path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    (nads,) = [one for one in crds.ALL if one["spec"]["names"]["kind"] == "NetworkAttachmentDefinition"]
    new_plane.request("DELETE", f"{crds_path}/{nads['metadata']['name']}")
    wait(lambda: not is_served(new_plane, NADS))
    cluster = Cluster(new_plane)
    cluster.make(document("Node", "n1"))
    with made(tmp_path, shims, new_plane) as host:
        host.serve()
        host.ready()
        plain, asking = cluster.pod("plain"), cluster.pod("asking", "vlan100")
        host.add(plain, host.sandbox())
        assert host.call("ADD", asking, host.sandbox())["code"] == MISSING
        new_plane.request("POST", crds_path, nads)
        wait(lambda: is_served(new_plane, NADS))
        cluster.network("vlan100")
        host.add(asking, host.sandbox())


# -- what somebody wrote ---------------------------------------------------------------------------


def test_what_a_tenant_writes_harms_nobody_else(cluster: Cluster, host: Host) -> None:
    """Annotations as large as they may be, networks of a mebibyte, brackets without end, names with slashes."""
    cluster.raw_network("huge", json.dumps({"type": "bridge", "bridge": "oob-br", "x": "y" * (1 << 20)}))
    cluster.raw_network("deep", '{"type":' + "[" * 50_000)
    large = 250 * 1024
    wrong = {
        "long": ",".join(["vlan100"] * (large // 8)),
        "nested": "[" * large,
        "escaping": json.dumps([{"name": "../../secrets/x", "namespace": "../kube-system"}]),
        "named": json.dumps([{"name": "vlan100", "interface": "../../x"}]),
        "huge": "huge",
        "deep": "deep",
    }
    good, sandbox = cluster.pod("good", "vlan100"), host.sandbox()
    started = [host.start("ADD", cluster.pod(name, networks), host.sandbox()) for name, networks in wrong.items()]
    began = time.monotonic()
    host.add(good, sandbox)
    assert time.monotonic() - began < 5.0
    for name, one in zip(wrong, started, strict=True):
        stdout, _ = one.communicate(timeout=60)
        error = json.loads(stdout)
        assert error["code"] in (INVALID_CONFIG, 6), (name, error)
        assert len(stdout) < 8000, name
        if name == "huge":
            assert f"more than {CONFIG_MAX} characters" in error["msg"]
    assert [one["interface"] for one in cluster.status("good")] == ["net1"]
    assert host.call("STATUS", {}, "") == {}
    host.delete(good, sandbox)


def test_a_pod_whose_annotations_are_full_has_its_networks(cluster: Cluster, host: Host) -> None:
    """The API takes no network-status beside them; a pod is no worse off by that."""
    full = {"tenants/note": "x" * (256 * 1024 - 100)}
    pod, sandbox = cluster.pod("full", "vlan100", **full), host.sandbox()
    host.add(pod, sandbox)
    assert set(host.inside(sandbox)) == {"net1"}
    wait(lambda: "pod default/full is not told which networks it has" in host.said(), host.said)
    assert not list((host.root / "run/windrow/untold").iterdir()), "not said for ever"
    host.delete(pod, sandbox)


# -- without the API, without a server -------------------------------------------------------------


def test_without_the_api_pods_go_and_come_as_the_runtime_says(cluster: Cluster, host: Host) -> None:
    networks = {NETWORKS: "vlan100"}
    before, after = cluster.pod("before", "vlan100"), cluster.pod("after", "vlan100")
    old, new = host.sandbox(), host.sandbox()
    host.add(before, old)
    host.line.cut()
    assert host.call("ADD", after, new)["code"] == TRY_AGAIN, "never with too few networks"
    host.add(after, new, networks)
    assert set(host.inside(new)) == {"net1"} and cluster.status("after") == []
    began = time.monotonic()
    assert host.call("DEL", before, old) == {}
    assert host.call("GC", {}, "", **{"cni.dev/valid-attachments": [{"containerID": "x", "ifname": "eth0"}]}) == {}
    assert time.monotonic() - began < 5.0, "nobody is asked"
    assert host.clean(), "GC took the other one"
    again = host.sandbox()
    host.add(after, again, networks)
    host.line.mend()
    wait(lambda: cluster.status("after"), host.said)
    assert [one["interface"] for one in cluster.status("after")] == ["net1"]


def test_an_api_that_hangs_holds_nobody_for_long(cluster: Cluster, mortal: Host) -> None:
    host = mortal
    before, old = cluster.pod("before", "vlan100"), host.sandbox()
    host.add(before, old)
    after = cluster.pod("after", "vlan100")
    host.line.hold()
    began = time.monotonic()
    waiting = [host.start("ADD", after, host.sandbox()) for _ in range(20)]
    host.delete(before, old)
    assert time.monotonic() - began < 5.0, "what undoes waits for nobody"
    for one in waiting:
        assert json.loads(one.communicate(timeout=60)[0])["code"] == TRY_AGAIN
    assert time.monotonic() - began < 30.0
    sandbox = host.sandbox()
    host.add(after, sandbox, {NETWORKS: "vlan100"})
    assert set(host.inside(sandbox)) == {"net1"}
    host.line.mend()
    wait(lambda: cluster.status("after"), host.said)


def test_another_pod_of_the_name_is_not_told_what_the_first_one_had(cluster: Cluster, host: Host) -> None:
    old, other = cluster.pod("db-0", "vlan100"), cluster.pod("other", "vlan100")
    host.line.cut()
    for pod in (old, other):
        host.add(pod, host.sandbox(), {NETWORKS: "vlan100"})
    cluster.gone("db-0")
    cluster.pod("db-0", "vlan100")
    host.line.mend()
    wait(lambda: cluster.status("other"), host.said)
    wait(lambda: not list((host.root / "run/windrow/untold").iterdir()), host.said)
    assert cluster.status("db-0") == []


def test_a_server_that_is_killed_in_the_middle_leaves_nothing_that_a_del_does_not_find(
    cluster: Cluster, mortal: Host
) -> None:
    host = mortal
    (host.root / "bin").mkdir()
    slow = host.root / "bin/static"  # a type that is allowed
    slow.write_text(SLOW.format(root=host.root, plugins=PLUGINS))
    slow.chmod(0o755)
    cluster.network("slow", ipam=host.ipam("static"))
    pod, sandbox = cluster.pod("web", "vlan100,slow"), host.sandbox()
    started = host.start("ADD", pod, sandbox)
    wait((host.root / "begun").exists, host.said)
    host.end(signal.SIGKILL)
    stdout, _ = started.communicate(timeout=60)
    assert json.loads(stdout)["code"] == TRY_AGAIN
    assert not host.clean()
    assert (host.conf / CONFLIST).exists()
    host.delete(pod, sandbox)
    assert host.call("ADD", pod, sandbox, {NETWORKS: "vlan100"})["code"] == TRY_AGAIN, "alone it attaches nothing"
    assert host.call("STATUS", {}, "")["code"] == NOT_AVAILABLE
    slow.unlink()
    host.serve()
    host.add(cluster.pod("next", "vlan100"), host.sandbox())


def test_the_next_server_tells_what_a_killed_one_has_not(cluster: Cluster, mortal: Host) -> None:
    host = mortal
    pod, sandbox = cluster.pod("web", "vlan100"), host.sandbox()
    host.line.cut()
    host.add(pod, sandbox, {NETWORKS: "vlan100"})
    host.end(signal.SIGKILL)
    host.line.mend()
    assert cluster.status("web") == []
    host.serve()
    wait(lambda: cluster.status("web"), host.said)


def test_the_configuration_comes_when_calls_are_answered_and_stays(cluster: Cluster, bare: Host) -> None:
    path = bare.conf / CONFLIST
    bare.line.cut()
    bare.serve()
    time.sleep(1.0)
    assert not path.exists(), "networks are not known yet"
    bare.line.mend()
    bare.ready()
    (plugin,) = json.loads(path.read_text())["plugins"]
    assert plugin["kubernetes"] is True and "bridge" in plugin["pluginTypes"]
    before = path.stat().st_ino
    assert bare.end() == 0
    assert path.exists(), "pods are there, and their runtime would take another network for the next ones"
    bare.serve()
    wait(lambda: "stays as it is" in bare.said(), bare.said)
    assert path.stat().st_ino == before
    bare.end()
    words = ["--root", str(bare.root), "cni", "uninstall"]
    subprocess.run([sys.executable, "-m", "windrow.apps.cli.main", *words], check=True, capture_output=True)
    assert not path.exists()


def test_fifty_pods_at_once(cluster: Cluster, host: Host) -> None:
    """As after a start of a kubelet: each waits for its turn, and none is sent away to start its sandbox anew."""
    pods = [(cluster.pod(f"p{number}", "vlan100,vlan100"), host.sandbox()) for number in range(50)]
    ended: list[Callable[[], Any]] = [host.start("ADD", pod, sandbox).communicate for pod, sandbox in pods]
    answers = [json.loads(communicate(timeout=120)[0]) for communicate in ended]
    assert [found for found in answers if "code" in found] == [], host.said()
    for pod, _ in pods:
        assert len(cluster.status(pod["metadata"]["name"])) == 2
    for pod, sandbox in pods:
        assert host.call("DEL", pod, sandbox) == {}
    assert host.clean()
