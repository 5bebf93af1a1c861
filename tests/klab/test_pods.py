"""A whole Kubernetes in a lab: kubelets start pods whose NICs come from Windrow's plugin (`make test-cluster`)."""

from __future__ import annotations

import json

import pytest
from tests.klab.conftest import Lab, wait
from tests.klab.pods import as_before, containers, pod, traces

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


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    """Who reaches whom; the API server gone for a minute, while a node with a pod loses its power and boots."""
    checks = lab.checks(timeout_s=600.0)
    print("\n".join(f"{one['name']}: {one['detail']}" for one in checks))
    assert [one["name"] for one in checks if not one["ok"]] == []


def test_a_pod_that_is_deleted_leaves_nothing(lab: Lab) -> None:
    before, had = traces(lab, "node-1"), containers(lab, "node-1")
    lab.kubectl("apply", "-f", "-", stdin=pod("brief", "node-1"))
    lab.kubectl("wait", "--for=condition=Ready", "pod/brief", "--timeout=100s")
    assert "net1" in lab.kubectl("exec", "brief", "--", "ip", "-o", "link")
    assert len(containers(lab, "node-1") - had) == 1
    lab.kubectl("delete", "pod", "brief", "--wait=true")
    as_before(lab, "node-1", before)


def test_a_network_that_came_by_kubectl_a_moment_ago_is_a_pods(lab: Lab) -> None:
    """And the pod is told what it got, as by Multus."""
    text = NAD + "---\n" + pod("fresh", "node-0", networks="v400")
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
    lab.kubectl("apply", "-f", "-", stdin=pod("lost", "node-0", networks="oob-vlan999"))
    wait(lambda: "NetworkNotAttached" in lab.kubectl("describe", "pod", "lost"))
    assert "NetworkAttachmentDefinition default/oob-vlan999, which" in lab.kubectl("describe", "pod", "lost")
    lab.kubectl("delete", "pod", "lost", "--wait=true")


# What goes wrong ----------------------------------------------------------------------------------


def test_a_static_pod_ends_without_the_api_and_leaves_nothing(lab: Lab) -> None:
    """Its kubelet alone knows of its end: the plugin goes by what was recorded when it came."""
    before, had = traces(lab, "node-0"), containers(lab, "node-0")
    manifest = json.loads(pod("static", "node-0"))
    del manifest["spec"]["nodeName"]
    file = '"$WINDROW_ROOT/etc/kubernetes/manifests/static.json"'
    lab.said("exec", "node-0", "sh", "-c", f'printf %s "$0" >{file}', json.dumps(manifest))
    wait(lambda: len(containers(lab, "node-0") - had) == 1)
    lab.kubectl("wait", "--for=condition=Ready", "pod/static-node-0", "--timeout=110s")
    lab.said("api-server", "stop")
    try:
        lab.said("exec", "node-0", "sh", "-c", f"rm {file}")
        as_before(lab, "node-0", before)
    finally:
        lab.said("api-server", "start")
