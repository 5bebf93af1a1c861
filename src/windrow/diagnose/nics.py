"""What a NIC itself shows: carrier, flaps, errors, speed, duplex, a firmware that keeps LLDP, cables in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.diagnose.situation import Situation
from windrow.model.evidence import Absent, Kind, Leg, NicEvidence
from windrow.model.findings import Certainty, Finding, Grade
from windrow.model.values import VidSet
from windrow.switches.wanted import Wanted

FLAPS = 3
"""Changes of the carrier within the last sweep that count: a cable that was plugged in anew makes two."""
ERRORS_LEAST, ERRORS_SHARE = 10, 0.001
SETTLED_S = 35.0
"""A port with spanning tree and without edge forwards after 2 x 15 s (IEEE 802.1D-2004 §17.14)."""


def nic_findings(situation: Situation) -> Iterator[Finding]:
    for wanted in situation.needs.wanted:
        known = [(leg, nic) for leg in wanted.legs if (nic := situation.nic(leg)) is not None]
        for leg, nic in known:
            yield from _one(situation, wanted, leg, nic)
        yield from _speeds(situation, wanted, [(leg, nic) for leg, nic in known if nic.carrier])
    for node in situation.evidence.nodes.values():
        for absent in node.absent:
            if absent.kind is Kind.LLDP and absent.nic is not None:
                yield _deaf_to_lldp(situation, Leg(node.node, absent.nic), absent)


def dark(situation: Situation) -> frozenset[Leg]:
    """Legs without a carrier, and those whose carrier has only just come."""
    return frozenset(
        leg
        for wanted in situation.needs.wanted
        for leg in wanted.legs
        if (nic := situation.nic(leg)) is not None
        and (not nic.carrier or (nic.carrier_since is not None and _age(situation, leg, nic) < SETTLED_S))
    )


def _age(situation: Situation, leg: Leg, nic: NicEvidence) -> float:
    """A clock that was set back makes it no younger than it is."""
    at = situation.evidence.nodes[leg.node].at
    return at - nic.carrier_since if nic.carrier_since is not None and at >= nic.carrier_since else SETTLED_S


def _one(situation: Situation, wanted: Wanted, leg: Leg, nic: NicEvidence) -> Iterator[Finding]:
    place, counters = situation.place(leg), nic.counters
    if not nic.carrier:
        yield _finding(
            situation,
            leg,
            "NoCarrier",
            Grade.ERROR if len(wanted.legs) == 1 else Grade.WARNING,
            f"{leg} has no carrier",
            f"check the cable of {leg}, and whether its switch port is switched on",
            "the driver reports no carrier",
        )
        return
    if (counters.carrier_changes_lately or 0) >= FLAPS:
        yield _finding(
            situation,
            leg,
            "LinkFlaps",
            Grade.WARNING,
            f"the carrier of {leg} comes and goes",
            f"check cable and transceiver of {leg} and {place}",
            f"{counters.carrier_changes_lately} changes of the carrier in {counters.over_s:.0f} s",
        )
    errors, received = counters.errors_lately or 0, counters.received_lately or 0
    if errors >= ERRORS_LEAST and errors >= ERRORS_SHARE * received:
        yield _finding(
            situation,
            leg,
            "ReceiveErrors",
            Grade.WARNING,
            f"{leg} receives broken frames",
            f"check cable and transceiver of {leg} and {place}",
            f"{errors} errors among {received} frames in {counters.over_s:.0f} s",
        )
    if nic.full_duplex is False:
        yield _finding(
            situation,
            leg,
            "HalfDuplex",
            Grade.ERROR,
            f"{leg} runs half duplex at {nic.speed or 'an unknown'} Mbit/s",
            f"let {leg} and {place} negotiate speed and duplex, both of them",
            "the driver reports half duplex",
        )
    bridges = [n for n in nic.neighbours if n.is_bridge]
    if len({n.chassis.text for n in bridges}) > 1:
        yield _finding(
            situation,
            leg,
            "SeveralNeighbours",
            Grade.NOTE,
            f"{leg} hears {len(bridges)} switches: what it is plugged into passes LLDP on",
            "nothing has to be done; which port it is plugged into cannot be told",
            "LLDP: " + ", ".join(sorted({n.switch for n in bridges})),
        )


def _speeds(situation: Situation, wanted: Wanted, living: list[tuple[Leg, NicEvidence]]) -> Iterator[Finding]:
    """In 802.3ad NICs of another speed are in another aggregator, and only one of those is used (bond_3ad.c)."""
    speeds = {leg: nic.speed for leg, nic in living if nic.speed}
    if len(set(speeds.values())) > 1:
        slow = min(speeds, key=lambda leg: (speeds[leg] or 0, leg))
        told = ", ".join(f"{leg.nic} {speed} Mbit/s" for leg, speed in sorted(speeds.items()))
        yield _finding(
            situation,
            slow,
            "SpeedsDiffer",
            Grade.WARNING,
            f"the NICs of {wanted.name} run at different speeds: {told}",
            f"check what {slow} and {situation.place(slow)} negotiated, and the cable",
            "the drivers report different speeds",
        )


def _deaf_to_lldp(situation: Situation, leg: Leg, absent: Absent) -> Finding:
    return _finding(
        situation,
        leg,
        "LldpUnheard",
        Grade.NOTE,
        f"LLDP on {leg} cannot be heard: {absent.reason}",
        "without it the switch and its port have no names here, and findings are less certain",
        absent.reason,
    )


# Cables in the wrong place ------------------------------------------------------------------------


def crossed(situation: Situation) -> tuple[tuple[Finding, ...], frozenset[Leg]]:
    """NICs of one cluster network that hear those of another: plugged into each other's ports. Both legs of a crossed
    pair hear and are heard by the network that they are not in; the innocent hear only one of them."""
    met: dict[Leg, set[Leg]] = {}
    for h in situation.heard:
        sender, receiver = situation.wanted.get(h.sender), situation.wanted.get(h.receiver)
        if h.count and sender and receiver and sender.cluster_network != receiver.cluster_network:
            met.setdefault(h.sender, set()).add(h.receiver)
            met.setdefault(h.receiver, set()).add(h.sender)
    home = {
        leg
        for h in situation.heard
        if h.count and _together(situation, h.sender, h.receiver)
        for leg in (h.sender, h.receiver)
    }
    wrong = {leg for leg in met if leg not in home}
    if not wrong:
        return (), frozenset()
    findings = []
    for leg in sorted(wrong):
        others = sorted({situation.wanted[x].cluster_network for x in met[leg]})
        findings.append(
            Finding(
                reason="CableCrossed",
                grade=Grade.ERROR,
                certainty=Certainty.SURE,
                message=f"{leg} of {situation.wanted[leg].cluster_network} is plugged into a port of "
                f"{' and '.join(others)}: {situation.place(leg)}",
                fix=f"plug {leg} into a port of {situation.wanted[leg].cluster_network}",
                place=situation.place(leg),
                about=situation.about(leg),
                legs=(leg,),
                vids=VidSet(),
                evidence=(f"probes: it hears NICs of {' and '.join(others)}, and none of its own network",),
            )
        )
    return tuple(findings), frozenset(wrong)


def _together(situation: Situation, a: Leg, b: Leg) -> bool:
    one, two = situation.wanted.get(a), situation.wanted.get(b)
    return bool(one and two and one.cluster_network == two.cluster_network and a.node != b.node)


def _finding(
    situation: Situation, leg: Leg, reason: str, grade: Grade, message: str, fix: str, evidence: str
) -> Finding:
    return Finding(
        reason=reason,
        grade=grade,
        certainty=Certainty.SURE,
        message=message,
        fix=fix,
        place=situation.place(leg),
        about=situation.about(leg),
        legs=(leg,),
        evidence=(evidence,),
    )
