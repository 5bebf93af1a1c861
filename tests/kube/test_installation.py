"""The chart: what it renders, whether a server takes it, and that its accounts may do what is used and no more."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kube.cluster import CONFIGS, MACHINES, POOLS, Api, agent, document, free_port, nad, uplink, wait
from tests.kube.installed import (
    ACCOUNTS,
    AUDIT_POLICY,
    NAMESPACE,
    POLICIES,
    ROOT,
    collection,
    definitions,
    denied,
    granted,
    helm,
    namespace,
    refusal,
    rendered,
    store,
    token,
    used,
)
from tests.kube.test_manager import status
from tests.unit.admissioncases import overlay, subnet, vm, vmi, vpc
from tests.unit.test_manager_pools import machine, pool

from windrow.apps.manager.serve import Manager
from windrow.apps.manager.serve import Settings as ManagerSettings
from windrow.apps.webhook.configurations import Address
from windrow.apps.webhook.serve import Settings, Webhook
from windrow.kube.access import Access
from windrow.kube.api import APPLY, MERGE
from windrow.model import names
from windrow.model.overlay import BACKEND, FAMILIES, SUBNET_MANAGER
from windrow.rules.terms import HARVESTER_CONTROLLER, Terms
from windrow.services.kubernetes import parts
from windrow.services.kubernetes.controlplane import ControlPlane

GROUP = "/apis/network.harvesterhci.io/v1beta1"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WITH_POOLS = ("--set=manager.pools=true", "--set=agent.pools=true")
ALL_ON = (
    "--set=metrics.enabled=true",
    "--set=networkPolicy.enabled=true",
    "--set=webhook.hostNetwork=true",
    "--set=webhook.relaxed=true",
    "--set=webhook.controllers={a}",
    "--set=apiServer.host=192.0.2.1",
    "--set=handover.enabled=true",
    *WITH_POOLS,
    "--set=agent.extraArgs={--check=5m}",
    "--set=imagePullSecrets[0].name=x",
)


def other_kind(group: str, version: str, kind: str, plural: str, *, namespaced: bool = True) -> dict[str, Any]:
    """One of others' kinds, of which no more is needed than that it is there."""
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": ANYTHING}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [served],
        },
    }


OTHERS = (
    other_kind("kubevirt.io", "v1", "VirtualMachine", "virtualmachines"),
    other_kind("kubevirt.io", "v1", "VirtualMachineInstance", "virtualmachineinstances"),
    other_kind("kubeovn.io", "v1", "Subnet", "subnets", namespaced=False),
    other_kind("kubeovn.io", "v1", "Vpc", "vpcs", namespaced=False),
    other_kind("k8s.cni.cncf.io", "v1beta1", "MultiNetworkPolicy", "multi-networkpolicies"),
)
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed"},
    "spec": {"podSelector": {}},
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "log"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[ControlPlane]:
    """A server that writes down who does what, with what the chart makes but for its pods."""
    policy = log.with_name("policy.yaml")
    policy.write_text(yaml.safe_dump(AUDIT_POLICY))
    options = (f"--audit-log-path={log}", f"--audit-policy-file={policy}")
    with ControlPlane(tmp_path_factory.mktemp("installed"), print, options) as plane:
        namespace(plane)
        documents = rendered(*WITH_POOLS)
        definitions(plane, (*documents, *OTHERS))
        store(plane, (one for one in documents if one["kind"] in (*ACCOUNTS, *POLICIES)))
        Api(plane).make(document("Node", "n1"), document("Node", "n2"))
        policy_path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/windrow-agent"
        said = plane.request("GET", policy_path)
        assert "expressionWarnings" not in json.dumps(said.get("status", {})), said["status"]
        yield plane


# What is rendered --------------------------------------------------------------------------------


def test_the_manifests_are_what_the_chart_renders() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "manifests", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubectl_takes_the_manifests_as_they_are() -> None:
    kubectl = parts.build(["kubectl"], print)["kubectl"]
    done = subprocess.run(
        [kubectl, "kustomize", ROOT / "deploy" / "manifests"], capture_output=True, text=True, check=True
    )
    found = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] != "Namespace"]
    assert sorted(found, key=_name) == sorted(rendered(), key=_name)


def _name(one: dict[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set=agnet.port=9441",), "agnet"),
        (("--set=agent.port=70000",), "port"),
        (("--set=manager.replicas=0",), "replicas"),
        (("--set=manager.pools=maybe",), "pools"),
        (("--set=agent.pools=maybe",), "pools"),
        (("--set=image.digest=sha256:12",), "digest"),
        (("--set=webhook.relaxed=maybe",), "relaxed"),
    ],
)
def test_values_that_are_none_are_refused(words: tuple[str, ...], said: str) -> None:
    done = helm(*words)
    assert done.returncode != 0 and said in done.stderr


@pytest.mark.parametrize("words", [(), ALL_ON], ids=["default", "all"])
def test_a_server_takes_all_of_it(installed: ControlPlane, words: tuple[str, ...]) -> None:
    """Strictly, as `kubectl apply --dry-run=server --validate=strict` asks it."""
    for one in rendered(*words):
        path = collection(installed, one)
        there = not refusal(installed, "GET", f"{path}/{one['metadata']['name']}")
        query = "?dryRun=All&fieldValidation=Strict&fieldManager=test&force=true"
        said = refusal(installed, "PATCH", f"{path}/{one['metadata']['name']}{query}", one, kind=APPLY)
        assert not said, f"{one['kind']} {one['metadata']['name']} ({there=}): {said}"


def test_an_agent_is_confined_and_goes_one_by_one() -> None:
    (found,) = (one for one in rendered() if one["kind"] == "DaemonSet")
    spec = found["spec"]
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    pod = spec["template"]["spec"]
    security = pod["containers"][0]["securityContext"]
    assert security["privileged"] is False and security["capabilities"]["drop"] == ["ALL"]
    assert "lifecycle" not in pod["containers"][0], "nothing is torn down at its end"
    probes = [pod["containers"][0][f"{what}Probe"]["httpGet"]["path"] for what in ("startup", "readiness", "liveness")]
    assert set(probes) == {"/status"}, "/healthz says no where a NIC is broken, and a new start mends none"
    kinds = {one["kind"] for one in rendered()}
    assert not kinds & {"ServiceMonitor", "NetworkPolicy", "Secret"}


def test_an_agent_may_read_pools_where_it_serves_them() -> None:
    for words, wanted in ((), False), (WITH_POOLS, True):
        (found,) = (one for one in rendered(*words) if _name(one) == ("DaemonSet", "windrow-agent"))
        assert ("--pools" in found["spec"]["template"]["spec"]["containers"][0]["args"]) is wanted
    more = granted(rendered(*WITH_POOLS), "agent") - granted(rendered(), "agent")
    assert more == {("network.harvesterhci.io", "ippools", verb) for verb in ("list", "watch")}


def test_a_manager_has_the_rights_for_pools_where_it_gives_their_addresses() -> None:
    """And none of them otherwise."""
    for words, wanted in ((), False), (WITH_POOLS, True):
        (found,) = (one for one in rendered(*words) if _name(one) == ("Deployment", "windrow-manager"))
        assert ("--pools" in found["spec"]["template"]["spec"]["containers"][0]["args"]) is wanted
    more = granted(rendered(*WITH_POOLS), "manager") - granted(rendered(), "manager")
    about = {resource.partition("/")[0] for _, resource, _ in more}
    assert about == {"ippools", "virtualmachinenetworkconfigs", "virtualmachines"}


@pytest.mark.parametrize(
    ("words", "gone"),
    [((), 0), (("--set=webhook.replicas=1",), 0), (("--set=webhook.hostNetwork=true",), 1)],
    ids=["default", "one", "hosts"],
)
def test_a_webhook_goes_when_another_one_answers(words: tuple[str, ...], gone: int) -> None:
    """On the hosts' network its port is free only when it has gone."""
    of = {
        one["kind"]: one["spec"]
        for one in rendered(*words)
        if one["metadata"]["name"] == "windrow-webhook" and "spec" in one
    }
    assert of["Deployment"]["strategy"]["rollingUpdate"] == {"maxUnavailable": gone, "maxSurge": 1}
    pod, budget = of["Deployment"]["template"], of["PodDisruptionBudget"]
    assert (
        budget["maxUnavailable"] == 1 and budget["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    )
    lingers = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < lingers < pod["spec"]["terminationGracePeriodSeconds"]


def test_what_is_made_on_request() -> None:
    wish = ("--set=metrics.enabled=true", "--set=metrics.serviceMonitor.enabled=true")
    assert "ServiceMonitor" in {one["kind"] for one in rendered(*wish)}
    without = {
        one["metadata"]["name"] for one in rendered("--set=manager.enabled=false", "--set=webhook.enabled=false")
    }
    assert not without & {"windrow-manager", "windrow-webhook"}


def test_helm_installs_changes_and_takes_away_all_but_what_is_the_users(tmp_path: Path) -> None:
    """Kinds and objects stay when the release goes, and another one can take over what it finds."""
    with ControlPlane(tmp_path / "plane", print) as plane:
        config = str(plane.kubeconfig())

        def run(*words: str) -> None:
            command = [parts.build(["helm"], print)["helm"], *words, "--namespace", NAMESPACE, "--kubeconfig", config]
            environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, done.stderr

        agents = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/windrow-agent"
        chart = str(ROOT / "deploy" / "chart")
        run("install", "windrow", chart, "--create-namespace")
        plane.wait_for(f"{GROUP}/clusternetworks")
        Api(plane).make(document("ClusterNetwork", "kept"))
        run("upgrade", "windrow", chart, "--set=agent.port=9555", "--set=manager.enabled=false")
        spec = plane.request("GET", agents)["spec"]["template"]["spec"]
        assert "--listen=127.0.0.1:9555" in spec["containers"][0]["args"]
        assert "not found" in refusal(plane, "GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/windrow-manager")
        run("uninstall", "windrow")
        assert "not found" in refusal(plane, "GET", agents)
        assert Api(plane).get("ClusterNetwork", "kept") is not None
        run("install", "windrow", chart)


# What its accounts may do ------------------------------------------------------------------------


HOST = {"clusterNetwork": "oob", "vlanID": 300, "mode": "static", "ips": {"n1": "10.30.0.11/24"}}


def access(plane: ControlPlane, part: str, node: str = "") -> Access:
    return Access(kubeconfig=str(plane.kubeconfig(token(plane, part, node), f"{part}{node}")))


def told(cluster: Api, kind: str, name: str, field: str) -> object:
    return (cluster.get(kind, name) or {}).get("status", {}).get(field)


def exactly(log: Path, part: str) -> None:
    may, did = granted(rendered(*WITH_POOLS), part), used(log, part)
    assert (may - did, did - may - {("", "", "get")}, denied(log, part)) == (set(), set(), set())


def test_an_agent_uses_all_that_it_may(installed: ControlPlane, log: Path, tmp_path: Path) -> None:
    cluster = Api(installed)
    monitor = document("LinkMonitor", "nic", {"targetLinkRule": {"typeRule": "device", "nameRule": ""}})
    host = document("HostNetworkConfig", "storage", {**HOST, "nodeSelector": {"matchLabels": {"rack": "a"}}})
    cluster.merge("Node", "n1", {"metadata": {"labels": {"rack": "a"}}})
    cluster.make(document("ClusterNetwork", "oob"), uplink(nodeSelector={}), nad("v100", 100), monitor, host)
    installed.request("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", POLICY)
    with agent(tmp_path, installed, access=access(installed, "agent", "n1"), pools=True) as found:
        wait(lambda: cluster.list("VlanStatus"), found.said)
        wait(
            lambda: (cluster.get("HostNetworkConfig", "storage") or {}).get("status", {}).get("nodeStatus"), found.said
        )
        wait(lambda: (cluster.get("LinkMonitor", "nic") or {}).get("status", {}).get("linkStatus"), found.said)
        wait(lambda: installed.request("GET", "/api/v1/events")["items"], found.said)
        cluster.delete("HostNetworkConfig", "storage")
        cluster.delete("VlanConfig", "oob")
        wait(lambda: not cluster.list("VlanStatus"), found.said)
    exactly(log, "agent")


def with_pool(plane: ControlPlane) -> None:
    """A network with a pool, and a machine in it."""
    Api(plane).make(nad("web", 101, "dmz"))
    plane.request("POST", POOLS, pool())
    plane.request("POST", MACHINES, machine("pooled", "02:00:00:00:00:01"))


def test_a_manager_uses_all_that_it_may(installed: ControlPlane, log: Path) -> None:
    cluster, said = Api(installed), list[str]()
    settings = ManagerSettings(
        lease=(NAMESPACE, "windrow-manager"), identity="one", pools=True, gone_s=0.3, overdue_s=0.3, clash_s=0.1
    )
    manager = Manager(access(installed, "manager"), settings, said.append)
    thread = threading.Thread(target=manager.run, daemon=True)
    thread.start()

    def words() -> str:
        return "\n".join(said)

    held = "wrangler.cattle.io/harvester-network-"
    try:
        wait(lambda: manager.leads, words)
        cluster.make(document("ClusterNetwork", "dmz"), uplink("dmz", "dmz"), uplink("mgmt-vlanconfig-n9", "mgmt"))
        cluster.make(status("dmz", "n1"), status("dmz", "n9"), nad("d100", 100, "dmz"))
        cluster.make(*(document("HostNetworkConfig", name, {**HOST, "clusterNetwork": "dmz"}) for name in "ab"))
        cluster.merge("HostNetworkConfig", "a", {"status": {"nodeStatus": {"n9": {}}}}, "/status")
        cluster.merge("HostNetworkConfig", "a", {"spec": {"nodeSelector": {"matchLabels": {"x": "y"}}}})
        cluster.merge("Node", "n1", {"metadata": {"labels": {"x": "y"}}})
        wait(lambda: cluster.get("LinkMonitor", "dmz"), words)
        wait(lambda: installed.request("GET", "/api/v1/events?fieldSelector=reason=Conflicting")["items"], words)
        cluster.merge("LinkMonitor", "dmz", {"status": {"linkStatus": {"n9": []}}})
        wait(lambda: cluster.get("VlanConfig", "mgmt-vlanconfig-n9") is None, words)
        for kind, name in (("Node", "n2"), ("VlanStatus", "dmz-n1")):
            cluster.merge(kind, name, {"metadata": {"finalizers": [f"{held}x"]}})
            cluster.delete(kind, name)
            wait(lambda kind=kind, name=name: cluster.get(kind, name) is None, words)
        with_pool(installed)
        wait(lambda: "True" in str(installed.request("GET", CONFIGS)["items"]), words)
        installed.request("DELETE", f"{MACHINES}/pooled")
        cluster.delete("VlanConfig", "dmz")
        cluster.delete("ClusterNetwork", "dmz")
        wait(lambda: cluster.get("LinkMonitor", "dmz") is None, words)
    finally:
        manager.stop()
        thread.join(30)
    exactly(log, "manager")


def test_a_webhook_uses_all_that_it_may(installed: ControlPlane, log: Path) -> None:
    cluster, said = Api(installed), list[str]()
    port = free_port()
    settings = Settings(
        address=Address(url=f"https://127.0.0.1:{port}"),
        listen=("127.0.0.1", port),
        secret=(NAMESPACE, "windrow-network-webhook"),
        terms=Terms(served=True, controllers=frozenset({HARVESTER_CONTROLLER})),
        again_s=0.3,
    )
    webhook = Webhook(access(installed, "webhook"), settings, said.append)
    thread = threading.Thread(target=webhook.run, daemon=True)

    def words() -> str:
        return "\n".join(said)

    nads, hosts, configs = NADS, f"{GROUP}/hostnetworkconfigs", f"{GROUP}/vlanconfigs"
    subnets = "/apis/kubeovn.io/v1/subnets"
    cluster.make(document("ClusterNetwork", "web"), uplink("web", "web"), status("web", "n1", ready=False))
    cluster.make(nad("w100", 100, "web"), document("HostNetworkConfig", "w", {**HOST, "clusterNetwork": "web"}))
    for one in (vm("m", "w100"), vmi("m", "w100", on="n1"), overlay(), vpc(), subnet(vpc="blue")):
        installed.request("POST", collection(installed, one), one)
    thread.start()
    try:
        wait(webhook.ready.is_set, words)
        wait(lambda: "denied" in refusal(installed, "POST", f"{nads}?dryRun=All", nad("x", 1, "nowhere")), words)
        for method, path, body in (
            ("DELETE", f"{GROUP}/clusternetworks/web", None),
            ("DELETE", f"{nads}/w100", None),
            ("POST", hosts, document("HostNetworkConfig", "v", {**HOST, "clusterNetwork": "web"})),
            ("POST", configs, uplink("v", "web")),
            ("POST", subnets, subnet("t", vpc="red")),
        ):
            assert "denied" in refusal(installed, method, path, body), (method, path)
        secret = f"/api/v1/namespaces/{NAMESPACE}/secrets/windrow-network-webhook"
        old = installed.request("GET", secret)["data"]["tls.crt"]
        other = {"metadata": {"annotations": {"windrow.io/hosts": "elsewhere"}}}
        installed.request("PATCH", secret, other, kind=MERGE)
        wait(lambda: installed.request("GET", secret)["data"]["tls.crt"] != old, words)
    finally:
        webhook.stop()
        thread.join(30)
    for kind in ("validating", "mutating"):
        path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/windrow-network-webhook"
        installed.request("DELETE", path)
    exactly(log, "webhook")


# A token that was taken from a node --------------------------------------------------------------


NADS = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions"
EVENTS = "/api/v1/namespaces/default/events"
MANAGED = "?fieldManager=thief&force=true"


def vlan_status(node: str, name: str = "") -> dict[str, Any]:
    return {**status("oob", node), "metadata": {"name": name or names.vlan_status_name("oob", node)}}


def event(host: str) -> dict[str, Any]:
    about = {"kind": "Node", "name": host}
    made = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"e.{host}"}, "involvedObject": about}
    return {**made, "reason": "X", "message": "x", "source": {"component": "windrow", "host": host}}


@pytest.fixture(scope="module")
def thief(installed: ControlPlane) -> ControlPlane:
    """Who has the token of the agent on node `here`, beside what is of node `there`."""
    cluster = Api(installed)
    cluster.make(document("Node", "here"), document("Node", "there"), document("ClusterNetwork", "loot"))
    monitor = document("LinkMonitor", "loot", {"targetLinkRule": {"typeRule": "device"}})
    monitor["metadata"]["finalizers"] = ["example.com/before"]
    cluster.make(monitor, document("HostNetworkConfig", "loot", {**HOST, "clusterNetwork": "loot", "mode": "dhcp"}))
    cluster.merge("LinkMonitor", "loot", {"status": {"linkStatus": {"there": [{"name": "eth0"}]}}})
    cluster.merge("HostNetworkConfig", "loot", {"status": {"nodeStatus": {"there": {"mode": "dhcp"}}}}, "/status")
    cluster.make(vlan_status("there", "theirs"))
    installed.request("POST", EVENTS, event("there"))
    return installed.seen_by(token(installed, "agent", "here"))


def links(**nodes: Any) -> dict[str, Any]:
    return {"status": {"linkStatus": nodes}}


ENDS = {SUBNET_MANAGER: "true", BACKEND: "vxlan"} | {
    k: "x" for family in FAMILIES for k in (family.data, family.address)
}
"""All that an agent says of the overlay's end on its Node."""
MINE = [
    ("PATCH", f"{GROUP}/vlanstatuses/mine{MANAGED}", vlan_status("here", "mine"), APPLY),
    ("PATCH", f"{GROUP}/linkmonitors/loot", links(here=[{"name": "eth1"}]), ""),
    ("PATCH", f"{GROUP}/hostnetworkconfigs/loot/status", {"status": {"nodeStatus": {"here": {"mode": "dhcp"}}}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"labels": {"network.harvesterhci.io/oob": "true"}}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"annotations": ENDS}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"annotations": {names.ANNOTATION_ROUTES_HEARD: "{}"}}}, ""),
    ("PATCH", f"{EVENTS}/e.here{MANAGED}", event("here"), APPLY),
    ("DELETE", f"{GROUP}/vlanstatuses/mine", None, ""),
]
THEIRS = [
    ("PATCH", f"{GROUP}/vlanstatuses/forged{MANAGED}", vlan_status("there", "forged"), APPLY),
    ("PATCH", f"{GROUP}/vlanstatuses/theirs", {"status": {"node": "here"}}, ""),
    ("PATCH", f"{GROUP}/vlanstatuses/theirs", {"metadata": {"labels": {"a": "b"}}}, ""),
    ("DELETE", f"{GROUP}/vlanstatuses/theirs", None, ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", links(there=[]), ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", links(there=None), ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", {"status": None}, ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", links(elsewhere=[]), ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", {"spec": {"targetLinkRule": {"nameRule": "x"}}}, ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", {"spec": None}, ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", {"metadata": {"labels": {"a": "b"}}}, ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", {"metadata": {"finalizers": ["example.com/before", "example.com/x"]}}, ""),
    ("PATCH", f"{GROUP}/linkmonitors/loot", {"metadata": {"finalizers": None}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"finalizers": ["example.com/x"]}}, ""),
    ("PATCH", f"{GROUP}/hostnetworkconfigs/loot/status", {"status": {"nodeStatus": {"there": {"mode": "x"}}}}, ""),
    ("PATCH", f"{GROUP}/hostnetworkconfigs/loot", {"spec": {"mode": "static"}}, ""),
    ("PATCH", "/api/v1/nodes/there", {"metadata": {"labels": {"network.harvesterhci.io/oob": "true"}}}, ""),
    ("PATCH", "/api/v1/nodes/there", {"metadata": {"annotations": ENDS}}, ""),
    ("PATCH", "/api/v1/nodes/there", {"metadata": {"annotations": {names.ANNOTATION_ROUTES_HEARD: "{}"}}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"annotations": {FAMILIES[0].overwrite: "10.0.0.9"}}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"metadata": {"annotations": {"a": "b"}}}, ""),
    ("PATCH", "/api/v1/nodes/here", {"spec": {"unschedulable": True}}, ""),
    ("PATCH", f"{EVENTS}/forged{MANAGED}", {**event("there"), "metadata": {"name": "forged"}}, APPLY),
    ("PATCH", f"{EVENTS}/e.there", {"source": {"host": "here"}}, ""),
    ("POST", f"{GROUP}/clusternetworks", document("ClusterNetwork", "x"), ""),
    ("PATCH", f"{GROUP}/clusternetworks/loot", {"metadata": {"labels": {"a": "b"}}}, ""),
    ("DELETE", "/api/v1/nodes/there", None, ""),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets", None, ""),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"), THEIRS, ids=[f"{m}-{p.partition('?')[0]}-{b}" for m, p, b, _ in THEIRS]
)
def test_a_stolen_token_writes_nothing_of_others(
    thief: ControlPlane, method: str, path: str, body: dict[str, Any] | None, kind: str
) -> None:
    said = refusal(thief, method, path, body, kind=kind or MERGE)
    assert "ValidatingAdmissionPolicy 'windrow-agent'" in said or "cannot" in said, said


def test_it_writes_what_is_of_its_own_node(thief: ControlPlane) -> None:
    for method, path, body, kind in MINE:
        assert not refusal(thief, method, path, body, kind=kind or MERGE), (method, path)


def test_a_token_of_no_node_writes_nothing(installed: ControlPlane, thief: ControlPlane) -> None:
    nobody, mine = installed.seen_by(token(installed, "agent")), vlan_status("here", "mine")
    assert "bound to no node" in refusal(nobody, "PATCH", f"{GROUP}/vlanstatuses/mine{MANAGED}", mine, kind=APPLY)
