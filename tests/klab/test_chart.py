"""The chart on real kubelets, from the image of `make image`: helm installs it (`make test-cluster`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.klab import images
from tests.klab.conftest import Lab, wait

from windrow.services.kubernetes import parts

NODES = ("node-0", "node-1")
NAMESPACE = "harvester-system"
CHART = images.ROOT / "deploy" / "chart"
VALUES = (
    *("--set=apiServer.host=10.50.0.2", "--set=webhook.hostNetwork=true"),
    *("--set=webhook.replicas=1", "--set=manager.replicas=1"),
)
"""As where kube-proxy is not to be relied on, and the API server does not reach pods."""
UNCHECKED = ("--disable-openapi-validation",)
"""By helm: the server does it as well, and giving its schemas away costs it ten seconds in User-Mode Linux."""
ROLLOUT = "--timeout=300s"
WRONG = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: twice}
spec: {clusterNetwork: oob, uplink: {nics: [eth2]}}
"""


@pytest.fixture(scope="module")
def scenario() -> str:
    return str(Path(__file__).parent / "chart")


class Chart:
    """helm, on the host of the control plane."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._helm = str(parts.build(["helm"], print)["helm"])

    def helm(self, verb: str, *words: str) -> None:
        command = ["env", "HOME=/tmp", self._helm, verb, "windrow", "--namespace", NAMESPACE, *words]
        self.lab.said("exec", "control", *command, timeout_s=300.0)

    def rolled_out(self, *what: str) -> None:
        for one in what:
            command = ["rollout", "status", one, "--namespace", NAMESPACE, ROLLOUT]
            done = self.lab.run("kubectl", *command, timeout_s=400.0)
            assert done.returncode == 0, done.stdout + done.stderr + self.pods()

    def pods(self) -> str:
        return self.lab.kubectl("describe", "pods", "--namespace", NAMESPACE)

    def agents(self) -> dict[str, str]:
        """Node -> the agent's pod."""
        words = ("pods", "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/component=agent")
        return {one["spec"]["nodeName"]: one["metadata"]["name"] for one in self.lab.objects(*words)}


def load(lab: Lab, archive: Path) -> None:
    """Into the nodes' containerd, as `ctr images import` does."""
    script = 'ctr --address "$WINDROW_ROOT/run/containerd.sock" --namespace k8s.io images import "$0"'
    for node in NODES:
        print(lab.said("exec", node, "sh", "-c", script, str(archive), timeout_s=300.0))


@pytest.fixture(scope="module")
def chart(lab: Lab) -> Chart:
    """Installed; the first test says whether well."""
    load(lab, images.make())
    found = Chart(lab)
    found.helm("install", str(CHART), "--create-namespace", "--take-ownership", *UNCHECKED, *VALUES)
    return found


def test_the_chart_makes_the_networks(lab: Lab, chart: Chart) -> None:
    """By agents with the accounts, the capabilities and the volumes that the chart gives them."""
    chart.rolled_out("daemonset/windrow-agent")
    assert set(chart.agents()) == set(NODES)
    assert [(one["name"], one["detail"]) for one in lab.checks() if not one["ok"]] == []
    found = {one["status"]["node"]: one["status"]["conditions"] for one in lab.objects("vlanstatuses")}
    assert set(found) == set(NODES)


def test_the_manager_and_the_webhook_do_their_part(lab: Lab, chart: Chart) -> None:
    """mgmt is the manager's; and the webhook refuses a second VlanConfig for the same nodes."""
    chart.rolled_out("deployment/windrow-manager", "deployment/windrow-webhook")
    wait(lambda: "mgmt" in {one["metadata"]["name"] for one in lab.objects("clusternetworks")})
    done = lab.run("kubectl", "apply", "-f", "-", stdin=WRONG)
    assert done.returncode != 0 and "oob-all is for cluster network oob too" in done.stderr, done.stdout + done.stderr
