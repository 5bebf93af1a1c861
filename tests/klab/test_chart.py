"""The chart on real kubelets, from the image of `make image`: helm installs, upgrades and uninstalls it while pods and
others speak with each other (`make test-cluster`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.klab import images
from tests.klab.conftest import READY_S, Lab, wait
from tests.klab.pods import Train, containers, links, pod, ports

from windrow.model import names
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
DHCP_SERVER = """\
setsid dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file= --no-ping \
    --dhcp-leasefile=/run/outside.leases --dhcp-range=172.16.100.100,172.16.100.199,1h >/dev/null 2>&1 </dev/null &
"""
"""That says it is the router itself."""
NETWORKS = "network-attachment-definitions"
OTHER = "changed"
DEVICES = ("oob-br", "oob-bo", "mgmt-br", "mgmt-bo")
ROLLOUT = f"--timeout={READY_S:.0f}s"
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
def archive() -> Path:
    """Of Windrow's image, and another one."""
    return images.with_another(images.make(), OTHER)


@pytest.fixture(scope="module")
def chart(archive: Path, lab: Lab) -> Chart:
    """Installed; the first test says whether well."""
    load(lab, archive)
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


def route(lab: Lab) -> dict[str, str]:
    (found,) = (one["metadata"] for one in lab.objects(NETWORKS) if one["metadata"]["name"] == "oob-vlan100")
    said: dict[str, str] = json.loads(found["annotations"][names.ANNOTATION_ROUTE])
    return said


def test_the_route_of_a_network_is_what_the_dhcp_server_of_its_vlan_says(lab: Lab, chart: Chart) -> None:
    """Asked by an agent in its pod, written by the manager."""
    lab.said("exec", "outside", "sh", "-c", DHCP_SERVER)
    auto = f'{names.ANNOTATION_ROUTE}={{"mode":"auto"}}'
    lab.kubectl("annotate", NETWORKS, "oob-vlan100", auto)
    told = {"mode": "auto", "cidr": "172.16.100.0/24", "gateway": "172.16.100.1", "connectivity": "true"}
    wait(lambda: route(lab) == told, lambda: route(lab))
    heard = "jsonpath={.items[*].metadata.annotations.windrow\\.io/routes-heard}"
    wait(lambda: not lab.kubectl("get", "nodes", "-o", heard).strip())


def test_pods_get_their_nics_beside_the_agents_pod(lab: Lab, chart: Chart) -> None:
    for number, node in enumerate(NODES):
        text = pod(f"web-{number}", node, f"ip addr add 172.16.100.2{number}/24 dev net1 && exec sleep 1000000")
        lab.kubectl("apply", "-f", "-", stdin=text)
    lab.ready("web-0", "web-1")
    assert "1 packets received" in lab.kubectl("exec", "web-0", "--", "ping", "-c1", "-W5", "172.16.100.21")


def netns(lab: Lab, name: str, node: str) -> str:
    return next(one["netns"] for one in ports(lab, node) if one["pod"] == f"default/{name}")


def trains(lab: Lab) -> list[Train]:
    """Between two machines, and between two pods."""
    inside = f"nsenter --net={netns(lab, 'web-0', 'node-0')}"
    return [Train(lab, "o100-a", "172.16.100.11"), Train(lab, "node-0", "172.16.100.21", inside)]


def test_an_upgrade_loses_no_packet(lab: Lab, chart: Chart) -> None:
    """Another image: agents go one by one, under traffic, and a pod that starts meanwhile gets its NICs."""
    before, devices = chart.agents(), {node: links(lab, node, DEVICES) for node in NODES}
    running = trains(lab)
    chart.helm("upgrade", str(CHART), *UNCHECKED, *VALUES, f"--set=image.tag={OTHER}")
    lab.kubectl("apply", "-f", "-", stdin=pod("meanwhile", "node-1"))
    chart.rolled_out("daemonset/windrow-agent")
    lab.ready("meanwhile")
    assert [train.lost() for train in running] == [0, 0]
    after = chart.agents()
    assert not set(before.values()) & set(after.values())
    for agent in after.values():
        assert lab.kubectl("exec", agent, "--namespace", NAMESPACE, "--", "cat", images.MARK).strip() == OTHER
    assert {node: links(lab, node, DEVICES) for node in NODES} == devices


def vids(lab: Lab, node: str) -> set[int]:
    (port,) = json.loads(lab.said("exec", node, "bridge", "-j", "vlan", "show", "dev", "oob-bo"))
    return {one["vlan"] for one in port["vlans"]}


def test_the_new_agent_repairs(lab: Lab, chart: Chart) -> None:
    lab.said("exec", "node-1", "bridge", "vlan", "del", "dev", "oob-bo", "vid", "200")
    wait(lambda: 200 in vids(lab, "node-1"), lambda: vids(lab, "node-1"))


def test_uninstall_leaves_the_network_the_kinds_and_all_objects(lab: Lab, chart: Chart) -> None:
    devices = {node: links(lab, node, DEVICES) for node in NODES}
    attached = {node: containers(lab, node) for node in NODES}
    running = trains(lab)
    chart.helm("uninstall")
    wait(lambda: not chart.agents(), chart.pods)
    assert [train.lost() for train in running] == [0, 0]
    assert {node: links(lab, node, DEVICES) for node in NODES} == devices
    # The manager's and the webhook's pods go with it, and what they had.
    wait(lambda: all(containers(lab, node) <= attached[node] for node in NODES))
    assert all({100, 200} <= vids(lab, node) for node in NODES)
    assert {one["metadata"]["name"] for one in lab.objects("clusternetworks")} == {"mgmt", "oob"}
    registered = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
    lab.kubectl("delete", registered, "windrow-network-webhook")
    lab.kubectl("delete", "network-attachment-definition", "oob-vlan200")
