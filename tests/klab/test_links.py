"""The lab's Kubernetes without kubelets: a real API server, and agents that follow it on nodes with bonds."""

from __future__ import annotations

import json

from tests.klab.conftest import Lab, wait

NAD = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: {name}, namespace: default}}
spec:
  config: '{{"cniVersion": "0.3.1", "name": "{name}", "type": "bridge", "bridge": "oob-br", "vlan": {vid}}}'
"""


def vids(lab: Lab, node: str) -> set[int]:
    (port,) = json.loads(lab.said("exec", node, "bridge", "-j", "vlan", "show", "dev", "oob-bo"))
    return {one["vlan"] for one in port["vlans"]}


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    """Among it: the API server is gone while a node that lost its power boots, and all catch up."""
    checks = lab.checks()
    assert [one["name"] for one in checks if not one["ok"]] == []
    (outage,) = [one for one in checks if one["kind"] == "api-outage"]
    assert outage["measured"]["gone_s"] >= 10
    print(outage["detail"])


def test_a_network_by_kubectl_is_on_every_uplink_and_goes_again(lab: Lab) -> None:
    lab.kubectl("apply", "-f", "-", stdin=NAD.format(name="v400", vid=400))
    for node in ("node-0", "node-1", "node-2"):
        wait(lambda node=node: 400 in vids(lab, node), lambda node=node: vids(lab, node))
    lab.kubectl("delete", "network-attachment-definition", "v400")
    for node in ("node-0", "node-1", "node-2"):
        wait(lambda node=node: 400 not in vids(lab, node))


def test_endpoints_follow_a_bridge_that_an_agent_makes_anew(lab: Lab) -> None:
    lab.said("exec", "node-0", "ip", "link", "delete", "oob-br")
    wait(lambda: lab.run("exec", "o100-a", "ping", "-c1", "-W1", "172.16.100.11").returncode == 0)


def test_an_agents_account_may_not_change_what_it_follows(lab: Lab) -> None:
    done = lab.run("kubectl", "auth", "can-i", "--list", "--as-group=windrow:agents", "--as=windrow:agents:node-0")
    assert done.returncode == 0, done.stderr
    for word in ("patch", "delete"):
        refused = lab.run(
            "kubectl", "auth", "can-i", word, "vlanconfigs", "--as=windrow:agents:node-0", "--as-group=windrow:agents"
        )
        assert refused.stdout.strip() == "no"


def test_commands_on_a_node_speak_of_the_cluster(lab: Lab) -> None:
    assert lab.said("exec", "node-0", "windrow", "status").startswith("3 nodes, 2 cluster networks: all is well")
    lab.said("exec", "node-1", "windrow", "diff")  # exit code 0: the kernel is as the API's objects want it


def test_without_the_api_server_kubectl_fails_and_the_network_stays(lab: Lab) -> None:
    lab.said("api-server", "stop")
    try:
        assert lab.run("kubectl", "get", "nodes").returncode != 0
        assert {100, 200} <= vids(lab, "node-1")
    finally:
        lab.said("api-server", "start")
    assert len(lab.objects("nodes")) == 3
