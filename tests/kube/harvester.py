"""Harvester's network controller as it stands in a cluster, but for its programs: a chart with it as a sub-chart, whose
kinds lie in its templates, and who makes and ends the pods of its workloads."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import yaml
from tests.kube.cluster import document
from tests.kube.installed import NAMESPACE

from windrow.apps.manager.handover import AGENTS, MANAGERS, STOPPED, WEBHOOKS, WORKLOADS, Workload
from windrow.kube.crds import crds
from windrow.model import names
from windrow.model.wire import yaml_text
from windrow.services.kubernetes import parts
from windrow.services.kubernetes.controlplane import ControlPlane

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{names.HARVESTER_LOCK[0]}/leases"
REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1"
SUB = "harvester-network-controller"


def workload(of: Workload) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": of.name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    if of is not AGENTS:
        spec["replicas"] = 2 if of is MANAGERS else 1
    kind = "DaemonSet" if of is AGENTS else "Deployment"
    meta = {"name": of.name, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": spec}


def write_chart(place: Path) -> Path:
    """`harvester`, whose values switch the sub-chart on and off; what is in `templates` goes with it."""
    chart, sub = place / "harvester", place / "harvester" / "charts" / SUB
    (sub / "templates").mkdir(parents=True)
    depends = [{"name": SUB, "version": "0.0.0", "condition": f"{SUB}.enabled"}]
    for where, name, more in ((chart, "harvester", {"dependencies": depends}), (sub, SUB, {})):
        (where / "Chart.yaml").write_text(
            yaml.safe_dump({"apiVersion": "v2", "name": name, "version": "0.0.0", **more})
        )
    (chart / "values.yaml").write_text(yaml.safe_dump({SUB: {"enabled": True}}))
    kinds = [one for one in crds() if one["spec"]["group"] == names.API_GROUP]
    texts = [yaml_text(one) for one in (*kinds, *map(workload, WORKLOADS))]
    (sub / "templates" / "all.yaml").write_text("---\n".join(texts))
    return chart


def helm(plane: ControlPlane, home: Path, *words: str) -> None:
    command = [parts.build(["helm"], print)["helm"], *words, "--namespace", NAMESPACE]
    command += ["--kubeconfig", str(plane.kubeconfig())]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def registration(kind: str, name: str, group: str = names.API_GROUP) -> dict[str, Any]:
    """As Harvester's webhook makes it: with nobody behind it, whatever comes is refused."""
    rule = {"apiGroups": [group], "apiVersions": ["v1beta1"], "resources": ["clusternetworks"]}
    asks = {
        "name": "validator.harvesterhci.io",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": NAMESPACE, "name": name, "path": "/v1/x", "port": 443}},
        "rules": [{**rule, "operations": ["CREATE", "UPDATE", "DELETE"], "scope": "*"}],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [asks],
    }


class Controllers:
    """Make and end pods as Kubernetes' own do, and the leader's lock with its pod."""

    def __init__(self, plane: ControlPlane, *, stubborn: bool = False) -> None:
        """`stubborn`: the manager does not end."""
        self._plane, self._stubborn, self._end = plane, stubborn, threading.Event()
        self._renewals = 0
        self.ran: list[set[str]] = []
        """Which workloads had pods, whenever that changed."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)

    def running(self) -> set[str]:
        found = self._plane.request("GET", PODS)["items"]
        every = {one.name for one in WORKLOADS}
        return {pod["metadata"]["name"] for pod in found} & every

    def _run(self) -> None:
        while not self._end.wait(0.1):
            there = {one["metadata"]["name"]: one for one in self._listed()}
            for of in WORKLOADS:
                if of.name in there:
                    self._keep(of, there[of.name])
            if not self.ran or self.ran[-1] != self.running():
                self.ran.append(self.running())

    def _listed(self) -> list[dict[str, Any]]:
        base = f"/apis/apps/v1/namespaces/{NAMESPACE}"
        return [
            one
            for kind in ("deployments", "daemonsets")
            for one in self._plane.request("GET", f"{base}/{kind}")["items"]
        ]

    def _keep(self, of: Workload, found: dict[str, Any]) -> None:
        spec, runs = found["spec"], of.name in self.running()
        stopped = spec.get("replicas") == 0 or STOPPED in (spec["template"]["spec"].get("nodeSelector") or {})
        if runs and stopped and not (self._stubborn and of is MANAGERS):
            self._plane.request("DELETE", f"{PODS}/{of.name}?gracePeriodSeconds=0")
            runs = False
        elif not runs and not stopped:
            pod = {**document("Pod", of.name, spec["template"]["spec"]), "apiVersion": "v1"}
            pod["metadata"]["labels"] = spec["template"]["metadata"]["labels"]
            self._plane.request("POST", PODS, pod)
            runs = True
            if of is WEBHOOKS:
                self._register()
        if of is MANAGERS:
            self._lead(runs)

    def _register(self) -> None:
        """As Harvester's webhook does by itself."""
        for kind in ("Validating", "Mutating"):
            path = f"{REGISTRATIONS}/{kind.lower()}webhookconfigurations"
            there = {one["metadata"]["name"] for one in self._plane.request("GET", path)["items"]}
            if names.HARVESTER_WEBHOOK not in there:
                self._plane.request("POST", path, registration(kind, names.HARVESTER_WEBHOOK))

    def _lead(self, runs: bool) -> None:
        """A manager renews its lock, and lets go at its end (ReleaseOnCancel)."""
        name = names.HARVESTER_LOCK[1]
        found = [one for one in self._plane.request("GET", LEASE)["items"] if one["metadata"]["name"] == name]
        record = found[0] if found else {"metadata": {"name": name}, "spec": {}}
        mine = record["spec"].get("holderIdentity") == MANAGERS.name
        free = not record["spec"].get("holderIdentity")
        if runs and (mine or free):
            self._renewals += 1
            record["spec"] = {
                "holderIdentity": MANAGERS.name,
                "leaseDurationSeconds": 45,
                "leaseTransitions": self._renewals,
            }
        elif mine:
            record["spec"] = {"holderIdentity": "", "leaseDurationSeconds": 1}
        else:
            return
        if found:
            self._plane.request("PUT", f"{LEASE}/{name}", record)
        else:
            self._plane.request("POST", LEASE, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **record})
