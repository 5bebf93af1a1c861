"""Every rule that an API server's requests meet, asked by a real API server: what is refused, and what is let be.

The cases are those of tests/unit/admissioncases.py. What is there in a case is stored by an account that nobody is
asked about; the request itself is a dry run, and goes all the way: what is written in, the kind's schema, the rules.

Each eighth case is tried; `WINDROW_VERDICTS=1` tries all of them, as `make test-scale` does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
from tests.kube.cluster import free_port
from tests.kube.installed import definitions, namespace, refusal
from tests.kube.test_installation import OTHERS
from tests.unit.admissioncases import CASES, Ask, Case, Document

from windrow.apps.webhook.configurations import NAME, Address
from windrow.apps.webhook.known import object_of
from windrow.apps.webhook.serve import Settings, Webhook
from windrow.kube.access import Access
from windrow.kube.api import MERGE
from windrow.kube.crds import crds
from windrow.kube.resources import RESOURCES
from windrow.kube.trim import ref_of
from windrow.model.objects import AnyObject
from windrow.model.values import Ref
from windrow.rules.terms import HARVESTER_CONTROLLER
from windrow.services.kubernetes.controlplane import ADMIN, MASTERS, ControlPlane

WAIT_S = 30.0
REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1"
NOT_ASKED = [{"name": "others", "expression": f"request.userInfo.username != '{ADMIN}'"}]
EACH = 1 if os.environ.get("WINDROW_VERDICTS") else 8
WRITTEN_IN = {"vlanconfig.its_label_agrees", "nad.mtu_of_its_cluster_network"}
"""What is made right in a new object, as Harvester does; it is refused in a change."""
BY_SCHEMA = {"hostnetworkconfig.stays_where_it_is": "the VLAN cannot change"}
"""What the schema of the kind says before anybody else is asked."""
BUILTIN = {Ref("ClusterNetwork", "mgmt"), Ref("LinkMonitor", "nic")}


@dataclass
class Court:
    """`askers`: the server as each account of a case sees it."""

    plane: ControlPlane
    askers: Mapping[str, ControlPlane]
    webhook: Webhook

    def said(self, ask: Ask) -> str:
        """What is said against it; empty: it is let be."""
        documents = [*ask.there, *([ask.old] if ask.old else [])]
        with ThreadPoolExecutor(8) as pool:
            stored = {ref_of(one): one for one in pool.map(self._store, documents)}
        try:
            self._wait_until_known(stored)
            self.webhook._judge.terms = ask.terms
            return self._asked(ask, stored)
        finally:
            self._clear(stored)

    def _store(self, document: Document) -> Document:
        meta = {key: value for key, value in document["metadata"].items() if key != "deletionTimestamp"}
        path = RESOURCES[document["kind"]].one(ref_of(document))
        found = self.plane.request("POST", path.rpartition("/")[0], {**document, "metadata": meta})
        leaves = "deletionTimestamp" in document["metadata"]
        return self.plane.request("DELETE", path) if leaves else found

    def _clear(self, stored: Iterable[Ref]) -> None:
        def remove(ref: Ref) -> None:
            path = RESOURCES[ref.kind].one(ref)
            refusal(self.plane, "DELETE", path)
            refusal(self.plane, "PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(remove, stored))
        self._wait_until_known({})

    def _wait_until_known(self, stored: Mapping[Ref, Document]) -> None:
        """The webhook has these as they are, and no others."""
        wanted = {ref: object_of(document) for ref, document in stored.items()}
        end = time.monotonic() + WAIT_S
        while (known := self._known(wanted)) != wanted:
            assert time.monotonic() < end, f"known: {sorted(known)}, stored: {sorted(wanted)}"
            time.sleep(0.002)

    def _known(self, wanted: Mapping[Ref, object]) -> dict[Ref, AnyObject | None]:
        there = self.webhook._known.cluster().objects
        return {ref: obj for ref, obj in there.items() if ref in wanted or ref not in BUILTIN}

    def _asked(self, ask: Ask, stored: Mapping[Ref, Document]) -> str:
        document = ask.new or ask.old
        assert document is not None
        ref, asker = ref_of(document), self.askers[ask.asker]
        path = RESOURCES[ref.kind].one(ref)
        if ask.new is None:
            return refusal(asker, "DELETE", f"{path}?dryRun=All")
        if ask.old is None:
            return refusal(asker, "POST", f"{path.rpartition('/')[0]}?dryRun=All", ask.new)
        meta = {**ask.new["metadata"], "resourceVersion": stored[ref]["metadata"]["resourceVersion"]}
        return refusal(asker, "PUT", f"{path}?dryRun=All", {**ask.new, "metadata": meta})


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    plane = ControlPlane(tmp_path_factory.mktemp("court"), print)
    tokens = {name: plane.user(name, MASTERS) for name in ("tenant", HARVESTER_CONTROLLER)}
    with plane:
        namespace(plane)
        definitions(plane, [*crds(), *OTHERS])
        port = free_port()
        settings = Settings(
            address=Address(url=f"https://127.0.0.1:{port}"), listen=("127.0.0.1", port), secret=("default", "hook")
        )
        webhook = Webhook(Access(kubeconfig=str(plane.kubeconfig())), settings, print)
        thread = threading.Thread(target=webhook.run, daemon=True)
        thread.start()
        assert webhook.ready.wait(WAIT_S)
        ask_about_all_but_the_administrator(plane)
        yield Court(plane, {name: plane.seen_by(token) for name, token in tokens.items()}, webhook)
        webhook.stop()
        thread.join(WAIT_S)


def ask_about_all_but_the_administrator(plane: ControlPlane) -> None:
    for kind in ("validating", "mutating"):
        path = f"{REGISTRATIONS}/{kind}webhookconfigurations/{NAME}"
        webhooks = [{**one, "matchConditions": NOT_ASKED} for one in plane.request("GET", path)["webhooks"]]
        plane.request("PATCH", path, {"webhooks": webhooks}, kind=MERGE)
    time.sleep(1.0)  # until the server has heard of it


def words(ask: Ask, code: str) -> list[str]:
    return [problem.message for problem in ask.verdict().refused if problem.code == code]


@pytest.mark.parametrize("case", CASES[::EACH], ids=lambda case: f"{case.rule}-{case.code}")
def test_every_rule(court: Court, case: Case) -> None:
    deny = case.deny
    if case.rule in WRITTEN_IN:
        assert court.said(deny) == ""
        deny = replace(deny, old=case.allow.new)
    said = court.said(deny)
    expected = [BY_SCHEMA[case.rule]] if case.rule in BY_SCHEMA else words(deny, case.code)
    assert any(one in said for one in expected), said
    assert court.said(case.allow) == ""
