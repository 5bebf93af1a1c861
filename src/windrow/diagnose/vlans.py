"""VLANs that do not pass: by whom probes are heard, in which VLAN they arrive, and what LLDP says of the port."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from windrow.diagnose.blame import Culprit, Scope, Verdict, Way, blame
from windrow.diagnose.matrix import NONE, Matrix, spoken
from windrow.diagnose.situation import UNTAGGED, Situation
from windrow.model.evidence import Heard, Leg
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.lazy import dataclass
from windrow.model.values import Ref, VidSet
from windrow.switches.wanted import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one cluster network's probes amount to: findings, and the legs whose ports are known to be wrong as a whole,
    so that nothing else needs saying of them."""

    findings: tuple[Finding, ...] = ()
    spoilt: frozenset[Leg] = frozenset()


def vlan_findings(situation: Situation, matrix: Matrix, spoilt: frozenset[Leg]) -> Seen:
    """`spoilt`: legs that something else explains already (no carrier, LACP has not agreed, a crossed cable)."""
    turned = list(_turned(situation, matrix, spoilt))
    spoilt |= {leg for finding in turned if finding.reason == "AccessPort" for leg in finding.legs}
    moved = {(leg, vid) for finding in turned for leg in finding.legs for vid in finding.vids}
    causes: dict[tuple[Culprit, tuple[Culprit, ...]], int] = defaultdict(int)
    ways: dict[Culprit, set[Way]] = defaultdict(set)
    for vids, verdicts in _verdicts(situation, matrix, spoilt, moved):
        for verdict in verdicts:
            causes[verdict.culprit, verdict.instead] |= vids.bits
            ways[verdict.culprit] |= verdict.ways
    found = [_finding(situation, matrix, culprit, instead, VidSet(bits)) for (culprit, instead), bits in causes.items()]
    return Seen(findings=(*turned, *found), spoilt=spoilt)


def _verdicts(
    situation: Situation, matrix: Matrix, spoilt: frozenset[Leg], moved: set[tuple[Leg, int]]
) -> Iterator[tuple[VidSet, tuple[Verdict, ...]]]:
    """Per set of VLANs in which the same ways fail."""
    legs = [leg for leg in matrix.legs if leg not in spoilt]
    pairs = [(a, b) for a in legs for b in legs if a.node != b.node]
    asked = {pair: matrix.testable[pair[0]] & matrix.testable[pair[1]] for pair in pairs}
    bad = 0
    for pair in pairs:
        bad |= (asked[pair] - matrix.ways.get(pair, NONE)).bits
    alike: dict[tuple[frozenset[Way], frozenset[Way]], int] = defaultdict(int)
    for vid in VidSet(bad):
        bit = 1 << vid
        there = [p for p in pairs if asked[p].bits & bit and not ((p[0], vid) in moved or (p[1], vid) in moved)]
        passed = frozenset(p for p in there if matrix.ways.get(p, NONE).bits & bit)
        failed = frozenset(there) - passed
        if failed and not _isolated_by_design(situation, matrix, vid, legs, passed):
            alike[failed, passed] |= bit
    for (failed, passed), bits in alike.items():
        yield VidSet(bits), blame(failed, passed, situation.switch)


def _isolated_by_design(
    situation: Situation, matrix: Matrix, vid: int, legs: Iterable[Leg], passed: frozenset[Way]
) -> bool:
    """Nobody hears anybody, and each hears the gateway or a DHCP server: isolated ports, or a private VLAN (RFC 5517).
    Guests reach what they need, so this is how somebody wants it."""
    if passed:
        return False
    nodes = {leg.node for leg in legs if vid in matrix.testable[leg]}
    return bool(nodes) and all(_answered(situation, node, matrix.network, vid) for node in nodes)


def _answered(situation: Situation, node: str, network: str, vid: int) -> bool:
    evidence = situation.evidence.nodes.get(node)
    for vlan in evidence.vlans if evidence else ():
        if (vlan.cluster_network, vlan.vid) == (network, vid):
            return bool(vlan.offers) or any(answer.macs for answer in vlan.gateways)
    return False


# Arrived in another VLAN --------------------------------------------------------------------------


def _turned(situation: Situation, matrix: Matrix, spoilt: frozenset[Leg]) -> Iterator[Finding]:
    """Who is at fault is in all of the frames that changed their VLAN; with two NICs alone it may be either."""
    strange = [
        h
        for h in matrix.heard
        if h.count and h.vid != h.arrived and not {h.sender, h.receiver} & spoilt and h.sender.node != h.receiver.node
    ]
    left = strange
    while left:
        counted: dict[Leg, int] = defaultdict(int)
        for h in left:
            counted[h.sender] += 1
            counted[h.receiver] += 1
        most = max(counted.values())
        leg = min((leg for leg, count in counted.items() if count == most), key=lambda leg: _preference(leg, left))
        mine = [h for h in left if leg in (h.sender, h.receiver)]
        yield _turned_finding(situation, matrix, leg, mine)
        left = [h for h in left if leg not in (h.sender, h.receiver)]


def _preference(leg: Leg, heard: list[Heard]) -> tuple[bool, Leg]:
    """Of two that are in it equally often: whose own native VLAN makes it, as it sends without a tag or hears so."""
    native = any(
        (h.sender == leg and h.vid == UNTAGGED) or (h.receiver == leg and h.arrived == UNTAGGED) for h in heard
    )
    return not native, leg


def _turned_finding(situation: Situation, matrix: Matrix, leg: Leg, heard: list[Heard]) -> Finding:
    natives = {h.arrived for h in heard if h.sender == leg and h.vid == UNTAGGED}
    natives |= {h.vid for h in heard if h.receiver == leg and h.arrived == UNTAGGED}
    said = tuple(dict.fromkeys(_told(h) for h in heard))[:4]
    wanted = matrix.wanted[leg]
    if natives:
        native = min(natives)
        passes = (matrix.out[leg] | matrix.back[leg]) - VidSet.of([UNTAGGED, native])
        access = not passes and len(matrix.testable[leg]) > 1
        port = situation.switch_port(leg)
        sure = port is not None and port.pvid == native
        return Finding(
            reason="AccessPort" if access else "NativeVlanWrong",
            grade=Grade.ERROR,
            certainty=Certainty.SURE if sure else Certainty.LIKELY,
            message=(
                f"{situation.place(leg)} is an access port of VLAN {native}: {leg} needs a trunk"
                if access
                else f"VLAN {native} is the native VLAN of {situation.place(leg)}, "
                + ("and not that of the other ports" if wanted.untagged else f"and {leg} needs it tagged")
            ),
            fix=(
                f"make {situation.place(leg)} a trunk with {spoken(wanted.tagged)}"
                if access
                else f"take VLAN {native} off as the native VLAN of {situation.place(leg)}"
            ),
            place=situation.place(leg),
            about=situation.about(leg),
            legs=(leg,),
            vids=matrix.testable[leg] if access else VidSet.of([native, *({UNTAGGED} if wanted.untagged else ())]),
            evidence=(*said, *((f"LLDP: the port's native VLAN is {native}",) if sure else ())),
            ports=(leg,),
        )
    pairs = sorted({(min(h.vid, h.arrived), max(h.vid, h.arrived)) for h in heard})
    return Finding(
        reason="VlanTranslated",
        grade=Grade.ERROR,
        certainty=Certainty.LIKELY,
        message=f"{situation.place(leg)} translates VLANs: {', '.join(f'{a} is {b}' for a, b in pairs)} on the other side",
        fix=f"remove the VLAN translation from {situation.place(leg)}",
        place=situation.place(leg),
        about=situation.about(leg),
        legs=(leg,),
        vids=VidSet.of(vid for pair in pairs for vid in pair),
        evidence=said,
        ports=(leg,),
    )


def _told(h: Heard) -> str:
    sent = f"in VLAN {h.vid}" if h.vid else "without a tag"
    came = f"in VLAN {h.arrived}" if h.arrived else "without a tag"
    return f"probes that {h.sender} sent {sent} came in at {h.receiver} {came}"


# Not arrived at all -------------------------------------------------------------------------------


def _finding(
    situation: Situation, matrix: Matrix, culprit: Culprit, instead: tuple[Culprit, ...], vids: VidSet
) -> Finding:
    match culprit.scope:
        case Scope.PORT:
            return _port(situation, matrix, culprit.legs[0], instead, vids)
        case Scope.OUT | Scope.IN:
            return _one_way(situation, matrix, culprit, vids)
        case Scope.LINK:
            return _link(situation, matrix, culprit, vids)
        case _:
            return _created(situation, matrix, culprit, vids)


def _port(situation: Situation, matrix: Matrix, leg: Leg, instead: tuple[Culprit, ...], vids: VidSet) -> Finding:
    others = tuple(place for place in instead if place.scope is Scope.PORT)
    links = tuple(place for place in instead if place.scope is Scope.LINK)
    told, certainty = _lldp(situation, leg, vids)
    if others and certainty is not Certainty.SURE:
        for other in others:
            said, how = _lldp(situation, other.legs[0], vids)
            if how is Certainty.SURE:
                return _port(situation, matrix, other.legs[0], (), vids)
    wanted, everything = matrix.wanted[leg], vids == matrix.testable[leg]
    places = [situation.place(one.legs[0]) for one in (Culprit(Scope.PORT, (leg,)), *others)]
    member = wanted.channel is not Channel.NONE and any(
        matrix.out.get(other, NONE) & matrix.back.get(other, NONE) & vids for other in wanted.legs if other != leg
    )
    if others and certainty is not Certainty.SURE:
        message = f"{spoken(vids)} does not pass between {' and '.join(map(situation.named, (leg, *_legs(others))))}"
        lacks = "a third node in this VLAN, or a switch that announces its VLANs by LLDP"
        certainty, place, legs = Certainty.UNKNOWN, " or ".join(places), (leg, *_legs(others))
    else:
        message = (
            f"nothing passes between {leg} and the others over {situation.place(leg)}"
            if everything and len(vids) > 1
            else f"{spoken(vids)} is missing on {situation.place(leg)}, which {leg} is plugged into"
        )
        lacks = f"whether it is the port, or the link to {_far(situation, links[0], leg)}" if links else ""
        place, legs = situation.place(leg), (leg,)
    if member:
        message += "; the other ports of its channel have it"
    heard = f"probes in {spoken(vids)}: none of {leg} was heard, and it heard none; others hear each other"
    return Finding(
        reason="NothingPasses" if everything and len(vids) > 1 and len(legs) == 1 else "VlanMissing",
        grade=Grade.ERROR,
        certainty=certainty,
        message=message,
        fix=f"allow {spoken(vids)} on {place}",
        place=place,
        about=situation.about(leg),
        legs=legs,
        vids=vids,
        evidence=(heard if not others else f"probes in {spoken(vids)}: neither heard the other", *told),
        lacks=lacks,
        ports=legs,
    )


def _legs(places: Iterable[Culprit]) -> tuple[Leg, ...]:
    return tuple(place.legs[0] for place in places)


def _far(situation: Situation, link: Culprit, leg: Leg) -> str:
    here = situation.switch(leg)
    return next((name for name in link.switches if name != here), "the other switch")


def _lldp(situation: Situation, leg: Leg, vids: VidSet) -> tuple[tuple[str, ...], Certainty]:
    """What LLDP adds. A neighbour that names no VLAN says nothing; nor does a list that may be cut."""
    port = situation.switch_port(leg)
    if port is None:
        return (), Certainty.LIKELY
    tagged = vids - VidSet.of([UNTAGGED])
    if vids == VidSet.of([UNTAGGED]) and port.pvid == 0:
        return (f"LLDP: {port.switch} says that the port has no native VLAN, or does not tell it",), Certainty.LIKELY
    if not port.vlans or port.vlans_cut:
        return (), Certainty.LIKELY
    named = VidSet.of(port.vlans)
    missing = tagged - named
    if missing == tagged and tagged:
        return (f"LLDP: the port names {spoken(named)}, and not {spoken(missing)}",), Certainty.SURE
    if not missing:
        words = (
            f"LLDP: the port allows {spoken(tagged)}: it is not created on {port.switch}, or pruned, or blocked (STP)"
        )
        return (words,), Certainty.LIKELY
    return (f"LLDP: the port names {spoken(named)}",), Certainty.LIKELY


def _one_way(situation: Situation, matrix: Matrix, culprit: Culprit, vids: VidSet) -> Finding:
    leg, out = culprit.legs[0], culprit.scope is Scope.OUT
    if out:
        message = (
            f"{situation.place(leg)} lets nothing in from {leg} in {spoken(vids)}: it hears others, and nobody hears it"
        )
    else:
        message = (
            f"{situation.place(leg)} sends nothing to {leg} in {spoken(vids)}: others hear it, and it hears nobody"
        )
    return Finding(
        reason="OneWay",
        grade=Grade.ERROR,
        certainty=Certainty.LIKELY,
        message=message,
        fix=f"look at {situation.place(leg)} for an access list, port security, storm control, and at the cable: one of "
        "its two directions may be broken",
        place=situation.place(leg),
        about=situation.about(leg),
        legs=(leg,),
        vids=vids,
        evidence=(f"probes in {spoken(vids)} pass one way only",),
    )


def _link(situation: Situation, matrix: Matrix, culprit: Culprit, vids: VidSet) -> Finding:
    a, b = culprit.switches
    return Finding(
        reason="SwitchLinkVlanMissing",
        grade=Grade.ERROR,
        certainty=Certainty.LIKELY,
        message=f"{spoken(vids)} is missing on the link between {a} and {b}",
        fix=f"allow {spoken(vids)} on both ends of the link between {a} and {b}",
        place=f"the link between {a} and {b}",
        about=_about(situation, matrix),
        legs=tuple(leg for leg in matrix.legs if situation.switch(leg) in culprit.switches),
        vids=vids,
        evidence=(f"probes in {spoken(vids)} pass on {a} and on {b}, and not from one to the other",),
    )


def _created(situation: Situation, matrix: Matrix, culprit: Culprit, vids: VidSet) -> Finding:
    known = {name for leg in matrix.legs if (name := situation.switch(leg))}
    where = culprit.switches[0] if culprit.switches else " and ".join(sorted(known)) or "the switches"
    legs = culprit.legs or matrix.legs
    return Finding(
        reason="VlanNotCreated",
        grade=Grade.ERROR,
        certainty=Certainty.LIKELY,
        message=f"{spoken(vids)} passes nowhere on {where}: nobody hears anybody there",
        fix=f"create {spoken(vids)} on {where}, and allow it on the ports of the nodes",
        place=where,
        about=_about(situation, matrix),
        legs=tuple(legs),
        vids=vids,
        evidence=(f"probes in {spoken(vids)} of {len(legs)} NICs: none was heard",),
        ports=tuple(legs),
    )


def _about(situation: Situation, matrix: Matrix) -> Ref | None:
    return situation.about(matrix.legs[0]) if matrix.legs else None
