"""An agent whose objects come from a cluster: it makes what they want, says what became of it, and stays right when the
API does not answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster import OOB, Agent, Api, account, agent, document, nad, wait
from tests.kube.line import Line

from windrow.kube.access import Access
from windrow.kube.restless import AT_ONCE
from windrow.model.steps import SetVlans
from windrow.model.values import VidSet
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.testing.builders import step

STATUS = "oob-n1-"
GROUP = "network.harvesterhci.io"
HOST = document(
    "HostNetworkConfig",
    "storage",
    {"clusterNetwork": "oob", "vlanID": 300, "mode": "static", "ips": {"n1": "10.30.0.11/24"}, "underlay": True},
)
MONITOR = document("LinkMonitor", "nic", {"targetLinkRule": {"typeRule": "device", "nameRule": ""}})


def node(name: str = "n1", **labels: str) -> dict[str, Any]:
    return document("Node", name, labels=labels)


@pytest.fixture
def cluster(api: ControlPlane) -> Api:
    found = Api(api)
    found.make(node(), *OOB, MONITOR)
    return found


@pytest.fixture
def host(cluster: Api, tmp_path: Path) -> Iterator[Agent]:
    with agent(tmp_path, cluster.plane) as found:
        wait(lambda: "oob-br" in found.links() and statuses(cluster), found.said)
        yield found


def statuses(cluster: Api) -> list[dict[str, Any]]:
    return cluster.list("VlanStatus")


def ready(status: dict[str, Any]) -> str:
    return next(c["status"] for c in status["conditions"] if c["type"] == "ready")


def test_it_brings_its_node_to_the_objects_of_the_cluster(cluster: Api, host: Agent) -> None:
    wait(lambda: host.vids() == "100", host.said)
    cluster.make(nad("v200", 200))
    wait(lambda: host.vids() == "100,200", host.said)
    cluster.delete("NetworkAttachmentDefinition", "v100")
    wait(lambda: host.vids() == "200", host.said)


def test_what_it_says_of_a_vlan_config_is_harvesters(cluster: Api, host: Agent) -> None:
    wait(lambda: ready(statuses(cluster)[0]["status"]) == "True", host.said)
    (found,) = statuses(cluster)
    config = cluster.get("VlanConfig", "oob")
    assert config is not None
    assert found["metadata"]["name"].startswith(STATUS)
    assert found["metadata"]["labels"] == {f"{GROUP}/{key}": value for key, value in (
        ("clusternetwork", "oob"), ("node", "n1"), ("vlanconfig", "oob"))}  # fmt: skip
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("VlanConfig", "oob", config["metadata"]["uid"])
    status = found["status"]
    said = {key: status[key] for key in ("clusterNetwork", "vlanConfig", "linkMonitor", "node")}
    assert said == {"clusterNetwork": "oob", "vlanConfig": "oob", "linkMonitor": "oob", "node": "n1"}
    (condition,) = status["conditions"]
    assert condition["type"] == "ready" and condition["lastTransitionTime"]


def test_its_node_bears_harvesters_labels(cluster: Api, host: Agent) -> None:
    def labels() -> dict[str, str]:
        found = cluster.get("Node", "n1")
        assert found is not None
        return {key: value for key, value in found["metadata"].get("labels", {}).items() if key.startswith(GROUP)}

    full = {f"{GROUP}/mgmt": "true", f"{GROUP}/oob": "true", f"{GROUP}/vlanconfig": "oob"}
    wait(lambda: labels() == full, lambda: f"{labels()}\n{host.said()}")
    cluster.merge("VlanConfig", "oob", {"spec": {"nodeSelector": {"rack": "other"}}})
    wait(lambda: labels() == {f"{GROUP}/mgmt": "true"}, lambda: f"{labels()}\n{host.said()}")
    wait(lambda: not statuses(cluster), host.said)
    assert "oob-br" not in host.links()


def test_links_and_host_networks_are_said_in_their_part_of_a_shared_status(cluster: Api, host: Agent) -> None:
    cluster.merge("LinkMonitor", "nic", {"status": {"linkStatus": {"n2": [{"name": "eth7"}]}}})
    cluster.make(HOST)

    def links() -> dict[str, Any]:
        found = cluster.get("LinkMonitor", "nic")
        return found.get("status", {}).get("linkStatus", {}) if found else {}

    def said() -> dict[str, Any]:
        found = cluster.get("HostNetworkConfig", "storage")
        state: dict[str, Any] = found.get("status", {}).get("nodeStatus", {}).get("n1", {}) if found else {}
        return state

    wait(lambda: [link["name"] for link in links().get("n1", [])] == ["eth0", "eth1", "eth2", "eth3"], host.said)
    assert links()["n2"] == [{"name": "eth7"}], "another node's part is another node's"
    assert set(links()["n1"][1]) == {"name", "index", "type", "mac", "promiscuous", "state", "masterIndex"}
    wait(lambda: said() and ready(said()) == "True", lambda: f"{said()}\n{host.said()}")
    assert {key: said()[key] for key in ("clusterNetwork", "vlanID", "mode")} == {
        "clusterNetwork": "oob", "vlanID": 300, "mode": "static"}  # fmt: skip
    tunnel = "ovn.kubernetes.io/tunnel_interface"
    wait(lambda: (cluster.get("Node", "n1") or {})["metadata"].get("annotations", {}).get(tunnel) == "oob-br.300")


def test_it_is_at_rest_after_its_own_writing(cluster: Api, host: Agent) -> None:
    """Neither a round nor a request comes of what it wrote itself."""
    wait(lambda: ready(statuses(cluster)[0]["status"]) == "True", host.said)
    at_rest(cluster, host)
    versions = {one["metadata"]["resourceVersion"] for one in statuses(cluster)}
    rounds = host.rounds
    cluster.merge("ClusterNetwork", "oob", {"status": {"conditions": [{"type": "ready", "status": "True"}]}})
    cluster.merge("Node", "n1", {"metadata": {"annotations": {"heartbeat": "1"}}})
    time.sleep(1.5)
    assert host.rounds == rounds
    assert {one["metadata"]["resourceVersion"] for one in statuses(cluster)} == versions


def test_a_status_that_somebody_overwrote_is_put_right(cluster: Api, host: Agent) -> None:
    wait(lambda: ready(statuses(cluster)[0]["status"]) == "True", host.said)
    name = statuses(cluster)[0]["metadata"]["name"]
    forged = {"conditions": [{"type": "ready", "status": "False", "message": "forged"}]}
    cluster.merge("VlanStatus", name, {"status": forged})
    wait(lambda: ready(statuses(cluster)[0]["status"]) == "True", host.said)
    cluster.delete("VlanStatus", name)
    wait(lambda: [one["metadata"]["name"] for one in statuses(cluster)] == [name], host.said)


def test_its_part_of_a_shared_status_is_put_right(cluster: Api, host: Agent) -> None:
    cluster.make(HOST)

    def part(kind: str, name: str, field: str) -> Any:
        return ((cluster.get(kind, name) or {}).get("status") or {}).get(field, {}).get("n1")

    shared = [("LinkMonitor", "nic", "linkStatus", ""), ("HostNetworkConfig", "storage", "nodeStatus", "/status")]
    for kind, name, field, _ in shared:
        wait(lambda kind=kind, name=name, field=field: part(kind, name, field), host.said)
    at_rest(cluster, host)
    for kind, name, field, place in shared:
        true = part(kind, name, field)
        forged = [{"name": "eth9"}] if kind == "LinkMonitor" else {"mode": "dhcp", "vlanID": 7}
        cluster.merge(kind, name, {"status": {field: {"n1": forged}}}, place)
        wait(lambda args=(kind, name, field), true=true: part(*args) == true, host.said)


def test_a_network_that_flips_all_the_time_flips_no_kernel(cluster: Api, host: Agent) -> None:
    """As anybody may write it who has a namespace. Its last version comes all the same."""
    wait(lambda: host.vids() == "100", host.said)
    changes, end, number = 0, time.monotonic() + 5.0, 0
    before = host.vids()
    while time.monotonic() < end:
        number += 1
        cluster.merge("NetworkAttachmentDefinition", "v100", {"spec": nad("v100", 200 + number % 2)["spec"]})
        for _ in range(10):
            now = host.vids()
            changes, before = changes + (now != before), now
            time.sleep(0.01)
    assert number > AT_ONCE + 2 and changes <= AT_ONCE + 1, (number, changes)
    cluster.merge("NetworkAttachmentDefinition", "v100", {"spec": nad("v100", 300)["spec"]})
    wait(lambda: host.vids() == "300", host.said)
    assert "changes again and again" in host.said()


def test_a_vlan_config_that_is_wrong_changes_nothing_and_is_said(cluster: Api, host: Agent) -> None:
    cluster.merge("VlanConfig", "oob", {"spec": {"uplink": {"nics": ["eth9"]}}})
    wait(lambda: ready(statuses(cluster)[0]["status"]) == "False", host.said)
    assert "oob-br" in host.links()
    assert "eth9" in statuses(cluster)[0]["status"]["conditions"][0]["message"]


def test_what_it_did_is_told_in_events(cluster: Api, host: Agent) -> None:
    def told() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = cluster.plane.request("GET", "/api/v1/events?fieldSelector=source=windrow")[
            "items"
        ]
        return found

    wait(lambda: [one for one in told() if one["reason"] == "Applied"], host.said)
    (found,) = [one for one in told() if one["reason"] == "Applied"]
    assert (found["involvedObject"]["kind"], found["involvedObject"]["name"]) == ("Node", "n1")
    assert found["source"] == {"component": "windrow", "host": "n1"}


def test_without_the_api_its_network_stays_and_is_repaired(cluster: Api, tmp_path: Path) -> None:
    with Line(cluster.plane.port) as line:
        access = Access(kubeconfig=str(cluster.plane.kubeconfig(name="by-line", port=line.port)))
        host = Agent(tmp_path, access)
        host.start()
        try:
            wait(lambda: host.vids() == "100", host.said)
            line.cut()
            wait(lambda: "ObjectsOutOfDate" in conditions(host), host.said)
            cluster.delete("NetworkAttachmentDefinition", "v100")
            cluster.make(nad("v200", 200))
            host.kernel.run([step("oob-bo", SetVlans(remove=VidSet.of([100])))])
            assert host.vids() == ""
            host.rouse()
            wait(lambda: host.vids() == "100", host.said)
            assert host.vids() == "100", "as it was last wanted"
            line.mend()
            wait(lambda: host.vids() == "200", host.said)
            wait(lambda: "ObjectsOutOfDate" not in conditions(host), host.said)
        finally:
            host.stop()


def test_it_comes_up_from_its_last_good_state_when_nobody_answers(cluster: Api, tmp_path: Path) -> None:
    with Line(cluster.plane.port) as line:
        access = Access(kubeconfig=str(cluster.plane.kubeconfig(name="by-line", port=line.port)))
        host = Agent(tmp_path, access)
        host.start()
        try:
            wait(lambda: host.vids() == "100", host.said)
            host.stop()
            line.cut()
            host = Agent(tmp_path, access)  # a kernel that has nothing of ours: the host was started anew
            host.start()
            wait(lambda: host.vids() == "100", host.said)
            line.mend()
            cluster.make(nad("v200", 200))
            wait(lambda: host.vids() == "100,200", host.said)
        finally:
            host.stop()


def conditions(host: Agent) -> set[str]:
    return {c.type for c in host.keeper.status.conditions if c.status is (c.type != "ready")}


def at_rest(cluster: Api, host: Agent) -> None:
    """Its first statuses are written, and what came of them was heard."""
    seen: list[Any] = []

    def quiet() -> bool:
        now = json.dumps([cluster.list(kind) for kind in ("VlanStatus", "LinkMonitor", "Node")]), host.rounds
        seen.append(now)
        return len(seen) > 30 and all(one == now for one in seen[-30:])

    wait(quiet, host.said)


READS = {
    "": ["nodes"],
    GROUP: ["clusternetworks", "vlanconfigs", "vlanstatuses", "linkmonitors", "hostnetworkconfigs"],
    "k8s.cni.cncf.io": ["network-attachment-definitions", "multi-networkpolicies"],
    "networking.k8s.io": ["networkpolicies"],
}
WRITES = [
    {"apiGroups": [GROUP], "resources": ["vlanstatuses"], "verbs": ["create", "patch", "delete"]},
    {"apiGroups": [GROUP], "resources": ["linkmonitors", "hostnetworkconfigs/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
]
"""What docs/user/kubernetes.md says that an agent needs."""


def test_these_rights_are_enough(cluster: Api, tmp_path: Path) -> None:
    cluster.make(HOST)
    config = account(cluster.plane, "agent", READS, more=WRITES)
    with agent(tmp_path, cluster.plane, access=Access(kubeconfig=str(config))) as host:
        wait(lambda: statuses(cluster) and ready(statuses(cluster)[0]["status"]) == "True", host.said)
        wait(lambda: (cluster.get("HostNetworkConfig", "storage") or {}).get("status"), host.said)
        wait(lambda: (cluster.get("LinkMonitor", "nic") or {}).get("status"), host.said)
        wait(lambda: f"{GROUP}/oob" in (cluster.get("Node", "n1") or {})["metadata"].get("labels", {}), host.said)
        cluster.delete("VlanConfig", "oob")
        wait(lambda: not statuses(cluster), host.said)
        assert "[403]" not in host.said()


def test_who_may_only_read_keeps_the_network_right_and_says_so(cluster: Api, tmp_path: Path) -> None:
    config = account(cluster.plane, "reader", READS)
    with agent(tmp_path, cluster.plane, access=Access(kubeconfig=str(config))) as host:
        wait(lambda: host.vids() == "100", host.said)
        wait(lambda: "StatusesNotWritten" in conditions(host), host.said)
        cluster.make(nad("v200", 200))
        wait(lambda: host.vids() == "100,200", host.said)
        assert statuses(cluster) == []


def test_in_a_crowd_each_writes_its_entry_alone_and_reads_what_others_changed(
    cluster: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with more than a hundred Nodes: the server notes one writer for all, and tells the metadata of a change."""
    monkeypatch.setattr("windrow.kube.cache.MANY_NODES", 0)
    monkeypatch.setattr("windrow.kube.writing.TURN_S", 0.1)

    def entries(name: str) -> dict[str, Any]:
        found: dict[str, Any] = (cluster.get("LinkMonitor", name) or {}).get("status", {}).get("linkStatus", {})
        return found

    cluster.merge("LinkMonitor", "nic", {"status": {"linkStatus": {"n2": [{"name": "eth9"}]}}})
    with agent(tmp_path, cluster.plane) as host:
        wait(lambda: "n1" in entries("nic"), host.said)
        assert entries("nic")["n2"] == [{"name": "eth9"}]
        writers = {one["manager"] for one in (cluster.get("LinkMonitor", "nic") or {})["metadata"]["managedFields"]}
        assert "windrow-agents" in writers and "windrow-agent.n1" not in writers
        cluster.make(document("LinkMonitor", "bonds", {"targetLinkRule": {"typeRule": "bond", "nameRule": ""}}))
        wait(lambda: [link["name"] for link in entries("bonds").get("n1", ())] == ["oob-bo"], host.said)
        cluster.merge("LinkMonitor", "bonds", {"spec": {"nodeSelector": {"rack": "9"}}})
        wait(lambda: "n1" not in entries("bonds"), host.said)
