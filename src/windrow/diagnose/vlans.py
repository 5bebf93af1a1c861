"""VLANs that do not pass, from who is heard by whom and from what LLDP says of the port."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from windrow.diagnose.blame import Blamed, Culprit, Ground, Scope, Verdict, blame
from windrow.diagnose.matrix import Alike, End, Matrix, Way
from windrow.diagnose.situation import CHANCE, UNTAGGED, Situation, agreed, among, spoken, verb
from windrow.model.evidence import Kind, Leg, SwitchPort
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX, VidSet
from windrow.render.text import plural

NO_VIDS = VidSet()
UNTAGGED_ONLY = VidSet.of([UNTAGGED])
SWITCHES, BETWEEN = "the switches", "the link between the switches"
"""What they are called where LLDP names none."""
NODES_FOR_A_VERDICT = 3
"""Where nobody hears anybody: two nodes may have the same fault, three hardly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """Of one cluster network. `ports`: findings about NICs and their ports; `shared`: switches and links that are at
    fault, and in which VLANs, which other networks may share."""

    ports: tuple[Finding, ...] = ()
    shared: Mapping[Culprit, VidSet] = field(default_factory=dict)


SHARED = frozenset({Scope.LINK, Scope.UPLINK, Scope.SWITCH, Scope.EVERYWHERE})


def vlan_causes(situation: Situation, matrix: Matrix, convicted: frozenset[tuple[str, ...]]) -> Causes:
    """`convicted`: switches and pairs of them that another network's frames speak against."""
    causes: dict[Verdict, int] = defaultdict(int)
    ports: list[Finding] = []
    isolated = _isolated(situation, matrix)
    for alike in matrix.alike(isolated):
        if not alike.passed and alike.vids.bits & isolated.bits:
            continue
        if _by_chance(situation, matrix, alike):
            continue
        ground = _ground(situation, matrix, alike.vids)
        found = blame(alike.failed, alike.arrived, replace(ground, convicted=convicted))
        for verdict in found.verdicts:
            causes[verdict] |= alike.vids.bits
        left = _not_by_chance(situation, _without_strays(situation, found))
        if left and not _answered_both(situation, matrix, left, alike.vids):
            ports.append(_split(situation, alike, left))
    shared: dict[Culprit, VidSet] = {}
    for verdict, bits in causes.items():
        if verdict.culprit.scope in SHARED:
            shared[verdict.culprit] = shared.get(verdict.culprit, NO_VIDS) | VidSet(bits)
    nowhere = VidSet.of(vid for vids in shared.values() for vid in vids)
    for verdict, bits in _nameless(situation, causes).items():
        vids = VidSet(bits)
        if verdict.culprit.legs and not _astray(situation, verdict, vids - nowhere):
            ports.append(_finding(situation, matrix, verdict, Extent.of(matrix, verdict.culprit, vids, nowhere)))
    return Causes(ports=tuple(ports), shared=shared)


def lldp_findings(situation: Situation, matrix: Matrix) -> Iterator[Finding]:
    """VLANs that a port does not name among others, where no probe tells whether they pass."""
    for leg, wanted in matrix.wanted.items():
        port = situation.switch_port(leg)
        named = _named(port) if port and not port.vlans_cut else NO_VIDS
        missing = wanted.tagged - named - matrix.tested(leg) - matrix.passes(leg)
        if named & wanted.tagged and missing:
            yield replace(
                situation.found(
                    Reason.VLAN_MISSING,
                    (leg,),
                    f"{verb(missing, 'is', 'are')} missing on {situation.place(leg)}, which {leg} is plugged into",
                    f"allow {spoken(missing)} on {situation.place(leg)}",
                    f"LLDP: the port names {spoken(named)}, and not {spoken(missing)}",
                ),
                vids=missing,
                lacks="whether frames pass: no probe was sent and could have been heard",
            )


def _nameless(situation: Situation, causes: Mapping[Verdict, int]) -> dict[Verdict, int]:
    """NICs of which nobody knows the switch, and that fail in the same VLANs, are told together: they may be on one."""
    found: dict[Verdict, int] = {}
    alike: dict[int, list[Leg]] = defaultdict(list)
    for verdict, bits in causes.items():
        culprit = verdict.culprit
        rivals = any(place.scope is Scope.PORT for place in verdict.instead)
        if culprit.scope is Scope.PORT and not rivals and not situation.switch(culprit.legs[0]):
            alike[bits].append(culprit.legs[0])
        else:
            found[verdict] = bits
    for bits, legs in alike.items():
        scope = Scope.PORT if len(legs) == 1 else Scope.SWITCH
        found[Verdict(culprit=Culprit(scope, tuple(sorted(legs))))] = bits
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """In which VLANs a port fails, and whether these are all in which anything is known to pass elsewhere."""

    vids: VidSet
    everything: bool

    @classmethod
    def of(cls, matrix: Matrix, culprit: Culprit, vids: VidSet, nowhere: VidSet) -> Extent:
        """`nowhere`: VLANs that a switch or a link does not have, so that nothing can be said of this port."""
        tested = VidSet()
        for leg in culprit.legs:
            tested |= matrix.tested(leg)
        everything = len(vids) > 1 and not tested - vids - nowhere
        return cls(vids=tested if everything else vids, everything=everything)


def _without_strays(situation: Situation, found: Blamed) -> frozenset[Way]:
    """Where a switch or a link is at fault, NICs of which nobody knows the switch are on one of its sides."""
    if not any(verdict.culprit.switches for verdict in found.verdicts):
        return found.left
    return frozenset(
        (sender, end) for sender, end in found.left if all(situation.switch(leg) for leg in (sender, *end))
    )


def _by_chance(situation: Situation, matrix: Matrix, alike: Alike) -> bool:
    """Whether these ways lose so many frames in other VLANs that all of one VLAN may be lost somewhere, by chance."""
    odds = float(len(matrix.asked) * max(map(len, map(VidSet, matrix.asked.values()))))
    for sender, end in alike.failed:
        tally = situation.probes.along(sender, end)
        if tally.lost <= 0:
            return False
        odds *= (tally.lost / tally.sent) ** (tally.sent / tally.bits.bit_count())
    return odds > CHANCE


def _not_by_chance(situation: Situation, left: frozenset[Way]) -> frozenset[Way]:
    """Where a way loses some frames, that all of one VLAN were lost is chance."""
    return frozenset((sender, end) for sender, end in left if not situation.probes.along(sender, end).lost)


def _astray(situation: Situation, verdict: Verdict, beyond: VidSet) -> bool:
    """A NIC of which nobody knows the switch fails where a switch or a link does, and nowhere else."""
    return not beyond and not any(situation.switch(leg) for leg in verdict.culprit.legs)


def shared_finding(situation: Situation, culprit: Culprit, vids: VidSet, networks: Sequence[str]) -> Finding:
    """Of a switch, a link, or all of them: in all cluster networks at once."""
    wanted = situation.wanted.items()
    legs = [leg for leg, one in wanted if one.cluster_network in networks and vids & situation.vids(one)]
    if culprit.switches:
        legs = [leg for leg in legs if situation.switch(leg) in culprit.switches]
    make = _link if culprit.scope in (Scope.LINK, Scope.UPLINK) else _not_created
    return make(situation, culprit, vids, tuple(legs))


def answered(situation: Situation, node: str, network: str) -> VidSet:
    """The VLANs in which a gateway or a DHCP server answered a node."""
    evidence = situation.evidence.nodes.get(node)
    return VidSet.of(
        vlan.vid
        for vlan in (evidence.vlans if evidence else ())
        if vlan.cluster_network == network
        and 0 <= vlan.vid < 4095
        and (vlan.offers or any(answer.macs for answer in vlan.gateways))
    )


def _isolated(situation: Situation, matrix: Matrix) -> VidSet:
    """VLANs in which each node hears the gateway or a DHCP server. If nobody hears anybody there, ports are isolated,
    or it is a private VLAN (RFC 5517): guests reach what they need, so this is how somebody wants it."""
    nodes = {leg.node for leg in matrix.senders}
    found = [answered(situation, node, matrix.network).bits for node in nodes]
    bits = found[0] if found else 0
    for one in found[1:]:
        bits &= one
    return VidSet(bits)


def _answered_both(situation: Situation, matrix: Matrix, ways: frozenset[Way], vids: VidSet) -> bool:
    nodes = {leg.node for sender, end in ways for leg in (sender, *end)}
    return all(not vids - answered(situation, node, matrix.network) for node in nodes)


# What LLDP says -----------------------------------------------------------------------------------


def _ground(situation: Situation, matrix: Matrix, vids: VidSet) -> Ground:
    said = {leg: _lldp(situation, leg, vids) for leg in matrix.end_of}
    return Ground(
        switches={leg: situation.switch(leg) for leg in matrix.end_of},
        ends=matrix.end_of,
        suspects=frozenset(leg for leg, allowed in said.items() if allowed is False),
        cleared=frozenset(leg for leg, allowed in said.items() if allowed is True),
    )


def _lldp(situation: Situation, leg: Leg, vids: VidSet) -> bool | None:
    """Whether its switch port says that it allows these VLANs. None: it does not say. A neighbour that names no VLAN
    says nothing, nor does a list that may be cut, and of frames without a tag only the native VLAN tells."""
    port = situation.switch_port(leg)
    if port is None:
        return None
    if vids == UNTAGGED_ONLY:
        others = _natives(situation, leg)
        return port.pvid in others if port.pvid and len(others) == 1 else None
    tagged = vids - UNTAGGED_ONLY
    named = _named(port)
    if not named:
        return None
    if not tagged - named:
        return True
    return False if not port.vlans_cut and not tagged & named else None


def _named(port: SwitchPort) -> VidSet:
    """The VLANs that a neighbour names; what cannot be one is left out."""
    return VidSet.of(vid for vid in port.vlans if 0 < vid <= VID_MAX)


def _natives(situation: Situation, leg: Leg) -> set[int]:
    """The native VLANs that the ports of the others say they have."""
    others = (x for x in situation.wanted if x != leg and situation.together(x, leg) and situation.wanted[x].untagged)
    ports = (situation.switch_port(other) for other in others)
    return {port.pvid for port in ports if port is not None and port.pvid}


def _access(situation: Situation, leg: Leg) -> bool:
    """Whether its switch port says that it is an access port: of the VLANs that it names, its native one is the only
    one, and none is wanted. A native VLAN alone says nothing: most trunks have one, and where nothing passes, all may
    have been lost."""
    port, wanted = situation.switch_port(leg), situation.wanted[leg]
    if port is None or not port.pvid or port.vlans_cut or wanted.untagged:
        return False
    return _named(port) == VidSet.of([port.pvid])


def _native_alone(situation: Situation, leg: Leg) -> tuple[str, ...]:
    """What is worth a look where nothing passes, and proves nothing."""
    port = situation.switch_port(leg)
    if port is None or not port.pvid or _named(port) or situation.wanted[leg].untagged:
        return ()
    return (f"LLDP: the port's native VLAN is {port.pvid}; whether it is a trunk the port does not say",)


def _said(situation: Situation, leg: Leg, vids: VidSet) -> tuple[str, ...]:
    port = situation.switch_port(leg)
    if port is None:
        return ()
    if vids == UNTAGGED_ONLY:
        return (f"LLDP: the port's native VLAN is {port.pvid}",) if port.pvid else ()
    match _lldp(situation, leg, vids):
        case True:
            return (f"LLDP: the port allows {spoken(vids)}; it may not be created, be pruned, or blocked (STP)",)
        case False:
            return (f"LLDP: the port names {spoken(_named(port))}, and not {spoken(vids)}",)
        case _:
            return ()


# Findings -----------------------------------------------------------------------------------------


def _finding(situation: Situation, matrix: Matrix, verdict: Verdict, extent: Extent) -> Finding:
    culprit = verdict.culprit
    match culprit.scope:
        case Scope.PORT | Scope.CHANNEL | Scope.SWITCH:
            return _port(situation, matrix, verdict, extent)
        case _:
            return _one_way(situation, verdict, extent)


def _port(situation: Situation, matrix: Matrix, verdict: Verdict, extent: Extent) -> Finding:
    vids = extent.vids
    legs = verdict.culprit.legs
    rivals = [one for one in verdict.instead if one.scope is verdict.culprit.scope]
    if rivals:
        return _either(situation, [verdict.culprit, *rivals], vids)
    leg = legs[0]
    sent = all(situation.probed(one) for one in legs)
    heard = f"none of {_names(legs)} was heard, and none came in" if sent else f"none came in on {_names(legs)}"
    evidence = [f"probes {among(vids)}: {heard}"]
    for one in legs:
        evidence += _said(situation, one, vids)
    place, known = situation.place(*legs), [_lldp(situation, one, vids) for one in legs]
    if vids == UNTAGGED_ONLY:
        found = _native(situation, legs, evidence)
    elif extent.everything and all(_access(situation, one) for one in legs):
        found = _access_port(situation, leg, evidence)
    elif extent.everything:
        found = situation.found(
            Reason.NOTHING_PASSES,
            legs,
            f"nothing passes between {_names(legs)} and the others over {place}",
            f"allow {spoken(vids)} on {place}, and look whether the cable is in the right port",
            *evidence,
            *_native_alone(situation, leg),
        )
    else:
        found = situation.found(
            Reason.VLAN_MISSING,
            legs,
            f"{verb(vids, 'is', 'are')} missing on {place}, which {_names(legs)} "
            + agreed(len(legs), "is", "are")
            + " plugged into"
            + _member(matrix, legs, vids),
            f"allow {spoken(vids)} on {place}",
            *evidence,
        )
    sure = all(allowed is False for allowed in known)
    return replace(
        found,
        vids=vids,
        certainty=Certainty.SURE if sure else Certainty.LIKELY,
        lacks="" if sure else _beyond(situation, verdict, leg),
    )


def _names(legs: tuple[Leg, ...]) -> str:
    return " and ".join(map(str, legs))


def _member(matrix: Matrix, legs: tuple[Leg, ...], vids: VidSet) -> str:
    others = [leg for leg in matrix.end_of.get(legs[0], ()) if leg not in legs]
    have = others and not any(vids - matrix.passes(other) for other in others)
    return f"; the other ports of its channel have {agreed(len(vids), 'it', 'them')}" if have else ""


def _beyond(situation: Situation, verdict: Verdict, leg: Leg) -> str:
    """It may also be behind the port, where nobody else can tell: this is the only NIC on its switch."""
    scopes = {place.scope for place in verdict.instead}
    if verdict.culprit.scope is Scope.SWITCH:
        return "LLDP: whether these ports are on one switch, which has not got it, or lost its link"
    if Scope.CHANNEL in scopes:
        return "whether the other ports of its channel have it: nothing was sent or heard there"
    if scopes & {Scope.LINK, Scope.UPLINK}:
        return f"whether it is this port, or a link of {situation.switch(leg)}: no other NIC is there to tell"
    return ""


def _either(situation: Situation, rivals: list[Culprit], vids: VidSet) -> Finding:
    """Two ends that do not hear each other, and nobody else to tell which of them it is."""
    legs = tuple(leg for rival in rivals for leg in rival.legs)
    places = " or ".join(situation.place(*rival.legs) for rival in rivals)
    ends = " and ".join(_names(rival.legs) for rival in rivals)
    evidence = [said for leg in legs for said in _said(situation, leg, vids)]
    found = situation.found(
        Reason.VLAN_MISSING,
        legs,
        f"{verb(vids, 'does', 'do')} not pass between {ends}",
        f"allow {spoken(vids)} on {places}, and on what lies between",
        f"probes {among(vids)}: neither heard the other",
        *evidence,
    )
    lacks = "a third node in this network, or a switch that announces its VLANs by LLDP"
    return replace(found, vids=vids, certainty=Certainty.UNKNOWN, place=places, lacks=lacks)


def _native(situation: Situation, legs: tuple[Leg, ...], evidence: list[str]) -> Finding:
    place, natives = situation.place(*legs), set().union(*(_natives(situation, leg) for leg in legs))
    native = f"VLAN {natives.pop()}" if len(natives) == 1 else "the same VLAN"
    return situation.found(
        Reason.NATIVE_VLAN_WRONG,
        legs,
        f"{place} has no native VLAN, or another than the other ports: frames of {_names(legs)} without a tag are lost",
        f"make {native} the native VLAN of {place}, as on the other ports",
        *evidence,
    )


def _access_port(situation: Situation, leg: Leg, evidence: list[str]) -> Finding:
    port, wanted = situation.switch_port(leg), situation.wanted[leg]
    native = f" of VLAN {port.pvid}" if port and port.pvid else ""
    return situation.found(
        Reason.ACCESS_PORT,
        (leg,),
        f"{situation.place(leg)} is an access port{native}: {leg} needs a trunk",
        f"make {situation.place(leg)} a trunk with {spoken(wanted.tagged)}",
        *evidence,
    )


def _one_way(situation: Situation, verdict: Verdict, extent: Extent) -> Finding:
    culprit = verdict.culprit
    vids, leg, place = extent.vids, culprit.legs[0], situation.place(*culprit.legs)
    within = "in any VLAN" if extent.everything else among(vids)
    if culprit.scope is Scope.OUT:
        what = f"{place} lets nothing in from {leg} {within}: it hears others, and nobody hears it"
    else:
        what = f"{place} sends nothing to {leg} {within}: others hear it, and it hears nobody"
    others = [
        place
        for place in verdict.instead
        if place.scope in (Scope.PORT, Scope.OUT, Scope.IN) and place.legs != culprit.legs
    ]
    return replace(
        situation.found(
            Reason.ONE_WAY,
            (leg,),
            what,
            f"look at {place} for an access list, port security, storm control; and at the cable of {leg}: one of its "
            "two directions may be broken",
            f"probes {among(vids)}: they pass in one direction only",
        ),
        vids=NO_VIDS if extent.everything else vids,
        certainty=Certainty.UNKNOWN if others else Certainty.LIKELY,
        lacks=f"a third node: it may be {situation.place(*others[0].legs)} as well" if others else "",
    )


def _link(situation: Situation, culprit: Culprit, vids: VidSet, legs: tuple[Leg, ...]) -> Finding:
    names = culprit.switches
    place = (
        f"the link between {' and '.join(names)}" if len(names) > 1 else f"the links of {names[0]} to other switches"
    )
    found = situation.found(
        Reason.SWITCH_LINK_VLAN_MISSING,
        legs,
        f"{verb(vids, 'is', 'are')} missing on {place}",
        f"allow {spoken(vids)} on both ends of {place}",
        f"probes: {verb(vids, 'passes', 'pass')} on each of the switches, and not from one to the other",
    )
    return replace(found, vids=vids, place=place, switches=names)


def _not_created(situation: Situation, culprit: Culprit, vids: VidSet, legs: tuple[Leg, ...]) -> Finding:
    known = sorted({name for leg in legs if (name := situation.switch(leg))})
    place = culprit.switches[0] if culprit.switches else " and ".join(known) or SWITCHES
    found = situation.found(
        Reason.VLAN_NOT_CREATED,
        legs,
        f"{verb(vids, 'passes', 'pass')} nowhere on {place}: nobody hears anybody there",
        f"create {spoken(vids)} on {place}, and allow {agreed(len(vids), 'it', 'them')} on the ports of the nodes",
        f"probes {among(vids)}: none of {plural(len(legs), 'NIC')} was heard",
    )
    few = len({leg.node for leg in situation.wanted if situation.probed(leg)}) < NODES_FOR_A_VERDICT
    asked = any(_asked(situation, leg.node, found.network, vids) for leg in legs)
    lacks = [
        *(["a third node"] if few else []),
        *([] if asked else ["whether a gateway or a DHCP server answers there"]),
    ]
    return replace(
        found,
        vids=vids,
        place=place,
        switches=culprit.switches,
        certainty=Certainty.UNKNOWN if few else Certainty.LIKELY,
        lacks=", ".join(lacks),
    )


def _asked(situation: Situation, node: str, network: str, vids: VidSet) -> bool:
    evidence = situation.evidence.nodes.get(node)
    return any(
        vlan.cluster_network == network and vlan.vid in vids and vlan.asked & {Kind.DHCP, Kind.ARP, Kind.ND}
        for vlan in (evidence.vlans if evidence else ())
        if vlan.vid >= 0
    )


# What no place explains ---------------------------------------------------------------------------


def _split(situation: Situation, alike: Alike, left: frozenset[Way]) -> Finding:
    """Each NIC passes something, and some do not hear each other: two switches without names, or isolated ports."""
    groups = _groups(alike, {leg for sender, end in left for leg in (sender, *end)})
    separate = len(groups) > 1 and any(len(_ends(alike, group)) > 1 for group in groups)
    legs = tuple(sorted({leg for sender, end in left for leg in (sender, *end)}))
    if separate:
        sides = " and ".join(", ".join(map(str, sorted(group))) for group in groups)
        found = situation.found(
            Reason.SWITCH_LINK_VLAN_MISSING,
            legs,
            f"{verb(alike.vids, 'does', 'do')} not pass between the switches of {sides}",
            f"allow {spoken(alike.vids)} on both ends of the link between these switches",
            f"probes: {verb(alike.vids, 'passes', 'pass')} within each group, and not from one to the other",
        )
        place = BETWEEN
        lacks = "LLDP: which switches they are"
    else:
        found = situation.found(
            Reason.PAIRS_APART,
            legs,
            f"{_names(legs)} do not hear all of each other in {spoken(alike.vids)}, and others hear each of them",
            "nothing has to be done where these ports are isolated from each other on purpose",
            f"probes: {plural(len(left), 'way')} failed, and on each of these NICs others pass",
        )
        place, lacks = situation.place(*legs), "whether the ports are isolated on purpose"
    certainty = Certainty.LIKELY if separate else Certainty.UNKNOWN
    return replace(found, vids=alike.vids, place=place, lacks=lacks, certainty=certainty, fix=found.fix)


def _groups(alike: Alike, legs: set[Leg]) -> list[set[Leg]]:
    """Those of `legs` that hear each other, directly or over whichever others. The members of a channel belong
    together, whichever of them the switch chose."""
    ends = {end for _, end in (*alike.failed, *alike.passed)}
    groups: list[set[Leg]] = [{leg} for leg in sorted(legs.union(*ends, *alike.arrived))]
    for joined in (*ends, *alike.arrived):
        touched = [group for group in groups if not group.isdisjoint(joined)]
        if len(touched) > 1:
            groups = [*(g for g in groups if g not in touched), set().union(*touched)]
    return [mine for group in groups if (mine := group & legs)]


def _ends(alike: Alike, group: set[Leg]) -> set[End]:
    return {end for _, end in (*alike.failed, *alike.passed) if not group.isdisjoint(end)}
