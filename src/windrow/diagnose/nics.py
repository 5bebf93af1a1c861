"""What a NIC itself shows: carrier, flaps, errors, speed, duplex, firmware that keeps LLDP, cables in a wrong place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from windrow.diagnose.probes import Pair
from windrow.diagnose.situation import UNTAGGED, Situation
from windrow.model.evidence import Absent, Kind, Leg, NicEvidence, switches_among
from windrow.model.findings import Certainty, Finding, Grade, Reason
from windrow.switches.wanted import Wanted

FLAPS = 3
"""Changes of the carrier within the last sweep that count: a cable that was plugged in anew makes two."""
ERRORS_LEAST, ERRORS_SHARE = 10, 0.001
SETTLED_S = 35.0
"""A port with spanning tree and without edge forwards after 2 x 15 s (IEEE 802.1D-2004 §17.14)."""


def nic_findings(situation: Situation) -> Iterator[Finding]:
    for wanted, leg, nic in situation.every_leg():
        for found in _carrier(situation, wanted, leg, nic) if not nic.carrier else _living(situation, leg, nic):
            yield replace(found, certainty=Certainty.SURE)
    for wanted in situation.needs.wanted:
        yield from _speeds(situation, wanted)
    for node in situation.evidence.nodes.values():
        for absent in node.absent:
            if absent.kind is Kind.LLDP and absent.nic is not None:
                yield _deaf_to_lldp(situation, Leg(node.node, absent.nic), absent)


def waiting_findings(situation: Situation) -> Iterator[Finding]:
    """Ports that have just come up, and pass nothing yet."""
    for _, leg, nic in situation.every_leg():
        age = _age(situation, leg, nic)
        if nic.carrier and age < SETTLED_S and situation.probes.tallies and leg not in situation.passing:
            place = situation.place(leg)
            found = situation.found(
                Reason.PORT_WAITS,
                (leg,),
                f"{leg} has had a carrier for {age:.0f} s, and nothing passes {place} yet",
                f"if this lasts 30 s each time: make {place} an edge port of spanning tree (portfast)",
                f"the driver: carrier for {age:.0f} s",
                "probes: none came in, and none was heard",
            )
            yield replace(found, certainty=Certainty.UNKNOWN, lacks=f"what passes after {SETTLED_S:.0f} s")


def _age(situation: Situation, leg: Leg, nic: NicEvidence) -> float:
    """Seconds since the carrier came. A clock that was set back makes it no younger than it is."""
    at = situation.evidence.nodes[leg.node].at
    if nic.carrier_since is None or not at >= nic.carrier_since:
        return SETTLED_S
    return at - nic.carrier_since


def _carrier(situation: Situation, wanted: Wanted, leg: Leg, nic: NicEvidence) -> Iterator[Finding]:
    found = situation.found(
        Reason.NO_CARRIER,
        (leg,),
        f"{leg} has no carrier",
        f"check the cable of {leg}, and whether its switch port is switched on",
        "the driver reports no carrier",
    )
    yield found if situation.living(wanted) else replace(found, grade=Grade.ERROR)


def _living(situation: Situation, leg: Leg, nic: NicEvidence) -> Iterator[Finding]:
    place, counters = situation.place(leg), nic.counters
    if (counters.carrier_changes_lately or 0) >= FLAPS:
        yield situation.found(
            Reason.LINK_FLAPS,
            (leg,),
            f"the carrier of {leg} comes and goes",
            f"check cable and transceiver of {leg} and {place}",
            f"the kernel: {counters.carrier_changes_lately} changes of the carrier in {counters.over_s:.0f} s",
        )
    errors, received = counters.errors_lately or 0, counters.received_lately or 0
    if errors >= ERRORS_LEAST and errors >= ERRORS_SHARE * received:
        yield situation.found(
            Reason.RECEIVE_ERRORS,
            (leg,),
            f"{leg} receives broken frames",
            f"check cable and transceiver of {leg} and {place}",
            f"the driver: {errors} errors among {received} frames in {counters.over_s:.0f} s",
        )
    if nic.full_duplex is False:
        yield situation.found(
            Reason.HALF_DUPLEX,
            (leg,),
            f"{leg} runs half duplex" + (f" at {nic.speed} Mbit/s" if nic.speed else ""),
            f"let {leg} and {place} negotiate speed and duplex, both of them",
            "the driver reports half duplex",
        )
    bridges = [n for n in switches_among(nic.neighbours) if n.is_bridge]
    if len({n.chassis.text for n in bridges}) > 1:
        yield situation.found(
            Reason.SEVERAL_NEIGHBOURS,
            (leg,),
            f"{leg} hears {len(bridges)} switches: what it is plugged into passes LLDP on",
            "nothing has to be done; which port it is plugged into cannot be told",
            "LLDP: " + ", ".join(sorted({n.switch for n in bridges})[:4]),
        )


def _speeds(situation: Situation, wanted: Wanted) -> Iterator[Finding]:
    """In 802.3ad NICs of another speed are in another aggregator, and only one of those is used (bond_3ad.c)."""
    speeds = {leg: nic.speed for leg, nic in situation.living(wanted) if nic.speed and nic.speed > 0}
    if len(set(speeds.values())) > 1:
        slow = min(speeds, key=lambda leg: (speeds[leg], leg))
        told = ", ".join(f"{leg.nic} {speed} Mbit/s" for leg, speed in sorted(speeds.items()))
        found = situation.found(
            Reason.SPEEDS_DIFFER,
            (slow,),
            f"the NICs of {wanted.name} run at different speeds: {told}",
            f"check what {slow} and {situation.place(slow)} negotiated, and the cable",
            "the drivers report different speeds",
        )
        yield replace(found, certainty=Certainty.SURE)


def _deaf_to_lldp(situation: Situation, leg: Leg, absent: Absent) -> Finding:
    found = situation.found(
        Reason.LLDP_UNHEARD,
        (leg,),
        f"LLDP on {leg} cannot be heard: {absent.reason}",
        "nothing has to be done; without LLDP switch and port have no names here, and findings are less certain",
        absent.reason,
    )
    return replace(found, certainty=Certainty.SURE)


# Cables in the wrong place ------------------------------------------------------------------------


def crossed(situation: Situation) -> Iterator[Finding]:
    """NICs that hear those of another cluster network, and none of their own: plugged into each other's ports, or one
    of them into a port of the other. (Networks that share a VLAN hear each other as well, and their own too.)"""
    met: dict[Leg, set[Leg]] = defaultdict(set)
    home: set[Leg] = set()
    for pair in situation.passed:
        if situation.together(*pair):
            home |= set(pair) if pair[0] != pair[1] else set()
        else:
            met[pair[0]].add(pair[1])
            met[pair[1]].add(pair[0])
    strayed = sorted(leg for leg in met if leg not in home and _has_peers(situation, leg))
    swapped = [pair for pair in _pairs(strayed) if _swapped(situation, pair, met)]
    explained = {leg for pair in swapped for leg in pair}
    for pair in swapped:
        yield _crossed(situation, pair)
    for leg in strayed:
        if leg not in explained and _inside_another(situation, (met[leg] & home) - explained):
            yield _crossed(situation, (leg,))


def _pairs(legs: list[Leg]) -> Iterator[Pair]:
    for index, a in enumerate(legs):
        for b in legs[index + 1 :]:
            if a.node == b.node:
                yield a, b


def _swapped(situation: Situation, pair: Pair, met: dict[Leg, set[Leg]]) -> bool:
    """Each of the two hears the network of the other."""
    a, b = pair
    return any(situation.together(x, b) for x in met[a]) and any(situation.together(x, a) for x in met[b])


def _inside_another(situation: Situation, met: set[Leg]) -> bool:
    """Whether it hears most of another network's NICs: one alone may be the one that has strayed."""
    theirs = Counter(situation.network_of[other] for other in met)
    every = Counter(situation.network_of[other] for other in situation.passing)
    return any(2 * heard >= every[network] for network, heard in theirs.items())


def _has_peers(situation: Situation, leg: Leg) -> bool:
    return any(
        other.node != leg.node and situation.together(other, leg) and situation.probed(other)
        for other in situation.network_of
    )


def _crossed(situation: Situation, legs: tuple[Leg, ...]) -> Finding:
    networks = [situation.network_of[leg] for leg in legs]
    if len(legs) == 2:
        message = f"the cables of {legs[0]} ({networks[0]}) and {legs[1]} ({networks[1]}) are crossed"
        fix = f"plug {legs[0]} into {situation.place(legs[1])}, and {legs[1]} into {situation.place(legs[0])}"
    else:
        message = f"{legs[0]} of {networks[0]} is plugged into the port of another network: {situation.place(*legs)}"
        fix = f"plug {legs[0]} into a port of {networks[0]}"
    found = situation.found(
        Reason.CABLE_CROSSED,
        legs,
        message,
        fix,
        "probes: they come in from NICs of another cluster network, and none from their own",
    )
    return replace(found, certainty=Certainty.SURE)


def merged_crossings(situation: Situation, found: list[Finding]) -> list[Finding]:
    """Two NICs of one node and of different networks that both pass nothing: one crossing explains it sooner than two
    ports that are wrong. Of the two one may be in an uplink of the operating system, which is not judged by itself."""
    nothing = {f.legs[0]: f for f in found if f.reason in _NOTHING and len(f.legs) == 1}
    legs = sorted({*nothing, *_unheard_of_others(situation)})
    pairs = [
        pair
        for pair in _pairs(legs)
        if nothing.keys() & set(pair) and not situation.together(*pair) and _each_others(situation, pair)
    ]
    gone = {leg for pair in pairs for leg in pair}
    kept = [f for f in found if f not in [nothing[leg] for leg in gone & nothing.keys()]]
    for pair in pairs:
        seen = next(nothing[leg].evidence for leg in pair if leg in nothing)
        said = "LLDP: each of the two ports names the VLANs of the other's network"
        kept.append(replace(_crossed(situation, pair), evidence=(*seen, said)))
    return kept


_NOTHING = frozenset({Reason.NOTHING_PASSES, Reason.ACCESS_PORT, Reason.VLAN_MISSING, Reason.NATIVE_VLAN_WRONG})


def _unheard_of_others(situation: Situation) -> list[Leg]:
    """NICs of uplinks that no manifest makes, and of whose network nobody hears them, nor they anybody."""
    home = {leg for pair in situation.passed if pair[0] != pair[1] and situation.together(*pair) for leg in pair}
    return [
        leg
        for leg in situation.network_of
        if leg not in situation.wanted and leg not in home and _has_peers(situation, leg)
    ]


def _each_others(situation: Situation, pair: Pair) -> bool:
    """Whether the port of each names VLANs that only the other one has. One that has no VLAN can be named none of."""
    for one, other in (pair, pair[::-1]):
        port = situation.switch_port(one)
        named = set(port.vlans) if port else set()
        mine, theirs = _tagged(situation, one), _tagged(situation, other)
        if (theirs and not named & (theirs - mine)) or named & mine:
            return False
    return True


def _tagged(situation: Situation, leg: Leg) -> set[int]:
    wanted = situation.wanted.get(leg)
    tagged = wanted.tagged if wanted is not None else situation.probed(leg)
    return {int(vid) for vid in tagged if vid != UNTAGGED}
