"""A pod that gets the address of one that is gone gets none of its connections past the policies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.qemu.arriving import CLOSED_DB, Node
from tests.qemu.conftest import Ns

from windrow.apps.cni import judging
from windrow.netlink import conntrack
from windrow.port.identity import host_end

ADDRESS = "10.52.0.9"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def ipam(root: Path) -> dict[str, Any]:
    """With one address to give."""
    only = {"subnet": "10.52.0.0/24", "rangeStart": ADDRESS, "rangeEnd": ADDRESS}
    return {"type": "host-local", "dataDir": str(root / "leases"), "ranges": [[only]]}


def test_an_address_comes_without_connections(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A train of packets of one connection goes on from the first pod's time to those of its successors; past the
    policies, where nobody has the kernel forget it."""
    pods = [Ns() for _ in range(3)]
    node.store(CLOSED_DB)
    with node.agent():
        with node.train(pods[0]) as train:
            assert node.call("ADD", pods[0], "shop/web", ipam=ipam(tmp_path)).exit == 0
            node.until(lambda: train.arrived > 20 and train.came_out > 20)
        assert node.call("DEL", pods[0], "shop/web", ipam=ipam(tmp_path)).exit == 0
        with monkeypatch.context() as patched:
            patched.setattr(judging.Gate, "forget_connections", staticmethod(lambda addresses: None))
            assert passed(node, pods[1], tmp_path)
        assert node.call("DEL", pods[1], "shop/db", ipam=ipam(tmp_path)).exit == 0
        assert not passed(node, pods[2], tmp_path)
    for one in pods:
        os.close(one.fd)


def passed(node: Node, pod: Ns, root: Path) -> int:
    """How many packets of a train pass once the closed pod is there."""
    with node.train(pod) as train:
        assert node.call("ADD", pod, "shop/db", ipam=ipam(root)).exit == 0
        node.until(lambda: f"to-{host_end('shop-db', 'eth0')}" in node.listed())
        sent, left, before = train.sent, train.left, train.arrived + train.came_out
        node.until(lambda: train.sent > sent + 50 and train.left > left + 50)
    return train.arrived + train.came_out - before


def test_only_connections_of_the_address_are_forgotten(node: Node) -> None:
    """In both families, at either end."""
    node.ns.nft("table bridge watch { chain c { type filter hook forward priority 0; ct state new counter; }; }")
    node.ns.ip("link set lo up", *(f"addr add {one} dev lo" for one in ("10.9.0.1/32", "10.9.0.2/32", "fd09::1/128")))

    def speak(source: str, target: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.bind((source, port))
            sender.sendto(b"x", (target, 9))

    for number, (source, target) in enumerate(
        (("10.9.0.1", "10.9.0.2"), ("10.9.0.2", "10.9.0.1"), ("10.9.0.2", "10.9.0.2"), ("fd09::1", "fd09::1"))
    ):
        node.ns.inside(lambda s=source, t=target, n=number: speak(s, t, 5000 + n))  # type: ignore[misc]
    assert node.ns.inside(lambda: conntrack.forget(["10.9.0.1"])) >= 2
    assert node.ns.inside(lambda: conntrack.forget(["10.9.0.1"])) == 0
    assert node.ns.inside(lambda: conntrack.forget(["10.9.0.2", "fd09::1"])) >= 2
