"""A port that comes on a host with network policies: a train of frames into it and out of it from before it is made,
and not one passes that a policy closes; whoever judges it."""

from __future__ import annotations

import os
import re
import time

import pytest
from tests.qemu.arriving import CLOSED_DB, Node, Train
from tests.qemu.conftest import Ns

from windrow.port.identity import host_end
from windrow.store.memory import read_memory


def passes(train: Train) -> bool:
    return train.arrived > 20 and train.came_out > 20


def tried(train: Train) -> bool:
    """Out of a port that is there, and into it."""
    return train.left > 60 and train.sent > 100


def test_the_train_passes_where_there_are_no_policies(node: Node, pod: Ns) -> None:
    """Else the others prove nothing."""
    with node.train(pod) as train:
        assert node.call("ADD", pod, "shop/db").exit == 0
        node.until(lambda: passes(train))


def test_what_a_policy_closes_never_opens(node: Node, pod: Ns) -> None:
    node.store(CLOSED_DB)
    with node.agent(), node.train(pod) as train:
        time.sleep(0.2)
        done = node.call("ADD", pod, "shop/db")
        assert done.exit == 0, done
        node.until(lambda: f"to-{host_end('shop-db', 'eth0')}" in node.listed())
        node.until(lambda: tried(train))
    assert (train.arrived, train.came_out) == (0, 0), train


def test_what_none_closes_passes_when_the_call_is_done(node: Node, pod: Ns) -> None:
    node.store(CLOSED_DB)
    with node.agent(), node.train(pod) as train:
        done = node.call("ADD", pod, "shop/web")
        assert done.exit == 0, done
        node.until(lambda: passes(train))


def test_without_an_agent_it_is_closed_and_that_is_said(node: Node, pod: Ns, capfd: pytest.CaptureFixture[str]) -> None:
    node.store(CLOSED_DB)
    node.keeper.round(reread=True)
    node.paths.agent_status.unlink()
    with node.train(pod) as train:
        assert node.call("ADD", pod, "shop/web").exit == 0
        node.until(lambda: tried(train))
    assert (train.arrived, train.came_out) == (0, 0), train
    assert "is closed until the network policies are applied: no agent runs here" in capfd.readouterr().err
    with node.train(pod) as train:
        node.keeper.round(reread=True)
        node.until(lambda: passes(train))


@pytest.mark.parametrize("name", ["other/db", "plain"])
def test_where_there_are_no_policies_nobody_waits(node: Node, pod: Ns, name: str) -> None:
    """A pod of another namespace, and a container that is no pod."""
    node.store(CLOSED_DB)
    node.keeper.round(reread=True)
    node.paths.agent_status.unlink()
    with node.train(pod) as train:
        assert node.call("ADD", pod, name).exit == 0
        node.until(lambda: passes(train))
    listed = node.listed()
    node.keeper.round(reread=True)
    port = host_end(name.replace("/", "-") + ("-" if "/" not in name else ""), "eth0")
    has = {
        one for one, text in re.findall(r"(?:set|map|chain) (\S+) \{(.*?)\n\t\}", node.listed(), re.S) if port in text
    }
    assert "judged" in has and has <= {"judged", "owned-4", "owned-6", "kept", "addressless"}, (listed, has)


@pytest.mark.parametrize("name", ["shop/db", "other/db"])
def test_before_the_first_round_of_a_host_and_after_a_flush(node: Node, pod: Ns, name: str) -> None:
    """That there are policies is on the disk; the table is not in the kernel."""
    node.store(CLOSED_DB)
    node.keeper.round(reread=True)
    assert read_memory(node.paths).policed
    node.paths.agent_status.unlink()
    old = Ns()
    assert node.call("ADD", old, "other/old").exit == 0
    node.ns.nft("flush ruleset")
    with node.train(pod) as train:
        assert node.call("ADD", pod, name).exit == 0
        node.until(lambda: tried(train))
    assert (train.arrived, train.came_out) == (0, 0), train
    assert host_end("other-old", "eth0") in node.listed(), "what was there stays as it was"
    node.keeper.round(reread=True)
    assert (f"to-{host_end('shop-db', 'eth0')}" in node.listed()) is (name == "shop/db")
    if name == "other/db":
        with node.train(pod) as train:
            node.until(lambda: passes(train))
    os.close(old.fd)
