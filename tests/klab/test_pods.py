"""A whole Kubernetes in a lab: kubelets start pods whose NICs come from Windrow's plugin (`make test-cluster`)."""

from __future__ import annotations

import json
import os

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


NODES = ("node-0", "node-1", "node-2")
PODS = int(os.environ.get("WINDROW_PODS", "6"))
"""How many each node runs, one batch after the other."""
BATCH = 3
FIND = """\
found() { for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -qF -- "$1" && echo ${p#/proc/}; done; }
"""
"""Processes by what their command line has. A pattern is made of variables, lest the shell that looks finds itself."""
KILL_AMID_ADD = """\
containerd=$(found "containerd --config $WINDROW_ROOT/etc/containerd.toml")
cd "$WINDROW_ROOT/run/windrow/attachments"
before=$(ls | wc -l)
strike() {
    until [ $(ls | wc -l) -gt $before ]; do :; done
    kill -9 $containerd
    echo $containerd >/run/killed
}
strike >/dev/null 2>&1 </dev/null &
"""
START_CONTAINERD = """\
kubelet=$(found "--config=$WINDROW_ROOT/etc/kubelet.json" | head -n1)
export GOGC=25
nsenter --target $kubelet --mount --net sh -c '
echo $$ >/sys/fs/cgroup/$WINDROW_NODE/system/cgroup.procs
exec setsid containerd --config $WINDROW_ROOT/etc/containerd.toml >>$WINDROW_ROOT/var/log/containerd.log 2>&1 </dev/null
' &
"""
"""As the operating system would: beside kubelet, among the node's own mounts."""


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
    lab.ready("brief")
    assert "net1" in lab.kubectl("exec", "brief", "--", "ip", "-o", "link")
    assert len(containers(lab, "node-1") - had) == 1
    lab.kubectl("delete", "pod", "brief", "--wait=true")
    as_before(lab, "node-1", before)


def test_a_network_that_came_by_kubectl_a_moment_ago_is_a_pods(lab: Lab) -> None:
    """And the pod is told what it got, as by Multus."""
    text = NAD + "---\n" + pod("fresh", "node-0", networks="v400")
    lab.kubectl("apply", "-f", "-", stdin=text)
    lab.ready("fresh")
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
    lab.ready("static-node-0")
    lab.said("api-server", "stop")
    try:
        lab.said("exec", "node-0", "sh", "-c", f"rm {file}")
        as_before(lab, "node-0", before)
    finally:
        lab.said("api-server", "start")


def test_a_pod_that_was_deleted_while_its_node_had_no_power_leaves_nothing(lab: Lab) -> None:
    before = traces(lab, "node-1")
    lab.kubectl("apply", "-f", "-", stdin=pod("doomed", "node-1"))
    lab.ready("doomed")
    lab.said("power-cut", "node-1")
    lab.kubectl("delete", "pod", "doomed", "--force", "--grace-period=0")
    lab.said("boot", "node-1", timeout_s=300.0)
    wait(lambda: traces(lab, "node-1")["leases"] == before["leases"])  # its kubelet starts what is left, minutes later
    as_before(lab, "node-1", before)


def test_many_pods_leave_nothing(lab: Lab) -> None:
    before = {node: traces(lab, node) for node in NODES}
    for start in range(0, PODS, BATCH):
        numbers = range(start, min(start + BATCH, PODS))
        text = "\n---\n".join(pod(f"many-{node}-{number}", node) for node in NODES for number in numbers)
        lab.kubectl("apply", "-f", "-", stdin=text)
        names = [f"many-{node}-{number}" for node in NODES for number in numbers]
        lab.ready(*names)
        lab.said("kubectl", "delete", "pod", "--wait=true", *names, timeout_s=400.0)
    for node in NODES:
        as_before(lab, node, before[node])


def test_containerd_that_is_killed_amid_an_add_costs_no_nic(lab: Lab) -> None:
    """The last one: who else looks after the lab's programs finds that one is gone."""
    before = traces(lab, "node-1")
    lab.said("exec", "node-1", "bash", "-c", FIND + KILL_AMID_ADD)
    lab.kubectl("apply", "-f", "-", stdin=pod("amid", "node-1"))
    wait(lambda: lab.run("exec", "node-1", "test", "-s", "/run/killed").returncode == 0)
    lab.said("exec", "node-1", "bash", "-c", FIND + START_CONTAINERD)
    lab.ready("amid")
    assert "net1" in lab.kubectl("exec", "amid", "--", "ip", "-o", "link")
    assert "net1" in lab.kubectl("exec", "web-b", "--", "ip", "-o", "link")
    lab.kubectl("delete", "pod", "amid", "--wait=true")
    as_before(lab, "node-1", before)
