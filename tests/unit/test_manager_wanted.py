"""What the manager writes, by tables; and that nothing is left to write once it is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pytest
from tests.unit.admissioncases import annotated, cn, hnc, labelled, leaving, nad, node, overlay, vc, vs

from windrow.apps.manager import known
from windrow.kube import trim
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.values import Ref
from windrow.status.manager.leftovers import absent, waiting
from windrow.status.manager.stored import Apply, Delete, Document, Edit, Situation, Stored, Write
from windrow.status.manager.wanted import wanted

NOW = "2026-11-30T08:00:00Z"
GROUP = names.API_GROUP
MONITOR = {"apiVersion": names.API_VERSION, "kind": "LinkMonitor"}


class Server:
    """What is stored, and what becomes of it when it is written: as the API server does it, as far as matters here."""

    def __init__(self, *documents: Document) -> None:
        self.documents: dict[Ref, dict[str, Any]] = {}
        self.count = 0
        self.pools = False
        for document in documents:
            self.put(document)

    def put(self, document: Document) -> None:
        self.count += 1
        found = copy.deepcopy(dict(document))
        ref = trim.ref_of(found)
        before = self.documents.get(ref, {"metadata": {"uid": f"uid{self.count}"}})["metadata"]
        found["metadata"] |= {"uid": before["uid"], "resourceVersion": str(self.count)}
        self.documents[ref] = found

    def situation(self, gone: Iterable[str] = (), overdue: Iterable[Ref] = ()) -> Situation:
        read: dict[Ref, Stored] = {}
        for document in self.documents.values():
            if (one := known.read(document)) is not None:
                read[one.obj.ref] = one
        cluster = Cluster.of(one.obj for one in read.values())
        more: dict[str, Any] = {"gone": frozenset(gone), "overdue": frozenset(overdue), "pools": self.pools}
        return Situation(stored=read, cluster=cluster, now=NOW, **more)

    def wanted(self, **more: Any) -> dict[Ref, Write]:
        return {write.ref: write for write in wanted(self.situation(**more))}

    def write(self, write: Write) -> None:
        there = self.documents.get(write.ref)
        match write:
            case Delete():
                assert there is not None and there["metadata"]["uid"] == write.uid
                del self.documents[write.ref]
            case Apply():
                assert (there is None) is write.make
                assert there is None or there["metadata"]["uid"] == write.document["metadata"]["uid"]
                self.put(merged(there or {}, write.document))
            case Edit():
                assert there is not None and there["metadata"]["uid"] == write.uid
                assert write.version in ("", there["metadata"]["resourceVersion"])
                self.put(merged(there, write.patch))

    def settle(self, **more: Any) -> int:
        """Until nothing is left to write; in how many rounds."""
        for number in range(6):
            writes = self.wanted(**more)
            if not writes:
                return number
            for write in writes.values():
                self.write(write)
        raise AssertionError(f"it goes on and on: {writes}")

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        return self.documents[Ref(kind, name, namespace)]


def merged(there: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch (RFC 7386)."""
    found = dict(there)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            below = found.get(key)
            found[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            found[key] = value
    return found


def web(server: Server, name: str = "web") -> dict[str, Any]:
    return server.get("NetworkAttachmentDefinition", name, "default")


def ready(server: Server, name: str = "data") -> dict[str, Any]:
    found: dict[str, Any] = server.get("ClusterNetwork", name)["status"]["conditions"][0]
    return found


def test_from_nothing_the_management_network_and_its_monitors() -> None:
    server = Server(node())
    assert server.settle() <= 2
    assert ready(server, "mgmt")["status"] == "True"
    assert server.get("LinkMonitor", "nic")["spec"]["targetLinkRule"]["typeRule"] == "device"
    assert server.get("LinkMonitor", "mgmt")["spec"]["targetLinkRule"]["nameRule"] == "^mgmt(-br|-bo)$"


def test_a_network_from_its_first_object_to_ready() -> None:
    server = Server(node("n1"), node("n2"), cn(), labelled_anew(vc(mtu=9000)), nad())
    server.settle()
    assert ready(server)["status"] == "False" and ready(server)["reason"] == "NoNode"
    assert web(server)["metadata"]["labels"][names.LABEL_READY] == "false"
    assert json.loads(web(server)["spec"]["config"])["mtu"] == 9000
    config = server.get("VlanConfig", "a")["metadata"]
    assert config["labels"] == {names.LABEL_CLUSTERNETWORK: "data"}
    assert config["annotations"][names.ANNOTATION_MATCHED_NODES] == '["n1","n2"]'
    kept = server.get("ClusterNetwork", "data")["metadata"]["annotations"]
    assert kept[names.ANNOTATION_UPLINK_MTU] == "9000" and kept[names.ANNOTATION_MTU_SOURCE] == "a"
    assert kept[names.ANNOTATION_VID_SET] == "100" and len(kept[names.ANNOTATION_VID_SET_HASH]) == 64

    server.put(vs())
    server.settle()
    assert ready(server)["status"] == "True"
    labels = web(server)["metadata"]["labels"]
    assert labels == {
        names.LABEL_CLUSTERNETWORK: "data",
        names.LABEL_TYPE: "L2VlanNetwork",
        names.LABEL_VLAN_ID: "100",
        names.LABEL_READY: "true",
    }
    assert Ref("LinkMonitor", "data") in server.documents


def labelled_anew(document: Document) -> dict[str, Any]:
    """As its author wrote it, before any webhook."""
    found = copy.deepcopy(dict(document))
    found["metadata"].pop("labels", None)
    return found


@pytest.mark.parametrize(
    ("statuses", "status", "message"),
    [
        ([vs(node="n1"), vs(node="n2", ready=False)], "True", "not on n2"),
        ([vs(node="n1", ready=False), vs(node="n2", ready=False)], "False", "n1; n2"),
        ([vs(node=f"n{i}", ready=False) for i in range(1, 7)], "False", "n1; n2; n3; and 3 more"),
        ([vs(node="n1")], "True", None),
    ],
)
def test_ready_where_a_node_has_it(statuses: list[Document], status: str, message: str | None) -> None:
    server = Server(node(), cn(), vc(), *statuses)
    server.settle()
    assert (ready(server)["status"], ready(server).get("message")) == (status, message)


def test_what_changes_in_a_condition_and_since_when() -> None:
    old = {"type": "ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z", "lastUpdateTime": "x"}
    other = {"type": "Other", "status": "True"}
    network = {**cn(), "status": {"conditions": [old, other]}}
    server = Server(node(), network, vc(), vs())
    server.settle()
    assert server.get("ClusterNetwork", "data")["status"]["conditions"] == [old, other], "nothing differs"
    server.put(vs(node="n2", ready=False))
    server.settle()
    kept, changed = server.get("ClusterNetwork", "data")["status"]["conditions"]
    assert kept == other
    assert changed["lastTransitionTime"] == old["lastTransitionTime"] and changed["lastUpdateTime"] == NOW


def test_the_mtu_follows_and_goes_with_the_last_uplink() -> None:
    server = Server(node(), cn(), vc(mtu=9000), nad())
    server.settle()
    server.put(vc(mtu=1500))
    server.settle()
    assert server.get("ClusterNetwork", "data")["metadata"]["annotations"][names.ANNOTATION_UPLINK_MTU] == "1500"
    assert json.loads(web(server)["spec"]["config"])["mtu"] == 1500
    del server.documents[Ref("VlanConfig", "a")]
    server.settle()
    assert names.ANNOTATION_UPLINK_MTU not in server.get("ClusterNetwork", "data")["metadata"]["annotations"]


def test_what_an_administrator_says_of_an_mtu_stays() -> None:
    server = Server(node(), cn("data", "9000"), cn("mgmt", "1400"), labelled_mirror("n1"))
    server.settle()
    assert server.get("ClusterNetwork", "data")["metadata"]["annotations"] == {names.ANNOTATION_UPLINK_MTU: "9000"}
    assert server.get("ClusterNetwork", "mgmt")["metadata"]["annotations"] == {names.ANNOTATION_UPLINK_MTU: "1400"}


def labelled_mirror(name: str) -> dict[str, Any]:
    """What Harvester's agent keeps of a node's management network."""
    return vc(f"mgmt-vlanconfig-{name}", of="mgmt")


def test_labels_that_no_longer_hold_go() -> None:
    server = Server(node(), cn(), vc(), labelled(nad(vlan=0), {names.LABEL_VLAN_ID: "100"}))
    server.settle()
    assert names.LABEL_VLAN_ID not in web(server)["metadata"]["labels"]
    server.put(annotated(vc(on={"rack": "none"}), {names.ANNOTATION_MATCHED_NODES: '["n1"]'}))
    server.settle()
    assert names.ANNOTATION_MATCHED_NODES not in server.get("VlanConfig", "a")["metadata"]["annotations"]


def test_an_overlay_has_harvesters_labels() -> None:
    server = Server(node(), overlay())
    server.settle()
    assert web(server, "over")["metadata"]["labels"][names.LABEL_TYPE] == "OverlayNetwork"
    assert web(server, "over")["metadata"]["labels"][names.LABEL_CLUSTERNETWORK] == "mgmt"


ROUTE = names.ANNOTATION_ROUTE
HOST = hnc(vid=100, ips={"n1": "10.1.0.11/24", "n2": "10.1.0.12/24"}, gateway="10.1.0.1")


@pytest.mark.parametrize(
    ("route", "host", "found"),
    [
        ('{"mode":"auto","outdated":true}', HOST, '{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.1"}'),
        (
            '{"mode":"auto","connectivity":"DHCP failed"}',
            HOST,
            '{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.1"}',
        ),
        (
            '{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.9","connectivity":"true"}',
            HOST,
            '{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.1"}',
        ),
        ('{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.1","connectivity":"false"}', HOST, None),
        ('{"mode":"auto","cidr":"10.9.0.0/24"}', HOST, None),
        ('{"mode":"auto","gateway":"10.1.0.9"}', HOST, None),
        ('{"mode":"auto","cidr":"10.1.0.7/24"}', HOST, '{"mode":"auto","cidr":"10.1.0.7/24","gateway":"10.1.0.1"}'),
        ('{"mode":"auto"}', hnc(vid=100, ips={"n1": "10.1.0.11/24"}), '{"mode":"auto"}'),
        ('{"mode":"auto"}', hnc(vid=101, ips={"n1": "10.1.0.11/24"}, gateway="10.1.0.1"), '{"mode":"auto"}'),
        ('{"mode":"manual","cidr":"10.9.0.0/24","gateway":"10.9.0.1"}', HOST, None),
        ("no json", HOST, "no json"),
    ],
)
def test_a_route_is_what_the_hosts_addresses_say(route: str, host: Document, found: str | None) -> None:
    server = Server(node(), cn(), vc(), host, annotated(nad(), {ROUTE: route}))
    server.settle()
    assert web(server)["metadata"]["annotations"][ROUTE] == (found or route)


ASKED = '{"mode":"auto"}'
OFFER = {"server": "10.1.0.2", "cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "answers": True}
OTHER = {"server": "10.1.0.3", "cidr": "10.1.0.0/25", "gateway": "10.1.0.9", "answers": False}
REACHED = '{"mode":"auto","cidr":"10.1.0.0/24","gateway":"10.1.0.1","connectivity":"true"}'


def heard(*offers: Document, node_name: str = "n1", place: str = "data/100") -> Document:
    return annotated(node(node_name), {names.ANNOTATION_ROUTES_HEARD: json.dumps({"offers": {place: offers}})})


@pytest.mark.parametrize(
    ("route", "told", "found"),
    [
        (ASKED, heard(OFFER), REACHED),
        ('{"mode":"auto","cidr":"10.9.0.0/24","gateway":"10.9.0.1","outdated":true}', heard(OFFER), REACHED),
        (ASKED, heard(OTHER, OFFER), REACHED),
        (ASKED, heard(OTHER), '{"mode":"auto","cidr":"10.1.0.0/25","gateway":"10.1.0.9","connectivity":"false"}'),
        (ASKED, heard(), '{"mode":"auto","connectivity":"DHCP failed"}'),
        (ASKED, heard(OFFER, place="data/101"), ASKED),
        (
            '{"mode":"auto","cidr":"10.1.0.0/24"}',
            heard(OTHER, OFFER),
            REACHED,
        ),
        (
            '{"mode":"auto","cidr":"10.9.0.0/24"}',
            heard(OFFER),
            '{"mode":"auto","cidr":"10.9.0.0/24","connectivity":"DHCP failed"}',
        ),
        (
            '{"mode":"auto","gateway":"10.1.0.9"}',
            heard(OFFER, OTHER),
            '{"mode":"auto","cidr":"10.1.0.0/25","gateway":"10.1.0.9","connectivity":"false"}',
        ),
        ('{"mode":"auto","cidr":"no"}', heard(OFFER), '{"mode":"auto","cidr":"no","connectivity":"DHCP failed"}'),
        ('{"mode":"auto","cidr":"10.9.0.0/24","gateway":"10.9.0.1"}', heard(OFFER), None),
        ('{"mode":"manual","cidr":"10.9.0.0/24","gateway":"10.9.0.1"}', heard(OFFER), None),
        (
            '{"mode":"auto","serverIPAddr":"10.1.0.3"}',
            heard(OFFER, OTHER),
            '{"mode":"auto","cidr":"10.1.0.0/25","gateway":"10.1.0.9","serverIPAddr":"10.1.0.3","connectivity":"false"}',
        ),
        (
            '{"mode":"auto","serverIPAddr":"10.1.0.4"}',
            heard(OFFER),
            '{"mode":"auto","serverIPAddr":"10.1.0.4","connectivity":"DHCP failed"}',
        ),
        (ASKED, heard({**OFFER, "cidr": "0.0.0.0/0"}), ASKED),
        (ASKED, heard({**OFFER, "gateway": "10.2.0.1"}), ASKED),
        (ASKED, annotated(node(), {names.ANNOTATION_ROUTES_HEARD: "[" * 100_000}), ASKED),
    ],
)
def test_a_route_is_what_a_dhcp_server_has_told_a_node(route: str, told: Document, found: str | None) -> None:
    server = Server(told, cn(), vc(), annotated(nad(), {ROUTE: route}))
    server.settle()
    assert web(server)["metadata"]["annotations"][ROUTE] == (found or route)


def test_of_two_nodes_the_one_that_was_told_something_counts() -> None:
    server = Server(heard(), heard(OFFER, node_name="n2"), cn(), vc(), annotated(nad(), {ROUTE: ASKED}))
    server.settle()
    assert web(server)["metadata"]["annotations"][ROUTE] == REACHED


def test_a_node_that_is_not_to_have_the_network_has_heard_nothing_there() -> None:
    server = Server(heard(OFFER), cn(), vc(on={names.LABEL_HOSTNAME: "n2"}), annotated(nad(), {ROUTE: ASKED}))
    server.settle()
    assert web(server)["metadata"]["annotations"][ROUTE] == ASKED


def test_the_hosts_own_addresses_count_before_a_dhcp_server() -> None:
    server = Server(heard(OTHER), HOST, cn(), vc(), annotated(nad(), {ROUTE: ASKED}))
    server.settle()
    assert json.loads(web(server)["metadata"]["annotations"][ROUTE])["gateway"] == "10.1.0.1"


GATE = "data/100/10.9.0.1"


def complete(connectivity: str, mode: str = "manual") -> str:
    return json.dumps(
        {"mode": mode, "cidr": "10.9.0.0/24", "gateway": "10.9.0.1", "connectivity": connectivity},
        separators=(",", ":"),
    )


def reached(*answers: bool, age_s: int = 0, place: str = GATE) -> list[Document]:
    """Nodes that have asked for the gateway."""
    at = int(datetime.fromisoformat(NOW).timestamp()) - age_s
    said = (json.dumps({"gateways": {place: [there, at]}}) for there in answers)
    return [annotated(node(f"n{number}"), {names.ANNOTATION_ROUTES_HEARD: one}) for number, one in enumerate(said)]


@pytest.mark.parametrize(
    ("route", "nodes", "found"),
    [
        (complete("true"), reached(False), complete("false")),
        (complete("false"), reached(True), complete("true")),
        (complete("true", "auto"), reached(False), complete("false", "auto")),
        (complete("ping failed"), reached(True), complete("true")),
        (complete("false"), reached(False, True, False), complete("true")),
        (complete("true"), reached(False, age_s=3600), None),
        (complete("true"), reached(False, place="data/101/10.9.0.1"), None),
        (complete("true"), reached(False, place="data/100/10.9.0.2"), None),
        (complete("true").replace("10.9.0.1", "no address"), reached(False), None),
        (ASKED, reached(False), None),
    ],
)
def test_a_gateway_that_comes_and_goes_is_told(route: str, nodes: list[Document], found: str | None) -> None:
    server = Server(*nodes, cn(), vc(), annotated(nad(), {ROUTE: route}))
    server.settle()
    assert web(server)["metadata"]["annotations"][ROUTE] == (found or route)


def test_a_route_is_its_authors_and_is_not_applied() -> None:
    """What is applied is taken away when it is no longer said."""
    server = Server(node(), cn(), vc(), HOST, annotated(nad(), {ROUTE: '{"mode":"auto"}'}))
    ref = Ref("NetworkAttachmentDefinition", "web", "default")
    server.write(server.wanted()[ref])
    second = server.wanted()[ref]
    assert isinstance(second, Edit) and second.version
    server.settle()
    del server.documents[Ref("HostNetworkConfig", "h")]
    server.put(vs())
    for write in server.wanted().values():
        assert not isinstance(write, Apply) or ROUTE not in write.document["metadata"].get("annotations", {})


def test_an_edit_that_is_refused_holds_up_no_label() -> None:
    """As it is while machines run: the network keeps its MTU, and is told to be ready all the same."""
    server = Server(node(), cn(), vc(mtu=9000), nad())
    server.settle()
    server.put({**web(server), "spec": nad()["spec"]})
    ref = Ref("NetworkAttachmentDefinition", "web", "default")
    assert isinstance(server.wanted()[ref], Edit)
    server.put(vs())
    assert isinstance(server.wanted()[ref], Apply)
    server.write(server.wanted()[ref])
    assert web(server)["metadata"]["labels"][names.LABEL_READY] == "true"
    assert isinstance(server.wanted()[ref], Edit)


# What is left over -------------------------------------------------------------------------------


def entries(kind: str, field: str, *nodes: str) -> dict[str, Any]:
    there = hnc() if kind == "HostNetworkConfig" else {**MONITOR, "metadata": {"name": "nic"}, "spec": {}}
    return {**there, "status": {field: {name: [] if field == "linkStatus" else {} for name in nodes}}}


LEFT = (
    vs(node="n2"),
    labelled_mirror("n2"),
    entries("LinkMonitor", "linkStatus", "n1", "n2"),
    entries("HostNetworkConfig", "nodeStatus", "n1", "n2"),
)


def test_what_a_node_that_is_gone_has_left() -> None:
    server = Server(node("n1"), cn(), vc(), vs(node="n1"), labelled_mirror("n1"), *LEFT)
    assert absent(server.situation().stored) == {"n2"}
    server.settle(gone={"n2"})
    assert absent(server.situation().stored) == frozenset()
    assert {ref.name for ref in server.documents if ref.kind == "VlanConfig"} == {"a", "mgmt-vlanconfig-n1"}
    assert list(server.get("LinkMonitor", "nic")["status"]["linkStatus"]) == ["n1"]
    assert list(server.get("HostNetworkConfig", "h")["status"]["nodeStatus"]) == ["n1"]
    assert [ref for ref in server.documents if ref.kind == "VlanStatus"] == [trim.ref_of(vs(node="n1"))]


def test_where_no_node_is_known_none_is_gone() -> None:
    assert absent(Server(cn(), vc(), *LEFT).situation().stored) == frozenset()


@pytest.mark.parametrize(
    ("finalizers", "left"),
    [
        (["wrangler.cattle.io/harvester-network-nad-controller"], []),
        (["wrangler.cattle.io/harvester-network-manager-nad-controller", "example.com/x"], ["example.com/x"]),
        (["wrangler.cattle.io/somebody-else"], None),
    ],
)
def test_finalizers_of_harvesters_controllers(finalizers: list[str], left: list[str] | None) -> None:
    going = leaving(nad())
    going["metadata"]["finalizers"] = finalizers
    ref = trim.ref_of(going)
    server = Server(node(), cn(), vc(), going)
    assert waiting(server.situation().stored) == (frozenset() if left is None else {ref})
    assert ref not in server.wanted(), "it has its time"
    write = server.wanted(overdue={ref}).get(ref)
    if left is None:
        assert write is None
    else:
        assert isinstance(write, Edit) and write.version
        assert write.patch == {"metadata": {"finalizers": left}}


def test_a_monitor_goes_with_its_network_and_another_ones_stays() -> None:
    server = Server(node(), cn(), vc(), vs())
    server.settle()
    own = {**MONITOR, "metadata": {"name": "mine"}, "spec": {"targetLinkRule": {"nameRule": "eth.*"}}}
    server.put(own)
    for ref in (Ref("ClusterNetwork", "data"), Ref("VlanConfig", "a"), trim.ref_of(vs())):
        del server.documents[ref]
    server.settle()
    assert {ref.name for ref in server.documents if ref.kind == "LinkMonitor"} == {"mgmt", "mine", "nic"}


def test_what_cannot_be_read_or_goes_is_left_alone() -> None:
    broken = {**nad("broken"), "spec": {"config": "{no"}}
    going = leaving(labelled_anew(vc("b", of="data")))
    server = Server(node(), cn(), vc(), broken, going)
    server.settle()
    assert "labels" not in web(server, "broken")["metadata"]
    assert names.LABEL_CLUSTERNETWORK not in server.get("VlanConfig", "b")["metadata"].get("labels", {})
