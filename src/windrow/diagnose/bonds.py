"""Link aggregation: what the bond's mode needs of the switch, against LACP, own frames that come back, and LLDP.

What the states mean: IEEE 802.1AX §6.4; how the kernel fills them: drivers/net/bonding/bond_3ad.c.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from windrow.diagnose.situation import Situation, agreed
from windrow.model.evidence import LacpLeg, Leg, NicEvidence
from windrow.model.findings import Certainty, Finding, Reason
from windrow.switches.wanted import Channel, Wanted

ACTIVITY, AGGREGATION, SYNC = 1, 4, 8
NOBODY = "00:00:00:00:00:00"

Living = Sequence[tuple[Leg, NicEvidence]]


def bond_findings(situation: Situation) -> Iterator[Finding]:
    yield from _two_systems(situation)
    for wanted in situation.needs.wanted:
        living = situation.living(wanted)
        match wanted.channel:
            case Channel.LACP:
                yield from _lacp(situation, wanted, living)
            case Channel.STATIC:
                yield from _static(situation, wanted, living)
            case Channel.NONE:
                yield from _plain(situation, wanted, living)


# LACP ---------------------------------------------------------------------------------------------


def _lacp(situation: Situation, wanted: Wanted, living: Living) -> Iterator[Finding]:
    mute = [
        leg for leg, nic in living if nic.lacp and nic.lacp.partner is not None and nic.lacp.partner.system == NOBODY
    ]
    answered = _answered(situation, wanted)
    if mute and not answered:
        yield _nobody_speaks(situation, wanted, mute)
    for leg in mute if answered else ():
        yield _one_missing(situation, wanted, leg, [x for x, _ in answered])
    yield from _two_channels(situation, answered)
    for leg, lacp in answered:
        yield from _one_sided(situation, leg, lacp, wanted)


def _nobody_speaks(situation: Situation, wanted: Wanted, legs: list[Leg]) -> Finding:
    places = situation.place(*legs)
    if any(_waits(situation, leg) for leg in legs):
        found = situation.found(
            Reason.LACP_PASSIVE,
            legs,
            f"{wanted.name} waits for LACP to begin on {places} (lacp_active off), and the switch does not begin",
            f"make one side active: LACP mode active on {places}, or lacpActive on in the VlanConfig",
            "LACP: no LACPDU came in, and this side sends none by itself",
        )
        return replace(found, lacks="whether the switch is passive, or has no LACP at all")
    found = situation.found(
        Reason.LACP_MISSING,
        legs,
        f"{wanted.name} needs a channel with LACP, and {places} {agreed(len(legs), 'speaks', 'speak')} none: "
        "plain ports, or a channel without LACP",
        f"make {places} one channel with LACP (active), or use mode active-backup",
        "LACP: no LACPDU came in on any of its NICs",
    )
    return replace(found, certainty=Certainty.SURE)


def _waits(situation: Situation, leg: Leg) -> bool:
    nic = situation.nic(leg)
    actor = nic.lacp.actor if nic and nic.lacp else None
    return actor is not None and not actor.state & ACTIVITY


def _one_missing(situation: Situation, wanted: Wanted, leg: Leg, members: list[Leg]) -> Finding:
    nic, place = situation.nic(leg), situation.place(leg)
    names = any(situation.switch_port(other) for other in members)
    if leg not in situation.passing and names and nic is not None and not nic.neighbours:
        found = situation.found(
            Reason.ONE_WAY,
            (leg,),
            f"nothing comes in on {leg}, neither LACP nor LLDP nor a probe: one direction of its cable is broken",
            f"check cable and transceiver of {leg}",
            f"LACP and LLDP: heard on {' and '.join(map(str, members))}, and not on {leg}",
        )
        return replace(found, certainty=Certainty.SURE)
    found = situation.found(
        Reason.LACP_MEMBER_MISSING,
        (leg,),
        f"{place} speaks no LACP, and the other ports of {wanted.name}'s channel do",
        f"put {place} into the channel of {situation.place(*members)}",
        f"LACP: no LACPDU came in on {leg}",
    )
    if leg not in situation.passing:
        return replace(
            found, lacks=f"whether one direction of the cable of {leg} is broken: nothing else comes in either"
        )
    return replace(found, certainty=Certainty.SURE)


def _two_systems(situation: Situation) -> Iterator[Finding]:
    """Bonds that are plugged into the same switches have one cause."""
    met: dict[tuple[str, ...], list[Leg]] = defaultdict(list)
    said: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for wanted in situation.needs.wanted:
        answered = _answered(situation, wanted)
        systems = {lacp.partner.system for _, lacp in answered if lacp.partner}
        if wanted.channel is Channel.LACP and len(systems) > 1:
            names = {situation.switch(leg) for leg, _ in answered}
            key = tuple(sorted(names)) if len(names - {""}) > 1 else ("", wanted.name)
            met[key] += [leg for leg, _ in answered]
            said[key] |= systems
    for key, legs in met.items():
        bonds = " and ".join(dict.fromkeys(situation.wanted[leg].name for leg in legs))
        switches = f" ({' and '.join(key)})" if key[0] else ""
        found = situation.found(
            Reason.LACP_TWO_SYSTEMS,
            legs,
            f"the NICs of {bonds} are on switches{switches} that are not one LACP system",
            "make the switches one LACP system (MLAG, vPC, VLT, MC-LAG, ESI), plug all NICs of a bond into one, "
            "or use mode active-backup",
            f"LACP: the systems {', '.join(sorted(said[key]))} answer",
        )
        yield replace(
            found,
            certainty=Certainty.SURE,
            switches=key if key[0] else (),
            place=" and ".join(key) if key[0] else found.place,
        )


def _answered(situation: Situation, wanted: Wanted) -> list[tuple[Leg, LacpLeg]]:
    """The living legs whose partner speaks."""
    told = ((leg, nic.lacp) for leg, nic in situation.living(wanted))
    return [(leg, lacp) for leg, lacp in told if lacp and lacp.partner and lacp.partner.system != NOBODY]


def _two_channels(situation: Situation, answered: list[tuple[Leg, LacpLeg]]) -> Iterator[Finding]:
    partners = {(lacp.partner.system, lacp.partner.key) for _, lacp in answered if lacp.partner}
    if len(partners) > 1 and len({system for system, _ in partners}) == 1:
        places = situation.place(*(leg for leg, _ in answered))
        found = situation.found(
            Reason.LACP_TWO_CHANNELS,
            [leg for leg, _ in answered],
            f"{places} are in {len(partners)} channels of one switch",
            f"put {places} into one channel",
            f"LACP: the partner's keys are {', '.join(str(key) for _, key in sorted(partners))}",
        )
        yield replace(found, certainty=Certainty.SURE)


def _one_sided(situation: Situation, leg: Leg, lacp: LacpLeg, wanted: Wanted) -> Iterator[Finding]:
    place = situation.place(leg)
    mine = lacp.actor.system if lacp.actor else ""
    seen = lacp.about_us.system if lacp.about_us else ""
    if seen and mine and seen == NOBODY:
        found = situation.found(
            Reason.ONE_WAY,
            (leg,),
            f"{place} does not hear {leg}: one direction of the cable is broken",
            f"check cable and transceiver of {leg}",
            f"LACP: LACPDUs come in on {leg}, and they name nobody as the partner",
        )
    elif seen and mine and seen != mine:
        found = situation.found(
            Reason.CABLE_CROSSED,
            (leg,),
            f"{place} hears {_whose(situation, seen)} where {leg} should be: cables are crossed",
            f"check the cable of {leg}",
            f"LACP: the switch names {seen} as its partner, and {leg} is {mine}",
        )
    elif lacp.partner and not lacp.partner.state & AGGREGATION:
        found = situation.found(
            Reason.LACP_INDIVIDUAL,
            (leg,),
            f"the switch treats {place} as a port by itself (LACP fallback, or not in a channel)",
            f"put {place} into the channel of {wanted.name}",
            "LACP: the partner is not aggregatable",
        )
    elif lacp.churned and lacp.partner and not lacp.partner.state & SYNC:
        found = situation.found(
            Reason.LACP_NOT_IN_SYNC,
            (leg,),
            f"the switch holds {place} back: LACP does not come into sync",
            f"compare VLANs, MTU and speed of {place} with the other members, and the channel's least number of links",
            "LACP: the partner is not in sync for more than 60 s (churn)",
        )
    else:
        return
    yield replace(found, certainty=Certainty.SURE)


def _whose(situation: Situation, system: str) -> str:
    for wanted, _, nic in situation.every_leg():
        if nic.lacp and nic.lacp.actor and nic.lacp.actor.system == system:
            return wanted.name
    return f"the system {system}"


# Modes without a protocol -------------------------------------------------------------------------


def _static(situation: Situation, wanted: Wanted, living: Living) -> Iterator[Finding]:
    """Without a channel the switch sends what comes in from one NIC out to the other as well; members of a channel
    never get it (802.1AX §6.1.1, Documentation/networking/bonding.rst)."""
    legs = [leg for leg, _ in living]
    spoken_to = [leg for leg, nic in living if nic.lacp is not None and nic.lacp.sent]
    if spoken_to:
        places = situation.place(*spoken_to)
        found = situation.found(
            Reason.LACP_ONE_SIDED,
            spoken_to,
            f"{places} {agreed(len(spoken_to), 'speaks', 'speak')} LACP, and {wanted.name} "
            f"(mode {wanted.mode}) answers none",
            f"make {situation.place(*legs)} one channel without LACP, or use mode 802.3ad",
            "LACP: LACPDUs come in",
        )
        yield replace(found, certainty=Certainty.SURE)
        return
    back, said = _own_frames(situation, legs), _channels_said(situation, legs, active=False)
    switches = {situation.switch(leg) for leg in legs} - {""}
    if len(legs) < 2 or not (back or said):
        return
    if len(switches) > 1:
        found = situation.found(
            Reason.CHANNEL_ACROSS_SWITCHES,
            legs,
            f"{wanted.name} (mode {wanted.mode}) needs one channel, and its NICs are on "
            f"{' and '.join(sorted(switches))}",
            "plug all its NICs into one switch, make the switches one (MLAG), or use mode active-backup",
        )
    else:
        places = situation.place(*legs)
        found = situation.found(
            Reason.CHANNEL_MISSING,
            legs,
            f"{wanted.name} (mode {wanted.mode}) needs one channel without LACP, and {places} are not in one",
            f"make {places} one static channel, or use mode active-backup or 802.3ad",
        )
    yield _weighed(found, back, said)


def _plain(situation: Situation, wanted: Wanted, living: Living) -> Iterator[Finding]:
    """Plain ports are needed. In a channel, what is for the active leg may come in on another, which drops it."""
    legs = [leg for leg, _ in living]
    lacp = [f"LACP: {situation.place(leg)} sends LACPDUs" for leg, nic in living if nic.lacp and nic.lacp.sent]
    said = _channels_said(situation, legs, active=True)
    share = _shared_out(situation, legs)
    if lacp or (len(legs) > 1 and (said or share)):
        found = situation.found(
            Reason.CHANNEL_NOT_NEEDED,
            legs,
            f"{wanted.name} (mode {wanted.mode}) needs plain ports, and {situation.place(*legs)} are in a channel",
            f"take {situation.place(*legs)} out of their channel, or use mode 802.3ad",
        )
        weighed = _weighed(found, [*lacp, *said], share)
        yield replace(weighed, certainty=Certainty.SURE) if lacp else weighed


def _weighed(found: Finding, one: list[str], other: list[str]) -> Finding:
    certainty = Certainty.SURE if one and other else Certainty.LIKELY
    return replace(found, evidence=(*one, *other), certainty=certainty)


def _own_frames(situation: Situation, legs: list[Leg]) -> list[str]:
    return [
        f"probes: what {a} sent came in on {b} of the same bond"
        for a in legs
        for b in legs
        if a != b and (a, b) in situation.passed
    ]


def _shared_out(situation: Situation, legs: list[Leg]) -> list[str]:
    """The signs of a channel at two NICs: neither hears the other, no sender is heard by both, each is heard by
    somebody who hears the other too, and both have sent. (In two networks that are apart nobody hears both.)"""
    if len(legs) != 2 or not all(situation.probed(leg) for leg in legs):
        return []
    a, b = legs
    passed = situation.passed
    hears = {leg: {x for x, y in passed if y == leg and x.node != leg.node} for leg in legs}
    heard = {leg: {y for x, y in passed if x == leg and y.node != leg.node} for leg in legs}
    if (a, b) in passed or (b, a) in passed or not heard[a] & heard[b]:
        return []
    if not hears[a] or not hears[b] or hears[a] & hears[b]:
        return []
    return [f"probes: no other NIC is heard on both {a} and {b}: the switch shares the senders out"]


def _channels_said(situation: Situation, legs: Iterable[Leg], *, active: bool) -> list[str]:
    """What LLDP's aggregation TLVs say, where they all say so."""
    legs = tuple(legs)
    ports = [situation.switch_port(leg) for leg in legs]
    told = [port.aggregation for port in ports if port is not None and port.aggregation is not None]
    if len(told) < len(legs) or not all(one.active is active for one in told):
        return []
    return [f"LLDP: {situation.place(*legs)} {'are in a channel' if active else 'are in no channel'}"]
