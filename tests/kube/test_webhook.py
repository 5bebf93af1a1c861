"""The webhook, asked by a real API server: verdicts, what is written in, what does not lag, and what goes wrong."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import socket
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kube.cluster import free_port
from tests.kube.test_crds import DEFINITIONS, collection, settled
from tests.unit.admissioncases import MTU, Document, annotated, cn, edited, hnc, nad, node, vc

from windrow.apps.manager.serve import Manager
from windrow.apps.manager.serve import Settings as ManagerSettings
from windrow.apps.webhook.configurations import NAME, Address
from windrow.apps.webhook.serve import Settings, Webhook
from windrow.kube.access import Access
from windrow.kube.crds import crds
from windrow.model import names
from windrow.rules.terms import Terms
from windrow.services import certificates
from windrow.services.certificates import Pair
from windrow.services.kubernetes.controlplane import ControlPlane

REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1"
VALIDATING = f"{REGISTRATIONS}/validatingwebhookconfigurations/{NAME}"
SECRET_NAMES = ("tls.crt", "tls.key", "ca.crt", "ca.key")
SECRET = "/api/v1/namespaces/default/secrets/hook"
WAIT_S = 30.0
PAIRS = int(os.environ.get("WINDROW_PAIRS", "30"))


class Served:
    """An API server with our kinds, and the webhook that it asks."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.port = free_port()
        self.settings = Settings(
            address=Address(url=f"https://127.0.0.1:{self.port}"),
            listen=("127.0.0.1", self.port),
            secret=("default", "hook"),
            # Of the tests' one account: it is none of the controllers.
            terms=Terms(served=True, strict=False),
            again_s=0.3,
        )
        self.said: list[str] = []
        self.webhook: Webhook | None = None

    def start(self) -> None:
        self.webhook = Webhook(Access(kubeconfig=str(self.plane.kubeconfig())), self.settings, self.said.append)
        self._thread = threading.Thread(target=self.webhook.run, daemon=True)
        self._thread.start()
        assert self.webhook.ready.wait(WAIT_S), self.said
        wait_for(lambda: self.refuses(cn("a" * 13)))

    def stop(self) -> None:
        if self.webhook is not None:
            self.webhook.stop()
            self._thread.join(WAIT_S)
            assert not self._thread.is_alive()
            self.webhook = None

    def create(self, document: Document) -> Document:
        return self.plane.request("POST", collection(document), document)

    def put(self, document: Document) -> Document:
        return self.plane.request("PUT", f"{collection(document)}/{document['metadata']['name']}", document)

    def delete(self, document: Document) -> Document:
        return self.plane.request("DELETE", f"{collection(document)}/{document['metadata']['name']}")

    def status(self, action: Callable[[Document], Document], document: Document) -> Document:
        """What a refusal says."""
        with pytest.raises(urllib.error.HTTPError) as found:
            action(document)
        with found.value as answer:
            said: Document = json.loads(answer.read())
        return said

    def refuses(self, document: Document) -> bool:
        try:
            self.plane.request("POST", f"{collection(document)}?dryRun=All", document)
        except urllib.error.HTTPError as error:
            with error:
                return b"denied the request" in error.read()
        return False

    def clear(self) -> None:
        for kind in (nad(), hnc(), vc(), cn(), node()):
            self.plane.request("DELETE", collection(kind))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ControlPlane(tmp_path_factory.mktemp("webhook"), print) as plane:
        for document in crds():
            plane.request("POST", DEFINITIONS, document)
        for document in crds():
            settled(plane, document["metadata"]["name"])
        found = Served(plane)
        found.start()
        yield found
        found.stop()


@pytest.fixture
def served(cluster: Served) -> Iterator[Served]:
    if cluster.webhook is None:
        cluster.start()
    yield cluster
    if cluster.webhook is None:
        cluster.start()
    cluster.clear()


def test_all_problems_in_one_answer(served: Served) -> None:
    wrong = edited(vc(of="nowhere"), uplink={"nics": ["eth1", "eth1"], "bondOptions": {"primary": "eth9"}})
    said = served.status(served.create, wrong)
    assert (said["code"], said["reason"]) == (422, "Invalid")
    fields = [cause["field"] for cause in said["details"]["causes"]]
    assert fields == ["spec.uplink.nics[1]", "spec.clusterNetwork", "spec.uplink.bondOptions.primary"]
    assert all(field in said["message"] for field in fields)


def test_what_is_written_into_objects(served: Served) -> None:
    for document in (node("n1"), cn("data"), vc("a", mtu=9000)):
        served.create(document)
    stored = served.create(nad())
    assert json.loads(stored["spec"]["config"])["mtu"] == 9000
    labels = stored["metadata"]["labels"]
    assert labels[names.LABEL_TYPE] == "L2VlanNetwork" and labels[names.LABEL_CLUSTERNETWORK] == "data"
    config = served.plane.request("GET", f"{collection(vc())}/a")
    assert config["metadata"]["annotations"][names.ANNOTATION_MATCHED_NODES] == '["n1"]'
    trunk = {**json.loads(stored["spec"]["config"]), "vlan": 0, "vlanTrunk": [{"id": 7}]}
    again = served.put(edited(stored, config=json.dumps(trunk)))
    assert names.LABEL_VLAN_ID not in again["metadata"]["labels"]


def test_an_object_right_behind_the_one_that_it_needs(served: Served) -> None:
    """From two clients at once. Harvester's refused four of a hundred."""

    def pair(number: int) -> None:
        served.create(cn(f"c{number}"))
        served.create(nad(f"n{number}", of=f"c{number}"))

    with concurrent.futures.ThreadPoolExecutor(2) as clients:
        list(clients.map(pair, range(PAIRS)))


def test_of_two_that_exclude_each_other_one(served: Served) -> None:
    """Of two clients at once. Harvester's let both in three times of a hundred."""
    served.create(cn("data"))
    served.create(node("n1"))
    served.create(vc("a"))

    def both(number: int) -> int:
        documents = [hnc(f"{side}{number}", 100 + number) for side in "ab"]
        with concurrent.futures.ThreadPoolExecutor(2) as clients:
            return sum(clients.map(taken, documents))

    def taken(document: Document) -> bool:
        try:
            served.create(document)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    assert [both(number) for number in range(PAIRS)] == [1] * PAIRS


def test_what_was_used_a_moment_ago_can_be_deleted(served: Served) -> None:
    for number in range(10):
        served.create(cn("data"))
        served.create(nad(f"n{number}"))
        assert served.status(served.delete, cn("data"))["code"] == 403
        served.delete(nad(f"n{number}"))
        served.delete(cn("data"))


def test_what_was_stored_by_others_rules_can_be_mended(served: Served) -> None:
    served.stop()
    served.plane.request("DELETE", VALIDATING)
    wrong = [{**nad(), "spec": {"config": "{no"}}, vc(mtu=100), cn("data")]
    broken = [served.create(document) for document in wrong]
    served.start()
    assert served.status(served.delete, cn("data"))["code"] == 403, "the broken ones use it"
    served.put({**broken[1], "metadata": {**broken[1]["metadata"], "annotations": {"note": "x"}}})
    served.put({**broken[0], "spec": nad()["spec"]})
    served.delete(vc())
    served.delete(nad())
    served.delete(cn("data"))


def test_an_object_that_goes_can_lose_its_finalizer(served: Served) -> None:
    served.create(cn("data"))
    stored = served.create({**nad(), "metadata": {**nad()["metadata"], "finalizers": ["example.com/last"]}})
    served.delete(nad())
    assert served.status(served.delete, cn("data"))["code"] == 403
    going = served.plane.request("GET", f"{collection(nad())}/web")
    assert going["metadata"]["deletionTimestamp"] and stored
    served.put({**going, "metadata": {**going["metadata"], "finalizers": []}})
    served.delete(cn("data"))


def test_a_status_is_not_held_up(served: Served) -> None:
    """Harvester's controllers write that of a ClusterNetwork with the object."""
    served.create(cn("data"))
    served.create(vc(mtu=9000))
    stored = served.put(annotated(served.plane.request("GET", f"{collection(cn())}/data"), {MTU: "9000"}))
    served.put({**stored, "status": {"conditions": [{"type": "ready", "status": "True"}]}})


def test_nobody_but_a_controller_writes_the_management_network(served: Served) -> None:
    said = served.status(served.create, annotated(vc(of="mgmt"), {names.ANNOTATION_MANAGED: "true"}))
    assert (said["code"], said["reason"]) == (403, "Forbidden")


def test_all_of_them_at_once(served: Served) -> None:
    """`kubectl delete --all` asks for each one; what is used stays, and the rest goes."""
    for number in range(5):
        served.create(cn(f"c{number}"))
    served.create(nad(of="c2"))
    answers = {}
    for number in range(5):
        try:
            served.delete(cn(f"c{number}"))
            answers[number] = 200
        except urllib.error.HTTPError as error:
            with error:
                answers[number] = error.code
    assert answers == {0: 200, 1: 200, 2: 403, 3: 200, 4: 200}


# What goes wrong ---------------------------------------------------------------------------------


def test_without_a_webhook_nothing_of_ours_changes_and_all_else_does(served: Served) -> None:
    served.create(cn("data"))
    served.stop()
    said = served.status(served.create, cn("dmz"))
    assert said["code"] == 500 and "failed calling webhook" in said["message"]
    served.create(node("n7"))
    served.start()
    served.create(cn("dmz"))


def test_a_webhook_that_hangs(served: Served) -> None:
    """Mutating is ignored after its time, and validating fails after its own."""
    served.stop()
    with socket.create_server(("127.0.0.1", served.port)):
        began = time.monotonic()
        said = served.status(served.create, cn("dmz"))
        took = time.monotonic() - began
    assert said["code"] in (500, 504) and 4 < took < 9
    served.start()


def test_a_certificate_that_ran_out_is_none(served: Served, tmp_path: Path) -> None:
    """What was made by somebody whose clock was wrong, say: nothing is let in by it, and a new one is made at once."""
    served.create(cn("data"))
    authority = certificates.make_authority(tmp_path, "old", 1)
    secret = served.plane.request("GET", SECRET)
    expired = certificates.sign(tmp_path, authority, ("127.0.0.1",), 0)
    time.sleep(1.1)
    assert certificates.lifetime(expired.certificate)[1] <= time.time()
    bad = encoded(expired, authority)
    served.plane.request("PUT", SECRET, {**secret, "data": bad})
    known = (secret["data"]["tls.crt"], bad["tls.crt"])
    wait_for(lambda: served.plane.request("GET", SECRET)["data"]["tls.crt"] not in known)
    wait_for(lambda: served.refuses(cn("a" * 13)))
    served.create(cn("dmz"))


def encoded(server: Pair, authority: Pair) -> dict[str, str]:
    texts = (server.certificate, server.key, authority.certificate, authority.key)
    return {name: base64.b64encode(text).decode() for name, text in zip(SECRET_NAMES, texts, strict=True)}


def test_a_new_certificate_while_it_is_asked(served: Served) -> None:
    """Nobody notices: not one of the requests fails."""
    before = served.plane.request("GET", SECRET)["data"]["tls.crt"]
    served.plane.request("DELETE", SECRET)
    count = 0
    while certificate_of(served) in ("", before) or count < 50:
        assert served.refuses(cn("a" * 13)), served.said
        count += 1
        assert count < 5000
    served.said.clear()  # it is used a moment after it was stored
    for _ in range(50):
        assert served.refuses(cn("a" * 13)), served.said


def certificate_of(served: Served) -> str:
    """Empty while there is none."""
    try:
        return str(served.plane.request("GET", SECRET)["data"]["tls.crt"])
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return ""


def test_a_registration_that_somebody_takes_away_comes_back(served: Served) -> None:
    served.plane.request("DELETE", VALIDATING)
    wait_for(lambda: served.refuses(cn("a" * 13)))


def test_two_replicas_share_a_certificate(served: Served) -> None:
    other = Served(served.plane)
    other.settings = replace(other.settings, address=served.settings.address)
    other.start()
    held = served.plane.request("GET", SECRET)["data"]["tls.crt"]
    other.stop()
    assert served.plane.request("GET", SECRET)["data"]["tls.crt"] == held
    assert served.refuses(cn("a" * 13))


def test_with_a_manager_another_mtu_goes_its_way(served: Served) -> None:
    """The annotation that the manager wrote stands in nobody's way, and its own writing is let in at once."""
    for document in (node("n1"), cn("data"), vc("a"), nad()):
        served.create(document)
    said: list[str] = []
    settings = ManagerSettings(lease=("default", "beside-webhook"), identity="one")
    manager = Manager(Access(kubeconfig=str(served.plane.kubeconfig())), settings, said.append)
    thread = threading.Thread(target=manager.run, daemon=True)
    thread.start()

    def annotated_as(mtu: str) -> bool:
        found = served.plane.request("GET", f"{collection(cn())}/data")
        return bool(found["metadata"].get("annotations", {}).get(MTU) == mtu)

    def mtu() -> object:
        return json.loads(served.plane.request("GET", f"{collection(nad())}/web")["spec"]["config"]).get("mtu")

    try:
        wait_for(lambda: annotated_as("1500"))
        stored = served.plane.request("GET", f"{collection(vc())}/a")
        served.put({**stored, "spec": vc("a", mtu=9000)["spec"]})
        wait_for(lambda: annotated_as("9000") and mtu() == 9000)
        assert not [line for line in said if "refuses" in line]
    finally:
        manager.stop()
        thread.join(WAIT_S)
        # What it made nobody can delete as long as somebody is asked.
        served.stop()
        served.plane.request("DELETE", VALIDATING)
        served.clear()
