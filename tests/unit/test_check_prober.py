"""Probing without a network: sweeps, who is heard, what is told, and what must not change anything."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest
from tests.unit.probeworld import EPOCH, SECRET, Net, intent, leg_of, net

from windrow.apps.check.alarm import PAUSE_S, Alarm
from windrow.apps.check.prober import CALL_PAUSE_S, DROPS_MAX, Habits, Prober
from windrow.apps.check.sweep import BROADCASTS, gap_s
from windrow.frames.ethernet import mac_bytes
from windrow.frames.probe import Kind, Probe, Refusal, Run, Secret, decode, encode, mac_of
from windrow.model.evidence import Identity, Leg, NicEvidence, NodeEvidence, SwitchPort
from windrow.model.evidence import Kind as Sense
from windrow.model.values import IfName, Mac, VidSet
from windrow.render.vlanmatrix import State

ETH0, ETH1 = IfName("eth0"), IfName("eth1")
SLOW = {"interval_s": 600.0}


def probes(found: Net, secret: Secret = SECRET) -> list[Probe]:
    """All that was sent."""
    read = [decode(data[18:] if data[12:14] == b"\x81\x00" else data[14:], secret) for data in found.frames]
    assert all(isinstance(one, Probe) for one in read)
    return [one for one in read if isinstance(one, Probe)]


def test_all_hear_each_other_and_tell_it() -> None:
    found = net("a", "b", "c")
    found.run(5)
    for node in "abc":
        evidence = found.evidence(node)
        assert set(evidence.nodes) == {"a", "b", "c"}
        assert not evidence.silent
        assert len(found.states(node)) == 9
        assert found.wrong(node) == {}
        assert all(not told.rejected and not told.foreign for told in evidence.nodes.values())


def test_counts_of_a_sweep() -> None:
    found = net("a", "b")
    found.run(40)
    heard = [one for one in found.evidence("a").nodes["a"].heard if one.receiver == Leg("a", ETH0)]
    assert {one.vid for one in heard} == {10, 20, 30}
    assert {(one.sent, one.count, one.broadcast, one.unicast, one.duplicates) for one in heard} == {(4, 4, 3, 1, 0)}
    backup = [one for one in found.evidence("a").nodes["a"].heard if one.receiver == Leg("a", ETH1)]
    assert {(one.sent, one.count, one.broadcast) for one in backup} == {(3, 3, 3)}, "nobody aims at a leg that rests"


def test_one_leg_in_each_vlan_and_no_more_than_needed() -> None:
    found = net("a", "b")
    found.run(29)
    first = [one for one in probes(found) if one.kind is Kind.BROADCAST]
    assert {one.sender.nic for one in first} == {ETH0}
    assert len(first) == 2 * 3 * BROADCASTS
    found.run(30)
    sent = [one for one in probes(found) if one.sweep - one.run.started == 2]
    second = [one for one in sent if one.kind in (Kind.BROADCAST, Kind.UNICAST)]
    assert len(second) == 2 * 3 * (BROADCASTS + 1)


def test_legs_that_are_all_at_work_take_turns() -> None:
    found = Net()
    for name in "ab":
        found.add(intent(name, "ab", VidSet.parse("10"), (leg_of("eth0", None), leg_of("eth1", None))))
    found.run(95)
    by_sweep = {(one.sweep - one.run.started, one.sender.nic) for one in probes(found) if one.kind is Kind.BROADCAST}
    assert by_sweep == {(1, ETH1), (2, ETH0), (3, ETH1), (4, ETH0)}
    assert found.wrong("a") == {}


def test_the_rate_of_a_leg() -> None:
    found = net("a", "b", vids="1000-1499")
    found.run(25)
    times = found.sent[Leg("a", ETH0)]
    assert len(times) > 1000
    for first, last in zip(times, times[100:], strict=False):
        assert last - first >= 0.99


def test_sweeps_that_take_longer_than_from_one_to_the_next() -> None:
    """A slow link, a busy host: what was heard is told all the same, before the next one begins."""
    found = Net()
    for name in "ab":
        found.add(intent(name, "ab", VidSet.parse("10,20"), (leg_of("eth0", True, speed=1),)), interval_s=5.0)
    found.run(60)
    assert all(prober.sweeps >= 2 for prober in found.probers.values())
    assert set(found.evidence("a").nodes) == {"a", "b"}
    assert found.wrong("a") == found.wrong("b") == {}


def test_the_share_of_a_slow_link() -> None:
    slow = leg_of("eth0", True, speed=10)
    assert gap_s(slow, 1500) * 10e6 * 0.001 >= 1500 * 8
    assert gap_s(leg_of("eth0", True, speed=100_000), 100) == pytest.approx(0.01)


def test_nothing_is_sent_into_another_vlan() -> None:
    found = net("a", "b")
    found.run(10)
    assert {one.vid for one in probes(found)} == {10, 20, 30}
    tags = {int.from_bytes(data[14:16], "big") for data in found.frames if data[12:14] == b"\x81\x00"}
    assert tags == {10, 20, 30}
    found.frames.clear()
    found.probers["a"].want(replace(intent("a", "ab", VidSet.parse("20"), (leg_of("eth0", True),))), found.now)
    found.probers["b"].want(intent("b", "ab", VidSet(), (leg_of("eth0", True),)), found.now)
    found.run(60)
    assert {one.vid for one in probes(found)} == {20}
    assert {one.sender.node for one in probes(found)} == {"a"}


# Faults -------------------------------------------------------------------------------------------


def test_a_vlan_that_is_missing_on_a_port() -> None:
    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if vid == 20 and "c" in (sender.node, to.node) else vid

    found = net("a", "b", "c", passes=passes)
    found.run(10)
    assert [found.wrong(node) for node in "abc"] == [{("c", 20): State.NOT_THERE}] * 3


@pytest.mark.parametrize("deaf", [False, True])
def test_one_way(deaf: bool) -> None:
    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if vid == 20 and (to.node if deaf else sender.node) == "c" else vid

    found = net("a", "b", "c", passes=passes)
    found.run(10)
    assert [found.wrong(node) for node in "abc"] == [{("c", 20): State.DEAF if deaf else State.MUTE}] * 3


def test_a_backup_leg_that_lacks_a_vlan_is_found_by_listening() -> None:
    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if vid == 20 and Leg("c", ETH1) in (sender, to) else vid

    found = net("a", "b", "c", passes=passes)
    found.run(10)
    assert found.wrong("a") == {("c", 20): State.ONE_LEG}
    assert {one.sender.nic for one in probes(found)} == {ETH0}, "without a frame from the leg that rests"


def test_a_sweep_that_breaks_off_says_nothing() -> None:
    """Its node lost its power in the middle: what it did not come to is not missing."""
    found = net("a", "b", vids="100-199", interval_s=60.0)
    found.run(50)
    before = found.states("a")
    assert set(before.values()) == {State.PASSES}
    found.run(11)
    assert found.probers["b"].under_way
    del found.probers["b"]
    found.run(4)
    assert found.states("a") == before


@pytest.mark.parametrize("begins", [30.5, 31.5, 33.0, 45.0])
def test_who_comes_late_raises_no_alarm(begins: float) -> None:
    """In the middle of a sweep it hears a part of it, and others have not heard it at all yet."""
    found = net("a", "b", vids="100-199", interval_s=30.0)
    found.run(begins)
    one = intent("c", "abc", VidSet.parse("100-199"), (leg_of("eth0", True), leg_of("eth1", False)))
    found.add(one, interval_s=30.0)
    for node in "ab":
        found.probers[node].want(replace(found.probers[node]._intent, nodes=frozenset("abc")), found.now)
    seen: set[State] = set()
    for _ in range(30):
        found.run(0.5)
        seen |= {state for node in "abc" for state in found.states(node).values()}
    assert not {state for state in seen if state.bad}
    found.run(40)
    assert [found.wrong(node) for node in "abc"] == [{}] * 3


def test_two_halves() -> None:
    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if vid == 20 and (sender.node in "ab") != (to.node in "ab") else vid

    found = net("a", "b", "c", "d", passes=passes)
    found.run(10)
    assert found.wrong("a") == {(node, 20): State.SOME for node in "abcd"}


def test_another_tag_on_arrival() -> None:
    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return 21 if vid == 20 and sender.node == "c" else None if vid == 20 and to.node == "c" else vid

    found = net("a", "b", "c", passes=passes)
    found.run(10)
    assert found.wrong("b") == {("c", 20): State.OTHER_TAG}
    assert {(one.vid, one.arrived) for one in found.evidence("b").nodes["b"].heard if one.vid != one.arrived} == {
        (20, 21)
    }


def test_frames_that_are_lost_are_counted() -> None:
    lost = iter(range(10**6))

    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if sender.node == "a" and next(lost) % 5 == 0 else vid

    found = net("a", "b", vids="100-199", passes=passes)
    found.run(10)
    heard = [one for one in found.evidence("b").nodes["b"].heard if one.receiver.nic == ETH0]
    assert 0.7 < sum(one.broadcast for one in heard) / (100 * BROADCASTS) < 0.9
    assert all(one.sent >= BROADCASTS for one in heard)


@pytest.mark.parametrize(("limit", "largest"), [(9000, 9000), (8999, 0)])
def test_long_frames(limit: int, largest: int) -> None:
    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if len(data) - 18 > limit else vid

    found = Net(passes)
    for name in "ab":
        found.add(intent(name, "ab", VidSet.parse("10,20"), (leg_of("eth0", True, mtu=9000),)))
    found.run(45)
    heard = found.evidence("a").nodes["a"].heard
    assert [(one.largest_sent, one.largest) for one in heard if one.largest_sent] == [(9000, largest)]
    assert sum(len(data) > 5000 for data in found.frames) == 2, "once for each pair of legs"


def test_a_storm_control_that_eats_broadcasts_shows_as_such() -> None:
    eats = False

    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if eats and data[:6] == b"\xff" * 6 else vid

    found = net("a", "b", passes=passes)
    found.run(20)
    eats = True
    found.run(30)
    heard = [one for one in found.evidence("a").nodes["a"].heard if one.receiver.nic == ETH0]
    assert {(one.broadcast, one.unicast) for one in heard} == {(0, 1)}


def test_what_is_heard_no_more_is_gone_after_one_sweep() -> None:
    gone = False

    def passes(sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        return None if gone and vid == 20 and "c" in (sender.node, to.node) else vid

    found = net("a", "b", "c", passes=passes)
    found.run(35)
    assert found.wrong("a") == {}
    gone = True
    found.run(31)
    assert found.wrong("a") == {("c", 20): State.NOT_THERE}


def test_a_node_that_falls_silent() -> None:
    found = net("a", "b", "c")
    found.run(10)
    del found.probers["c"]
    found.run(50)
    assert found.evidence("a").silent == {"c"}
    assert {state for (node, _), state in found.wrong("a").items() if node == "c"} == {State.SILENT}
    assert {node for node, _ in found.wrong("a")} == {"c"}


def test_all_legs_only_to_find_a_fault() -> None:
    found = net("a", "b")
    found.run(10)
    found.frames.clear()
    found.probers["a"].locate(True, found.now)
    found.run(10)
    assert {one.sender.nic for one in probes(found) if one.sender.node == "a"} == {ETH0, ETH1}
    found.probers["a"].locate(False, found.now)
    found.frames.clear()
    found.run(30)
    assert {one.sender.nic for one in probes(found) if one.sender.node == "a"} == {ETH0}


def test_a_call_is_answered_at_once_but_not_again_and_again() -> None:
    found = net("b", interval_s=3600.0)
    found.run(20)
    found.frames.clear()
    one = intent("a", "ab", VidSet.parse("10,20,30"), (leg_of("eth0", True),))
    found.probers["a"] = Prober(one, SECRET, Run(1, 2), Habits(interval_s=1.0, calls=True), now=found.now)
    found.wanted["a"] = VidSet.parse("10,20,30")
    found.run(CALL_PAUSE_S * 3)
    sweeps = {one.sweep for one in probes(found) if one.sender.node == "b" and one.kind is Kind.BROADCAST}
    assert 2 <= len(sweeps) <= 4
    assert found.wrong("a") == {}


def test_a_node_that_starts_again_has_other_sweeps_than_before() -> None:
    """What others told of its first sweep before is not of its first sweep now."""
    found = net("a", "b")
    found.run(5)
    before = found.evidence("a").nodes["a"].sweep
    found.run(1)
    found.add(intent("a", "ab", VidSet.parse("10,20,30"), (leg_of("eth0", True), leg_of("eth1", False))), nonce=9)
    found.run(5)
    assert found.evidence("a").nodes["a"].sweep not in (0, before)


def test_what_comes_no_more_makes_all_sweep_at_once_with_all_legs() -> None:
    """With minutes from one sweep to the next, all know of it a second after the first sweep that shows it."""
    pulled: list[int] = []
    found = net("a", "b", "c", passes=lambda _a, b, vid, _f: None if vid in pulled and b.node == "c" else vid, **SLOW)
    found.run(30)
    pulled.append(20)
    found.frames.clear()
    begun = found.now
    found.probers["b"].sweep_now(found.now)
    while found.now < begun + 20 and not all(prober.locates and prober.agreed for prober in found.probers.values()):
        found.run(0.1)
    assert found.now - begun < 2.0
    for node in "abc":
        assert found.wrong(node) == {("c", 20): State.DEAF}
    assert {one.sender for one in probes(found)} == {Leg(node, nic) for node in "abc" for nic in (ETH0, ETH1)}
    sweeps = {(one.sender.node, one.sweep) for one in probes(found)}
    found.run(60)
    assert {(one.sender.node, one.sweep) for one in probes(found)} == sweeps, "a fault that stays makes no more of them"
    pulled.clear()
    begun = found.now
    found.probers["b"].sweep_now(found.now)
    while found.now < begun + 20 and any(found.wrong(node) for node in "abc"):
        found.run(0.1)
    assert found.now - begun < 2.0, "that it comes again is news, too"


def test_a_vlan_that_comes_and_goes_does_not_make_all_sweep_for_ever() -> None:
    state = [0]
    found = net("a", "b", "c", passes=lambda _a, b, vid, _f: None if state[0] and b.node == "c" else vid, **SLOW)
    found.run(30)
    before = found.probers["a"].sweeps
    for turn in range(60):
        state[0] = turn % 2
        found.probers["b"].sweep_now(found.now)
        found.run(11)
    assert found.probers["a"].sweeps - before <= 60 + 15, "each call of b, and a few of its own"


def test_an_alarm_follows_an_alarm_ever_more_slowly() -> None:
    alarm, raised = Alarm(), []
    for second in range(3600):
        if alarm.raised(float(second)):
            raised.append(second)
    assert raised[:4] == [0, 10, 30, 70]
    assert len(raised) < 12
    assert alarm.raised(1e6) and not alarm.raised(1e6 + PAUSE_S - 1)


def chain() -> Net:
    """a and c hear b, and b hears both; a and c do not hear each other."""
    return net("a", "b", "c", passes=lambda a, b, vid, _f: None if {a.node, b.node} == {"a", "c"} else vid)


def test_what_a_node_told_is_passed_on_to_who_does_not_hear_it() -> None:
    found = chain()
    found.run(50)
    evidence = found.evidence("a")
    assert set(evidence.nodes) == {"a", "b", "c"}
    assert not evidence.silent
    assert evidence.relayed.keys() == {"c"}
    assert evidence.relayed["c"].by == "b"
    assert 0 <= evidence.relayed["c"].age_s < 60
    assert evidence.nodes["c"] == found.evidence("b").nodes["c"]
    assert not found.evidence("b").relayed
    relayed = [one for one in probes(found) if one.kind is Kind.RELAY]
    assert {one.sender.node for one in relayed} == {"b"}
    found.probers.pop("c")
    found.run(200)
    assert "c" not in found.evidence("a").nodes, "it does not outlive who told it"


def test_where_all_hear_each_other_nothing_is_passed_on() -> None:
    found = net("a", "b", "c")
    found.run(20)
    found.frames.clear()
    found.run(200)
    assert not [one for one in probes(found) if one.kind is Kind.RELAY]


def test_one_of_several_passes_on() -> None:
    found = net("a", "b", "c", "d", passes=lambda a, b, vid, _f: None if {a.node, b.node} == {"a", "d"} else vid)
    found.run(30)
    found.frames.clear()
    found.run(100)
    assert {one.sender.node for one in probes(found) if one.kind is Kind.RELAY} == {"b"}
    assert set(found.evidence("a").nodes) == set("abcd")


def test_a_port_that_shuts_when_it_is_probed() -> None:
    found = net("a", "b")
    prober = found.probers["a"]
    for _ in range(DROPS_MAX + 2):
        prober.sweep_now(found.now)
        found.run(0.05)
        prober.carrier(ETH0, False, found.now, found.clock("a"))
        found.run(5)
        prober.carrier(ETH0, True, found.now, found.clock("a"))
        found.run(5)
    found.frames.clear()
    found.run(60)
    assert not [one for one in probes(found) if one.sender == Leg("a", ETH0)]
    absent = found.evidence("a").nodes["a"].absent
    assert any(one.nic == ETH0 and "port security" in one.reason for one in absent)


def test_a_carrier_that_goes_at_another_time_means_nothing() -> None:
    found = net("a", "b")
    for _ in range(5):
        found.run(29)
        found.probers["a"].carrier(ETH0, False, found.now, found.clock("a"))
        found.run(1)
        found.probers["a"].carrier(ETH0, True, found.now, found.clock("a"))
    nic = found.evidence("a").nodes["a"].nics[ETH0]
    assert nic.carrier
    assert nic.carrier_since == pytest.approx(EPOCH + found.now)
    assert not found.evidence("a").nodes["a"].absent


def test_what_other_senses_found_is_told_with_the_rest() -> None:
    found = net("a", "b")
    port = SwitchPort(
        source=Sense.LLDP, chassis=Identity(kind="mac", text="x"), port=Identity(kind="ifname", text="p1")
    )
    nic = NicEvidence(name=ETH0, mac=Mac("02:00:00:00:00:01"), carrier=True, neighbours=(port,))
    found.probers["b"].sensed = NodeEvidence(node="b", at=1.0, nics={ETH0: nic})
    found.run(5)
    told = found.evidence("a").nodes["b"].nics
    assert told[ETH0].neighbours == (port,)
    assert told[ETH0].cluster_network == "oob"
    assert told[ETH1].active is False
    assert found.wrong("a") == {}


# Abuse --------------------------------------------------------------------------------------------


def test_another_cluster_is_counted_and_never_used() -> None:
    found = net("a", "b")
    other = Secret.of_key(b"another" * 5)
    found.add(intent("c", "c", VidSet.parse("10"), (leg_of("eth0", True),)), secret=other)
    found.run(20)
    told = found.evidence("a").nodes["a"]
    assert {(one.cluster, one.vid) for one in told.foreign} == {(other.cluster.hex(), 10)}
    assert sum(one.frames for one in told.foreign) >= BROADCASTS
    assert {one.sender.node for one in told.heard} == {"b"}


def test_a_recording_changes_nothing() -> None:
    """Of the same run, long after; of a node that is gone; and of one that has started again since."""
    found = net("a", "b", "c")
    found.run(10)
    recorded = [(Leg("c", ETH0), data) for data in found.frames]
    found.run(40)
    before = found.states("a")

    def play() -> None:
        for sender, data in recorded:
            found.carry(sender, data)

    play()
    assert found.states("a") == before
    assert found.evidence("a").nodes["a"].rejected[Refusal.REPLAYED.value] > 10
    del found.probers["c"]
    found.run(60)
    silent = found.states("a")
    assert {state for (node, _), state in silent.items() if node == "c"} == {State.SILENT}
    play()
    found.run(1)
    assert found.states("a") == silent
    found.add(intent("c", "abc", VidSet.parse("10"), (leg_of("eth0", True),)), nonce=77)
    found.run(10)
    before = found.states("a")
    assert before["c", 10] is State.PASSES
    play()
    found.run(1)
    assert found.states("a") == before


def test_a_recording_for_one_who_has_just_started() -> None:
    """It knows nobody, and the recording is of the same minute: a node that was never heard may be believed once, and
    no verdict says that it passes, for it does not hear us."""
    found = net("a", "b")
    found.run(10)
    recorded = list(found.frames)
    late = Net()
    late.now = 600.0
    late.add(intent("z", "abz", VidSet.parse("10,20,30"), (leg_of("eth0", True),)))
    for data in recorded:
        late.carry(Leg("b", ETH0), data)
    assert late.evidence("z").silent == {"a", "b"}
    assert late.evidence("z").nodes["z"].rejected.keys() == {Refusal.STALE.value}


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0, 10.0**8])
def test_a_clock_that_is_wrong(skew: float) -> None:
    """Others do not believe it by its clock; they do once it has said a nonce that it can only have heard now."""
    found = Net()
    found.skew["c"] = skew
    for name in "abc":
        found.add(intent(name, "abc", VidSet.parse("10,20,30"), (leg_of("eth0", True), leg_of("eth1", False))))
    found.run(45)
    assert [found.wrong(node) for node in "abc"] == [{}] * 3


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps(jump: float) -> None:
    found = net("a", "b", "c")
    found.run(20)
    found.skew["b"] = jump
    for _ in range(10):
        found.run(4)
        assert [found.wrong(node) for node in "abc"] == [{}] * 3


def test_a_node_that_starts_again_with_an_older_clock() -> None:
    found = net("a", "b", "c")
    found.run(20)
    found.skew["c"] = -5000.0
    found.add(intent("c", "abc", VidSet.parse("10,20,30"), (leg_of("eth0", True), leg_of("eth1", False))), nonce=5)
    found.run(40)
    assert [found.wrong(node) for node in "abc"] == [{}] * 3


def test_a_namesake() -> None:
    found = net("a", "b")
    found.run(10)
    forged = Probe(
        kind=Kind.BROADCAST, sender=Leg("a", ETH0), vid=10, run=Run(9, 9), sweep=1, sequence=1, time=int(EPOCH)
    )
    found.probers["a"].received(ETH0, 10, encode(forged, SECRET), now=found.now, clock=EPOCH)
    told = found.evidence("a").nodes["a"]
    assert told.rejected == {Refusal.NAMESAKE.value: 1}
    assert not [one for one in told.heard if one.sender.node == "a"]


def test_what_comes_back_of_our_own_is_evidence() -> None:
    found = net("a")
    found.run(3)
    for data in found.frames:
        found.probers["a"].received(ETH1, 10, data[18:], now=found.now, clock=found.clock("a"))
    own = [one for one in found.evidence("a").nodes["a"].heard if one.sender == Leg("a", ETH0)]
    assert {(one.receiver.nic, one.vid, one.arrived) for one in own} >= {(ETH1, 10, 10), (ETH1, 20, 10)}


def test_copies_are_duplicates() -> None:
    found = net("a", "b")
    carry = found.carry
    found.carry = lambda sender, data: (carry(sender, data), carry(sender, data))[0]  # type: ignore[method-assign]
    found.run(10)
    heard = [one for one in found.evidence("a").nodes["a"].heard if one.receiver.nic == ETH0]
    assert all(one.count == one.duplicates >= BROADCASTS for one in heard)
    assert not found.evidence("a").nodes["a"].rejected


def test_a_flood_of_nodes_is_bounded() -> None:
    found = net("a", "b")
    found.run(5)
    for number in range(1000):
        one = Probe(
            kind=Kind.BROADCAST,
            sender=Leg(f"node-{number}", ETH0),
            vid=10,
            run=Run(int(EPOCH * 1000), number + 1),
            sweep=1,
            sequence=1,
            time=int(found.clock("a")),
            again=60,
        )
        found.probers["a"].received(ETH0, 10, encode(one, SECRET), now=found.now, clock=found.clock("a"))
    assert len(found.probers["a"]._peers.names()) <= 256
    assert found.evidence("a").nodes["a"].rejected[Refusal.TOO_MANY.value] > 700


def test_whatever_else_comes_in_changes_no_verdict() -> None:
    """Probes and reports of others, recorded and sent again, bent, cut, as long as a link carries; noise; frames of
    another cluster. (What is sent again in another VLAN, or back to who sent it, is the fault that it seems to be:
    somebody joins two VLANs, or makes a loop.) `WINDROW_FRAMES=1000000` for a million."""
    dice, count = random.Random(12), int(os.environ.get("WINDROW_FRAMES", "4000"))
    found = net("a", "b", "c", vids="10,20")
    found.run(20)
    assert found.wrong("a") == {}
    foreign = Net()
    for name in ("x", "y"):
        one = intent(name, ("x", "y"), VidSet.of([10]), (leg_of("eth0", True),))
        foreign.add(one, secret=Secret.of_key(b"f" * 32))
    foreign.run(5)
    own = {mac_bytes(mac_of(SECRET, Leg("a", nic))): nic for nic in (ETH0, ETH1)}
    recorded = [
        (int.from_bytes(frame[14:16], "big"), frame[18:], nic)
        for frame in found.frames + foreign.frames
        for nic in (ETH0, ETH1)
        if frame[6:12] not in own and (frame[:6] == b"\xff" * 6 or own.get(frame[:6]) == nic)
    ]
    before = found.evidence("a")
    for number in range(count):
        vid, payload, nic = dice.choice(recorded)
        data = bytearray(payload)
        match number % 5:
            case 0:
                data[dice.randrange(8, len(data))] ^= 1 << dice.randrange(8)
            case 1:
                del data[dice.randrange(len(data)) :]
            case 2:
                data += dice.randbytes(dice.randrange(9000))  # as padding may be
            case 3:
                vid, data = dice.choice((0, 10, 999, 4094)), bytearray(dice.randbytes(dice.randrange(1, 9216)))
            case _:
                """As it was."""
        found.probers["a"].received(nic, vid, bytes(data), now=found.now, clock=EPOCH + found.now)
    after = found.evidence("a")
    assert found.wrong("a") == {}
    assert after.nodes.keys() == before.nodes.keys()
    for name, node in after.nodes.items():
        came, came_before = (
            [replace(one, duplicates=0, at=0.0) for one in each.heard if one.count > 0]
            for each in (node, before.nodes[name])
        )
        assert came == came_before, name
    rejected = after.nodes["a"].rejected
    assert sum(rejected.values()) + sum(f.frames for f in after.nodes["a"].foreign) > count * 0.5
    assert len(rejected) <= len(Refusal)
    found.run(40)
    assert found.wrong("a") == {}, "and what comes next is believed as before"


def test_many_nodes_and_vlans() -> None:
    """`WINDROW_PROBE_NODES=32 WINDROW_PROBE_VLANS=200` is the size that is promised."""
    count, vlans = int(os.environ.get("WINDROW_PROBE_NODES", "6")), int(os.environ.get("WINDROW_PROBE_VLANS", "40"))
    names = [f"node-{number:02}" for number in range(count)]
    found = net(*names, vids=f"100-{99 + vlans}", interval_s=60.0)
    sweep_s = vlans * BROADCASTS / 100 + 2
    found.run(sweep_s)
    assert all(prober.sweeps == 1 for prober in found.probers.values())
    found.run(10)
    assert found.wrong(names[0]) == {}
    assert len(found.states(names[0])) == count * vlans
