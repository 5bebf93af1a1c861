"""What is known after a sweep, as a value: for the screen, for JSON, and for whoever asks the agent."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence, Leg, NicEvidence, NodeEvidence
from windrow.model.findings import Finding, Grade
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, VidSet
from windrow.model.wire.evidence import (
    AS_SENT,
    HeardRow,
    evidence_document,
    node_document,
    read_evidence,
    relayed_document,
)
from windrow.render.vlanmatrix import Row, Seen, matrix, seen_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`wanted`: cluster network -> the VLANs that this node probes there."""

    node: str
    at: float
    """Unix time."""
    evidence: Evidence
    wanted: Mapping[str, VidSet] = field(default_factory=dict)
    authenticated: bool = False
    sweeps: int = 0
    """Those of this node that are done."""
    under_way: bool = False
    answered: bool = False
    """Whether all nodes that are expected have told what they know."""
    frames: int = 0
    """Sent so far."""


def document(told: Told) -> dict[str, Any]:
    return {**head(told), "evidence": evidence_document(told.evidence)}


def text(told: Told, others: Mapping[str, str]) -> str:
    """The document as JSON, with what the `others` told put in as it came: read and written anew it would cost as much
    as all the rest. `told` has this node's evidence alone."""
    nodes = {name: json.dumps(node_document(node)) for name, node in told.evidence.nodes.items()}
    listed = ", ".join(f"{json.dumps(name)}: {document}" for name, document in sorted({**others, **nodes}.items()))
    silent = json.dumps(sorted(told.evidence.silent))
    start = json.dumps(head(told)).removesuffix("}")
    relayed = json.dumps(relayed_document(told.evidence.relayed))
    more = f', "relayed": {relayed}' if told.evidence.relayed else ""
    return f'{start}, "evidence": {{"nodes": {{{listed}}}, "silent": {silent}{more}}}}}'


def head(told: Told) -> dict[str, Any]:
    """All but the evidence."""
    return {
        "node": told.node,
        "at": told.at,
        "wanted": {name: str(vids) for name, vids in told.wanted.items()},
        "authenticated": told.authenticated,
        "sweeps": told.sweeps,
        "underWay": told.under_way,
        "answered": told.answered,
        "frames": told.frames,
    }


def read(document: Mapping[str, Any]) -> Told:
    """The inverse. Raises ValueError."""
    try:
        return Told(
            node=str(document["node"]),
            at=float(document["at"]),
            evidence=read_evidence(document["evidence"]),
            wanted={str(name): VidSet.parse(vids) for name, vids in document["wanted"].items()},
            authenticated=bool(document["authenticated"]),
            sweeps=int(document["sweeps"]),
            under_way=bool(document["underWay"]),
            answered=bool(document["answered"]),
            frames=int(document["frames"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what an agent tells: {error}") from error


def rows(told: Told, cluster: Cluster) -> tuple[Row, ...]:
    return rows_of(seen_of(told.evidence), told.node, told.wanted, told.evidence.silent, cluster)


def rows_of(
    seen: Seen, me: str, wanted: Mapping[str, VidSet], silent: Iterable[str], cluster: Cluster
) -> tuple[Row, ...]:
    """The table. Of this node `wanted` says what it is meant to reach; of the others, what they probe, or, where they
    do not, what the networks of the cluster have."""
    own = seen.get(me)
    heard = {row.sender.node for row in own[1]} if own is not None else set()
    by_all: dict[str, Mapping[str, VidSet]] = {
        name: wanted if name == me else _of(node, cluster) for name, (node, _) in seen.items()
    }
    for name in {*silent, *heard} - by_all.keys():
        by_all[name] = {network: vids for network, vids in wanted.items() if vids}
    return matrix(seen, by_all)


def _of(node: NodeEvidence, cluster: Cluster) -> dict[str, VidSet]:
    found: dict[str, VidSet] = {}
    for nic, one in node.nics.items():
        if one.cluster_network:
            before = found.get(one.cluster_network, VidSet())
            found[one.cluster_network] = before | node.probed.get(nic, VidSet())
    return {network: vids or cluster.nad_vids(network) for network, vids in found.items()}


def is_faulty(rows: Sequence[Row]) -> bool:
    return any(state.bad for row in rows for state in row.cells.values())


def loses_long_ones(seen: Seen) -> bool:
    """Whether somewhere the longest frame that was announced has not come."""
    return any(row.largest < row.largest_sent for _, rows in seen.values() for row in rows)


LOST_SHARE, LOST_LEAST = 0.01, 2
"""Half of what `diagnose` needs to name a place for it: a sweep of all legs has twice the frames to tell by."""


def loses_a_share(seen: Seen) -> bool:
    """Whether a share of what one NIC sent, or of what came to one, was lost. Of a channel it cannot be told here: each
    of its members hears a part (`misses_a_flow`)."""
    counted: dict[tuple[Leg, bool], list[int]] = defaultdict(lambda: [0, 0])
    for node, rows in seen.values():
        single = {nic for nic, one in node.nics.items() if one.active is not None or one.bond is None}
        for row in rows:
            if row.receiver.nic in single and row.arrived == AS_SENT and row.sender.node != node.node:
                for end in ((row.sender, True), (row.receiver, False)):
                    counted[end][0] += row.lost * len(row.vids)
                    counted[end][1] += row.sent * len(row.vids)
    return any(lost >= LOST_LEAST and lost >= LOST_SHARE * sent for lost, sent in counted.values())


def misses_a_flow(seen: Seen) -> bool:
    """Whether a channel got nothing of what some NIC sent to everybody in a sweep that its node has heard.

    The switch sends all of it to one member (IEEE 802.1AX §6.2.4). Where nothing comes in on that one, the table may
    have no fault, for something else of the same node came in on another; and the next sweep, from another NIC, may
    miss nothing."""
    for node, rows in seen.values():
        for (channel, name), came in _to_everybody(seen, node, rows).items():
            sender, members = seen[name][0], [one for one in node.nics.values() if one.bond == channel]
            shared = _probed(node, members)
            theirs = (one for one in sender.nics.values() if one.cluster_network == members[0].cluster_network)
            if any(shared & _probed(sender, [one]) & ~came[one.name] for one in theirs):
                return True
    return False


def _to_everybody(
    seen: Seen, node: NodeEvidence, rows: Iterable[HeardRow]
) -> dict[tuple[IfName, str], dict[IfName, int]]:
    """(Channel of this node, node that was heard there in its last sweep) -> NIC of that node -> the VLANs in which
    what it sent to everybody came, as a bitmap."""
    channels = {nic: one.bond for nic, one in node.nics.items() if one.bond is not None and one.active is None}
    found: dict[tuple[IfName, str], dict[IfName, int]] = {}
    for row in rows:
        channel, name = channels.get(row.receiver.nic), row.sender.node
        if channel is None or name == node.node or name not in seen or row.sweep != seen[name][0].sweep:
            continue
        of_sender = found.setdefault((channel, name), defaultdict(int))
        if row.broadcast and row.arrived == AS_SENT:
            of_sender[row.sender.nic] |= row.vids.bits
    return found


def _probed(node: NodeEvidence, nics: Iterable[NicEvidence]) -> int:
    """The VLANs in which any of them sent, as a bitmap."""
    bits = 0
    for nic in nics:
        bits |= node.probed[nic.name].bits if nic.name in node.probed else 0
    return bits


HEALTHY, FINDINGS, UNKNOWN = 0, 1, 3


def exit_code(rows: Sequence[Row], found: Sequence[Finding]) -> int:
    """0 where all is well, 1 where something is found, 3 where it cannot be known. A note is no alarm; what the table
    has and nothing explains is one."""
    states = {state for row in rows for state in row.cells.values()}
    if any(one.grade is not Grade.NOTE for one in found) or (not found and any(state.bad for state in states)):
        return FINDINGS
    return UNKNOWN if not states or any(state.unknown for state in states) else HEALTHY
