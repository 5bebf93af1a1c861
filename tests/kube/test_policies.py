"""Network policies from a cluster: whom they select is followed where there is one; a change is a rule in a moment."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster import OOB, Agent, Api, account, agent, document, followed, wait

from windrow.kube import mirror
from windrow.kube.access import Access
from windrow.kube.api import MERGE
from windrow.kube.restless import AT_ONCE, EACH_S
from windrow.model.ports import PortRecord
from windrow.model.ruletable import RuleTable
from windrow.model.values import IfName, Mac
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.store.ports import PortRecords

SHOP = "/api/v1/namespaces/shop"
PODS = f"{SHOP}/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
MOMENT_S = 5.0
"""Of a change at the API server until a node's rules are so, on a machine that does other things too."""


def policy(name: str = "db", **spec: Any) -> dict[str, Any]:
    from_web = [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]
    selected = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": from_web, **spec}
    version = "networking.k8s.io/v1"
    return {"apiVersion": version, "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": selected}


def pod(name: str, app: str) -> dict[str, Any]:
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "c"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec}


class Shop:
    """A namespace of a cluster, and what users and kubelets do in it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        plane.request("POST", "/api/v1/namespaces", document("Namespace", "shop") | {"apiVersion": "v1"})

    def runs(self, name: str, app: str, *addresses: str) -> None:
        self.plane.request("POST", PODS, pod(name, app))
        if addresses:
            self.status(name, podIP=addresses[0], podIPs=[{"ip": one} for one in addresses], phase="Running")

    def status(self, name: str, **fields: Any) -> None:
        self.plane.request("PATCH", f"{PODS}/{name}/status", {"status": fields}, kind=MERGE)

    def label(self, name: str, app: str) -> None:
        self.plane.request("PATCH", f"{PODS}/{name}", {"metadata": {"labels": {"app": app}}}, kind=MERGE)

    def ends(self, name: str) -> None:
        """At once, as when its kubelet has seen it end."""
        self.plane.request("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")

    def apply(self, made: dict[str, Any]) -> None:
        self.plane.request("POST", POLICIES, made)

    def delete(self, name: str) -> None:
        self.plane.request("DELETE", f"{POLICIES}/{name}")

    def watched(self) -> int:
        """How many follow pods now, as the API server counts them; it is one of them itself."""
        pattern = r'^apiserver_longrunning_requests\{[^}]*resource="pods"[^}]*\} (\d+)'
        return sum(map(int, re.findall(pattern, self.plane.text("/metrics"), re.MULTILINE)))


@pytest.fixture
def shop(new_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(mirror, "LINGER_S", 0.5)
    Api(new_plane).make(document("Node", "n1"), *OOB)
    return Shop(new_plane)


def test_pods_are_followed_for_as_long_as_there_is_a_policy(shop: Shop) -> None:
    shop.runs("web", "web", "10.52.0.7")
    nobody = shop.watched()
    with followed(shop.plane) as seen:
        seen.there("ClusterNetwork", "oob")
        assert seen.names("Pod") == [] and shop.watched() == nobody
        shop.apply(policy())
        seen.there("NetworkPolicy", "db")
        assert seen.names("Pod") == ["web"] and "shop" in seen.names("Namespace"), "both at once, or a rule is wrong"
        wait(lambda: shop.watched() == nobody + 1)
        shop.runs("job", "web", "10.52.0.8")
        seen.there("Pod", "job", "web")
        shop.status("job", phase="Succeeded")
        seen.there("Pod", "web")
        shop.delete("db")
        seen.there("NetworkPolicy")
        wait(lambda: seen.names("Pod") == [] and shop.watched() == nobody, seen.said)
        shop.apply(policy("again"))
        seen.there("Pod", "web")
        assert seen.troubles == []


# A node -------------------------------------------------------------------------------------------


@pytest.fixture
def node(shop: Shop, tmp_path: Path) -> Iterator[Agent]:
    """On which the pod `db` of the namespace `shop` has a port."""
    with agent(tmp_path, shop.plane) as found:
        port = PortRecord(
            container_id="c1",
            ifname="eth0",
            netns="/run/netns/c1",
            network="windrow-pods",
            bridge=IfName("oob-br"),
            host=IfName("veth1"),
            mac=Mac("02:00:00:00:00:01"),
            pod="shop/db",
        )
        PortRecords(found.paths).put(port)
        found.kernel.add_nic("veth1", up=True)
        yield found


def members(host: Agent, kind: str = "pods-") -> set[str]:
    table = host.kernel.policy_table
    return {member for name, one in table.sets.items() if name.startswith(kind) for member in one.members}


def closed(host: Agent) -> bool:
    return any("veth1" in port for port, _ in host.kernel.policy_table.guarded)


def test_a_change_of_a_label_or_of_a_pod_is_in_the_rules_in_a_moment(shop: Shop, node: Agent) -> None:
    shop.runs("db", "db", "10.52.0.2")
    shop.runs("web", "web", "10.52.1.7", "fd00::7")
    wait(lambda: "oob-br" in node.links(), node.said)
    assert node.kernel.policy_table == RuleTable()
    shop.apply(policy())
    wait(lambda: closed(node) and members(node) == {"10.52.1.7", "fd00::7"}, node.said, MOMENT_S)
    for change, expected in (
        (lambda: shop.runs("more", "web", "10.52.2.9"), {"10.52.1.7", "fd00::7", "10.52.2.9"}),
        (lambda: shop.label("web", "other"), {"10.52.2.9"}),
        (lambda: shop.ends("more"), set()),
    ):
        change()
        took = wait(lambda expected=expected: members(node) == expected, lambda: f"{members(node)}", MOMENT_S)
        print(f"{took:.2f} s until the rules have {sorted(expected)}")
    shop.label("db", "other")
    wait(lambda: not closed(node), node.said, MOMENT_S)
    shop.label("db", "db")
    wait(lambda: closed(node), node.said, MOMENT_S)
    shop.delete("db")
    wait(lambda: node.kernel.policy_table == RuleTable(), node.said, MOMENT_S)


def test_without_the_api_the_rules_stand_and_so_they_do_for_an_agent_that_begins_then(shop: Shop, node: Agent) -> None:
    shop.runs("db", "db", "10.52.0.2")
    shop.runs("web", "web", "10.52.1.7")
    shop.apply(policy())
    wait(lambda: closed(node) and members(node) == {"10.52.1.7"}, node.said)
    whole = node.kernel.policy_table
    shop.plane.stop_server()
    wait(lambda: node.connection.trouble, node.said)
    assert node.kernel.policy_table == whole
    node.stop()
    node.kernel.policy_table = RuleTable()
    node.start()
    wait(lambda: node.kernel.policy_table == whole, node.said)
    shop.plane.start()
    wait(lambda: not node.connection.trouble, node.said)
    shop.label("web", "other")
    wait(lambda: members(node) == set() and closed(node), node.said)
    assert node.kernel.policy_table.guarded == whole.guarded


def test_an_account_that_may_not_read_pods_opens_nothing_and_says_so(shop: Shop) -> None:
    """A policy of which nobody knows whom it selects changes nothing; nor does it go unsaid."""
    rights = {
        "": ["nodes"],
        "network.harvesterhci.io": ["*"],
        "networking.k8s.io": ["networkpolicies"],
        "k8s.cni.cncf.io": ["*"],
    }
    config = account(shop.plane, "half", rights)
    with followed(shop.plane, Access(kubeconfig=str(config))) as seen:
        seen.there("ClusterNetwork", "oob")
        before = seen.mirror.found()
        shop.apply(policy())
        wait(lambda: "pods" in seen.mirror.cache.trouble and "[403]" in seen.mirror.cache.trouble, seen.said)
        assert seen.mirror.found() is before
        shop.delete("db")
        wait(lambda: not seen.mirror.cache.trouble, seen.said)


@pytest.mark.parametrize("what", ["label", "policy"])
def test_what_flips_twice_a_second_flips_the_rules_as_good_as_never(shop: Shop, node: Agent, what: str) -> None:
    """Six times at once, then each ten seconds; what holds last comes."""
    shop.runs("db", "db", "10.52.0.2")
    shop.runs("web", "web", "10.52.1.7")
    shop.apply(policy())
    wait(lambda: members(node) == {"10.52.1.7"}, node.said)

    def flip(on: bool) -> None:
        if what == "label":
            shop.label("web", "web" if on else "other")
        else:
            chosen = {"matchLabels": {"app": "web" if on else "other"}}
            spec = {"ingress": [{"from": [{"podSelector": chosen}]}]}
            shop.plane.request("PATCH", f"{POLICIES}/db", {"spec": spec}, kind=MERGE)

    changes, before, began = 0, members(node), time.monotonic()
    for count in range(2 * AT_ONCE + 2):
        flip(on=count % 2 == 1)
        for _ in range(20):
            now = members(node)
            changes, before = changes + (now != before), now
            time.sleep(0.02)
    assert 0 < changes <= AT_ONCE + 1 + (time.monotonic() - began) / EACH_S
    flip(on=False)
    wait(lambda: members(node) == set(), node.said)
    assert "changes again and again" in node.said()
