"""Network policies in User-Mode Linux, by nftables and by iptables with ipset: frames between the ports of a bridge,
from the host and routed, against the verdict of the specification."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import Ns as KernelNs
from tests.qemu.arriving import CLOSED_DB
from tests.qemu.arriving import Node as Arriving
from tests.qemu.conftest import Ns as Pod
from tests.qemu.policed import GATEWAY, IptablesNode, Node
from tests.unit import policyworld as world

from windrow.model.facts import KernelFeatures
from windrow.model.ruletable import RuleTable
from windrow.netlink import features
from windrow.services.errors import ServiceError
from windrow.services.firewall import Firewall

CLOSED = ("x", "{podSelector: {}, policyTypes: [Ingress, Egress]}")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = IptablesNode()
    yield made
    made.police(RuleTable())
    made.close()


def test_the_truth_table_in_frames_by_iptables(node: Node) -> None:
    """A slice of it; more of it goes through an interpreter (`tests/unit/test_policy_iptables.py`)."""
    compared(node, 40)


def test_the_truth_table_in_frames_by_nftables() -> None:
    """A slice of it; the rest is in a whole kernel (`tests/qemu/test_policies.py`)."""
    node = Node()
    compared(node, 80)
    node.close()


def compared(node: Node, every: int) -> None:
    node.passing(node.pairs)  # everybody's MAC is known by then
    wrong = node.wrong(list(world.texts())[3::every])
    assert not wrong, (len(wrong), wrong[:5])


def test_the_host_itself_gets_in_and_out_and_others_do_not(node: Node) -> None:
    node.police(node.with_policy(*CLOSED))
    inside, other = list(node.pods)[:2]
    arrived = node.passing([(other, inside), (GATEWAY, inside)])
    assert (GATEWAY, inside, "TCP", 80) in arrived and (other, inside, "TCP", 80) not in arrived


def test_whether_nft_can_do_it_is_what_nft_finds(new_ns: Callable[[], KernelNs]) -> None:
    table = "table bridge probe { chain c { ct state established ct label 120 accept; }; }"
    done = new_ns().inside(lambda: subprocess.run(["nft", table], capture_output=True, check=False))
    assert isinstance(done, subprocess.CompletedProcess)
    assert features.probe().bridge_conntrack == (done.returncode == 0)


def test_what_was_flushed_is_seen_and_put_right(node: Node) -> None:
    wanted = node.with_policy(*CLOSED)
    node.police(wanted)
    node.ns.must("ip6tables-legacy", "-t", "security", "-F")
    assert node.seen() != wanted
    node.police(wanted)
    inside, other = list(node.pods)[:2]
    assert not node.passing([(other, inside)])


# A new port, by iptables --------------------------------------------------------------------------------


@pytest.fixture
def without_nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arriving]:
    """A host on which nft is not installed."""
    probed, run = features.settled, Firewall._run

    def settled(known: KernelFeatures, where: Any = None) -> KernelFeatures:
        return replace(probed(known, where), bridge_rules=False, bridge_conntrack=False)

    def refused(self: Firewall, program: str, *rest: Any) -> str:
        if program == "nft":
            raise ServiceError("nft", "is not installed")
        return run(self, program, *rest)

    monkeypatch.setattr(features, "settled", settled)
    monkeypatch.setattr(Firewall, "_run", refused)
    made = Arriving(tmp_path)
    yield made
    made.close()


def test_a_new_port_is_closed_until_it_is_judged(without_nft: Arriving) -> None:
    """On a bridge that no rule knows before; then a pod that a policy closes stays so, and one that none does opens."""
    node, closed, opened = without_nft, Pod(), Pod()
    node.store(CLOSED_DB)
    node.keeper.round(reread=True)
    for pod, name in ((closed, "shop/db"), (opened, "shop/web")):
        node.paths.agent_status.unlink(missing_ok=True)  # a round need not have written it anew
        with node.train(pod) as train:
            assert node.call("ADD", pod, name).exit == 0
            node.until(lambda train=train: train.sent > 100 and train.left > 60)  # type: ignore[misc]
            assert (train.arrived, train.came_out) == (0, 0), train
            node.keeper.round(reread=True)
            if name == "shop/web":
                node.until(lambda train=train: train.arrived > 20 and train.came_out > 20)  # type: ignore[misc]
            else:
                left = train.left
                node.until(lambda train=train, left=left: train.left > left + 60)  # type: ignore[misc]
                assert (train.arrived, train.came_out) == (0, 0), train
        assert node.call("DEL", pod, name).exit == 0
    assert node.call("ADD", closed, "shop/db", vlan=5).exit != 0, "a port in a VLAN is refused"
