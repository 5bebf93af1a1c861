"""Probes of one sender that come in on several NICs of a channel: the switch chooses by both addresses of a frame."""

from __future__ import annotations

from dataclasses import replace

from windrow.diagnose import diagnose
from windrow.model.bonding import BondMode
from windrow.model.evidence import Evidence, Heard, Leg
from windrow.model.findings import Reason
from windrow.model.values import IfName
from windrow.testing.fabric import cluster_of, evidence_of, fabric

BOND = (IfName("eth1"), IfName("eth2"))
FABRIC = fabric(mode=BondMode.LACP)


def with_heard(evidence: Evidence, *, unicasts: int) -> Evidence:
    """Broadcasts come where they came, and of the two unicasts in each VLAN so many on the other NIC of the channel."""
    nodes = {}
    for name, node in evidence.nodes.items():
        heard: list[Heard] = []
        for one in node.heard:
            if one.receiver.nic not in BOND or one.sender.nic not in BOND or one.sender.node == name:
                heard.append(one)
                continue
            other = Leg(name, BOND[1 - BOND.index(one.receiver.nic)])
            heard.append(replace(one, sent=5, count=3, broadcast=3, unicast=0))
            if unicasts:
                there = replace(one, receiver=other, sent=5, count=unicasts, broadcast=0, unicast=unicasts)
                heard.append(replace(there, largest=0, largest_sent=0))
        nodes[name] = replace(node, heard=tuple(heard))
    return replace(evidence, nodes=nodes)


def test_broadcasts_on_one_and_unicasts_on_another_are_no_loss_and_no_filter() -> None:
    evidence = with_heard(evidence_of(FABRIC), unicasts=2)
    assert not diagnose(cluster_of(FABRIC), evidence)


def test_what_came_on_none_of_them_is_lost() -> None:
    found = diagnose(cluster_of(FABRIC), with_heard(evidence_of(FABRIC), unicasts=0))
    assert {one.reason for one in found} == {Reason.FRAMES_LOST}
