"""What a verdict adds to a request among the objects of a large cluster, and what 500 requests of garbage a second do
to that. Taking turns: one account is asked about, the other one is not."""

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
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pytest
from tests.kube.cluster import free_port
from tests.kube.test_verdicts import ask_about_all_but_the_administrator
from tests.kube.usage import mb
from tests.scale import objects
from tests.scale.objects import Client

from windrow.apps.webhook.configurations import NAME
from windrow.services.kubernetes.controlplane import MASTERS, ControlPlane

ROUNDS = 300
GARBAGE_S, GARBAGE_EACH_S = 15.0, 500
ADDED_MS_MOST = 5.0


def create(client: Client, number: int) -> float:
    """Milliseconds. It is a dry run: nothing is stored."""
    made = objects.nad(f"x{number}", 2 + number % 4000)
    began = time.perf_counter()
    client.create(made, "?dryRun=All")
    return 1000 * (time.perf_counter() - began)


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Client, Client]]:
    """Port of the webhook; who is asked about, who is not."""
    plane = ControlPlane(tmp_path_factory.mktemp("plane"), print)
    tenant = plane.user("tenant", MASTERS)
    with plane:
        objects.fill(plane)
        port = free_port()
        command = [str(Path(sys.executable).with_name("windrow")), "--kubeconfig", str(plane.kubeconfig()), "webhook"]
        command += ["--url", f"https://127.0.0.1:{port}", "--listen", f"127.0.0.1:{port}", "--secret", "default/hook"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            plane.wait_for(f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{NAME}", 120)
            ask_about_all_but_the_administrator(plane)
            print(f"scale: MB of the webhook: {mb(process.pid):.0f}", flush=True)
            with closing(Client(plane, tenant)) as asked, closing(Client(plane)) as other:
                yield port, asked, other
        finally:
            process.kill()
            process.wait()


def measured(asked: Client, other: Client) -> tuple[list[float], list[float]]:
    """Milliseconds of each request, taking turns."""
    with_, without = [], []
    for number in range(ROUNDS):
        with_.append(create(asked, number))
        without.append(create(other, number))
    return with_[20:], without[20:]


def words(milliseconds: list[float]) -> str:
    ordered = sorted(milliseconds)
    return (
        f"median {statistics.median(ordered):.2f}, of 100 the slowest but one {ordered[int(0.98 * len(ordered))]:.1f}"
    )


def test_what_a_verdict_adds(hook: tuple[int, Client, Client]) -> None:
    _, asked, other = hook
    with_, without = measured(asked, other)
    added = statistics.median(with_) - statistics.median(without)
    print(f"scale: ms of a network's create, asked ({words(with_)}), not asked ({words(without)}); added {added:.2f}")
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


def test_under_garbage_others_are_answered(hook: tuple[int, Client, Client]) -> None:
    port, asked, other = hook
    counts, end = [0], time.monotonic() + GARBAGE_S
    throwers = [threading.Thread(target=throw, args=(port, end, counts)) for _ in range(10)]
    for one in throwers:
        one.start()
    with_, without = [], []
    while time.monotonic() < end:
        with_.append(create(asked, 1))
        without.append(create(other, 1))
    for one in throwers:
        one.join()
    print(f"scale: under {counts[0] / GARBAGE_S:.0f} requests of garbage a second: ms of a create, asked "
          f"({words(with_)}), not asked ({words(without)})")  # fmt: skip
    assert statistics.median(with_) < 100
