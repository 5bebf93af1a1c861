"""A whole cluster on one screen, and events as Kubernetes has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from windrow.model.cluster import Cluster
from windrow.model.events import Event, EventType
from windrow.model.meta import Meta
from windrow.model.objects import Node
from windrow.model.values import Ref
from windrow.render.clusterwide import clusterwide_text, clusterwide_value
from windrow.status.clusterwide import clusterwide
from windrow.status.published import event_in, event_of
from windrow.testing import builders

NODES = [Node(meta=Meta(name=name, labels={"rack": rack})) for name, rack in (("n1", "r1"), ("n2", "r1"), ("n3", "r2"))]
CONFIG = replace(builders.vlan_config("oob", ["eth1"]), node_selector={"rack": "r1"})
CLUSTER = Cluster.of([*NODES, builders.cluster_network("oob"), CONFIG])


def vlan_status(node: str, *conditions: dict[str, str]) -> dict[str, Any]:
    status = {"clusterNetwork": "oob", "vlanConfig": CONFIG.name, "node": node, "conditions": list(conditions)}
    return {"kind": "VlanStatus", "metadata": {"name": f"oob-{node}"}, "status": status}


READY = {"type": "ready", "status": "True"}


def test_it_is_well_where_every_node_says_so() -> None:
    view = clusterwide(CLUSTER, [vlan_status("n1", READY), vlan_status("n2", READY)])
    assert view.well
    assert "3 nodes, 2 cluster networks: all is well" in clusterwide_text(view)
    assert "2/2" in clusterwide_text(view)


def test_what_is_wrong_stands_first_with_its_node() -> None:
    bad = {"type": "ready", "status": "False", "reason": "Missing", "message": "oob-br is not there"}
    worn = {"type": "Degraded", "status": "True", "message": "one leg"}
    text = clusterwide_text(clusterwide(CLUSTER, [vlan_status("n1", bad), vlan_status("n2", READY, worn)]))
    assert text.index("n1: oob-br is not there") < text.index("n2: one leg") < text.index("CLUSTERNETWORK")
    assert "1/2" in text


def test_a_node_that_says_nothing_is_named() -> None:
    view = clusterwide(CLUSTER, [vlan_status("n1", READY)])
    (found,) = view.findings
    assert found.message.startswith("n2: ") and "kubectl describe node n2" in found.hint
    assert clusterwide_value(view)["clusterNetworks"][1]["readyNodes"] == 1


def test_a_host_network_counts_node_by_node() -> None:
    state = {"conditions": [{"type": "ready", "status": "False", "message": "waiting for a DHCP server"}]}
    network = {"kind": "HostNetworkConfig", "metadata": {"name": "storage"}, "status": {"nodeStatus": {"n2": state}}}
    view = clusterwide(CLUSTER, [vlan_status("n1", READY), vlan_status("n2", READY), network])
    assert [str(found.about) + " " + found.message for found in view.findings] == [
        "HostNetworkConfig/storage n2: waiting for a DHCP server"
    ]


WARNING = Event(
    type=EventType.WARNING,
    reason="Drifted",
    about=Ref("VlanConfig", "oob"),
    message="oob-bo: miimon was 50",
    first=10.0,
    last=20.0,
)


def told(**more: Any) -> Event:
    return replace(WARNING, **more)


def test_an_event_there_and_back() -> None:
    document = event_of(told(count=3), "n1", "uid")
    assert document["involvedObject"] == {
        "kind": "VlanConfig", "name": "oob", "apiVersion": "network.harvesterhci.io/v1beta1", "uid": "uid"}  # fmt: skip
    assert document["metadata"]["namespace"] == "default", "of what is in no namespace"
    assert event_in(document) == told(count=3, message="n1: oob-bo: miimon was 50")


def test_the_same_event_again_has_the_same_name() -> None:
    first, again = (event_of(told(count=count, last=20.0 + count), "n1", "") for count in (1, 2))
    assert first["metadata"] == again["metadata"]
    others = [told(reason="Failed"), told(message="x"), told(first=11.0)]
    names = {event_of(one, "n1", "")["metadata"]["name"] for one in others}
    names.add(event_of(told(), "n2", "")["metadata"]["name"])
    assert len(names) == 4 and first["metadata"]["name"] not in names


def test_an_event_of_somebody_else_is_read_as_far_as_it_goes() -> None:
    found = event_in({"involvedObject": None, "lastTimestamp": "yesterday"})
    assert (found.reason, found.count, found.last) == ("", 1, 0.0)
