"""The manager on a real API server: what it makes and keeps, who leads, and what a second look finds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster import PATHS, Api, agent, document, nad, uplink, wait
from tests.kube.line import Line

from windrow.apps.manager.serve import Manager, Settings
from windrow.kube.access import Access
from windrow.model import names
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.status.routes import Answer, Heard, Offered

GROUP = names.API_GROUP
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SETTINGS = Settings(lease=("default", "manager"), identity="one", lease_s=6, gone_s=0.5, overdue_s=0.5, clash_s=0.2)


class Replica:
    def __init__(self, plane: ControlPlane, name: str, port: int = 0, token: str = "", **more: Any) -> None:
        """`token`: of its account; empty: it may do everything. `more`: settings."""
        self.said: list[str] = []
        file = f"manager-{name}" if port or token else "admin"
        access = Access(kubeconfig=str(plane.kubeconfig(token, file, port)))
        self.manager = Manager(access, replace(SETTINGS, identity=name, **more), self.said.append)
        self._thread = threading.Thread(target=self.manager.run, daemon=True)
        self._thread.start()

    def words(self) -> str:
        return "\n".join(self.said)

    def stop(self) -> None:
        self.manager.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def cluster(api: ControlPlane) -> Api:
    for lease in api.request("GET", LEASE)["items"]:
        api.request("DELETE", f"{LEASE}/{lease['metadata']['name']}")
    found = Api(api)
    found.make(document("Node", "n1"))
    return found


@pytest.fixture
def one(cluster: Api) -> Iterator[Replica]:
    found = Replica(cluster.plane, "one")
    wait(lambda: found.manager.leads, found.words)
    yield found
    found.stop()


def status(config: str, node: str, ready: bool = True) -> dict[str, Any]:
    made = document("VlanStatus", f"{config}-{node}")
    said = {"clusterNetwork": config, "vlanConfig": config, "linkMonitor": config, "node": node}
    return {**made, "status": {**said, "conditions": [{"type": "ready", "status": str(ready)}]}}


def ready(cluster: Api, name: str = "oob") -> str:
    found = (cluster.get("ClusterNetwork", name) or {}).get("status", {}).get("conditions", [])
    return next((str(one["status"]) for one in found if one["type"] == "ready"), "")


def meta(cluster: Api, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (cluster.get(kind, name) or {}).get("metadata", {})
    return found


def events(cluster: Api, reason: str) -> list[dict[str, Any]]:
    found = cluster.plane.request("GET", "/api/v1/events")["items"]
    return [event for event in found if event["reason"] == reason]


def versions(cluster: Api) -> dict[str, str]:
    found = [one for kind in PATHS for one in cluster.list(kind)]
    return {f"{one['metadata']['uid']}": one["metadata"]["resourceVersion"] for one in found}


def test_what_is_built_in_is_made(cluster: Api, one: Replica) -> None:
    wait(lambda: ready(cluster, "mgmt") == "True", one.words)
    wait(lambda: {m["metadata"]["name"] for m in cluster.list("LinkMonitor")} == {"mgmt", "nic"}, one.words)


def test_it_keeps_what_harvesters_keeps_and_then_rests(cluster: Api, one: Replica) -> None:
    cluster.make(document("ClusterNetwork", "oob"), uplink(), nad("v100", 100))
    wait(lambda: ready(cluster) == "False", one.words)
    cluster.make(status("oob", "n1"))
    wait(lambda: ready(cluster) == "True", one.words)
    wait(
        lambda: meta(cluster, "NetworkAttachmentDefinition", "v100").get("labels", {}).get(names.LABEL_READY) == "true"
    )
    labels = meta(cluster, "NetworkAttachmentDefinition", "v100")["labels"]
    assert labels[names.LABEL_VLAN_ID] == "100" and labels[names.LABEL_TYPE] == "L2VlanNetwork"
    assert meta(cluster, "VlanConfig", "oob")["annotations"][names.ANNOTATION_MATCHED_NODES] == '["n1"]'
    assert meta(cluster, "ClusterNetwork", "oob")["annotations"][names.ANNOTATION_VID_SET] == "100"
    time.sleep(1.0)
    before = versions(cluster)
    time.sleep(3.0)
    assert versions(cluster) == before, "at rest nothing is written"
    writers = [entry["manager"] for entry in meta(cluster, "NetworkAttachmentDefinition", "v100")["managedFields"]]
    assert "windrow-manager" in writers


def test_another_mtu_reaches_the_networks(cluster: Api, one: Replica) -> None:
    cluster.make(document("ClusterNetwork", "oob"), uplink(), nad("v100", 100))
    spec = {"spec": {"uplink": {"linkAttributes": {"mtu": 9000}}}}
    cluster.merge("VlanConfig", "oob", spec)

    def mtu() -> object:
        found = cluster.get("NetworkAttachmentDefinition", "v100") or {}
        return json.loads(found["spec"]["config"]).get("mtu")

    wait(lambda: mtu() == 9000, one.words)
    assert meta(cluster, "ClusterNetwork", "oob")["annotations"][names.ANNOTATION_UPLINK_MTU] == "9000"


def test_a_node_that_goes_for_good_leaves_nothing(cluster: Api, one: Replica) -> None:
    mirror = uplink("mgmt-vlanconfig-n2", "mgmt")
    monitor = {**document("LinkMonitor", "nic"), "spec": {}, "status": {"linkStatus": {"n1": [], "n2": []}}}
    cluster.make(document("Node", "n2"), document("ClusterNetwork", "oob"), uplink(), mirror)
    wait(lambda: cluster.get("LinkMonitor", "nic"), one.words)
    cluster.merge("LinkMonitor", "nic", {"status": monitor["status"]})
    cluster.make(status("oob", "n1"), status("oob", "n2"))
    host = document("HostNetworkConfig", "h", {"clusterNetwork": "oob", "vlanID": 30, "mode": "dhcp"})
    cluster.make(host)
    cluster.merge("HostNetworkConfig", "h", {"status": {"nodeStatus": {"n1": {}, "n2": {}}}}, "/status")
    wait(lambda: ready(cluster) == "True", one.words)
    cluster.delete("Node", "n2")
    wait(lambda: [s["metadata"]["name"] for s in cluster.list("VlanStatus")] == ["oob-n1"], one.words)
    wait(lambda: list((cluster.get("LinkMonitor", "nic") or {})["status"]["linkStatus"]) == ["n1"], one.words)
    wait(lambda: list((cluster.get("HostNetworkConfig", "h") or {})["status"]["nodeStatus"]) == ["n1"], one.words)
    wait(lambda: cluster.get("VlanConfig", "mgmt-vlanconfig-n2") is None, one.words)
    assert meta(cluster, "VlanConfig", "oob")["annotations"][names.ANNOTATION_MATCHED_NODES] == '["n1"]'


def test_harvesters_finalizers_hold_nothing_up(cluster: Api, one: Replica) -> None:
    held = nad("v100", 100)
    held["metadata"]["finalizers"] = ["wrangler.cattle.io/harvester-network-manager-nad-controller"]
    cluster.make(document("ClusterNetwork", "oob"), held)
    cluster.delete("NetworkAttachmentDefinition", "v100")
    wait(lambda: cluster.get("NetworkAttachmentDefinition", "v100") is None, one.words)


def test_two_that_exclude_each_other_are_told(cluster: Api, one: Replica) -> None:
    hosts = [
        document("HostNetworkConfig", name, {"clusterNetwork": "oob", "vlanID": 30, "mode": "dhcp"}) for name in "ab"
    ]
    cluster.make(document("ClusterNetwork", "oob"), uplink(), *hosts)
    wait(lambda: events(cluster, "Conflicting"), one.words)
    (event,) = events(cluster, "Conflicting")
    assert event["involvedObject"]["kind"] == "HostNetworkConfig" and "HostNetworkConfig/" in event["message"]


def test_somebody_who_writes_otherwise_is_named_and_waited_for(cluster: Api, one: Replica) -> None:
    cluster.make(document("ClusterNetwork", "oob"), uplink(), nad("v100", 100))
    end, count = time.monotonic() + 60, 0
    while not events(cluster, "WrittenByOthers"):
        assert time.monotonic() < end, one.words()
        if meta(cluster, "NetworkAttachmentDefinition", "v100").get("labels", {}).get(names.LABEL_VLAN_ID) == "100":
            patch = {"metadata": {"labels": {names.LABEL_VLAN_ID: "7"}}}
            cluster.merge("NetworkAttachmentDefinition", "v100", patch)
            count += 1
        time.sleep(0.02)
    assert count <= 8, "it writes less and less often"


# Who leads ---------------------------------------------------------------------------------------


def holder(cluster: Api) -> str:
    found = cluster.plane.request("GET", f"{LEASE}/manager")
    return str(found["spec"]["holderIdentity"])


def test_of_two_one_writes_and_the_other_takes_over_when_it_ends(cluster: Api, one: Replica) -> None:
    other = Replica(cluster.plane, "other")
    try:
        time.sleep(2.0)
        assert (one.manager.leads, other.manager.leads, holder(cluster)) == (True, False, "one")
        one.stop()
        assert wait(lambda: other.manager.leads, other.words) < 4.0, "it was let go, and not waited for"
        cluster.make(document("ClusterNetwork", "dmz"))
        wait(lambda: ready(cluster, "dmz") == "False", other.words)
    finally:
        other.stop()


def test_without_the_api_server_it_stops_before_another_one_begins(cluster: Api) -> None:
    with Line(cluster.plane.port) as line:
        one = Replica(cluster.plane, "cut", line.port)
        wait(lambda: one.manager.leads, one.words)
        other = Replica(cluster.plane, "other")
        time.sleep(1.0)
        line.cut()
        try:
            wait(lambda: not one.manager.leads, one.words, 15.0)
            assert not other.manager.leads
            wait(lambda: other.manager.leads, other.words, 25.0)
            line.mend()
            time.sleep(2.0)
            assert (one.manager.leads, holder(cluster)) == (False, "other")
        finally:
            other.stop()
            one.stop()


def test_what_a_dhcp_server_told_an_agent_becomes_the_route_of_a_network(
    cluster: Api, one: Replica, tmp_path: Path
) -> None:
    """By way of the agent's own Node; what is written there goes when no network waits for it."""
    networks = "NetworkAttachmentDefinition"
    cluster.make(document("ClusterNetwork", "oob"), uplink(), nad("v100", 100))
    cluster.merge(networks, "v100", {"metadata": {"annotations": {names.ANNOTATION_ROUTE: '{"mode":"auto"}'}}})

    def route() -> str:
        return str(meta(cluster, networks, "v100")["annotations"][names.ANNOTATION_ROUTE])

    def said() -> str | None:
        found: dict[str, str] = meta(cluster, "Node", "n1").get("annotations", {})
        return found.get(names.ANNOTATION_ROUTES_HEARD)

    with agent(tmp_path, cluster.plane) as host:
        heard = [Heard(offers={("oob", 100): ()})]
        host.keeper.routes = lambda: heard[-1]  # as the part that asks has it
        wait(lambda: "DHCP failed" in route(), host.said)
        offer = Offered(server="10.1.0.2", cidr="10.1.0.0/24", gateway="10.1.0.1", answers=True)
        heard.append(Heard(offers={("oob", 100): (offer,)}))
        host.rouse()
        found = '{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.1","connectivity":"true"}'
        wait(lambda: route() == found, lambda: f"{route()}\n{one.words()}")
        assert said() is not None
        heard.append(Heard())
        host.rouse()
        wait(lambda: said() is None, host.said)
        assert route() == found
        heard.append(Heard(gateways={("oob", 100, "10.1.0.1"): Answer(there=False, at=int(time.time()))}))
        host.rouse()
        wait(lambda: route() == found.replace("true", "false"), lambda: f"{route()}\n{one.words()}")
