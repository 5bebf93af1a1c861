"""Pods of real kubelets in one overlay, on nodes of Windrow and on one of real flannel (`make test-flannel`)."""

from __future__ import annotations

import itertools

import pytest
from tests.klab.conftest import Lab

PODS = ("pod-a", "pod-b", "pod-c")
WINDROW, FLANNEL = ("node-a", "node-b"), "node-c"
LARGEST = "1422"
"""With it a packet is as large as the tunnels carry."""


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes-flannel-pods"


@pytest.fixture(scope="module")
def addresses(lab: Lab) -> dict[str, str]:
    return {one["metadata"]["name"]: one["status"]["podIP"] for one in lab.objects("pods")}


def reaches(lab: Lab, pod: str, address: str) -> bool:
    """By a ping of the largest packet, and by TCP: its server says the pod's name. (Debian's static busybox has a wget
    that dies.)"""
    asked = f"ping -q -c1 -W5 -s {LARGEST} {address} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 8080"
    done = lab.run("kubectl", "exec", pod, "--", "sh", "-c", asked)
    return done.returncode == 0 and "\npod-" in done.stdout.replace("\r", "")


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    assert [(one["name"], one["detail"]) for one in lab.checks() if not one["ok"]] == []


def test_whose_plugin_made_them(lab: Lab, addresses: dict[str, str]) -> None:
    assert [addresses[pod].rpartition(".")[0] for pod in PODS] == ["10.52.1", "10.52.2", "10.52.3"]
    for node, bridge, other in ((WINDROW[0], "wn-pods", "cni0"), (FLANNEL, "cni0", "wn-pods")):
        links = lab.said("exec", node, "ip", "-o", "link")
        assert f": {bridge}:" in links and f": {other}:" not in links, node


def test_pods_reach_each_other_whoever_serves_their_nodes(lab: Lab, addresses: dict[str, str]) -> None:
    pairs = list(itertools.permutations(PODS, 2))
    assert [(one, other) for one, other in pairs if not reaches(lab, one, addresses[other])] == []
