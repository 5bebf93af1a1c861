"""Commands that look at a whole cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.kube.cluster import OOB, Agent, Api, agent, document, uplink, wait

from windrow.apps.cli.main import PLUGIN, cli
from windrow.services.kubernetes.controlplane import ControlPlane

Windrow = Callable[..., Result]


@pytest.fixture
def cluster(api: ControlPlane) -> Api:
    found = Api(api)
    nodes = [document("Node", name, labels={"rack": rack}) for name, rack in (("n1", "r1"), ("n2", "r2"))]
    found.make(*nodes, OOB[0], uplink(nodeSelector={"rack": "r1"}), OOB[2])
    return found


@pytest.fixture
def host(cluster: Api, tmp_path: Path) -> Iterator[Agent]:
    with agent(tmp_path / "n1", cluster.plane) as found:
        wait(lambda: _ready(cluster), found.said)
        yield found


def _ready(cluster: Api) -> bool:
    return any(c["status"] == "True" for one in cluster.list("VlanStatus") for c in one["status"]["conditions"])


@pytest.fixture
def windrow(api: ControlPlane, tmp_path: Path) -> Windrow:
    config = str(api.kubeconfig())

    def run(*words: str, plugin: bool = False, code: int = 0) -> Result:
        where = ["--root", str(tmp_path / "here")]
        env = {"KUBECONFIG": config} if plugin else {"KUBECONFIG": "/nowhere"}
        given = [] if plugin else ["--kubeconfig", config]
        found = CliRunner().invoke(cli, [*where, *given, *words], env=env, prog_name=PLUGIN if plugin else "windrow")
        assert found.exit_code == code, found.output
        return found

    return run


def test_get_shows_what_the_api_has(cluster: Api, host: Agent, windrow: Windrow) -> None:
    table = windrow("get", "vc,vs,nad").stdout
    assert "vlanconfig/oob" in table and "networkattachmentdefinition/v100" in table
    status: dict[str, Any] = json.loads(windrow("get", "vs", "-o", "json").stdout)["items"][0]
    assert status["status"]["node"] == "n1"
    assert "managedFields" not in status["metadata"] and status["metadata"]["resourceVersion"]


def test_describe_shows_one_in_full(cluster: Api, host: Agent, windrow: Windrow) -> None:
    assert "eth1" in windrow("describe", "vc", "oob").stdout


def test_status_shows_the_whole_cluster(cluster: Api, host: Agent, windrow: Windrow) -> None:
    text = windrow("status").stdout
    assert "all is well" in text and "oob" in text and "1/1" in text
    cluster.merge("VlanConfig", "oob", {"spec": {"nodeSelector": {"rack": None}}})
    text = windrow("status").stdout
    assert "1/2" in text and "n2: no agent has said anything of it" in text
    value = json.loads(windrow("status", "-o", "json").stdout)
    assert (value["well"], value["nodes"]) == (False, 2)


def test_plan_says_for_every_node_what_a_change_means(cluster: Api, windrow: Windrow, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(json.dumps(uplink()))
    text = windrow("plan", "-f", str(file)).stdout
    assert "oob comes to n2" in text
    assert cluster.get("VlanConfig", "oob")["spec"]["nodeSelector"] == {"rack": "r1"}, "nothing is stored"
    file.write_text(json.dumps(uplink("second")))
    refused = windrow("plan", "-f", str(file), code=1)
    assert "n1" in refused.stderr


def test_events_are_those_of_all_agents(cluster: Api, host: Agent, windrow: Windrow) -> None:
    wait(lambda: "Applied" in windrow("events").stdout, host.said)
    assert "n1: changed" in windrow("events").stdout


def test_it_is_a_plugin_of_kubectl(cluster: Api, windrow: Windrow) -> None:
    """Which finds the cluster as kubectl does."""
    assert "oob" in windrow("get", "cn", plugin=True).stdout


def test_what_changes_objects_is_left_to_kubectl(windrow: Windrow) -> None:
    assert "use kubectl" in windrow("apply", code=2).stderr
    assert "use kubectl" in windrow("vm", "list", code=2).stderr


def test_without_access_it_says_what_to_try(api: ControlPlane, tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["--kubeconfig", str(tmp_path / "none"), "get", "cn"])
    assert found.exit_code == 1
    assert "cannot use the kubeconfig" in found.stderr and "kubectl get nodes" in found.stderr
    found = CliRunner().invoke(cli, ["--kubeconfig", str(api.kubeconfig()), "--context", "none", "get", "cn"])
    assert found.exit_code == 1 and "none" in found.stderr
