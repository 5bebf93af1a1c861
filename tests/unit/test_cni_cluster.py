"""Pods and networks of a cluster's API, on an API that is a dictionary: what is asked, believed and told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni import cluster as module
from windrow.apps.cni import defaultnet, meta, telling
from windrow.apps.cni.cluster import ClusterApi, ClusterCall
from windrow.apps.cni.dispatch import answer
from windrow.apps.cni.host import Host
from windrow.apps.cni.podinfo import CAPABILITY, PodInfo, RuntimeArguments, find_pod
from windrow.apps.cni.telling import Failures, Teller
from windrow.apps.cni.wanted import wanted
from windrow.kube.cache import Cache
from windrow.kube.errors import KubeError
from windrow.model.attachments import Attached, Attachment
from windrow.model.values import Ref
from windrow.model.wire.nad import CONFIG_MAX
from windrow.port.errors import (
    FORBIDDEN,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    MISSING,
    NOT_AVAILABLE,
    TRY_AGAIN,
    UNDECODABLE,
    CniError,
)
from windrow.port.networks import DEFAULT_NETWORK, NETWORK_STATUS, NETWORKS
from windrow.port.request import Request, read_args
from windrow.port.settings import Settings, read_settings
from windrow.store import podstatus, untold
from windrow.store.attachments import AttachmentRecords
from windrow.store.paths import Paths
from windrow.store.untold import Untold

NAD = "NetworkAttachmentDefinition"
BRIDGE = {"cniVersion": "0.3.1", "type": "bridge", "bridge": "oob-br", "vlan": 100, "ipam": {}}
POD = "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=vm;K8S_POD_UID=u1"
POD_PATH = "/api/v1/namespaces/prod/pods/vm"
SILENT = KubeError("the API server does not answer: refused")


def nad(name: str, namespace: str = "prod", **config: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}"}
    config = {"name": name} | BRIDGE | config
    return {"apiVersion": "k8s.cni.cncf.io/v1", "kind": NAD, "metadata": meta, "spec": {"config": json.dumps(config)}}


def nad_path(name: str, namespace: str = "prod") -> str:
    return f"/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions/{name}"


def pod(uid: str = "u1", **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "vm", "namespace": "prod", "uid": uid, "annotations": annotations}}


class Api:
    """`there`: path -> document, or what is raised; what is not in it is not found."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self.cache = Cache(module.KINDS)
        self.cache.node = "n1"
        for document in documents:
            self.cache.put(document)
        for kind in module.KINDS:
            self.cache.listed(kind, {Ref(kind, d["metadata"]["name"], d["metadata"]["namespace"]) for d in documents})
        self.there: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.events: list[Mapping[str, Any]] = []

    def ask(self, method: str, path: str, body: Any = None, *, kind: str = "", within_s: float) -> dict[str, Any]:
        assert within_s <= module.CALL_S, "every wait is bounded"
        self.asked.append((method, path))
        self.bodies.append(body)
        found: Any = self.there.get(path, KubeError("not found", code=404))
        if isinstance(found, KubeError):
            raise found
        assert isinstance(found, dict)
        return found

    def happened(self, events: Iterable[Mapping[str, Any]]) -> None:
        self.events += list(events)


@pytest.fixture
def api() -> Api:
    return Api(nad("web"))


@pytest.fixture
def call(api: Api) -> ClusterCall:
    return ClusterCall(api, module.CALL_S)


def request(args: str = POD, **config: Any) -> Request:
    return Request(
        command="ADD",
        container_id="c1",
        netns="/run/netns/x",
        ifname="eth0",
        args=read_args(args),
        config={"cniVersion": "1.0.0", "name": "pods", "type": "windrow", "kubernetes": True, **config},
    )


def sent(**annotations: str) -> dict[str, Any]:
    """What a runtime sends along."""
    return {"runtimeConfig": {CAPABILITY: annotations}}


def refused(call: Callable[..., Any], *args: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        call(*args)
    return caught.value


def find(call: ClusterCall, asked: Request) -> PodInfo:
    return find_pod(asked, (call, RuntimeArguments()))


# The pod --------------------------------------------------------------------------------------------------------------


def test_a_pod_has_the_annotations_that_the_api_has_now(api: Api, call: ClusterCall) -> None:
    """The runtime's are those of when the kubelet heard of the pod."""
    api.there[POD_PATH] = pod(**{NETWORKS: "web"})
    found = find(call, request(**sent(**{NETWORKS: "old"})))
    assert (str(found), found.uid, found.annotations) == ("prod/vm", "u1", {NETWORKS: "web"})
    assert api.asked == [("GET", POD_PATH)], "asked once"


def test_a_pod_that_was_made_anew_is_another_one(api: Api, call: ClusterCall) -> None:
    api.there[POD_PATH] = pod(uid="u2")
    error = refused(find, call, request())
    assert (error.code, "UID u1" in error.message, "u2" in error.message) == (INVALID_CONFIG, True, True)


def test_a_pod_that_is_gone_gets_nothing(api: Api, call: ClusterCall) -> None:
    for asked in (request(), request(**sent(**{NETWORKS: "web"}))):
        error = refused(find, call, asked)
        assert (error.code, error.message) == (MISSING, "pod prod/vm is not there any more")


def test_a_static_pod_may_be_unknown_to_the_api(api: Api, call: ClusterCall) -> None:
    config = sent(**{NETWORKS: "web", "kubernetes.io/config.source": "file"})
    assert find(call, request(**config)).annotations[NETWORKS] == "web"


@pytest.mark.parametrize("no", [SILENT, KubeError("forbidden", "give it the right", code=403)])
def test_without_an_answer_the_runtime_is_believed_and_nobody_else(api: Api, call: ClusterCall, no: KubeError) -> None:
    api.cache.trouble = no.message
    api.there[POD_PATH] = no
    found = find(call, request(**sent(**{NETWORKS: "web"})))
    assert (found.uid, found.annotations) == ("u1", {NETWORKS: "web"})
    error = refused(find, ClusterCall(api, 1.0), request())
    assert error.code == TRY_AGAIN and no.message in error.message, "never a pod with too few networks"


def test_a_server_that_is_started_anew_is_asked_again(api: Api, call: ClusterCall) -> None:
    answers = [SILENT, KubeError("starting", code=503), pod(**{NETWORKS: "web"})]
    api.there = {POD_PATH: None}
    real = api.ask

    def ask(*args: Any, **more: Any) -> dict[str, Any]:
        api.there[POD_PATH] = answers.pop(0)
        return real(*args, **more)

    api.ask = ask  # type: ignore[method-assign]
    assert find(call, request()).annotations == {NETWORKS: "web"}


def test_waiting_has_an_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pod and all of its networks together."""
    monkeypatch.setattr(module, "POD_S", 0.3)
    call = ClusterCall(api, 0.5)
    api.there = {POD_PATH: SILENT, nad_path("db"): SILENT}
    began = time.monotonic()
    for asked in (request(), request()):
        assert refused(find, call, asked).code == TRY_AGAIN
    for _ in range(100):
        assert refused(call.network, "prod/db").code == TRY_AGAIN
    assert time.monotonic() - began < 1.0
    assert len(api.asked) < 5


@pytest.mark.parametrize("name", ["../../secrets/x", "vm/status", "a%2Fb", "VM", "vm?watch=1", "vm\n", "."])
@pytest.mark.parametrize("key", ["K8S_POD_NAME", "K8S_POD_NAMESPACE"])
def test_a_name_that_is_none_asks_nobody(api: Api, call: ClusterCall, key: str, name: str) -> None:
    args = {"K8S_POD_NAMESPACE": "prod", "K8S_POD_NAME": "vm"} | {key: name}
    error = refused(find, call, request(";".join(f"{k}={v}" for k, v in args.items())))
    assert (error.code, api.asked) == (INVALID_ENVIRONMENT, [])


def test_a_container_that_is_no_pod_is_asked_about_nowhere(api: Api, call: ClusterCall) -> None:
    assert find(call, request("")) == PodInfo(namespace="default")
    assert api.asked == []


# Networks -------------------------------------------------------------------------------------------------------------


def test_a_network_that_is_known_asks_nobody(api: Api, call: ClusterCall) -> None:
    assert call.network("prod/web")["bridge"] == "oob-br"
    assert call.has("prod/web") and not call.has("prod/db")
    assert api.asked == []


def test_a_network_of_a_moment_ago_is_read(api: Api, call: ClusterCall) -> None:
    api.there[nad_path("db")] = nad("db", vlan=200)
    assert call.network("prod/db")["vlan"] == 200
    assert api.asked == [("GET", nad_path("db"))]


def test_a_network_that_is_not_there(api: Api, call: ClusterCall) -> None:
    error = refused(call.network, "prod/db", "annotation x of pod prod/vm")
    assert error.code == MISSING
    assert error.message == f"{NAD} prod/db, which annotation x of pod prod/vm asks for, is not there"
    assert "kubectl get net-attach-def -n prod" in error.details


def test_what_may_be_out_of_date_is_read_and_else_believed(api: Api, call: ClusterCall) -> None:
    api.cache.trouble = "the watch was cut"
    api.there[nad_path("web")] = nad("web", vlan=300)
    assert call.network("prod/web")["vlan"] == 300
    api.there[nad_path("web")] = SILENT
    assert call.network("prod/web")["vlan"] == 100, "the last that was known"
    api.there[nad_path("web")] = KubeError("gone", code=404)
    assert refused(ClusterCall(api, 1.0).network, "prod/web").code == MISSING


def test_a_call_that_undoes_asks_nobody(api: Api) -> None:
    found = ClusterApi(api, Teller(api, Paths(), print), Failures(api)).at_hand()
    assert found.network("prod/web")
    assert refused(found.network, "prod/db").code == TRY_AGAIN
    assert api.asked == []


def test_how_things_are_is_said(api: Api) -> None:
    found = ClusterApi(api, Teller(api, Paths(), print), Failures(api))
    assert found.words() == "its networks are known"
    api.cache.trouble = "the watch was cut"
    assert found.words() == "its networks are known, and may be out of date: the watch was cut"
    api.cache = Cache(module.KINDS)
    assert found.words() == "its networks are not known yet"
    api.cache.trouble = "[403]"
    assert found.words() == "[403]"


def test_before_the_first_list_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTED_S", 0.1)
    api = Api()
    api.cache = Cache(module.KINDS)
    api.cache.trouble = "[403]"
    error = refused(ClusterApi(api, Teller(api, Paths(), print), Failures(api)).call)
    assert (error.code, error.details) == (TRY_AGAIN, "[403]")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[" * 100_000, f"has more than {CONFIG_MAX} characters"),
        ("[" * 5_000, "levels of brackets"),
        ('{"bridge": ', "is not JSON"),
        ("\udcff", "is not JSON"),
    ],
)
def test_what_somebody_wrote_into_a_network_harms_only_who_asks_for_it(config: str, said: str) -> None:
    api = Api({**nad("bad"), "spec": {"config": config}}, nad("web"))
    call = ClusterCall(api, 1.0)
    error = refused(call.network, "prod/bad")
    assert error.code == INVALID_CONFIG and said in error.message
    assert len(error.message) < 1000
    assert call.network("prod/web")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 250_000, UNDECODABLE),
        (",".join(["web"] * 60_000), INVALID_CONFIG),
        (json.dumps([{"name": "../../secrets/x"}]), INVALID_CONFIG),
        (json.dumps([{"name": "web", "namespace": "../kube-system"}]), INVALID_CONFIG),
        ("web@" + "x" * 200_000, INVALID_CONFIG),
    ],
)
def test_an_annotation_of_any_size_is_refused_in_few_words(
    api: Api, call: ClusterCall, tmp_path: Path, text: str, code: int
) -> None:
    asked = request(clusterNetwork="none")
    found = PodInfo(namespace="prod", name="vm", annotations={NETWORKS: text}, known=True)
    error = refused(wanted, asked, Host(tmp_path, "n1"), read_settings(asked.config), found, call)
    assert (error.code, api.asked) == (code, [])
    assert len(str(error)) < 5000


# This node ------------------------------------------------------------------------------------------------------------


def test_pod_addresses_are_those_of_the_node(api: Api, call: ClusterCall) -> None:
    assert (call.nodes, call.pod_cidrs) == ((), {})
    meta = {"name": "n1", "uid": "x"}
    api.cache.put({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"podCIDR": "10.52.0.0/24"}})
    assert (call.nodes, call.pod_cidrs, call.unread_nodes) == (("n1",), {"n1": ("10.52.0.0/24",)}, {})


def test_a_node_may_come_after_the_server_and_by_its_full_name(api: Api, tmp_path: Path) -> None:
    host = Host(tmp_path, "n1")
    for name, cidr in (("n1.example.org", "10.52.0.0/24"), ("n2.example.org", "10.53.0.0/24")):
        meta = {"name": name, "uid": name}
        api.cache.put({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"podCIDR": cidr}})
    call = ClusterApi(api, Teller(api, Paths(), print), Failures(api)).call()
    found = defaultnet.brought(Settings(), host, call, "1.0.0")
    assert found["ipam"]["ranges"] == [[{"subnet": "10.52.0.0/24"}]]
    other = Host(tmp_path, "n3")
    error = refused(defaultnet.brought, Settings(), other, call, "1.0.0")
    assert "there is no Node n3 in the cluster" in error.message
    host.close()
    other.close()


# Which plugins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"type": "host-device"}, ["host-device"]),
        ({"ipam": {"type": "evil"}}, ["evil"]),
        ({"IPAM": {"TYPE": "evil"}}, ["evil"]),
        ({"ipam": {"type": "host-local", "Type": "evil"}}, ["evil"]),
        ({"plugins": [{"type": "bridge"}, {"type": "tap"}, {"Type": "evil"}]}, ["tap", "evil"]),
        ({"ipam": {"type": "host-local"}}, []),
        ({"plugins": [{"type": "bridge", "ipam": {}}]}, []),
    ],
)
def test_a_pod_names_only_networks_of_allowed_plugins(tmp_path: Path, config: dict[str, Any], wrong: list[str]) -> None:
    api = Api(nad("x", **config), nad("x", "kube-system", **config))
    host, call = Host(tmp_path, "n1"), ClusterCall(api, 1.0)
    more = {"clusterNetwork": "none", "pluginTypes": ["bridge", "host-local"]}
    for said in ({NETWORKS: "x"}, {DEFAULT_NETWORK: "x"}):
        asked = request(**more)
        found = PodInfo(namespace="prod", name="vm", annotations=said, known=True)
        if wrong:
            error = refused(wanted, asked, host, read_settings(asked.config), found, call)
            assert error.code == FORBIDDEN and "pod prod/vm asks for" in error.message
            assert error.details.startswith(", ".join(f'"{kind}"' for kind in wrong) + ": ")
        else:
            assert len(wanted(asked, host, read_settings(asked.config), found, call).attachments) == 1
    free = request(clusterNetwork="none")
    assert wanted(free, host, read_settings(free.config), found, call).attachments, "without a list all are allowed"
    operators = request(**more | {"clusterNetwork": "prod/x"})
    bare = PodInfo(namespace="prod", name="vm", known=True)
    assert wanted(operators, host, read_settings(operators.config), bare, call).attachments, "the operator named it"


def test_a_configuration_of_the_host_is_the_operators(tmp_path: Path) -> None:
    """A definition without a configuration stands for one of this host."""
    api = Api({**nad("canal"), "spec": {}})
    host = Host(tmp_path, "n1")
    host.paths.cni_networks.mkdir(parents=True)
    (host.paths.cni_networks / "10.conf").write_text(json.dumps({"name": "canal", "type": "calico"}))
    asked = request(clusterNetwork="none", pluginTypes=["bridge"])
    found = PodInfo(namespace="prod", name="vm", annotations={NETWORKS: "canal"}, known=True)
    assert wanted(asked, host, read_settings(asked.config), found, ClusterCall(api, 1.0)).attachments


@pytest.mark.parametrize("value", ["bridge, portmap", ["bridge", "portmap"]])
def test_how_the_list_is_written(value: Any) -> None:
    assert read_settings({"pluginTypes": value}).plugin_types == {"bridge", "portmap"}
    assert read_settings({}).plugin_types is None
    assert read_settings({"pluginTypes": []}).plugin_types == frozenset()
    assert "pluginTypes must be a list of texts" in str(refused(read_settings, {"pluginTypes": 7}))


# Without a server -----------------------------------------------------------------------------------------------------


def environment(command: str, root: Path) -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/nobody",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(root),
        "CNI_ARGS": POD,
    }


@pytest.mark.parametrize(("command", "code"), [("ADD", TRY_AGAIN), ("STATUS", NOT_AVAILABLE), ("DEL", 0), ("GC", 0)])
def test_a_call_that_works_alone_undoes_and_makes_nothing(tmp_path: Path, command: str, code: int) -> None:
    """It would know no network but the default one, and the pod would be without the others."""
    config = {"cniVersion": "1.1.0", "name": "pods", "type": "windrow", "kubernetes": True, **sent(**{NETWORKS: "web"})}
    config |= {"cni.dev/valid-attachments": []}
    host = Host(tmp_path, "n1")
    done = answer(environment(command, tmp_path), json.dumps(config).encode(), host)
    host.close()
    found = json.loads(done.stdout) if done.stdout else {}
    assert found.get("code", 0) == code, found
    if code:
        assert "no server that follows it answers" in found["msg"]
        assert "cni serve" in found["details"]


def test_other_configurations_of_a_host_with_a_server_go_by_its_manifests(tmp_path: Path, api: Api) -> None:
    """podman beside a kubelet."""
    host = Host(tmp_path, "n1")
    host.cluster = ClusterApi(api, Teller(api, host.paths, print), Failures(api))
    sources, known = meta._objects(read_settings({}), host)
    assert known.place == "the manifests" and not any(isinstance(one, ClusterCall) for one in sources)
    assert meta._objects(read_settings({"kubernetes": True}), host)[1].place == "the cluster"


def test_what_a_runtime_forgot_of_a_pod_is_undone_before_the_pod_is_attached_again(tmp_path: Path) -> None:
    """containerd 1.6, killed amid an ADD, asks for another sandbox and never calls DEL for the one before."""
    host = Host(tmp_path, "n1")
    records = AttachmentRecords(host.paths)

    def record(container: str, uid: str) -> Attached:
        return Attached(
            container_id=container, ifname="eth0", netns="/x", network="pods", pod="prod/vm", uid=uid, status=STATUS
        )

    for one in (record("forgotten", "u1"), record("another", "u2"), record("c1", "u1")):
        records.put(one)
        podstatus.write(host.paths, one.pod, one.container_id)
    meta.undo_forsaken(records, record("c1", ""), request(), host)
    assert len(records.all()[0]) == 3, "a container that is no pod says nothing of others"
    meta.undo_forsaken(records, record("c1", "u1"), request(), host)
    assert {one.container_id for one in records.all()[0]} == {"another", "c1"}


# Telling --------------------------------------------------------------------------------------------------------------

STATUS_PATH = f"{POD_PATH}/status"
STATUS = ({"name": "prod/web", "interface": "net1", "mac": "52:54:00:12:34:56", "dns": {}},)
ONE = Untold(container_id="c1", pod="prod/vm", uid="u1")


def attached(paths: Paths, container: str = "c1", status: tuple[Any, ...] = STATUS) -> None:
    one = Attachment(network="web", reference="prod/web", ifname="net1", plugins=("{}",), added=True)
    record = Attached(
        container_id=container, ifname="eth0", netns="/x", network="pods", attachments=(one,), status=status
    )
    AttachmentRecords(paths).put(record)


class Heard(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def said() -> Heard:
    return Heard()


@pytest.fixture
def teller(api: Api, tmp_path: Path, said: Heard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teller]:
    monkeypatch.setattr(telling, "AGAIN_S", 0.05)
    found = Teller(api, Paths(tmp_path), said)
    attached(Paths(tmp_path))
    yield found
    if found._thread.ident is not None:
        found.close()


def left(tmp_path: Path) -> list[str]:
    return [one.container_id for one in untold.all_of(Paths(tmp_path))]


def test_a_pod_is_told_its_networks(api: Api, teller: Teller, tmp_path: Path) -> None:
    api.there[STATUS_PATH] = {}
    teller.attached(ONE)
    assert api.asked == [("PATCH", STATUS_PATH)]
    (body,) = api.bodies
    assert body["metadata"].keys() == {"uid", "annotations"} and body.keys() == {"metadata"}
    assert body["metadata"]["uid"] == "u1", "never another pod of that name"
    assert json.loads(body["metadata"]["annotations"][NETWORK_STATUS]) == list(STATUS)
    assert left(tmp_path) == []


def wait(what: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_the_api_did_not_take_it_takes_later(api: Api, teller: Teller, tmp_path: Path, said: Heard) -> None:
    api.there[STATUS_PATH] = SILENT
    teller.start()
    teller.attached(ONE)
    assert left(tmp_path) == ["c1"]
    wait(lambda: len(api.asked) > 2)
    api.there[STATUS_PATH] = {}
    wait(lambda: left(tmp_path) == [])
    wait(lambda: len(said) == 2)
    assert SILENT.message in said[0] and said[1] == "pods are told again", "said once each"
    asked = len(api.asked)
    time.sleep(0.3)
    assert len(api.asked) == asked, "nobody is asked at rest"


def test_many_pods_do_not_each_ask_an_api_that_is_away(
    api: Api, teller: Teller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for two seconds, and none of them in a thread or in memory of its own."""
    monkeypatch.setattr(telling, "AGAIN_S", 60.0)
    api.there[STATUS_PATH] = SILENT
    teller.start()
    many = [replace(ONE, container_id=f"c{number}") for number in range(100)]
    for one in many:
        attached(Paths(tmp_path), one.container_id)
        teller.attached(one)
    assert len(left(tmp_path)) == len(many)
    assert len(api.asked) <= 2, "one ADD, and perhaps the thread"


def test_an_add_that_finds_the_api_well_again_has_all_others_told(
    api: Api, tmp_path: Path, said: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "AGAIN_S", 60.0)
    now = [0.0]
    teller = Teller(api, Paths(tmp_path), said, lambda: now[0])
    api.there[STATUS_PATH] = SILENT
    teller.start()
    for container in ("c1", "c2"):
        attached(Paths(tmp_path), container)
        teller.attached(replace(ONE, container_id=container))
    api.there[STATUS_PATH] = {}
    now[0] += 61
    attached(Paths(tmp_path), "c3")
    teller.attached(replace(ONE, container_id="c3"))
    wait(lambda: not left(tmp_path))
    teller.close()
    assert said[-1] == "pods are told again"


def test_the_next_server_tells_what_a_killed_one_has_not(api: Api, teller: Teller, tmp_path: Path) -> None:
    untold.note(Paths(tmp_path), ONE)
    (tmp_path / "run/windrow/untold/rubbish.json").write_text("{")
    api.there[STATUS_PATH] = {}
    teller.start()
    wait(lambda: left(tmp_path) == [])
    assert api.asked == [("PATCH", STATUS_PATH)]


def test_of_a_container_that_has_gone_nothing_is_told(api: Api, teller: Teller, tmp_path: Path) -> None:
    attached(Paths(tmp_path), status=())
    teller.attached(ONE)
    assert (api.asked, left(tmp_path)) == ([], [])


@pytest.mark.parametrize(("code", "words"), [(404, 0), (409, 0), (422, 1), (413, 1)])
def test_what_is_never_taken_is_not_said_for_ever(
    api: Api, teller: Teller, tmp_path: Path, said: Heard, code: int, words: int
) -> None:
    api.there[STATUS_PATH] = KubeError("annotations are too long", code=code)
    teller.attached(ONE)
    assert (left(tmp_path), len(said)) == ([], words)


def test_a_mistake_of_ours_ends_no_add_and_no_thread(api: Api, teller: Teller, tmp_path: Path, said: Heard) -> None:
    def broken(*_: object, **__: object) -> dict[str, Any]:
        raise ZeroDivisionError

    real, api.ask = api.ask, broken  # type: ignore[method-assign]
    teller.start()
    teller.attached(ONE)
    assert left(tmp_path) == ["c1"] and "ZeroDivisionError" in said[0]
    api.ask, api.there[STATUS_PATH] = real, {}  # type: ignore[method-assign]
    wait(lambda: left(tmp_path) == [])


def test_of_two_containers_of_a_pod_the_later_one_is_told_last(api: Api, teller: Teller, tmp_path: Path) -> None:
    api.there[STATUS_PATH] = SILENT
    attached(Paths(tmp_path), "a0", ({"name": "newer"},))
    teller.attached(ONE)
    teller.attached(Untold(container_id="a0", pod="prod/vm", uid="u1"))
    assert left(tmp_path) == ["c1", "a0"]


# Events ---------------------------------------------------------------------------------------------------------------


def error(code: int = FORBIDDEN, message: str = "no \x1b[2Jnetwork", details: str = "why") -> str:
    return json.dumps({"code": code, "msg": message, "details": details})


def test_a_pod_without_its_networks_has_an_event(api: Api, tmp_path: Path) -> None:
    now = [1000.0]
    failures = Failures(api, lambda: now[0])
    for _ in range(5):
        failures.failed(environment("ADD", tmp_path), error())
        now[0] += 1.0
    now[0] += telling.SAME_AGAIN_S
    failures.failed(environment("ADD", tmp_path), error())
    first, second = api.events
    assert first["involvedObject"] == {
        "kind": "Pod", "name": "vm", "namespace": "prod", "uid": "u1", "apiVersion": "v1"}  # fmt: skip
    assert (first["type"], first["reason"], first["count"]) == ("Warning", "NetworkNotAttached", 1)
    assert first["message"] == "no \\x1b[2Jnetwork: why", "nothing of it is for a terminal to obey"
    assert first["metadata"] == second["metadata"] and second["count"] == 6, "counted, not repeated"


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"CNI_COMMAND": "DEL"}, error()),
        ({"CNI_ARGS": ""}, error()),
        ({"CNI_ARGS": "K8S_POD_NAME"}, error()),
        ({}, error(TRY_AGAIN)),
        ({}, "Windrow itself failed"),
    ],
)
def test_what_makes_no_event(api: Api, tmp_path: Path, change: dict[str, str], answer: str) -> None:
    Failures(api).failed(environment("ADD", tmp_path) | change, answer)
    assert api.events == []


def test_events_that_are_remembered_are_bounded(api: Api, tmp_path: Path) -> None:
    failures = Failures(api)
    for number in range(2 * telling.FAILURES_KEPT):
        failures.failed(environment("ADD", tmp_path), error(message=str(number)))
    assert len(failures._known) == telling.FAILURES_KEPT
