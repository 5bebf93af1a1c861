"""The order of the questions: what explains most comes first, and what it explains is not told again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from windrow.diagnose.blame import Culprit
from windrow.diagnose.bonds import bond_findings
from windrow.diagnose.deaf import deaf_members
from windrow.diagnose.matrix import Matrix
from windrow.diagnose.nics import crossed, merged_crossings, nic_findings, waiting_findings
from windrow.diagnose.paths import path_findings
from windrow.diagnose.services import Service, service_findings, services_of
from windrow.diagnose.situation import Situation, spoken
from windrow.diagnose.turned import turned_findings
from windrow.diagnose.vlans import BETWEEN, SWITCHES, lldp_findings, shared_finding, vlan_causes
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence, Leg
from windrow.model.findings import Certainty, Finding, Fix, Grade, Reason
from windrow.model.values import IfName, VidSet
from windrow.switches.wanted import Cards, needs_of

_GRADES = list(Grade)
NO_VIDS = VidSet()
NAMELESS = frozenset({SWITCHES, BETWEEN})


def diagnose(cluster: Cluster, evidence: Evidence) -> tuple[Finding, ...]:
    """What is wrong with the network outside, the worst first; one finding for each cause. Nothing in the evidence
    makes it raise: it comes from other hosts."""
    cards: Cards = {
        node.node: {str(nic.mac): IfName(nic.name) for nic in node.nics.values()} for node in evidence.nodes.values()
    }
    situation = Situation(needs_of(cluster, tuple(evidence.nodes), cards), evidence)
    found = dict.fromkeys(_findings(situation, services_of(cluster)))
    worst_first = sorted(found, key=lambda f: (_GRADES.index(f.grade), f.reason.text, f.place, str(f.vids)))
    return tuple(worst_first)


def _findings(situation: Situation, services: tuple[Service, ...]) -> Iterator[Finding]:
    hosts = [*nic_findings(situation), *bond_findings(situation)]
    swapped = list(crossed(situation))
    strayed = {leg for f in swapped for leg in f.legs}
    spoilt = strayed | {leg for f in hosts for leg in f.legs if leg not in situation.passing}
    waiting = [f for f in waiting_findings(situation) if not spoilt & set(f.legs)]
    spoilt |= {leg for f in waiting for leg in f.legs}
    matrices = _matrices(situation, channels=_channels(situation, hosts), spoilt=frozenset(spoilt))
    inside = _inside(situation, matrices, frozenset())
    convicted = frozenset(f.switches for f in inside if f.switches)
    if convicted and len(matrices) > 1:
        inside = _inside(situation, matrices, convicted)
    inside = merged_crossings(situation, inside)
    yield from (f for f in hosts if not strayed & set(f.legs) or f.reason not in _BY_CROSSING)
    yield from swapped
    yield from waiting
    yield from inside
    yield from service_findings(situation, services, _cut(situation, inside, spoilt))
    yield from _silent(situation)
    yield from _foreign(situation)


_BY_CROSSING = frozenset(
    {Reason.LACP_MEMBER_MISSING, Reason.LACP_MISSING, Reason.CABLE_CROSSED, Reason.CHANNEL_MISSING}
)
"""What a cable in another network's port looks like to LACP."""


def _channels(situation: Situation, hosts: list[Finding]) -> frozenset[str]:
    """Bonds whose ports are in a channel that they do not need."""
    legs = {leg for f in hosts if f.reason is Reason.CHANNEL_NOT_NEEDED for leg in f.legs}
    return frozenset(situation.wanted[leg].name for leg in legs)


def _matrices(situation: Situation, *, channels: frozenset[str], spoilt: frozenset[Leg]) -> list[Matrix]:
    return [Matrix(situation, network, channels=channels, spoilt=spoilt) for network in situation.networks]


def _inside(situation: Situation, matrices: list[Matrix], convicted: frozenset[tuple[str, ...]]) -> list[Finding]:
    """What the probes tell, network by network. `convicted`: switches, and pairs of them, that are at fault in one: of
    two places that explain a failure in another network as well, it is that one."""
    found: list[Finding] = []
    shared: dict[Culprit, VidSet] = defaultdict(VidSet)
    networks: dict[Culprit, list[str]] = defaultdict(list)
    for matrix in matrices:
        turned = list(turned_findings(situation, matrix))
        straight = matrix.without(turned)
        deaf = list(deaf_members(situation, straight))
        straight = straight.without_deaf(leg for finding in deaf for leg in finding.legs)
        causes = vlan_causes(situation, straight, convicted)
        ports = [*deaf, *causes.ports]
        found += [*turned, *ports, *path_findings(situation, straight, convicted, ports)]
        found += lldp_findings(situation, matrix)
        for culprit, vids in causes.shared.items():
            shared[culprit] |= vids
            networks[culprit].append(matrix.network)
        if not straight.asked and (alone := straight.untested()):
            found.append(_nobody_to_hear(situation, straight, alone))
    found += [shared_finding(situation, culprit, vids, networks[culprit]) for culprit, vids in shared.items()]
    return _merged(found)


def _merged(found: list[Finding]) -> list[Finding]:
    """What two networks tell of one switch or link is told once."""
    once: dict[tuple[Reason, str], Finding] = {}
    rest: list[Finding] = []
    for finding in found:
        key = (finding.reason, finding.place)
        if not (finding.switches or finding.place in NAMELESS):
            rest.append(finding)
        elif key in once:
            first = once[key]
            legs = dict.fromkeys((*first.legs, *finding.legs))
            message = "; ".join(dict.fromkeys((first.message, finding.message)))
            once[key] = replace(first, legs=tuple(legs), vids=first.vids | finding.vids, message=message)
        else:
            once[key] = finding
    return [*rest, *once.values()]


def _nobody_to_hear(situation: Situation, matrix: Matrix, vids: VidSet) -> Finding:
    found = situation.found(
        Reason.NOBODY_TO_HEAR,
        matrix.senders,
        f"whether {spoken(vids)} of {matrix.network} passes cannot be told: no other node is heard of",
        "run the agent, or `windrow check`, on another node of this network at the same time",
        f"probes: {spoken(vids)} was sent in by {len(matrix.senders)} NICs of one node alone",
    )
    return replace(
        found,
        vids=vids,
        place=matrix.network,
        certainty=Certainty.UNKNOWN,
        lacks="another node",
    )


def _cut(situation: Situation, inside: list[Finding], spoilt: set[Leg]) -> Mapping[tuple[str, str], VidSet]:
    """Where it is known already why nothing answers."""
    cut: dict[tuple[str, str], VidSet] = defaultdict(VidSet)
    for f in inside:
        for leg in f.legs:
            cut[leg.node, f.network] |= f.vids
    for leg in spoilt:
        wanted = situation.wanted.get(leg)
        if wanted is not None:
            cut[leg.node, wanted.cluster_network] |= situation.vids(wanted)
    for finding in inside:
        if finding.reason is Reason.ONE_WAY and not finding.vids:
            for leg in finding.legs:
                cut[leg.node, finding.network] |= situation.vids(situation.wanted[leg])
    return cut


def _silent(situation: Situation) -> Iterator[Finding]:
    for node in sorted(situation.evidence.silent):
        yield Finding(
            reason=Reason.NODE_SILENT,
            grade=Reason.NODE_SILENT.grade,
            certainty=Certainty.UNKNOWN,
            message=f"{node} tells nothing: whether its ports are right cannot be told",
            fix=Fix(words=f"run the agent, or `windrow check`, on {node}"),
            place=node,
            lacks=f"what {node} hears",
        )


def _foreign(situation: Situation) -> Iterator[Finding]:
    """Another cluster in one of our VLANs: nothing is wrong with that, and somebody may want to know."""
    met: dict[tuple[str, int], int] = defaultdict(int)
    for node in situation.evidence.nodes.values():
        for one in node.foreign:
            if 0 <= one.vid < 4095:
                met[one.cluster, one.vid] += one.frames
    for (cluster, vid), frames in sorted(met.items()):
        where = spoken(VidSet.of([vid]))
        yield Finding(
            reason=Reason.FOREIGN_CLUSTER,
            grade=Reason.FOREIGN_CLUSTER.grade,
            certainty=Certainty.SURE,
            message=f"another cluster ({cluster}) is heard in {where}",
            fix=Fix(words="nothing has to be done where that is wanted"),
            place=where,
            vids=VidSet.of([vid]),
            evidence=(f"probes: {frames} of another cluster came in",),
        )
