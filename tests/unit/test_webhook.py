"""The webhook: what it reads and answers, what it knows before it is told, its certificate. All but the API server."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.admissioncases import BASE, DATA, N1, WEB, Document, cn, edited, nad, vc, vm

from windrow.apps.webhook import configurations, reviews
from windrow.apps.webhook.configurations import Address
from windrow.apps.webhook.judge import Judge
from windrow.apps.webhook.known import FORGOTTEN_S, ON_ITS_WAY_S, Known
from windrow.apps.webhook.serve import Settings, Webhook
from windrow.apps.webhook.server import BODY_MAX, HANDSHAKE_S, Server
from windrow.kube.access import Access
from windrow.kube.errors import KubeError
from windrow.model.cluster import Cluster
from windrow.model.errors import WindrowError
from windrow.model.objects import VlanConfig, find_kind
from windrow.model.values import Ref
from windrow.model.wire import ref_of
from windrow.rules.terms import Terms
from windrow.services import certificates

KIND = {"group": "network.harvesterhci.io", "version": "v1beta1", "kind": "VlanConfig"}


def asked(new: Document | None, old: Document | None = None, **more: Any) -> reviews.Review:
    document = new or old or {}
    request = {
        "uid": "u1",
        "kind": {**KIND, "kind": document["kind"]},
        "name": document["metadata"].get("name", ""),
        "operation": "CREATE" if old is None else "UPDATE" if new else "DELETE",
        "userInfo": {"username": "tenant"},
        "object": new,
        "oldObject": old,
        **more,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return reviews.read(json.dumps(body).encode())


class Store:
    """Objects as an API server has them; `late`: what the webhook has not been told."""

    def __init__(self, *documents: Document) -> None:
        self.objects = {self.ref(document): document for document in documents}
        self.now = 1000.0
        self.known = Known([], lambda: self.now)
        self.read: list[str] = []
        self.down = False
        self.judge = Judge(self.known, self._read, Terms(served=True))
        for document in documents:
            self.known.put(document)

    @staticmethod
    def ref(document: Document) -> Ref:
        found = ref_of(document)
        assert found is not None
        return found

    def _read(self, ref: Ref) -> Mapping[str, Any] | None:
        self.read.append(str(ref))
        if self.down:
            raise WindrowError("the API server does not answer")
        return self.objects.get(ref)

    def ask(self, new: Document | None, old: Document | None = None, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.judge.validate(asked(new, old, **more))["response"]
        return found

    def takes(self, new: Document | None, old: Document | None = None, **more: Any) -> bool:
        return bool(self.ask(new, old, **more)["allowed"])


# What is asked and answered ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"kind":"AdmissionReview"}'),
        b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"x"}}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":1}}',
    ],
)
def test_what_is_no_review(body: bytes) -> None:
    with pytest.raises(reviews.NoReview):
        reviews.read(body)


def test_a_refusal_has_one_cause_for_each_problem() -> None:
    wrong = edited(vc(of="nowhere"), uplink={"nics": ["eth1", "eth1"], "bondOptions": {"mode": "fast"}})
    answer = Store(*BASE).ask(wrong)
    status = answer["status"]
    assert (answer["uid"], answer["allowed"], status["code"], status["reason"]) == ("u1", False, 422, "Invalid")
    causes = [(cause["field"], cause["message"].partition(" ")[0]) for cause in status["details"]["causes"]]
    assert causes == [
        ("spec.uplink.nics[1]", "NIC"),
        ("spec.uplink.bondOptions.mode", "'fast'"),
        ("spec.clusterNetwork", "there"),
    ]
    assert status["message"].count("\n") == 3
    assert all(field in status["message"] for field, _ in causes)
    assert (status["details"]["kind"], status["details"]["name"]) == ("VlanConfig", "a")


def test_what_nothing_could_make_right_is_forbidden() -> None:
    store = Store(*BASE, WEB, vm())
    for answer in (store.ask(None, WEB), store.ask(vc(of="mgmt"))):
        assert (answer["status"]["code"], answer["status"]["reason"]) == (403, "Forbidden")
    assert "VirtualMachine/default/m" in store.ask(None, WEB)["status"]["message"]


def test_warnings_are_said_and_stop_nothing() -> None:
    answer = Store(N1).ask(nad(type="macvlan", bridge=""))
    assert answer["allowed"] and "of CNI type macvlan" in answer["warnings"][0]


def test_texts_of_users_obey_nobody() -> None:
    answer = Store(*BASE).ask(vc("a", mode="fast\x1b[2J"))
    text = json.dumps(answer, ensure_ascii=False)
    assert not answer["allowed"] and "\x1b" not in text and r"fast\\x1b" in text
    huge = Store(*BASE).ask(edited(WEB, config="{" * 60_000))
    assert not huge["allowed"] and len(json.dumps(huge)) < 10_000


def test_a_patch_is_base64_of_json() -> None:
    store = Store(*BASE)
    found = store.judge.mutate(asked(WEB))["response"]
    assert (found["allowed"], found["patchType"]) == (True, "JSONPatch")
    assert json.loads(base64.b64decode(found["patch"]))[0]["path"] == "/metadata/labels"


# What is known -----------------------------------------------------------------------------------


def test_what_is_missing_is_looked_up() -> None:
    store = Store(N1)
    assert not store.takes(WEB)
    store.objects[store.ref(DATA)] = DATA
    assert store.takes(WEB)
    assert store.read == ["ClusterNetwork/data", "ClusterNetwork/data"]
    assert store.takes(nad("second")) and len(store.read) == 2, "it is known from then on"


def test_what_is_mended_is_looked_up_too() -> None:
    store = Store(N1)
    store.objects[store.ref(DATA)] = cn("data", "9000")
    found = store.judge.mutate(asked(WEB))["response"]
    assert "9000" in base64.b64decode(found["patch"]).decode()


def test_two_that_exclude_each_other() -> None:
    """The second comes before anybody has told of the first."""
    store = Store(*BASE)
    assert store.takes(vc("a")) and not store.takes(vc("b"))
    store.now += ON_ITS_WAY_S + 1
    assert store.takes(vc("b")), "the first was not stored: somebody else refused it"


def test_what_is_only_tried_does_not_count() -> None:
    store = Store(*BASE)
    assert store.takes(vc("a"), dryRun=True) and store.takes(vc("b"))


def test_a_user_that_was_deleted_a_moment_ago() -> None:
    store = Store(*BASE, vc("a"))
    assert not store.takes(None, DATA)
    assert store.takes(None, vc("a"))
    assert not store.takes(None, DATA), "it is stored yet: it may have a finalizer"
    del store.objects[store.ref(vc("a"))]
    assert store.takes(None, DATA)


def test_nothing_is_made_on_what_is_being_deleted() -> None:
    store = Store(*BASE)
    assert store.takes(None, DATA) and not store.takes(WEB)
    store.now += FORGOTTEN_S + 1
    assert store.takes(WEB), "somebody else kept it from being deleted"


def test_what_is_told_counts_from_then_on() -> None:
    store = Store(*BASE)
    old = {**vc("a"), "metadata": {**vc("a")["metadata"], "resourceVersion": "7"}}
    new = edited(old, nodeSelector={"rack": "a"})
    store.known.put(old)
    assert store.takes(new, old)
    store.known.put({**old, "metadata": {**old["metadata"], "labels": {}}})
    assert selector(store) == {"rack": "a"}, "that was from before"
    other = edited(old, nodeSelector={"rack": "b"})
    store.known.put({**other, "metadata": {**old["metadata"], "resourceVersion": "8"}})
    assert selector(store) == {"rack": "b"}


def test_a_list_is_one_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a copy of the one before: at 50,000 objects one for each of them is most of a minute."""
    store, made = Store(*BASE), []
    replaced = Cluster.replace
    monkeypatch.setattr(Cluster, "replace", lambda cluster, new: made.append(new) or replaced(cluster, new))
    networks = [nad(f"n{i}", 100 + i) for i in range(200)]
    for document in networks:
        store.known.put(document)
    store.known.listed("NetworkAttachmentDefinition", {store.ref(document) for document in networks})
    before = store.known.cluster()
    assert len(made) == 1 and len(before.nads("data")) == 200
    assert store.known.cluster() is before
    store.known.drop(store.ref(networks[0]))
    assert len(store.known.cluster().nads("data")) == 199 and len(before.nads("data")) == 200, "one never changes"
    assert all(store.known.drop(Ref("ClusterNetwork", "mgmt")) for _ in range(2)), "the built-in one stays"


def selector(store: Store) -> Mapping[str, str]:
    (config,) = store.known.cluster().all(VlanConfig)
    return config.node_selector


def test_an_answer_that_is_older_than_what_was_told() -> None:
    """It was asked for before the object was stored, and comes after that was told."""
    store = Store(*BASE)
    assert store.takes(vc("a"))
    asked_before = store.known.about(store.ref(vc("a")))
    store.known.put({**vc("a"), "metadata": {**vc("a")["metadata"], "resourceVersion": "5"}})
    store.known.read(store.ref(vc("a")), asked_before, None)
    assert store.ref(vc("a")) in store.known.cluster().objects


def test_an_api_server_that_cannot_be_asked() -> None:
    """What is known counts, and a refusal stays one."""
    store = Store(*BASE)
    store.down = True
    assert store.takes(WEB) and not store.takes(nad(of="elsewhere"))


def test_few_objects_are_read_for_one_verdict() -> None:
    store = Store(*BASE, *(nad(f"n{i}") for i in range(100)))
    assert not store.takes(None, DATA)
    assert len(store.read) == 20


def test_what_cannot_be_read_is_known_as_far_as_it_can() -> None:
    store = Store(*BASE, vc("a", mtu=7))
    assert not store.takes(None, DATA)
    assert store.takes(None, vc("a", mtu=7))


# What the API server is told ---------------------------------------------------------------------


def test_it_may_be_told_to_end_when_it_has_ended() -> None:
    """A signal may come while the process ends."""
    address = Address(url="https://127.0.0.1:1")
    settings = Settings(address=address, listen=("127.0.0.1", 0), secret=("ns", "hook"))
    webhook = Webhook(Access(kubeconfig="/nonexistent"), settings, print)
    webhook.stop()
    with pytest.raises(KubeError):
        webhook.run()
    webhook.stop()


def test_registration() -> None:
    validating, mutating = configurations.documents(Address(namespace="ns", service="hook"), b"PEM")
    (one, overlays), (other,) = validating["webhooks"], mutating["webhooks"]
    policies = [webhook["failurePolicy"] for webhook in (one, overlays, other)]
    assert policies == ["Fail", "Ignore", "Ignore"], "kube-ovn's kinds may be what a webhook's own pod waits for"
    for webhook in (one, overlays, other):
        assert webhook["timeoutSeconds"] <= 5 and webhook["sideEffects"] == "None"
        for rule in webhook["rules"]:
            assert not any("/" in resource or "*" in resource for resource in rule["resources"])
    watched = {(r, tuple(rule["operations"])) for rule in one["rules"] for r in rule["resources"]}
    every = ("CREATE", "UPDATE", "DELETE")
    kinds = ("clusternetworks", "vlanconfigs", "hostnetworkconfigs", "network-attachment-definitions")
    assert watched == {(kind, every) for kind in kinds}
    assert all(find_kind(kind) for kind in kinds)
    (subnets, vpcs) = overlays["rules"]
    assert (subnets["resources"], subnets["operations"]) == (["subnets"], ["CREATE", "UPDATE"])
    assert (vpcs["resources"], vpcs["operations"]) == (["vpcs"], ["DELETE"])
    assert one["clientConfig"]["service"] == {"namespace": "ns", "name": "hook", "port": 443, "path": "/v1/validate"}


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        (Address(namespace="ns", service="hook"), ("hook.ns.svc",)),
        (Address(url="https://127.0.0.1:8443"), ("127.0.0.1",)),
        (Address(url="https://hook.example.com/"), ("hook.example.com",)),
        (Address(url="https://[::1]:8443"), ("::1",)),
    ],
)
def test_whom_the_certificate_is_for(address: Address, hosts: tuple[str, ...]) -> None:
    assert address.hosts == hosts


# The server --------------------------------------------------------------------------------------


class Running:
    def __init__(self, directory: Path) -> None:
        self.directory, self.asked, self.delay_s = directory, list[bytes](), 0.0
        self.authority = certificates.make_authority(directory, "test", 1)
        self.server = Server(("127.0.0.1", 0), self._answer, *self.pair())

    def pair(self) -> tuple[Path, Path]:
        pair = certificates.sign(self.directory, self.authority, ("127.0.0.1",), 1)
        return pair.stored(self.directory)

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        self.asked.append(body)
        time.sleep(self.delay_s)
        return 200, path.encode()

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPSConnection]:
        trust = ssl.create_default_context(cadata=self.authority.certificate.decode())
        with closing(http.client.HTTPSConnection("127.0.0.1", self.server.port, context=trust, timeout=10)) as found:
            found.connect()
            yield found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.server.close()


def certificate(there: http.client.HTTPSConnection) -> bytes | None:
    assert isinstance(there.sock, ssl.SSLSocket)
    return there.sock.getpeercert(binary_form=True)


def is_well(there: http.client.HTTPSConnection) -> None:
    there.request("GET", "/healthz")
    answer = there.getresponse()
    assert (answer.status, answer.read()) == (200, b"/healthz")


def test_it_answers_on_one_connection_again_and_again(running: Running) -> None:
    with running.connection() as there:
        for body in (b"one", b"two"):
            there.request("POST", "/v1/validate?timeout=5s", body)
            answer = there.getresponse()
            assert (answer.status, answer.read()) == (200, b"/v1/validate")
    assert running.asked == [b"one", b"two"]


def test_a_new_certificate_without_a_new_start(running: Running) -> None:
    with running.connection() as kept:
        is_well(kept)
        running.server.trust(*running.pair())
        is_well(kept)
        with running.connection() as there:
            assert certificate(there) != certificate(kept)
            is_well(there)


def test_a_certificate_that_is_none_changes_nothing(running: Running) -> None:
    broken = running.directory / "broken"
    broken.write_bytes(b"not a certificate")
    with pytest.raises(OSError):
        running.server.trust(broken, broken)
    with running.connection() as there:
        is_well(there)


def test_who_says_nothing_keeps_nobody(running: Running) -> None:
    with ExitStack() as silent:
        for _ in range(10):
            silent.enter_context(socket.create_connection(("127.0.0.1", running.server.port)))
        began = time.monotonic()
        with running.connection() as there:
            is_well(there)
        assert time.monotonic() - began < HANDSHAKE_S


def test_who_is_being_answered_is_answered_yet(running: Running) -> None:
    """And who only keeps a connection open, as API servers do, is not answered by what is gone."""
    running.delay_s = 0.5
    with running.connection() as idle, running.connection() as there:
        is_well(idle)
        there.request("GET", "/healthz")
        time.sleep(0.2)
        running.server.close()
        answer = there.getresponse()
        assert (answer.status, answer.read(), answer.getheader("Connection")) == (200, b"/healthz", "close")
        idle.auto_open = 0
        idle.request("GET", "/healthz")
        with pytest.raises((http.client.HTTPException, OSError)):
            idle.getresponse()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"POST /v1/validate HTTP/1.1\r\nContent-Length: {BODY_MAX + 1}\r\n\r\n", b"413"),
        ("POST /v1/validate HTTP/1.1\r\n\r\n", b"411"),
        ("POST /v1/validate HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        ("GET / HTTP/1.1\r\n" + "a: b\r\n" * 2000 + "\r\n", b"431"),
        ("PUT / HTTP/1.1\r\n\r\n", b"501"),
        ("\0" * 100 + "\r\n\r\n", b"400"),
    ],
)
def test_nonsense_is_refused(running: Running, head: str, status: bytes) -> None:
    with running.connection() as there:
        assert there.sock is not None
        there.sock.sendall(head.encode())
        assert status in there.sock.recv(4000)
    with running.connection() as there:
        is_well(there)
    assert running.asked == [b""]
