"""The order of the questions: what explains most comes first, and what it explains is not told again."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.diagnose.bonds import bond_findings, not_distributing
from windrow.diagnose.matrix import Matrix, spoken
from windrow.diagnose.nics import crossed, dark, nic_findings
from windrow.diagnose.paths import path_findings
from windrow.diagnose.services import Service, service_findings, services_of
from windrow.diagnose.situation import Situation
from windrow.diagnose.vlans import vlan_findings
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence, Leg
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.values import IfName, VidSet
from windrow.switches.wanted import Cards, needs_of

_GRADES = list(Grade)


def diagnose(cluster: Cluster, evidence: Evidence) -> tuple[Finding, ...]:
    """What is wrong with the network outside, the worst first; one finding for each cause. Nothing in the evidence makes
    it raise: it comes from other hosts."""
    cards: Cards = {
        node.node: {str(nic.mac): IfName(nic.name) for nic in node.nics.values()} for node in evidence.nodes.values()
    }
    situation = Situation(needs_of(cluster, tuple(evidence.nodes), cards), evidence)
    found = list(_findings(situation, services_of(cluster)))
    return tuple(sorted(dict.fromkeys(found), key=lambda f: (_GRADES.index(f.grade), f.reason, f.place, str(f.vids))))


def _findings(situation: Situation, services: tuple[Service, ...]) -> Iterator[Finding]:
    yield from nic_findings(situation)
    bonds = list(bond_findings(situation))
    yield from bonds
    swapped, wrong = crossed(situation)
    yield from swapped
    spoilt: frozenset[Leg] = dark(situation) | not_distributing(situation) | wrong
    for network in situation.networks:
        matrix = Matrix(situation, network)
        seen = vlan_findings(situation, matrix, spoilt)
        yield from seen.findings
        gone = {leg for f in seen.findings if f.reason == "NothingPasses" for leg in f.legs}
        yield from path_findings(situation, matrix, seen.spoilt | gone)
        yield from _alone(situation, matrix)
    yield from service_findings(situation, services)
    yield from _foreign(situation)


def _alone(situation: Situation, matrix: Matrix) -> Iterator[Finding]:
    """VLANs in which only one node sends: nobody could hear it."""
    alone: dict[Leg, VidSet] = {}
    for leg in matrix.legs:
        vids = matrix.intended(leg) - matrix.peers[leg]
        if vids:
            alone[leg] = vids
    if alone and len({leg.node for leg in matrix.legs}) == 1:
        leg, vids = next(iter(alone.items()))
        yield Finding(
            reason="NobodyToHear",
            grade=Grade.NOTE,
            certainty=Certainty.UNKNOWN,
            message=f"whether {spoken(vids)} of {matrix.network} passes cannot be told: no other node is heard of",
            fix="run the agent, or `windrow check`, on another node of this network at the same time",
            place=matrix.network,
            about=situation.about(leg),
            legs=tuple(alone),
            vids=vids,
            lacks="another node",
        )


def _foreign(situation: Situation) -> Iterator[Finding]:
    """Another cluster in one of our VLANs: nothing is wrong with that, and somebody may want to know."""
    met: dict[tuple[str, int], int] = {}
    for node in situation.evidence.nodes.values():
        for one in node.foreign:
            met[one.cluster, one.vid] = met.get((one.cluster, one.vid), 0) + one.frames
    for (cluster, vid), frames in sorted(met.items()):
        yield Finding(
            reason="ForeignCluster",
            grade=Grade.NOTE,
            certainty=Certainty.SURE,
            message=f"another cluster ({cluster}) is in VLAN {vid}",
            fix="nothing has to be done where that is wanted",
            place=f"VLAN {vid}",
            vids=VidSet.of([vid] if 0 <= vid < 4095 else []),
            evidence=(f"{frames} probes of it were heard",),
        )
