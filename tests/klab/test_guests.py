"""A pod of a real kubelet in which QEMU runs a guest, by the wiring of KubeVirt (`make test-cluster`)."""

from __future__ import annotations

import json

import pytest
from tests.klab.conftest import Lab, wait
from tests.klab.pods import as_before, containers, traces

from windrow.lab.scenario_file import read

LAUNCHER, GUEST, GATEWAY = "virt-launcher-vm-a", "172.16.100.31", "172.16.100.1"
"""The Pod, on node-0; its guest's address in VLAN 100, and who is outside there."""
LEFT = "ps -eo args | grep -E '^(qemu-system|dnsmasq)' || true"
"""All that runs in the lab: its places share the processes."""


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes"


def answers(lab: Lab) -> bool:
    """The guest, from outside of the cluster by its VLAN, and by its own words."""
    pinged = lab.run("exec", "gateway", "--", "ping", "-c1", "-W2", GUEST).returncode == 0
    return pinged and lab.run("exec", "vm-a", "--", "ping", "-c1", "-W2", GATEWAY).returncode == 0


def test_its_pod_has_the_wiring_of_kubevirt(lab: Lab) -> None:
    path = r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}"
    status = json.loads(lab.kubectl("get", "pod", LAUNCHER, "-o", path))
    assert [(one["name"], one["interface"]) for one in status] == [
        ("windrow-pods", "eth0"),
        ("default/oob-vlan100", "pod1dba23260aa"),
    ]
    mac = status[1]["mac"]
    assert mac == "02:00:00:64:00:0a"
    said = lab.kubectl("exec", LAUNCHER, "--", "ip", "-o", "link")
    links = {words[1].rstrip(":").partition("@")[0]: words for words in map(str.split, said.splitlines())}
    masters = {name: words[words.index("master") + 1] for name, words in links.items() if "master" in words}
    assert masters == {"1dba23260aa-nic": "k6t-1dba23260aa", "tap1dba23260aa": "k6t-1dba23260aa", "tap0": "k6t-eth0"}
    assert mac in links["pod1dba23260aa"]  # what stands in for the NIC has its MAC, and so has the guest
    assert mac not in links["1dba23260aa-nic"]
    assert mac in lab.said("exec", "vm-a", "--", "cat", "/sys/class/net/eth1/address")


def test_its_pod_leaves_nothing(lab: Lab) -> None:
    (manifest,) = (text for file, text in read("kubernetes").pods.items() if "guest" in file)
    had = len(containers(lab, "node-0"))
    lab.kubectl("delete", "pod", LAUNCHER, "--wait=true")
    wait(lambda: len(containers(lab, "node-0")) == traces(lab, "node-0")["namespaces"] == had - 1)
    before = traces(lab, "node-0")
    lab.kubectl("apply", "-f", "-", stdin=manifest)
    wait(lambda: answers(lab))
    assert traces(lab, "node-0") != before
    lab.kubectl("delete", "pod", LAUNCHER, "--wait=true")
    as_before(lab, "node-0", before)
    assert lab.said("exec", "node-0", "sh", "-c", LEFT) == ""
    wait(lambda: "does not run" in lab.run("exec", "vm-a", "--", "true").stderr)
    lab.kubectl("apply", "-f", "-", stdin=manifest)
    wait(lambda: answers(lab))


def test_it_comes_back_with_its_node(lab: Lab) -> None:
    """And goes with the power."""
    lab.said("power-cut", "node-0")
    assert lab.said("exec", "control", "--", "sh", "-c", LEFT) == ""
    lab.said("boot", "node-0", timeout_s=300.0)
    wait(lambda: answers(lab))
