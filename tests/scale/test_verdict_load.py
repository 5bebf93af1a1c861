"""What a verdict adds to a request among the objects of a large cluster, and what 500 requests of garbage a second do
to that. Taking turns: Windrow is asked about one account, a webhook that lets everything in about another one, and
nobody about the third."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster import free_port
from tests.kube.test_verdicts import REGISTRATIONS
from tests.kube.usage import mb
from tests.scale import objects
from tests.scale.objects import Client

from windrow.apps.webhook.configurations import NAME, Address, documents
from windrow.kube.api import APPLY
from windrow.services import certificates
from windrow.services.kubernetes.controlplane import MASTERS, ControlPlane

ROUNDS = 300
GARBAGE_S, GARBAGE_EACH_S = 15.0, 500
ADDED_MS_MOST = 5.0
HEARD_S = 2.0
"""A server watches registrations."""


def create(client: Client, number: int) -> float:
    """Milliseconds. It is a dry run: nothing is stored."""
    made = objects.nad(f"x{number}", 2 + number % 4000)
    began = time.perf_counter()
    client.create(made, "?dryRun=All")
    return 1000 * (time.perf_counter() - began)


def ask_about(plane: ControlPlane, account: str, registrations: Sequence[Mapping[str, Any]]) -> None:
    """These webhooks, and about this account alone."""
    condition = {"name": "who", "expression": f"request.userInfo.username == '{account}'"}
    for one in registrations:
        webhooks = [{**webhook, "matchConditions": [condition]} for webhook in one["webhooks"]]
        name, kind = one["metadata"]["name"], f"{one['kind'].lower()}s"
        path = f"{REGISTRATIONS}/{kind}/{name}?fieldManager=test&force=true"
        meta = {"name": name}
        document = {"apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": meta, "webhooks": webhooks}
        plane.request("PATCH", path, document, kind=APPLY)


@contextmanager
def peer(plane: ControlPlane, directory: Path, account: str) -> Iterator[None]:
    """One that lets everything in, asked as often as Windrow is."""
    port = free_port()
    authority = certificates.make_authority(directory, "peer", 5)
    files = certificates.sign(directory, authority, ("127.0.0.1",), 2).stored(directory)
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("peer.py"), str(port), *map(str, files)])
    try:
        told = documents(Address(url=f"https://127.0.0.1:{port}"), authority.certificate)
        ask_about(plane, account, [{**one, "metadata": {"name": "peer"}} for one in told])
        yield
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Turns:
    """`asked`: Windrow is asked; `least`: the peer; `other`: nobody. `process` is Windrow's."""

    port: int
    process: int
    asked: Client
    least: Client
    other: Client


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turns]:
    plane = ControlPlane(tmp_path_factory.mktemp("plane"), print)
    tenant, free = plane.user("tenant", MASTERS), plane.user("free", MASTERS)
    with plane:
        objects.fill(plane)
        port = free_port()
        command = [str(Path(sys.executable).with_name("windrow")), "--kubeconfig", str(plane.kubeconfig()), "webhook"]
        command += ["--url", f"https://127.0.0.1:{port}", "--listen", f"127.0.0.1:{port}", "--secret", "default/hook"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            plane.wait_for(f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{NAME}", 120)
            kinds = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
            ask_about(plane, "tenant", [plane.request("GET", f"{REGISTRATIONS}/{kind}/{NAME}") for kind in kinds])
            print(f"scale: MB of the webhook: {mb(process.pid):.0f}", flush=True)
            with (
                peer(plane, tmp_path_factory.mktemp("peer"), "free"),
                closing(Client(plane, tenant)) as asked,
                closing(Client(plane, free)) as least,
                closing(Client(plane)) as other,
            ):
                time.sleep(HEARD_S)
                yield Turns(port, process.pid, asked, least, other)
        finally:
            process.kill()
            process.wait()


def measured(clients: Sequence[Client]) -> list[list[float]]:
    """Milliseconds of each request, taking turns; another one begins each time."""
    took: list[list[float]] = [[] for _ in clients]
    for number in range(ROUNDS):
        for turn in range(len(clients)):
            which = (number + turn) % len(clients)
            took[which].append(create(clients[which], number))
    return [one[20:] for one in took]


def of_ten(milliseconds: list[float], number: int) -> float:
    """So many of ten are faster."""
    return sorted(milliseconds)[number * len(milliseconds) // 10]


def words(milliseconds: list[float]) -> str:
    fast, slow = of_ten(milliseconds, 1), of_ten(milliseconds, 9)
    return f"median {statistics.median(milliseconds):.2f}, a tenth below {fast:.2f}, a tenth above {slow:.1f}"


def processor_ms(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return 1000 * sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_what_a_verdict_adds(hook: Turns) -> None:
    before = processor_ms(hook.process)
    asked, least, other = measured([hook.asked, hook.least, hook.other])
    each = (processor_ms(hook.process) - before) / ROUNDS
    added, floor = (statistics.median(one) - statistics.median(other) for one in (asked, least))
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"scale: ms of a network's create, load {load}: Windrow asked ({words(asked)}), one that lets everything in "
          f"({words(least)}), nobody ({words(other)}); added {added:.2f} and {floor:.2f}; "
          f"Windrow's processor {each:.2f}", flush=True)  # fmt: skip
    assert added < ADDED_MS_MOST


def junk() -> Iterator[bytes]:
    """No JSON, JSON that is no review, reviews of nonsense, deep, and large ones."""
    request = {"uid": "u", "operation": "CREATE", "object": {"kind": "VlanConfig", "spec": [1]}}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    deep = {**objects.nad("deep", 2), "spec": {"config": "[" * 20_000}}
    large = {**objects.nad("large", 2), "spec": {"config": json.dumps({"type": "x" * 200_000})}}
    for made in (deep, large):
        made["metadata"]["annotations"] = {"a": "x" * 200_000}
    reviews = [json.dumps({**review, "request": {**request, "object": made}}).encode() for made in (deep, large)]
    yield from cycle([os.urandom(500), b"{}", b"[" * 100_000, json.dumps(review).encode(), *reviews])


def throw(port: int, end: float, counts: list[int]) -> None:
    """A tenth of them, on one connection; a server that ends it gets another one."""
    context = ssl._create_unverified_context()
    line, found = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10), junk()
    due = time.monotonic()
    while time.monotonic() < end:
        try:
            line.request("POST", "/v1/validate", next(found))
            line.getresponse().read()
        except (OSError, http.client.HTTPException):
            line.close()  # the next one opens another connection
        counts[0] += 1
        due += 10 / GARBAGE_EACH_S
        time.sleep(max(0.0, due - time.monotonic()))
    line.close()


def test_under_garbage_others_are_answered(hook: Turns) -> None:
    counts, end = [0], time.monotonic() + GARBAGE_S
    throwers = [threading.Thread(target=throw, args=(hook.port, end, counts)) for _ in range(10)]
    for one in throwers:
        one.start()
    with_, without = [], []
    while time.monotonic() < end:
        with_.append(create(hook.asked, 1))
        without.append(create(hook.other, 1))
    for one in throwers:
        one.join()
    print(f"scale: under {counts[0] / GARBAGE_S:.0f} requests of garbage a second: ms of a create, asked "
          f"({words(with_)}), not asked ({words(without)})")  # fmt: skip
    assert statistics.median(with_) < 100
