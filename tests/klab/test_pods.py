"""A whole Kubernetes in a lab: kubelets start pods whose NICs come from Windrow's plugin (`make test-cluster`)."""

from __future__ import annotations

import json

import pytest
from tests.klab.conftest import Lab, wait

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  annotations: {{k8s.v1.cni.cncf.io/networks: oob-vlan100}}
spec:
  nodeName: {node}
  automountServiceAccountToken: false
  enableServiceLinks: false
  dnsPolicy: Default
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: c, image: "windrow.lab/busybox:1", imagePullPolicy: Never, command: [sleep, "1000000"]}}
"""
NAD = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v400, namespace: default}
spec:
  config: '{"cniVersion": "0.3.1", "name": "v400", "type": "bridge", "bridge": "oob-br", "vlan": 400}'
"""


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes"


def ports(lab: Lab, node: str) -> set[str]:
    """The users of ports on the node, as `windrow cni list` has them."""
    words = ("env", "-u", "WINDROW_KUBECONFIG", "windrow", "cni", "list", "-o", "json")  # it is about this host alone
    found = json.loads(lab.said("exec", node, *words))
    return {one["containerID"] for one in found["items"]}


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    """Who reaches whom; the API server gone for a minute, while a node with a pod loses its power and boots."""
    report = json.loads(lab.said("check", "--json", timeout_s=600.0))
    print("\n".join(f"{one['name']}: {one['detail']}" for one in report["checks"]))
    assert [one["name"] for one in report["checks"] if not one["ok"]] == []


def test_a_pod_that_is_deleted_leaves_nothing(lab: Lab) -> None:
    before = ports(lab, "node-1")
    lab.kubectl("apply", "-f", "-", stdin=POD.format(name="brief", node="node-1"))
    lab.kubectl("wait", "--for=condition=Ready", "pod/brief", "--timeout=100s")
    assert "net1" in lab.kubectl("exec", "brief", "--", "ip", "-o", "link")
    assert len(ports(lab, "node-1")) == len(before) + 1
    lab.kubectl("delete", "pod", "brief", "--wait=true")
    wait(lambda: ports(lab, "node-1") == before, lambda: ports(lab, "node-1"))


def test_a_network_that_came_by_kubectl_a_moment_ago_is_a_pods(lab: Lab) -> None:
    """And the pod is told what it got, as by Multus."""
    text = NAD + "---\n" + POD.format(name="fresh", node="node-0").replace("oob-vlan100", "v400")
    lab.kubectl("apply", "-f", "-", stdin=text)
    lab.kubectl("wait", "--for=condition=Ready", "pod/fresh", "--timeout=100s")
    path = r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}"
    status = json.loads(lab.kubectl("get", "pod", "fresh", "-o", path))
    assert [(one["name"], one["interface"], one.get("default", False)) for one in status] == [
        ("windrow-pods", "eth0", True),
        ("default/v400", "net1", False),
    ]
    lab.kubectl("delete", "pod/fresh", "--wait=true")
    lab.kubectl("delete", "network-attachment-definition", "v400")


def test_a_pod_in_a_network_that_is_not_there_says_so_in_its_events(lab: Lab) -> None:
    text = POD.format(name="lost", node="node-0").replace("oob-vlan100", "oob-vlan999")
    lab.kubectl("apply", "-f", "-", stdin=text)
    wait(lambda: "NetworkNotAttached" in lab.kubectl("describe", "pod", "lost"))
    assert "NetworkAttachmentDefinition default/oob-vlan999, which" in lab.kubectl("describe", "pod", "lost")
    lab.kubectl("delete", "pod", "lost", "--wait=true")
