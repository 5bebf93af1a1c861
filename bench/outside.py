"""Diagnosis of a whole cluster's evidence, in memory."""

from __future__ import annotations

from dataclasses import replace

from bench.measure import Group, Way, compare
from windrow.diagnose import diagnose
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence, Heard, Leg
from windrow.model.findings import Reason
from windrow.model.values import IfName, VidSet
from windrow.testing.builders import cluster, cluster_network, nad, vlan_config
from windrow.testing.fabric import evidence_of, fabric

NODES, VLANS = 32, 200
NICS = (IfName("eth1"), IfName("eth2"))
VIDS = VidSet.span(100, 99 + VLANS)
MISSING = (Leg("node-3", NICS[0]), 150)
RUNS = 5


def groups() -> list[Group]:
    manifests = cluster_of()
    one, every = evidence(NICS[:1]), evidence(NICS)
    for seen in (one, every):
        assert [f.reason for f in diagnose(manifests, seen)] == [Reason.VLAN_MISSING]
    count = sum(len(node.heard) for node in every.nodes.values())
    ways = [
        Way(what="a sweep in which one NIC of each node sends", run=lambda: diagnose(manifests, one)),
        Way(what=f"a sweep of all NICs: {count:,} values", run=lambda: diagnose(manifests, every)),
    ]
    title = f"Diagnose {NODES} nodes × {VLANS} VLANs × {len(NICS)} NICs, one VLAN missing on one port"
    return [Group(title=title, where="On this machine", rows=compare(RUNS, ways))]


def cluster_of() -> Cluster:
    nads = [nad(f"v{vid}", "oob", vid) for vid in VIDS]
    return cluster(cluster_network("oob"), vlan_config("oob", list(NICS), "active-backup"), *nads)


def evidence(sending: tuple[IfName, ...]) -> Evidence:
    """All well but for `MISSING`: as `evidence_of` a fabric would say, which takes too long for so much of it."""
    like = evidence_of(fabric(2)).nodes["node-1"]
    names = [f"node-{number}" for number in range(NODES)]
    legs = [Leg(name, nic) for name in names for nic in NICS]
    senders = [leg for leg in legs if leg.nic in sending]
    return Evidence(
        nodes={
            name: replace(
                like,
                node=name,
                nics={nic: like.nics[nic] for nic in NICS},
                heard=tuple(
                    _heard(a, b, vid) for b in legs if b.node == name for a in senders for vid in _passing(a, b)
                ),
                probed=dict.fromkeys(sending, VIDS),
                vlans=(),
            )
            for name in names
        }
    )


def _passing(sender: Leg, receiver: Leg) -> VidSet:
    if sender == receiver:
        return VidSet()
    leg, vid = MISSING
    return VIDS - VidSet.of([vid]) if leg in (sender, receiver) else VIDS


def _heard(sender: Leg, receiver: Leg, vid: int) -> Heard:
    return Heard(
        sender=sender,
        receiver=receiver,
        vid=vid,
        arrived=vid,
        sent=4,
        count=4,
        broadcast=3,
        unicast=1,
        largest=1500,
        largest_sent=1500,
    )
