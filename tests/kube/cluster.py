"""What tests do to a cluster, and agents that follow it on kernels in memory."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from windrow.apps.agent.connection import Connection
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.agent.loop import Loop
from windrow.apps.site import Site
from windrow.kube.access import Access
from windrow.kube.api import MERGE
from windrow.kube.mirror import Mirror
from windrow.model.host import Observed
from windrow.model.processes import Process
from windrow.model.steps import Failure, Step
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel

HARVESTER = "/apis/network.harvesterhci.io/v1beta1"
PATHS = {
    "ClusterNetwork": f"{HARVESTER}/clusternetworks",
    "VlanConfig": f"{HARVESTER}/vlanconfigs",
    "VlanStatus": f"{HARVESTER}/vlanstatuses",
    "LinkMonitor": f"{HARVESTER}/linkmonitors",
    "HostNetworkConfig": f"{HARVESTER}/hostnetworkconfigs",
    "NetworkAttachmentDefinition": "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions",
    "Node": "/api/v1/nodes",
}
POOLS = "/apis/network.harvesterhci.io/v1alpha1/namespaces/default/ippools"
CONFIGS = "/apis/network.harvesterhci.io/v1alpha1/namespaces/default/virtualmachinenetworkconfigs"
MACHINES = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
VERSIONS = {"Node": "v1", "NetworkAttachmentDefinition": "k8s.cni.cncf.io/v1"}
PATIENCE_S = 60.0


def document(kind: str, name: str, spec: Any = None, **meta: Any) -> dict[str, Any]:
    version = VERSIONS.get(kind, "network.harvesterhci.io/v1beta1")
    found = {"apiVersion": version, "kind": kind, "metadata": {"name": name, **meta}}
    return {**found, "spec": spec} if spec is not None else found


def nad(name: str, vid: int, network: str = "oob") -> dict[str, Any]:
    config = f'{{"cniVersion":"0.3.1","name":"{name}","type":"bridge","bridge":"{network}-br","vlan":{vid}}}'
    return document("NetworkAttachmentDefinition", name, {"config": config}, namespace="default")


def uplink(name: str = "oob", network: str = "oob", **spec: Any) -> dict[str, Any]:
    return document("VlanConfig", name, {"clusterNetwork": network, "uplink": {"nics": ["eth1", "eth2"]}, **spec})


OOB = (document("ClusterNetwork", "oob"), uplink(), nad("v100", 100))


class Api:
    """As whoever may do everything."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def make(self, *documents: dict[str, Any]) -> None:
        for one in documents:
            self.plane.request("POST", PATHS[one["kind"]], one)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            return self.plane.request("GET", f"{PATHS[kind]}/{name}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def list(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.plane.request("GET", PATHS[kind])["items"]
        return found

    def merge(self, kind: str, name: str, patch: dict[str, Any], part: str = "") -> None:
        self.plane.request("PATCH", f"{PATHS[kind]}/{name}{part}", patch, kind=MERGE)

    def delete(self, kind: str, name: str) -> None:
        self.plane.request("DELETE", f"{PATHS[kind]}/{name}")


def is_served(plane: ControlPlane, path: str) -> bool:
    """Whether there is such a kind. One whose definition was deleted is served for a moment more."""
    try:
        plane.request("GET", path)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


def free_port() -> int:
    """Of loopback, where nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait(what: Callable[[], object], said: Callable[[], str] = str, patience_s: float = PATIENCE_S) -> float:
    """How long it took."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > patience_s:
            raise AssertionError(f"it did not come within {patience_s:.0f} s\n{said()}")
        time.sleep(0.01)
    return time.monotonic() - began


class Followed:
    """A mirror, and what it said."""

    def __init__(self, access: Access, host: str = "n1") -> None:
        self.troubles: list[tuple[str, str]] = []
        self.mirror = Mirror(access, host, lambda what, why: self.troubles.append((what, why)))
        self.mirror.start()

    def names(self, kind: str) -> list[str]:
        return sorted(o.name for o in self.mirror.found().loaded.objects if kind == o.KIND)

    def there(self, kind: str, *names: str) -> float:
        return wait(lambda: self.names(kind) == sorted(names), lambda: f"{self.names(kind)} {self.troubles}")

    def said(self) -> str:
        return f"{self.mirror.found().lost} {self.troubles}"


@contextlib.contextmanager
def followed(plane: ControlPlane, access: Access | None = None) -> Iterator[Followed]:
    found = Followed(access or Access(kubeconfig=str(plane.kubeconfig())))
    try:
        yield found
    finally:
        found.mirror.close()


class SharedKernel(FakeKernel):
    """One thread at a time: the agent works on it while a test looks."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()

    def observe(self) -> Observed:
        with self._turn:
            return super().observe()

    def run(self, steps: Sequence[Step]) -> Failure | None:
        with self._turn:
            return super().run(steps)


class Agent:
    """Of a node with four NICs, on a kernel in memory: the rounds, the connection and the loop are the real ones."""

    def __init__(self, root: Path, access: Access, node: str = "n1", *, pools: bool = False) -> None:
        self.paths, self.kernel, self._access, self._node = Paths(root), SharedKernel(), access, node
        self._pools = pools
        for name in ("eth0", "eth1", "eth2", "eth3"):
            self.kernel.add_nic(name, up=True)
        self.log = io.StringIO()
        self._thread: threading.Thread | None = None
        self.rounds = 0

    def start(self) -> None:
        log = Log(self.log)
        site = Site(
            paths=self.paths,
            node=self._node,
            kernel=self.kernel,
            watch=lambda _site, _checkpoint: Process(pid=2**22 - 1, started=1),
            open_kernel=lambda: self.kernel,
        )
        self.connection = Connection(
            self._access,
            self._node,
            log,
            lambda: self.loop.news(reread=True, quiet_s=0.02),
            pools=self._pools,
        )
        self.keeper = Keeper(site, log, self.connection, [self.connection])
        self.loop = Loop(self.keeper, log=log, mono=time.monotonic, parts=(self.connection,), after=self._after)
        self._thread = threading.Thread(target=self.loop.run, name=f"agent of {self._node}", daemon=True)
        self._thread.start()

    def _after(self, *_: object) -> None:
        self.rounds += 1

    def stop(self) -> None:
        if self._thread is not None:
            self.loop.stop()
            self.rouse()
            self._thread.join()
            self.connection.close()
            self._thread = None

    def rouse(self) -> None:
        """As news of the cluster do."""
        os.eventfd_write(next(iter(self.connection.fds())), 1)

    def links(self) -> set[str]:
        return {str(name) for name in self.kernel.observe().state.links}

    def vids(self, link: str = "oob-bo") -> str:
        found = {str(name): link for name, link in self.kernel.observe().state.links.items()}
        there = found[link].vlans if link in found else None
        return str(there.tagged) if there is not None else ""

    def said(self) -> str:
        return self.log.getvalue()


@contextlib.contextmanager
def agent(
    root: Path, plane: ControlPlane, node: str = "n1", access: Access | None = None, *, pools: bool = False
) -> Iterator[Agent]:
    """`access`: None for one who may do everything."""
    found = Agent(root, access or Access(kubeconfig=str(plane.kubeconfig())), node, pools=pools)
    found.start()
    try:
        yield found
    finally:
        found.stop()


# -- accounts --------------------------------------------------------------------------------------

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
Rights = dict[str, list[str]]
"""API group -> its resources."""


def account(plane: ControlPlane, name: str, rights: Rights, port: int = 0, more: Sequence[dict[str, Any]] = ()) -> Path:
    """A kubeconfig of a service account that may read these; `more`: rules of RBAC."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [where], "resources": what, "verbs": ["get", "list", "watch"]} for where, what in rights.items()
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [*rules, *more]}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }
    one = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    made = {ACCOUNTS: one, f"/apis/{group}/v1/clusterroles": role, f"/apis/{group}/v1/clusterrolebindings": binding}
    for path, what in made.items():
        try:
            plane.request("POST", path, what)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            # It is there from the time before, when it may have had other rights.
            plane.request("PUT", f"{path}/{name}", what)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = plane.request("POST", f"{ACCOUNTS}/{name}/token", request)["status"]["token"]
    return plane.kubeconfig(token, name, port)
