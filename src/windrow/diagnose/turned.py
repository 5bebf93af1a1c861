"""Frames that arrive in another VLAN than they were sent in: native VLANs, access ports, translations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from windrow.diagnose.matrix import Matrix
from windrow.diagnose.situation import CHANCE, UNTAGGED, Situation, spoken
from windrow.model.evidence import Heard, Leg
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.values import VidSet


def turned_findings(situation: Situation, matrix: Matrix) -> Iterator[Finding]:
    """Whose port it is, is in all of the frames that changed their VLAN; the port in most of them is taken first."""
    inside = set(matrix.end_of)
    left = [
        h for h in situation.probes.turned if h.sender in inside and h.receiver in inside and h.sender != h.receiver
    ]
    while left:
        counted: dict[Leg, int] = defaultdict(int)
        for h in left:
            counted[h.sender] += 1
            counted[h.receiver] += 1
        most = max(counted.values())
        equals = sorted((leg for leg, n in counted.items() if n == most), key=lambda leg: _preference(leg, left))
        leg = equals[0]
        mine = [h for h in left if leg in (h.sender, h.receiver)]
        found = _finding(situation, matrix, leg, mine)
        if len(equals) > 1 and found.certainty is not Certainty.SURE:
            found = replace(found, lacks=f"a third node: it may be the port of {equals[1]} as well")
        yield found
        left = [h for h in left if leg not in (h.sender, h.receiver)]


def _preference(leg: Leg, heard: Sequence[Heard]) -> tuple[bool, Leg]:
    """Of two that are in it equally often: the one whose own native VLAN would make it."""
    return not _natives(leg, heard), leg


def _natives(leg: Leg, heard: Sequence[Heard]) -> set[int]:
    """What it sent without a tag came out in this VLAN, or what was sent in it came in here without a tag."""
    out = {h.arrived for h in heard if h.sender == leg and h.vid == UNTAGGED}
    return out | {h.vid for h in heard if h.receiver == leg and h.arrived == UNTAGGED}


def _finding(situation: Situation, matrix: Matrix, leg: Leg, heard: list[Heard]) -> Finding:
    evidence = list(dict.fromkeys(map(_told, heard)))[:3]
    if _natives(leg, heard):
        return _native(situation, matrix, leg, heard, evidence)
    # What came in without a tag, or was sent so, turned at the other end: this port has no such native VLAN.
    tagged = [h for h in heard if UNTAGGED not in (h.vid, h.arrived)] or heard
    pairs = sorted({(min(h.vid, h.arrived), max(h.vid, h.arrived)) for h in tagged})
    words = ", ".join(f"{a} is {b}" for a, b in pairs)
    found = situation.found(
        Reason.VLAN_TRANSLATED,
        (leg,),
        f"{situation.place(leg)} translates VLANs: {words} on the other side",
        f"remove the VLAN translation from {situation.place(leg)}",
        *evidence,
    )
    return replace(found, vids=VidSet.of(vid for pair in pairs for vid in pair))


def _native(situation: Situation, matrix: Matrix, leg: Leg, heard: list[Heard], evidence: list[str]) -> Finding:
    native = min(_natives(leg, heard))
    wanted, port, place = matrix.wanted[leg], situation.switch_port(leg), situation.place(leg)
    passes = matrix.passes(leg) & matrix.tested(leg)
    others = matrix.tested(leg) - VidSet.of([UNTAGGED, native])
    access = bool(others) and not passes & others and not _by_chance(heard, others)
    if access:
        found = situation.found(
            Reason.ACCESS_PORT,
            (leg,),
            f"{place} is an access port of VLAN {native}: {leg} needs a trunk",
            f"make {place} a trunk with {spoken(wanted.tagged)}",
        )
    else:
        against = "and not that of the other ports" if wanted.untagged else f"and {leg} needs it tagged"
        found = situation.found(
            Reason.NATIVE_VLAN_WRONG,
            (leg,),
            f"VLAN {native} is the native VLAN of {place}, {against}",
            f"take VLAN {native} off as the native VLAN of {place}",
        )
    sure = port is not None and port.pvid == native
    said = [f"LLDP: the port's native VLAN is {native}"] if sure else []
    return replace(
        found,
        vids=matrix.tested(leg) if access else VidSet.of([native, *([UNTAGGED] if wanted.untagged else [])]),
        certainty=Certainty.SURE if sure else Certainty.LIKELY,
        evidence=(*evidence, *said),
    )


def _by_chance(heard: list[Heard], others: VidSet) -> bool:
    """Whether so much of what turned was lost that all of these VLANs may have been, too: that nothing passes in them
    is then no sign of an access port."""
    sent = sum(h.sent for h in heard)
    lost = sum(max(0, h.sent - h.count) for h in heard)
    share = lost / sent if sent > 0 else 1.0
    return bool(share ** (sent / len(heard) * len(others)) > CHANCE)


def _told(h: Heard) -> str:
    sent = f"in VLAN {h.vid}" if h.vid else "without a tag"
    came = f"in VLAN {h.arrived}" if h.arrived else "without a tag"
    return f"probes that {h.sender} sent {sent} came in at {h.receiver} {came}"
