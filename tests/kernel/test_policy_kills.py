"""kill -9 at random moments of CNI calls, and of rounds that change the policies, beside a train of frames: not one
passes. WINDROW_KILLS=500 is `make test-kills`."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.qemu.arriving import Node
from tests.qemu.conftest import Ns

from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.cni.dispatch import answer
from windrow.apps.cni.host import Host
from windrow.apps.round.here import here
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths

KILLS = int(os.environ.get("WINDROW_KILLS", "10"))
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress], ingress: [%s], egress: []}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
"""
VARIANTS = tuple(POLICY % rule for rule in ("", "{ports: [{port: 8080}]}", "{from: [{podSelector: {}}]}"))
"""None of them lets a frame of the train through."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def call(namespace: str, root: Path, env: dict[str, str], config: bytes) -> None:
    netns.opened_in(namespace, lambda: answer(env, config, Host(root, "n1")))


def turn(namespace: str, root: Path) -> None:
    """A round, as the agent makes it and as `windrow apply` does."""
    kernel = Kernel(namespace)
    Keeper(here(Paths(root), "n1", kernel), Log(io.StringIO())).round(reread=True)


class Killer:
    """Work in processes of their own, which are forked from one that has loaded all of it."""

    def __init__(self) -> None:
        self._forked = multiprocessing.get_context("forkserver")
        self._forked.set_forkserver_preload(["tests.kernel.test_policy_kills"])
        self._chosen = random.Random(KILLS)
        self.took: dict[Callable[..., None], float] = {}
        """Seconds of the last one that came to its end."""
        self.killed = self.ended = 0

    def run(self, work: Callable[..., None], *arguments: Any) -> None:
        began = time.monotonic()
        process = self._forked.Process(target=work, args=arguments)
        process.start()
        process.join(self._chosen.uniform(0.0, self.took[work] * 1.2) if work in self.took else None)
        process.kill()
        process.join()
        if process.exitcode == 0:
            self.took[work] = time.monotonic() - began
            self.ended += 1
        else:
            self.killed += 1


def test_whoever_is_killed_leaves_nothing_open(node: Node) -> None:
    pod, other, chosen = Ns(), Ns(), random.Random(KILLS)
    namespace = f"/proc/{os.getpid()}/fd/{node.ns.fd}"
    node.store(VARIANTS[0])
    node.keeper.round(reread=True)
    killer = Killer()
    with node.train(pod) as train:
        for number in range(KILLS):
            if chosen.random() < 0.5:
                node.store(VARIANTS[number % len(VARIANTS)])
                killer.run(turn, namespace, node.paths.root)
            else:
                node.paths.agent_status.unlink(missing_ok=True)  # else the call waits for a round until it is killed
                killer.run(call, namespace, node.paths.root, *node.request("ADD", pod, "shop/db"))
            if chosen.random() < 0.5:
                node.keeper.round(reread=True)
            if chosen.random() < 0.5:
                assert node.call("DEL", pod, "shop/db").exit == 0
        assert (train.arrived, train.came_out) == (0, 0), train
        assert killer.killed > KILLS // 3 and train.sent > 50 and train.left > 20, (killer.killed, killer.ended, train)
        assert node.call("DEL", pod, "shop/db").exit == 0
    print(f"{killer.killed} killed, {killer.ended} came to their end; {train}")
    node.store(VARIANTS[0].replace("app: db}}, policyTypes", "app: x}}, policyTypes"))
    node.keeper.round(reread=True)
    with node.train(other) as open_:
        assert node.call("ADD", other, "shop/db").exit == 0
        node.keeper.round(reread=True)
        node.until(lambda: open_.arrived > 20 and open_.came_out > 20)
    for one in (pod, other):
        os.close(one.fd)
