"""Link aggregation: what the bond's mode needs of the switch, against LACP, own frames that come back, and LLDP.

What the states mean: IEEE 802.1AX §6.4; how the kernel fills them: drivers/net/bonding/bond_3ad.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from windrow.diagnose.situation import Situation
from windrow.model.bonding import BondMode
from windrow.model.evidence import LacpLeg, Leg, NicEvidence
from windrow.model.findings import Certainty, Finding, Grade
from windrow.switches.wanted import Channel, Wanted

ACTIVITY, AGGREGATION, SYNC, DISTRIBUTING = 1, 4, 8, 0x20
NOBODY = "00:00:00:00:00:00"
SILENT_S = 90.0
"""LACP's long timeout (802.1AX §6.4.3): without a PDU for so long nobody speaks it."""


def bond_findings(situation: Situation) -> Iterator[Finding]:
    for wanted in situation.needs.wanted:
        living = [(leg, nic) for leg in wanted.legs if (nic := situation.nic(leg)) is not None and nic.carrier]
        if wanted.channel is Channel.LACP:
            yield from _lacp(situation, wanted, living)
        elif wanted.channel is Channel.STATIC:
            yield from _static(situation, wanted, living)
        else:
            yield from _alone(situation, wanted, living)


def not_distributing(situation: Situation) -> frozenset[Leg]:
    """Legs that LACP has not let in: the switch drops their frames in every VLAN."""
    found = set()
    for wanted in situation.needs.wanted:
        if wanted.channel is Channel.LACP:
            for leg in wanted.legs:
                nic = situation.nic(leg)
                actor = nic.lacp.actor if nic and nic.lacp else None
                if actor is not None and not actor.state & DISTRIBUTING:
                    found.add(leg)
    return frozenset(found)


_Living = list[tuple[Leg, NicEvidence]]


def _lacp(situation: Situation, wanted: Wanted, living: _Living) -> Iterator[Finding]:
    told = [(leg, nic.lacp) for leg, nic in living if nic.lacp is not None]
    mute = [leg for leg, lacp in told if _unanswered(lacp)]
    answered = [(leg, lacp) for leg, lacp in told if not _unanswered(lacp) and lacp.partner is not None]
    if mute and len(mute) == len(told):
        yield _no_lacp(situation, wanted, mute)
    elif mute:
        for leg in mute:
            yield _finding(
                situation,
                wanted,
                [leg],
                "LacpMemberMissing",
                f"{situation.place(leg)} speaks no LACP, and the other ports of {wanted.name}'s channel do",
                f"put {situation.place(leg)} into the channel of {_places(situation, [x for x, _ in answered])}",
                [f"no LACPDU came in on {leg}"],
            )
    yield from _partners(situation, wanted, answered)
    for leg, lacp in answered:
        yield from _one_sided(situation, wanted, leg, lacp)


def _unanswered(lacp: LacpLeg) -> bool:
    return lacp.partner is None or lacp.partner.system == NOBODY


def _no_lacp(situation: Situation, wanted: Wanted, legs: list[Leg]) -> Finding:
    passive = [
        leg
        for leg in legs
        if (nic := situation.nic(leg)) and nic.lacp and nic.lacp.actor and not nic.lacp.actor.state & ACTIVITY
    ]
    places = _places(situation, legs)
    if passive:
        return _finding(
            situation,
            wanted,
            legs,
            "LacpPassive",
            f"{wanted.name} waits for LACP to begin on {places} (lacp_active off), and the switch does not begin either",
            f"make one side active: LACP mode active on {places}, or lacpActive on in the VlanConfig",
            ["no LACPDU came in, and this side sends none by itself"],
        )
    return _finding(
        situation,
        wanted,
        legs,
        "LacpMissing",
        f"{wanted.name} needs a channel with LACP, and {places} speaks none: plain ports, or a channel without LACP",
        f"make {places} one channel with LACP (active), or use mode active-backup",
        ["no LACPDU came in on any of its NICs"],
    )


def _partners(situation: Situation, wanted: Wanted, answered: list[tuple[Leg, LacpLeg]]) -> Iterator[Finding]:
    systems = {lacp.partner.system for _, lacp in answered if lacp.partner}
    keys = {(lacp.partner.system, lacp.partner.key) for _, lacp in answered if lacp.partner}
    legs = [leg for leg, _ in answered]
    if len(systems) > 1:
        names = {situation.switch(leg) for leg in legs} - {""}
        switches = f" ({' and '.join(sorted(names))})" if names else ""
        yield _finding(
            situation,
            wanted,
            legs,
            "LacpTwoSystems",
            f"the NICs of {wanted.name} are on {len(systems)} switches{switches} that are not one LACP system",
            "make the switches one LACP system (MLAG, vPC, VLT, MC-LAG, ESI), plug all NICs into one of them, or use mode "
            "active-backup",
            [f"LACP: the systems {', '.join(sorted(systems))} answer"],
            sure=len(names) > 1,
        )
    elif len(keys) > 1:
        yield _finding(
            situation,
            wanted,
            legs,
            "LacpTwoChannels",
            f"{_places(situation, legs)} are in {len(keys)} channels of one switch",
            f"put {_places(situation, legs)} into one channel",
            [f"LACP: the partner's keys are {', '.join(str(key) for _, key in sorted(keys))}"],
        )


def _one_sided(situation: Situation, wanted: Wanted, leg: Leg, lacp: LacpLeg) -> Iterator[Finding]:
    place = situation.place(leg)
    mine = lacp.actor.system if lacp.actor else ""
    heard = lacp.about_us.system if lacp.about_us else ""
    if heard and mine and heard != mine:
        other = _whose(situation, heard)
        crossed = heard != NOBODY
        yield _finding(
            situation,
            wanted,
            [leg],
            "CableCrossed" if crossed else "OneWay",
            f"{place} hears {other} where {leg} should be: cables are crossed"
            if crossed
            else f"{place} does not hear {leg}: one direction of the cable is broken",
            f"check the cable of {leg}",
            [f"LACP: the switch's view of its partner is {heard}, and {leg} is {mine}"],
        )
    elif lacp.partner and not lacp.partner.state & AGGREGATION:
        yield _finding(
            situation,
            wanted,
            [leg],
            "LacpIndividual",
            f"the switch treats {place} as a port by itself (LACP fallback, or not in a channel)",
            f"put {place} into the channel of {wanted.name}",
            ["LACP: the partner is not aggregatable"],
        )
    elif lacp.churned and lacp.partner and not lacp.partner.state & SYNC:
        yield _finding(
            situation,
            wanted,
            [leg],
            "LacpNotInSync",
            f"the switch holds {place} back: LACP does not come into sync",
            f"compare VLANs, MTU and speed of {place} with the other members, and the channel's least number of links",
            ["LACP: the partner is not in sync for more than 60 s (churn)"],
        )


def _whose(situation: Situation, system: str) -> str:
    for wanted in situation.needs.wanted:
        for leg in wanted.legs:
            nic = situation.nic(leg)
            if nic and nic.lacp and nic.lacp.actor and nic.lacp.actor.system == system:
                return wanted.name
    return f"the system {system}"


# Modes without a protocol -------------------------------------------------------------------------


def _static(situation: Situation, wanted: Wanted, living: _Living) -> Iterator[Finding]:
    """Without a channel the switch sends each broadcast of one leg back on the other (Documentation/networking/
    bonding.rst). With one it never does (802.1AX §6.1.1)."""
    if len(living) < 2:
        return
    legs = [leg for leg, _ in living]
    back = _own_frames(situation, legs)
    lldp = _lldp(situation, legs, active=False)
    if back or lldp:
        yield _finding(
            situation,
            wanted,
            legs,
            "ChannelMissing",
            f"{wanted.name} (mode {wanted.mode}) needs one channel without LACP, and {_places(situation, legs)} are plain "
            "ports",
            f"make {_places(situation, legs)} one static channel, or use mode active-backup or 802.3ad",
            [*back, *lldp],
            sure=bool(back and lldp),
        )


def _alone(situation: Situation, wanted: Wanted, living: _Living) -> Iterator[Finding]:
    """Plain ports are needed. In a channel, what is for the active leg comes in on the other, which drops it."""
    if len(living) < 2:
        return
    legs = [leg for leg, _ in living]
    lldp = _lldp(situation, legs, active=True)
    lacp = [
        f"LACP: {situation.place(leg)} sends LACPDUs" for leg, nic in living if nic.lacp is not None and nic.lacp.sent
    ]
    if lldp or lacp:
        yield _finding(
            situation,
            wanted,
            legs,
            "ChannelNotNeeded",
            f"{wanted.name} (mode {wanted.mode}) needs plain ports, and {_places(situation, legs)} are in a channel",
            f"take {_places(situation, legs)} out of their channel, or use mode 802.3ad",
            [*lldp, *lacp],
            sure=bool(lldp and lacp),
        )


def _own_frames(situation: Situation, legs: list[Leg]) -> list[str]:
    mine = set(legs)
    return list(
        dict.fromkeys(
            f"probes of {h.sender} came back in on {h.receiver}"
            for h in situation.heard
            if h.count and h.sender in mine and h.receiver in mine and h.sender != h.receiver
        )
    )


def _lldp(situation: Situation, legs: list[Leg], *, active: bool) -> list[str]:
    """Whether the neighbours say that the ports are in a channel (`active`), or that none of them is."""
    told = [(leg, port.aggregation) for leg in legs if (port := situation.switch_port(leg)) and port.aggregation]
    if len(told) < len(legs) or any((a.active and a.port_id != 0) is not active for _, a in told):
        return []
    words = "is in a channel" if active else "is in no channel"
    return [f"LLDP: {situation.place(leg)} {words}" for leg, _ in told]


def _places(situation: Situation, legs: list[Leg]) -> str:
    """`Ethernet1 and Ethernet2 of tor-1`."""
    ports = [situation.switch_port(leg) for leg in legs]
    switches = {port.switch for port in ports if port}
    if len(switches) == 1 and all(ports):
        return f"{' and '.join(situation.place(leg).partition(' of ')[0] for leg in legs)} of {switches.pop()}"
    return " and ".join(situation.place(leg) for leg in legs)


def _finding(
    situation: Situation,
    wanted: Wanted,
    legs: list[Leg],
    reason: str,
    message: str,
    fix: str,
    evidence: list[str],
    *,
    sure: bool = True,
) -> Finding:
    return Finding(
        reason=reason,
        grade=Grade.ERROR,
        certainty=Certainty.SURE if sure else Certainty.LIKELY,
        message=message,
        fix=fix,
        place=_places(situation, legs),
        about=wanted.origin[0] if wanted.origin else None,
        legs=tuple(legs),
        evidence=tuple(evidence),
        ports=tuple(legs),
    )


SPREADING = frozenset({BondMode.BALANCE_RR, BondMode.BROADCAST})
"""Modes in which one frame may be seen twice, or out of order, without anything being wrong."""
