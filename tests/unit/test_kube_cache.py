"""The cache of a cluster's objects: what is kept, what is news, and what is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from windrow.kube import trim
from windrow.kube.cache import MANY_NODES, Cache
from windrow.kube.resources import FOLLOWED, POLICIES, SELECTED
from windrow.kube.restless import AT_ONCE, EACH_S, Restless
from windrow.kube.writing import differs
from windrow.model.layer3 import Layer3
from windrow.model.names import ANNOTATION_ROUTE, LABEL_TYPE, field_manager
from windrow.model.objects import ClusterNetwork, Node
from windrow.model.policies import NetworkPolicy, Pod, PodPort
from windrow.model.values import Ref
from windrow.model.wire import load_value

GROUP = "network.harvesterhci.io/v1beta1"
VERSIONS = {
    **dict.fromkeys(("Node", "Pod", "Namespace"), "v1"),
    "NetworkAttachmentDefinition": "k8s.cni.cncf.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "MultiNetworkPolicy": "k8s.cni.cncf.io/v1beta1",
}


def document(kind: str, name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": f"uid-of-{name}", "resourceVersion": "7", **more.pop("metadata", {})}
    version = VERSIONS.get(kind, GROUP)
    return {"apiVersion": version, "kind": kind, "metadata": meta, **more}


def full() -> Cache:
    cache = Cache()
    cache.node = "n1"
    cache.put(document("ClusterNetwork", "oob"))
    for kind in FOLLOWED:
        cache.listed(kind, {Ref("ClusterNetwork", "oob")})
    return cache


def names(cache: Cache) -> list[str]:
    return [str(obj.ref) for obj in cache.found().loaded.objects]


def test_nothing_is_known_before_every_kind_was_listed() -> None:
    """What is missing then would be taken for deleted."""
    cache = Cache()
    cache.put(document("ClusterNetwork", "oob"))
    for kind in FOLLOWED[:-1]:
        cache.listed(kind, {Ref("ClusterNetwork", "oob")})
    assert cache.found().young, "as a directory in which somebody is writing"
    assert cache.found().loaded.objects == ()
    assert cache.listed(FOLLOWED[-1], set())
    assert cache.found().lost is None and not cache.found().young
    assert names(cache) == ["ClusterNetwork/oob"]


def test_why_nothing_is_known_is_said() -> None:
    cache = Cache()
    cache.trouble = "the API server does not answer"
    lost = cache.found().lost
    assert lost is not None and "the API server does not answer" in lost.message


def test_what_nobody_reads_is_no_news() -> None:
    cache = full()
    before = cache.found()
    status = {"conditions": [{"type": "ready", "status": "True"}]}
    managed = [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}]
    applied = {trim.LAST_APPLIED: "{}"}
    for noise in (
        {"status": status},
        {"metadata": {"managedFields": managed, "resourceVersion": "8"}},
        {"metadata": {"annotations": applied, "generation": 3}},
    ):
        assert not cache.put(document("ClusterNetwork", "oob", **noise))
    assert cache.found() is before
    assert cache.put(document("ClusterNetwork", "oob", metadata={"labels": {"a": "b"}}))
    assert cache.found() is not before


def test_the_heartbeats_of_a_node_are_no_news() -> None:
    cache = full()
    node = document("Node", "n2", metadata={"labels": {"rack": "r1"}}, spec={"podCIDR": "10.52.0.0/24"})
    assert cache.put(node)
    beating = {**node, "status": {"images": [{"names": ["x"] * 50}]}, "spec": {**node["spec"], "providerID": "x"}}
    beating["metadata"] = {**node["metadata"], "annotations": {"kubevirt.io/heartbeat": "2026-11-29T00:00:00Z"}}
    assert not cache.put(beating)
    found = next(o for o in cache.found().loaded.objects if isinstance(o, Node))
    assert (found.meta.labels, found.pod_cidrs, found.meta.annotations) == ({"rack": "r1"}, ("10.52.0.0/24",), {})


def test_where_a_nodes_tunnel_ends_is_read_and_is_news() -> None:
    cache, prefix = full(), "flannel.alpha.coreos.com"
    said = {f"{prefix}/public-ip": "192.0.2.2", f"{prefix}/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}'}
    assert cache.put(document("Node", "n2", metadata={"annotations": {**said, "other.io/beat": "1"}}))
    found = next(o for o in cache.found().loaded.objects if isinstance(o, Node) and o.name == "n2")
    assert found.meta.annotations == said
    assert not cache.put(document("Node", "n2", metadata={"annotations": {**said, "other.io/beat": "2"}}))
    moved = {**said, f"{prefix}/public-ip": "192.0.2.22"}
    assert cache.put(document("Node", "n2", metadata={"annotations": moved}))


def test_an_object_goes_by_its_event_and_by_a_list_without_it() -> None:
    cache = full()
    cache.put(document("ClusterNetwork", "lab"))
    assert cache.drop(Ref("ClusterNetwork", "lab"))
    assert not cache.drop(Ref("ClusterNetwork", "lab"))
    assert names(cache) == ["ClusterNetwork/oob"]
    assert cache.listed("ClusterNetwork", set())
    assert names(cache) == []
    assert not cache.listed("ClusterNetwork", set())


def test_one_event_makes_one_object_anew() -> None:
    cache = full()
    cache.put(document("ClusterNetwork", "lab"))
    before = {o.ref: o for o in cache.found().loaded.objects}
    cache.put(document("ClusterNetwork", "lab", metadata={"labels": {"a": "b"}}))
    after = {o.ref: o for o in cache.found().loaded.objects}
    assert after[Ref("ClusterNetwork", "oob")] is before[Ref("ClusterNetwork", "oob")]
    lab = after[Ref("ClusterNetwork", "lab")]
    assert isinstance(lab, ClusterNetwork) and lab.meta.labels == {"a": "b"}


def test_what_cannot_be_read_is_said_and_not_taken_for_deleted() -> None:
    cache = full()
    cache.put(document("VlanConfig", "bad", spec={"clusterNetwork": 7}))
    found = cache.found()
    assert found.loaded.unread == {Ref("VlanConfig", "bad")}
    assert {p.about for p in found.loaded.problems} == {Ref("VlanConfig", "bad")}


# -- policies, and whom they select ----------------------------------------------------------------

POLICY = document("NetworkPolicy", "closed", metadata={"namespace": "shop"}, spec={"podSelector": {}})


def web(**status: Any) -> dict[str, Any]:
    """As a kubelet leaves it."""
    ports = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9090}]
    spec = {
        "nodeName": "n2",
        "containers": [
            {"name": "c", "image": "web:1", "env": [{"name": "A", "value": "b"}], "ports": ports},
            {"name": "d", "image": "d:1"},
        ],
        "tolerations": [{"operator": "Exists"}],
    }
    meta = {"namespace": "shop", "labels": {"app": "web"}, "annotations": {"example.com/beat": "1"}}
    return document("Pod", "web", metadata=meta, spec=spec, status={"phase": "Running", **status})


def test_of_a_pod_is_kept_what_policies_ask_for() -> None:
    assert trim.wanted(web(podIP="10.52.1.7", podIPs=[{"ip": "10.52.1.7"}, {"ip": "fd00::7"}])) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
        "status": {"podIP": "10.52.1.7", "podIPs": [{"ip": "10.52.1.7"}, {"ip": "fd00::7"}]},
    }
    cache = policed()
    cache.put(web(podIP="10.52.1.7"))
    (pod,) = (obj for obj in cache.found().loaded.objects if isinstance(obj, Pod))
    assert (pod.addresses, pod.ports) == (("10.52.1.7",), (PodPort(name="http", number=8080),))


def policed() -> Cache:
    """With a policy, and whom it may select."""
    cache = full()
    cache.put(POLICY)
    for kind in SELECTED:
        cache.listed(kind, ())
    return cache


def test_how_far_a_pod_is_is_no_news_but_its_address_and_labels_are() -> None:
    cache = policed()
    assert cache.put(web())
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"restartCount": 7}]}
    assert not cache.put(web(**ready))
    leaving = web()
    leaving["metadata"]["deletionTimestamp"] = "2026-11-30T00:00:00Z"
    assert not cache.put(leaving), "it has its address until it is gone"
    assert cache.put(web(podIP="10.52.1.7"))
    other = web(podIP="10.52.1.7")
    other["metadata"]["labels"]["tier"] = "front"
    assert cache.put(other)


def test_a_policy_counts_when_it_is_known_whom_it_selects() -> None:
    """Before, it would close what its peers may reach, and leave open the pods that only a label shows."""
    cache = full()
    before = cache.found()
    assert cache.put(POLICY) and cache.policed and not cache.complete
    assert cache.found() is before
    cache.put(web(podIP="10.52.1.7"))
    cache.listed("Pod", {Ref("Pod", "web", "shop")})
    assert cache.found() is before
    assert cache.listed("Namespace", ()), "that is what whoever waits for it has to hear"
    found = {type(obj) for obj in cache.found().loaded.objects}
    assert found == {ClusterNetwork, NetworkPolicy, Pod}


def test_without_a_policy_nothing_is_known_of_pods() -> None:
    cache = policed()
    cache.put(web())
    cache.drop(Ref("NetworkPolicy", "closed", "shop"))
    cache.unfollowed(SELECTED)
    assert not cache.policed and cache.complete and names(cache) == ["ClusterNetwork/oob"]
    before = cache.found()
    cache.put(POLICY)
    assert cache.found() is before, "they have to be listed anew"


def test_what_a_tenant_writes_beside_a_policy_fills_no_memory_and_is_no_news() -> None:
    """Whoever has a namespace makes policies, too, and all nodes hear of them."""
    cache = policed()
    read = {"windrow.io/log-dropped": "5", "k8s.v1.cni.cncf.io/policy-for": "shop/v100"}
    for kind in POLICIES:
        policy = {**POLICY, "kind": kind, "apiVersion": VERSIONS[kind]}
        beside = {"example.com/a": "x" * 200_000, trim.LAST_APPLIED: "{}"}
        meta = {
            **POLICY["metadata"],
            "annotations": {**read, **beside},
            "labels": {f"l{n}": "x" * 60 for n in range(5000)},
        }
        assert cache.put({**policy, "metadata": meta})
        kept = cache._entries[trim.ref_of(policy)].document
        assert kept["metadata"] == {"name": "closed", "namespace": "shop", "annotations": read}
        beat = {**meta, "annotations": {**read, "example.com/beat": "1"}, "labels": {"a": "b"}}
        assert not cache.put({**policy, "metadata": beat})
        assert cache.put({**policy, "metadata": {**meta, "annotations": {}}})


def test_whoever_stops_following_pods_knows_nothing_of_them_at_no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that came meanwhile would select nobody, and be taken for known."""
    cache, forget = policed(), Cache._forget
    cache.put(web())
    seen: list[bool] = []

    def looked(self: Cache, ref: Ref, *, deleted: bool) -> bool:
        gone = forget(self, ref, deleted=deleted)
        seen.append(cache.complete)
        return gone

    monkeypatch.setattr(Cache, "_forget", looked)
    cache.unfollowed(SELECTED)
    assert seen == [False] and not cache.complete


def test_the_first_policies_of_all_wait_too() -> None:
    cache = Cache()
    cache.put(POLICY)
    for kind in FOLLOWED:
        cache.listed(kind, ())
    assert cache.found().young, "an agent that begins goes by its last good state"


# -- what is said of objects -----------------------------------------------------------------------


def monitor(**links: Any) -> dict[str, Any]:
    return document("LinkMonitor", "nic", status={"linkStatus": links})


def test_of_a_shared_status_only_our_part_is_kept() -> None:
    said = trim.said(monitor(n1=[{"name": "eth0"}], n2=[{"name": "eth9"}] * 100), "n1")
    assert said.document == {"status": {"linkStatus": {"n1": [{"name": "eth0"}]}}}
    assert said.uid == "uid-of-nic"


def test_a_difference_is_written_and_nothing_else() -> None:
    there = trim.said(monitor(n1=[{"name": "eth0"}], n2=[{"name": "eth9"}]), "n1")
    same = {"apiVersion": GROUP, "kind": "LinkMonitor", "metadata": {"name": "nic"}}
    assert not differs({**same, "status": {"linkStatus": {"n1": [{"name": "eth0"}]}}}, there)
    assert differs({**same, "status": {"linkStatus": {"n1": [{"name": "eth1"}]}}}, there)
    assert differs({**same, "status": {"linkStatus": {"n1": []}}}, there)
    assert not differs(same, there), "another one wrote it: it is not ours to take back"


def test_what_we_applied_and_say_no_more_is_taken_back() -> None:
    fields = {"f:status": {".": {}, "f:linkStatus": {".": {}, "f:n1": {}}}}
    document = monitor(n1=[{"name": "eth0"}])
    document["metadata"]["managedFields"] = [
        {"manager": field_manager("n1"), "operation": "Apply", "fieldsV1": fields},
        {
            "manager": field_manager("n2"),
            "operation": "Apply",
            "fieldsV1": {"f:status": {"f:linkStatus": {"f:n2": {}}}},
        },
    ]
    there = trim.said(document, "n1")
    assert there.ours == {("status", "linkStatus", "n1")}
    assert differs({"apiVersion": GROUP, "kind": "LinkMonitor", "metadata": {"name": "nic"}}, there)


def test_labels_of_a_node_that_we_set_and_that_others_set() -> None:
    ours, others = "network.harvesterhci.io/oob", "network.harvesterhci.io/lab"
    node = document("Node", "n1", metadata={"labels": {ours: "true", others: "true"}})
    node["metadata"]["managedFields"] = [
        {"manager": field_manager("n1"), "fieldsV1": {"f:metadata": {"f:labels": {f"f:{ours}": {}}}}}
    ]
    there = trim.said(node, "whoever reads it")
    wanted = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {ours: "true"}}}
    assert not differs(wanted, there)
    assert differs({**wanted, "metadata": {"name": "n1"}}, there)


def test_a_manager_has_a_name_of_its_own_for_each_node_and_it_is_never_too_long() -> None:
    assert field_manager("n1") == "windrow-agent.n1"
    long = {field_manager("n" * 240 + str(number)) for number in range(3)}
    assert len(long) == 3 and all(len(name) <= 128 for name in long)


def test_what_is_missing_in_a_list_was_not_seen_to_be_deleted() -> None:
    """A server that lost its store has empty lists, and tells of no deletion."""
    cache = full()
    assert cache.listed("ClusterNetwork", set()) and names(cache) == []
    assert not cache.found().deleted
    cache.put(document("ClusterNetwork", "oob"))
    assert cache.drop(Ref("ClusterNetwork", "oob")) and names(cache) == []
    assert cache.found().deleted


def test_what_another_nodes_agent_says_of_it_wakes_nobody() -> None:
    """A thousand nodes that come up are a thousand such labels, and would be a thousand rounds of each of them."""
    cache = full()
    for name in ("n1", "n2"):
        cache.put(document("Node", name, metadata={"labels": {"rack": "r1"}}))
    cache.found()
    said = {"labels": {"rack": "r1", "network.harvesterhci.io/oob": "true"}}
    assert not cache.put(document("Node", "n2", metadata=said))
    found = next(o for o in cache.found().loaded.objects if isinstance(o, Node) and o.name == "n2")
    assert found.meta.labels == said["labels"], "whoever looks next sees it"
    assert cache.put(document("Node", "n1", metadata=said)), "its own is news: uplinks may be chosen by it"
    assert cache.put(document("Node", "n2", metadata={"labels": {**said["labels"], "rack": "r2"}}))


def test_a_large_cluster_is_crowded() -> None:
    cache = full()
    for number in range(MANY_NODES):
        cache.put(document("Node", f"n{number}"))
    assert not cache.crowded
    cache.put(document("Node", "one-more"))
    assert cache.crowded


NAD = "NetworkAttachmentDefinition"


def network(vid: int, **more: Any) -> dict[str, Any]:
    config = f'{{"cniVersion":"0.3.1","type":"bridge","bridge":"oob-br","vlan":{vid}}}'
    return document(NAD, "v", spec={"config": config}, **more)


def test_what_a_tenant_writes_beside_fills_no_memory() -> None:
    """256 KiB of annotations and a mebibyte of configuration are what an API server takes."""
    cache = full()
    beside = {"example.com/a": "x" * 200_000, "network.harvesterhci.io/route": "x" * 50_000}
    many = {f"example.com/{number}": "x" * 60 for number in range(5000)}
    assert cache.put(network(7, metadata={"annotations": beside, "labels": {**many, LABEL_TYPE: "L2VlanNetwork"}}))
    assert cache._entries[trim.ref_of(network(7))].document["metadata"]["labels"] == {LABEL_TYPE: "L2VlanNetwork"}
    assert cache.put({**network(7), "metadata": {"name": "w"}, "spec": {"config": "[" * 1_000_000}})
    assert sum(len(str(entry.document)) for entry in cache._entries.values()) < 100_000
    problems = cache.found().loaded.problems
    assert [p.code for p in problems] == ["json-too-long"], "and not that it is cut"


def paced() -> tuple[Cache, list[float]]:
    """Empty and listed; what is restless waits by this clock."""
    now = [1000.0]
    cache = Cache(restless=Restless(), clock=lambda: now[0])
    for kind in FOLLOWED:
        cache.listed(kind, ())
    return cache, now


def test_who_flips_twice_a_second_flips_no_network() -> None:
    """The newest version comes in time, and what is back where it was never left."""
    cache, now = paced()
    assert cache.put(network(7))
    taken = 0
    for number in range(120):
        now[0] += 0.5
        taken += cache.take_in_held() + cache.put(network(7 + number % 2 + 1))
    assert AT_ONCE <= taken <= AT_ONCE + 60 / EACH_S + 1
    cache.put(network(99))
    assert list(cache.held.values()) and 0 < min(cache.held.values()) <= EACH_S
    now[0] += EACH_S
    assert cache.take_in_held() and not cache.held
    (found,) = (o for o in cache.found().loaded.objects if o.KIND == NAD)
    assert found.doc["spec"] == network(99)["spec"]


def test_who_goes_and_comes_all_the_time_is_no_other() -> None:
    cache, now = paced()
    ref, news = Ref(NAD, "v", ""), 0
    for number in range(60):
        now[0] += 0.5
        document_ = network(7, metadata={"uid": f"u{number}"})
        ref = trim.ref_of(document_)
        news += cache.put(document_) + cache.drop(ref)
    assert news <= AT_ONCE + 60 * 0.5 / EACH_S + 1
    cache.put(network(7, metadata={"uid": "last"}))
    now[0] += EACH_S
    cache.take_in_held()
    assert cache.uid(ref) == "last" and not cache.held
    now[0] += 600
    assert cache.drop(ref) and cache.uid(ref) == "", "a calm one goes at once"


def policy(number: int) -> dict[str, Any]:
    selector = {"podSelector": {"matchLabels": {"app": f"a{number}"}}}
    return document("NetworkPolicy", "db", spec=selector)


def pod(app: str, *addresses: str) -> dict[str, Any]:
    status = {"podIPs": [{"ip": one} for one in addresses]}
    return document("Pod", "web", metadata={"labels": {"app": app}, "namespace": "shop"}, status=status)


def with_policy() -> tuple[Cache, list[float]]:
    """Whom policies select is listed, too; there is one that stays as it is."""
    cache, now = paced()
    for kind in (*POLICIES, *SELECTED):
        cache.listed(kind, ())
    other = policy(0)
    cache.put({**other, "metadata": {**other["metadata"], "name": "other"}})
    return cache, now


@pytest.mark.parametrize("flipping", [policy, lambda number: pod(f"a{number}", "10.52.0.7")], ids=["policy", "label"])
def test_what_decides_who_may_speak_flips_no_rules_either(flipping: Callable[[int], dict[str, Any]]) -> None:
    """Whoever has a namespace writes policies and the labels of pods, and each change is a table of all nodes."""
    cache, now = with_policy()
    taken = 0
    for number in range(120):
        now[0] += 0.5
        taken += cache.take_in_held() + cache.put(flipping(number % 2))
    assert AT_ONCE <= taken <= AT_ONCE + 60 / EACH_S + 1


def test_where_a_pod_is_counts_at_once() -> None:
    """Its address is the next one's when it ends; a kubelet writes both, and no tenant."""
    cache, _ = with_policy()
    for number in range(2 * AT_ONCE):
        assert cache.put(pod("web", f"10.52.0.{number}"))
    for number in range(2 * AT_ONCE):
        cache.put(pod(f"a{number}", "10.52.0.7"))
    ref = trim.ref_of(pod("web"))
    assert ref in cache.held
    assert cache.drop(ref) and ref not in cache.held


def test_labels_that_have_to_wait_keep_no_address_back() -> None:
    """Whoever flips a pod's labels would have its end and its next address unknown for ten seconds."""
    cache, now = with_policy()
    for number in range(2 * AT_ONCE):
        cache.put(pod(f"a{number}", "10.52.0.7"))
    assert cache.put(pod("last", "10.52.0.8"))

    def seen() -> tuple[str, tuple[str, ...]]:
        (found,) = (obj for obj in cache.found().loaded.objects if isinstance(obj, Pod))
        return found.meta.labels["app"], found.addresses

    assert seen() == (f"a{AT_ONCE - 1}", ("10.52.0.8",)) and cache.held
    assert not cache.put(pod("very last", "10.52.0.8"))
    now[0] += EACH_S
    assert cache.take_in_held() and seen() == ("very last", ("10.52.0.8",)) and not cache.held
    bare = pod("", "10.52.0.8")
    del bare["metadata"]["labels"]
    now[0] += EACH_S
    assert cache.put(bare) and [cache.put(pod(str(number), "10.52.0.8")) for number in range(3)] == [False] * 3


def test_of_what_is_followed_no_more_nothing_waits() -> None:
    cache, now = with_policy()
    for number in range(2 * AT_ONCE):
        cache.drop(trim.ref_of(pod("web")))
        cache.put(pod(f"a{number}", "10.52.0.7"))
    assert cache.held and cache.one(trim.ref_of(pod("web"))) is None
    cache.unfollowed(SELECTED)
    now[0] += EACH_S
    assert not cache.take_in_held() and cache.one(trim.ref_of(pod("web"))) is None


def test_what_a_manager_writes_into_an_uplink_is_no_flip() -> None:
    """With each node that comes it has other `matched-nodes`."""
    cache, _ = paced()
    spec = {"clusterNetwork": "oob", "uplink": {"nics": ["eth1"]}}
    for number in range(3 * AT_ONCE):
        assert cache.put(document("VlanConfig", "oob", spec=spec, metadata={"annotations": {"a": str(number)}}))
    other = [cache.put(document("VlanConfig", "oob", spec={**spec, "description": str(n)})) for n in range(3 * AT_ONCE)]
    assert sum(other) == AT_ONCE - 1 and cache.held, "the first one was one of them"


def test_what_waits_is_never_older_than_what_is_known() -> None:
    """An uplink that flips, and is back with a manager's annotation: that counts at once, and no older spec later."""
    cache, now = paced()
    spec = {"clusterNetwork": "oob", "uplink": {"nics": ["eth1"]}}
    for number in range(AT_ONCE + 1):
        cache.put(document("VlanConfig", "oob", spec={**spec, "description": str(number)}))
    assert cache.held
    last = {**spec, "description": str(AT_ONCE - 1)}
    assert cache.put(document("VlanConfig", "oob", spec=last, metadata={"annotations": {"a": "b"}}))
    assert not cache.held
    now[0] += EACH_S
    assert not cache.take_in_held()
    (found,) = (obj for obj in cache.found().loaded.objects if obj.KIND == "VlanConfig")
    assert found.doc["spec"] == last and found.meta.annotations == {"a": "b"}


def test_who_is_restless_is_so_until_it_has_been_calm() -> None:
    """It is told once, and not each time that one of its changes waits."""
    cache, now = paced()
    ref = trim.ref_of(network(7))
    for number in range(2 * AT_ONCE):
        cache.put(network(number))
    assert cache.held and not cache.is_calm(ref)
    now[0] += EACH_S
    assert cache.take_in_held() and not cache.held and not cache.is_calm(ref)
    now[0] += AT_ONCE * EACH_S
    assert cache.is_calm(ref)


def test_who_is_calm_is_forgotten_and_thousands_at_once_are_no_work() -> None:
    restless = Restless()
    for number in range(20_000):
        restless.taken(Ref(NAD, f"v{number}"), 1000.0)
    assert len(restless._purses) == 20_000
    for number in range(20_001):
        restless.taken(Ref(NAD, f"w{number}"), 2000.0)
    assert len(restless._purses) == 20_001


def test_what_thousands_of_networks_say_alike_is_there_once() -> None:
    """A sixth of the memory of an agent with 5,000 of them."""
    read = [json.loads(json.dumps(network(7, metadata={"labels": {LABEL_TYPE: "L2VlanNetwork"}}))) for _ in "ab"]
    one, other = (trim.bounded(trim.wanted(document_))["metadata"]["labels"] for document_ in read)
    assert read[0]["metadata"]["labels"][LABEL_TYPE] is not read[1]["metadata"]["labels"][LABEL_TYPE]
    assert one[LABEL_TYPE] is other[LABEL_TYPE]


def test_an_annotation_that_is_too_long_is_told_so() -> None:
    """What is kept of it was just as long as it may be: it was told to be no JSON, which it is."""
    text = json.dumps({"mode": "auto", "comment": "x" * 5000})
    kept = trim.bounded(trim.wanted(network(7, metadata={"annotations": {ANNOTATION_ROUTE: text}})))
    with pytest.raises(ValueError, match="has more than 4096 characters"):
        Layer3.parse(kept["metadata"]["annotations"][ANNOTATION_ROUTE])


@pytest.mark.parametrize("kind", ["Pod", "Namespace"])
def test_labels_of_a_pod_fill_no_memory(kind: str) -> None:
    """And a part of them is none: whoever writes more labels would say which policies are about the pod."""
    labels = {f"k{number:05}": "v" * 60 for number in range(20_000)}
    document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "b", "labels": labels}}
    kept = trim.bounded(trim.wanted(document))
    assert len(kept["metadata"]["labels"]) < 300
    loaded = load_value(kept)
    assert [p.code for p in loaded.problems] == ["labels-too-long"] and not loaded.objects and loaded.unread
    few = {**document, "metadata": {**document["metadata"], "labels": {"app": "db"}}}
    assert load_value(trim.bounded(trim.wanted(few))).objects[0].meta.labels == {"app": "db"}


def test_thousands_of_short_labels_are_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write pods would have every node of the cluster count them for a second, again and again."""
    labels = {f"{number:x}": "" for number in range(50_000)}
    looked, length_of = list[int](), trim.length_of
    monkeypatch.setattr(trim, "length_of", lambda some: looked.append(len(some)) or length_of(some))
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b", "labels": labels}}
    trim.bounded(trim.wanted(document))
    assert len(labels) <= sum(looked) <= 2 * len(labels)
