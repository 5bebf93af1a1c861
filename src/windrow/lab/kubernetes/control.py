"""The control plane: etcd and an API server in the network namespace of their host, and what it takes to use them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from windrow.kube.crds import crds
from windrow.kube.resources import FOLLOWED, POLICIES, RESOURCES, SELECTED
from windrow.lab.errors import LabError
from windrow.lab.guest.run import Place, run_in
from windrow.lab.kubernetes.programs import ENVIRONMENT
from windrow.lab.scenario import Host, Scenario
from windrow.model.objects import (
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    Node,
    VlanStatus,
)
from windrow.netlink import netns
from windrow.services import process
from windrow.services.kubernetes.controlplane import ADMIN, SERVICES, ControlPlane, Ground
from windrow.store import records

T = TypeVar("T")

DIRECTORY = Path("/run/windrow/kubernetes")
"""Keys, certificates, kubeconfig files, logs, and etcd's data: in memory, as all that a lab writes."""
PORTS = (2379, 2380, 6443)
"""The usual ones: the host has a network namespace of its own."""
READY_S = 300.0
"""30 s on an idle machine; User-Mode Linux has one processor, and others may use it, too."""
APPLY_S, AGAIN_S = 120.0, 2.0
"""So long an API server that does not answer is asked again, and so often."""
_AWAY = re.compile(
    r"Unable to connect to the server|TLS handshake timeout|connection re(?:fused|set)|i/o timeout|unexpected EOF"
    r"|request timed out|Client\.Timeout|ServiceUnavailable|the server is currently unable"
)
"""What kubectl says where the server was not reached, or was too busy: nothing is wrong with the objects."""
AGENTS = "windrow:agents"
PROXY = "system:kube-proxy"
"""The user that Kubernetes itself gives what its kube-proxy needs."""
CONTROLLERS = (
    *("serviceaccount-controller", "root-ca-certificate-publisher-controller", "namespace-controller"),
    *("node-lifecycle-controller", "garbage-collector-controller", "pod-garbage-collector-controller"),
    *("endpoints-controller", "endpointslice-controller", "replicaset-controller", "deployment-controller"),
    *("daemonset-controller", "statefulset-controller", "job-controller", "replicationcontroller-controller"),
)
"""What a suite about networks and pods needs of kube-controller-manager: each controller follows kinds of its own."""
_RBAC = "rbac.authorization.k8s.io"
_OPTIONS = ("--kubelet-preferred-address-types=InternalIP", "--enable-admission-plugins=NodeRestriction")
"""Addresses of nodes are asked of nobody's DNS; and a kubelet may write what is its own node's."""
_SERVICES_OF_BOTH = f"{SERVICES},fd53::/112"
"""Where pods have addresses of both families, so have Services."""
_TO_PODS = "--enable-aggregator-routing=true"
"""A webhook is asked at the address of its pod: nobody serves those of Services on the control plane's host."""


class Control:
    """Of one lab. `programs`: the paths of what was built and found on the host."""

    def __init__(self, scenario: Scenario, programs: Mapping[str, str]) -> None:
        host = scenario.control_plane
        assert host is not None and host.address is not None  # scenario_links sees to it
        self._host, self._nodes = host, [node.name for node in scenario.nodes]
        both = any(len(node.pod_cidrs) > 1 for node in scenario.nodes)
        ground = Ground(
            address=host.address.partition("/")[0],
            ports=PORTS,
            stays=True,
            environment=ENVIRONMENT,
            services=_SERVICES_OF_BOTH if both else SERVICES,
            ready_s=READY_S,
        )
        paths = {name: Path(path) for name, path in programs.items()}
        wanted = scenario.kubernetes
        assert wanted is not None
        options = (*_OPTIONS, _TO_PODS) if wanted.controllers else _OPTIONS
        self._plane = ControlPlane(
            DIRECTORY, lambda _: None, options, ground=ground, programs=paths, accounts=wanted.controllers
        )
        self._paths = paths
        self._controllers: dict[str, process.Program] = {}
        self._conformance, self._controlled = wanted.conformance, wanted.controllers or wanted.conformance
        self._proxy_token = self._plane.user(PROXY, PROXY)
        self._agent_tokens = {node: self._plane.user(f"{AGENTS}:{node}", AGENTS) for node in self._nodes}
        self._kubelet_tokens = {node: self._plane.user(f"system:node:{node}", "system:nodes") for node in self._nodes}

    @property
    def host(self) -> Host:
        return self._host

    @property
    def kubeconfig(self) -> Path:
        """Of one who may do everything."""
        return DIRECTORY / f"{ADMIN}.kubeconfig"

    def agent_kubeconfig(self, node: str) -> Path:
        """Of this node's agent and CNI server."""
        return DIRECTORY / f"agent-{node}.kubeconfig"

    def kubelet_kubeconfig(self, node: str) -> Path:
        return DIRECTORY / f"kubelet-{node}.kubeconfig"

    @property
    def proxy_kubeconfig(self) -> Path:
        return DIRECTORY / "kube-proxy.kubeconfig"

    # Life -----------------------------------------------------------------------------------------

    def start(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Ready, with the kinds that Windrow reads, the agents' rights, and these objects. Raises ServiceError."""

        def begin() -> None:
            self._plane.__enter__()
            self._plane.kubeconfig()
            for node in self._nodes:
                self._plane.kubeconfig(self._agent_tokens[node], self.agent_kubeconfig(node).stem)
                self._plane.kubeconfig(self._kubelet_tokens[node], self.kubelet_kubeconfig(node).stem)
            for path, document in [*_kinds(), *_rights(), *map(_node, documents)]:
                self._plane.request("POST", path, document)
            for kind in FOLLOWED:
                self._plane.wait_for(RESOURCES[kind].path)
            if self._conformance:
                self._plane.kubeconfig(self._proxy_token, self.proxy_kubeconfig.stem)
            if self._controlled:
                self._start_controllers()

        self._there(begin)

    def _start_controllers(self) -> None:
        options = {
            "kube-controller-manager": [
                f"--controllers={','.join(CONTROLLERS)}",
                f"--service-account-private-key-file={DIRECTORY / 'accounts.key'}",
                f"--root-ca-file={self._plane.certificate}",
            ],
            "kube-scheduler": [],
        }
        for name, more in options.items():
            common = [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--authentication-skip-lookup=true"]
            command = ["env", *ENVIRONMENT, str(self._paths[name]), *common, *more]
            self._controllers[name] = process.start(command, directory=DIRECTORY, log=DIRECTORY / f"{name}.log")

    def stop_server(self) -> None:
        """The API is gone, as by a crash. Its objects are not."""
        self._plane.stop_server()

    def start_server(self) -> None:
        """It is ready when this returns. Raises ServiceError."""
        self._there(self._plane.start)

    def died(self) -> str:
        """Which of the controllers is not there any more, and its last words; empty: all are."""
        ended = {name: error for name, one in self._controllers.items() if (error := one.died()) is not None}
        return "; ".join(f"{name} has ended: {error.reason}" for name, error in ended.items())

    def close(self) -> None:
        for program in self._controllers.values():
            process.end(program.process, patience_s=0.0)
        self._plane.close()

    # Use ------------------------------------------------------------------------------------------

    def get(self, path: str) -> dict[str, Any]:
        """Raises OSError, of which urllib.error.HTTPError has the server's answer."""
        return self._there(lambda: self._plane.request("GET", path))

    def apply(self, texts: Mapping[str, str], place: Place) -> str:
        """By kubectl, from `place`: file -> text. What kubectl said. Raises LabError with its complaints. A server that
        is away is asked again for a while: whatever it took already it finds as it is to be."""
        if not texts:
            return ""
        directory = DIRECTORY / "manifests"
        records.make_place(directory, flush=False)
        for file, text in texts.items():
            records.write(directory / file, text.encode(), mode=records.SHARED, flush="nothing")
        files = [word for file in texts for word in ("-f", str(directory / file))]
        end = time.monotonic() + APPLY_S
        while True:
            try:
                return self.kubectl(["apply", *files], place)
            except LabError as error:
                if time.monotonic() >= end or not _AWAY.search(str(error)):
                    raise
            time.sleep(AGAIN_S)

    def kubectl(self, words: Sequence[str], place: Place) -> str:
        """What it printed. Raises LabError."""
        code, out, wrong = run_in(place, ["kubectl", *words])
        if code:
            raise LabError(f"kubectl {' '.join(words[:2])}: {wrong.strip() or f'exit code {code}'}")
        return out

    def _there(self, fn: Callable[[], T]) -> T:
        return netns.opened_in(self._host.name, fn)


def install(programs: Mapping[str, str], directory: Path) -> None:
    """Names for whoever works in the lab. Raises LabError where it cannot see what the host has built."""
    for name, path in programs.items():
        if not os.access(path, os.X_OK):
            raise LabError(
                f"the lab cannot see {path}", hint="set XDG_CACHE_HOME to a directory outside of /tmp and /run"
            )
        link = directory / name
        link.unlink(missing_ok=True)
        link.symlink_to(path)


# What is there from the start ----------------------------------------------------------------------


def _kinds() -> list[tuple[str, dict[str, Any]]]:
    return [("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document) for document in crds()]


def _node(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return RESOURCES[Node.KIND].path, dict(document)


def _rights() -> list[tuple[str, dict[str, Any]]]:
    """Of agents, what the chart gives them (a test compares); and of CNI servers, what docs/user/kubernetes.md says."""
    rules = [
        *(_rule(kind, "list", "watch") for kind in (*FOLLOWED, *POLICIES, *SELECTED)),
        _rule(VlanStatus.KIND, "create", "patch", "delete"),
        *(_rule(kind, "patch") for kind in (LinkMonitor.KIND, Node.KIND)),
        _rule(HostNetworkConfig.KIND, "patch", part="/status"),
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        *(_rule(kind, "get") for kind in (Node.KIND, NetworkAttachmentDefinition.KIND, ClusterNetwork.KIND)),
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
    ]
    named = {"metadata": {"name": AGENTS}}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", **named, "rules": rules}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        **named,
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": AGENTS},
        "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": AGENTS}],
    }
    base = f"/apis/{_RBAC}/v1"
    return [(f"{base}/clusterroles", role), (f"{base}/clusterrolebindings", binding)]


def _rule(kind: str, *verbs: str, part: str = "") -> dict[str, Any]:
    resource = RESOURCES[kind]
    group = resource.version.partition("/")[0] if "/" in resource.version else ""
    return {"apiGroups": [group], "resources": [f"{resource.plural}{part}"], "verbs": list(verbs)}
