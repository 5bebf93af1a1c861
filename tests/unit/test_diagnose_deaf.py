"""A member of a static channel that is dead in one direction: that port and that direction are named, whichever flows
the switch had given to it; and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from windrow.diagnose import diagnose
from windrow.diagnose.probes import Tally
from windrow.model.bonding import BondMode
from windrow.model.evidence import Evidence, Heard, Leg
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.values import IfName
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import Fabric, Habit, cluster_of, evidence_of, fabric

DEAD, OTHER = Leg("node-2", IfName("eth1")), Leg("node-2", IfName("eth2"))
FAR = Leg("node-1", IfName("eth1"))
STATIC = [mode for mode in BondMode if mode.switch_needs == "static"]


def found_in(f: Fabric) -> tuple[Finding, ...]:
    return diagnose(cluster_of(f), evidence_of(f))


def heard(receiver: Leg, vids: Iterable[int], *, broadcast: int, unicast: int) -> list[Heard]:
    """Of `FAR`, which sends three to everybody and one to this node in each VLAN."""
    count = broadcast + unicast
    return [
        Heard(
            sender=FAR,
            receiver=receiver,
            vid=vid,
            arrived=vid,
            sent=4,
            count=count,
            broadcast=broadcast,
            unicast=unicast,
        )
        for vid in vids
    ]


def only_from_far(f: Fabric, rows: list[Heard]) -> Evidence:
    """What came from `FAR` to the bond of node-2 is `rows`; of all others all came, on `OTHER`."""
    evidence = evidence_of(f)
    node = evidence.nodes["node-2"]
    mgmt = [h for h in node.heard if h.receiver not in (DEAD, OTHER)]
    senders = {h.sender for h in node.heard if h.receiver in (DEAD, OTHER)} - {FAR}
    whole = heard(OTHER, f.network_of(OTHER).tagged, broadcast=3, unicast=1)
    rest = [*mgmt, *(replace(h, sender=sender) for sender in sorted(senders) for h in whole)]
    return Evidence(nodes={**evidence.nodes, "node-2": replace(node, heard=(*rest, *rows))})


@pytest.mark.parametrize(
    ("rows", "seemed"),
    [
        (heard(OTHER, range(100, 110), broadcast=0, unicast=1), Reason.BROADCAST_FILTERED),
        (heard(OTHER, range(100, 110), broadcast=3, unicast=0), Reason.FRAMES_LOST),
        ([], Reason.ONE_WAY),
    ],
    ids=["its broadcasts", "its unicasts", "all of it"],
)
def test_whatever_flow_of_a_sender_is_missing(rows: list[Heard], seemed: Reason) -> None:
    f = fabric(3, BondMode.BALANCE_XOR, tagged="100-109")
    found = diagnose(cluster_of(f), only_from_far(f, rows))
    assert [(x.reason, x.legs, x.certainty) for x in found] == [(Reason.ONE_WAY, (DEAD,), Certainty.LIKELY)], seemed
    assert "Ethernet5 of tor-2 sends nothing to node-2/eth1" in found[0].message
    assert "node-2/eth2" in found[0].evidence[0]


def test_all_that_comes_to_the_channel_is_unlucky_and_no_fault() -> None:
    f = fabric(3, BondMode.BALANCE_XOR)
    whole = heard(OTHER, range(100, 104), broadcast=3, unicast=1)
    assert not diagnose(cluster_of(f), only_from_far(f, whole))


def test_a_share_that_is_lost_is_no_dead_member() -> None:
    """All flows of the channel are on one member, and that one loses a tenth of what a sender sends."""
    f = fabric(3, BondMode.BALANCE_XOR, tagged="100-119")
    lossy = [
        replace(h, count=h.count - 1, broadcast=h.broadcast - 1) if h.vid % 3 == 0 else h
        for h in heard(OTHER, range(100, 120), broadcast=3, unicast=0)
    ]
    lossy = [replace(h, sent=3) for h in lossy]
    assert Reason.ONE_WAY not in {x.reason for x in diagnose(cluster_of(f), only_from_far(f, lossy))}


@pytest.mark.parametrize("mode", STATIC)
@pytest.mark.parametrize("way", ["out", "back"])
def test_it_is_the_one_cause(mode: BondMode, way: str) -> None:
    """Whichever member the switch chooses for each flow."""
    named = 0
    for seed in range(25):
        f = faults.cable(DEAD, **{way: 0.0})(replace(fabric(3, mode), seed=seed))
        found = found_in(f)
        assert {(x.reason, x.legs) for x in found} <= {(Reason.ONE_WAY, (DEAD,))}, (seed, found)
        for one in found:
            assert ("nobody hears it" in one.message) == (way == "out"), one.message
        named += len(found)
    assert named >= 24, "but where it was chosen for nothing"


def test_a_sender_of_whom_no_third_node_tells_is_no_sign() -> None:
    """`FAR` is heard by nobody: node-2 tells so, and what node-3 tells is of another sweep."""
    f = fabric(3, BondMode.BALANCE_XOR, tagged="100-109")
    nodes = dict(only_from_far(f, []).nodes)
    nodes["node-1"] = replace(nodes["node-1"], sweep=7)
    for name, sweep in (("node-2", 7), ("node-3", 6)):
        rows = [h for h in nodes[name].heard if h.sender != FAR]
        of_it = tuple(replace(h, sweep=sweep) if h.sender.node == "node-1" else h for h in rows)
        nodes[name] = replace(nodes[name], heard=of_it)
    assert DEAD not in {leg for x in diagnose(cluster_of(f), Evidence(nodes=nodes)) for leg in x.legs}


def test_of_two_nodes_it_is_not_certain() -> None:
    """What one node's port does not send, and what the other's does not receive, is the same."""
    for seed in range(25):
        f = faults.cable(DEAD, back=0.0)(replace(fabric(2, BondMode.BALANCE_XOR), seed=seed))
        for one in found_in(f):
            if one.reason is Reason.ONE_WAY and one.legs != (DEAD,):
                assert one.certainty is Certainty.UNKNOWN and "a third node" in one.lacks, (seed, one)


@pytest.mark.parametrize("one_leg", [False, True])
def test_switches_that_are_apart_have_no_dead_member(one_leg: bool) -> None:
    """What the far switch's nodes send comes nowhere on this one, and by chance all else comes in on one member."""
    for seed in range(25):
        f = replace(fabric(4, BondMode.BALANCE_XOR, Habit.NONE), links=(), seed=seed, one_leg=one_leg)
        assert Reason.ONE_WAY not in {x.reason for x in found_in(f)}, seed


def test_a_filter_of_broadcasts_on_all_members_is_one() -> None:
    f = fabric(5, BondMode.BALANCE_XOR)
    for leg in (DEAD, OTHER):
        f = faults.port(leg, filters_broadcast=True)(f)
    assert {x.reason for x in found_in(f)} == {Reason.BROADCAST_FILTERED}


def test_a_dead_member_that_was_chosen_for_all_broadcasts_is_not_told_from_a_filter() -> None:
    """What comes to one MAC comes on the other member: both are said."""
    f = fabric(3, BondMode.BALANCE_XOR)
    evidence = only_from_far(f, heard(OTHER, range(100, 104), broadcast=0, unicast=1))
    node = evidence.nodes["node-2"]
    rows = [replace(h, broadcast=0, count=1) if h.receiver == OTHER else h for h in node.heard]
    evidence = Evidence(nodes={**evidence.nodes, "node-2": replace(node, heard=tuple(rows))})
    found = diagnose(cluster_of(f), evidence)
    assert [(x.reason, x.certainty) for x in found] == [(Reason.BROADCAST_FILTERED, Certainty.UNKNOWN)], found
    assert "whether Ethernet5 of tor-2 sends anything to node-2/eth1" in found[0].lacks


def test_what_members_tell_together() -> None:
    """Broadcasts on one and unicasts on the other: nothing is missing."""
    one, other = Tally(), Tally()
    one.take(heard(DEAD, (7, 8), broadcast=3, unicast=0), [])
    other.take(heard(OTHER, (7,), broadcast=0, unicast=1), [])
    assert (one.no_unicast, other.no_broadcast) == (1 << 7 | 1 << 8, 1 << 7)
    whole = Tally.joined([one, other])
    assert (whole.no_broadcast, whole.no_unicast) == (0, 1 << 8)
