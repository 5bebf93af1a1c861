"""Reports of nodes are of different moments: what a node sent in one sweep is not held against what others heard in
another."""

from __future__ import annotations

from dataclasses import replace

from windrow.diagnose import diagnose
from windrow.model.bonding import BondMode
from windrow.model.evidence import Evidence
from windrow.model.findings import Grade, Reason
from windrow.model.values import IfName
from windrow.testing.fabric import cluster_of, evidence_of, fabric

FABRIC = fabric(mode=BondMode.LACP)
SENT, QUIET = IfName("eth1"), IfName("eth2")


def by_one_leg(told: int, heard: int) -> Evidence:
    """All nodes say that they sent by `QUIET` in sweep `told`; what was heard is of `SENT`, in sweep `heard`."""
    nodes = {}
    for name, node in evidence_of(FABRIC).nodes.items():
        rows = tuple(replace(h, sweep=heard) for h in node.heard if h.sender.nic != QUIET)
        probed = {nic: vids for nic, vids in node.probed.items() if nic != SENT}
        nodes[name] = replace(node, heard=rows, probed=probed, sweep=told)
    return Evidence(nodes=nodes)


def test_another_sweep_is_no_alarm() -> None:
    for evidence in (by_one_leg(told=5, heard=4), by_one_leg(told=4, heard=5)):
        assert {one.grade for one in diagnose(cluster_of(FABRIC), evidence)} <= {Grade.NOTE}


def test_the_same_sweep_is_one() -> None:
    found = diagnose(cluster_of(FABRIC), by_one_leg(told=5, heard=5))
    assert {one.reason for one in found} & {Reason.ONE_WAY, Reason.NOTHING_PASSES, Reason.VLAN_NOT_CREATED}, found


def one_that_has_just_begun(listens_s: float) -> Evidence:
    """node-3 has not heard a whole sweep of node-1 yet; what node-2 heard of it is of the one before, by `SENT`."""
    nodes = dict(evidence_of(FABRIC).nodes)
    for name, node in nodes.items():
        rows = [h for h in node.heard if h.sender.node != "node-1" or h.sender.nic != QUIET]
        if name == "node-3":
            rows = [h for h in rows if h.sender.node != "node-1"]
        nodes[name] = replace(node, heard=tuple(rows), listens_s=listens_s)
    nodes["node-1"] = replace(
        nodes["node-1"], sweep=6, probed={nic: vids for nic, vids in nodes["node-1"].probed.items() if nic != SENT}
    )
    return Evidence(nodes=nodes)


def test_who_has_listened_for_less_than_a_sweep_has_missed_nothing() -> None:
    """Under load one of three begins seconds later; all three agreed on a leg that nobody hears."""
    early, late = (diagnose(cluster_of(FABRIC), one_that_has_just_begun(s)) for s in (20.0, 600.0))
    assert {one.grade for one in early} <= {Grade.NOTE}, early
    assert any(one.grade is Grade.ERROR for one in late), "after two sweeps it means something"
