"""A port that loses a few frames in a hundred: one sweep of one leg each has too few of them to say so, and all look
again with all legs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.unit.probeworld import EPOCH, SECRET, Net, intent, leg_of, net

from windrow.apps.check.alone import Locator
from windrow.apps.check.driver import Driver
from windrow.apps.check.prober import Habits, Prober
from windrow.apps.check.told import loses_a_share
from windrow.diagnose import diagnose
from windrow.frames.probe import Probe, Run, decode
from windrow.model.evidence import Evidence, Leg
from windrow.model.findings import Reason
from windrow.model.values import IfName, VidSet
from windrow.render.vlanmatrix import seen_of
from windrow.testing.builders import cluster, cluster_network, nad, vlan_config

LOSSY = Leg("b", IfName("eth0"))
VIDS = VidSet.parse("10-20")
CLUSTER = cluster(
    cluster_network("oob"),
    vlan_config("oob", ["eth0", "eth1"], "active-backup"),
    *(nad(f"v{vid}", "oob", vid) for vid in VIDS),
)


def losing(share: float, seed: int) -> Net:
    """Of what the switch sends to one NIC a share is lost."""
    dice = random.Random(seed)

    def passes(_from: Leg, to: Leg, vid: int, _frame: bytes) -> int | None:
        return None if to == LOSSY and dice.random() < share else vid

    return net("a", "b", "c", vids=str(VIDS), passes=passes, interval_s=6.0)


def checked(found: Net, seconds: float) -> Evidence:
    """As `windrow check` does it on all nodes at once."""
    locators = {node: Locator(prober) for node, prober in found.probers.items()}
    for prober in found.probers.values():
        prober.sweep_now(found.now)
    end = found.now + seconds
    while found.now < end:
        found.run(0.2)
        for node, locator in locators.items():
            intent = found.probers[node]._intent
            locator.look(intent, CLUSTER, found.now, found.clock(node))
    return found.evidence("a")


@pytest.mark.parametrize("seed", range(12))
def test_five_percent_are_found_by_more_frames(seed: int) -> None:
    found = losing(0.05, seed)
    located = 0
    for _ in range(3):
        evidence = checked(found, 9.0)
        located += any(prober.locates for prober in found.probers.values())
        reasons = {(x.reason, x.legs) for x in diagnose(CLUSTER, evidence)}
        assert reasons <= {(Reason.FRAMES_LOST, (LOSSY,))}, reasons
        if reasons:
            break
    assert reasons and located


def test_nothing_lost_is_no_doubt() -> None:
    found = losing(0.0, 1)
    assert not loses_a_share(seen_of(checked(found, 9.0)))
    assert not any(prober.locates for prober in found.probers.values())


def test_what_is_read_late_on_one_nic_is_of_the_sweep_it_was_sent_in() -> None:
    """A host that was kept from running reads one NIC after another: on the first the next sweep has begun already."""
    away = net("a", vids=str(VIDS), interval_s=6.0)
    away.run(8.0)
    payloads = [frame[18:] for frame in away.frames]
    vids = [int.from_bytes(frame[14:16], "big") for frame in away.frames]
    sweeps = [found.sweep for one in payloads if isinstance(found := decode(one, SECRET), Probe)]
    first = sweeps.count(sweeps[0])
    legs = (leg_of("eth0", True), leg_of("eth1", False))
    late = Prober(intent("b", "ab", VIDS, legs), SECRET, Run(started=1, nonce=1), Habits(interval_s=None), now=0.0)
    for nic, until in (("eth0", first + 5), ("eth1", first)):
        for vid, payload in list(zip(vids, payloads, strict=True))[:until]:
            late.received(IfName(nic), vid, payload, now=9.0, clock=EPOCH + 9.0)
    node = late.node_evidence(9.0, EPOCH + 9.0)
    assert {(h.receiver.nic, h.sweep) for h in node.heard} == {("eth0", sweeps[0]), ("eth1", sweeps[0])}
    assert {h.broadcast for h in node.heard} == {3}


@pytest.mark.parametrize(("skipped", "told"), [(0, True), (4, False)])
def test_a_sweep_that_was_read_late_was_not_heard_from_its_begin(skipped: int, told: bool) -> None:
    """Its first frames came before anybody listened; the next waited for half a second until they were read."""
    away = net("a", vids=str(VIDS), interval_s=6.0)
    away.run(4.0)
    legs = (leg_of("eth0", True),)
    late = Prober(intent("b", "ab", VIDS, legs), SECRET, Run(started=1, nonce=1), Habits(interval_s=None), now=0.05)
    for frame in away.frames[skipped:]:
        vid = int.from_bytes(frame[14:16], "big")
        late.received(IfName("eth0"), vid, frame[18:], now=0.6, clock=EPOCH + 0.6)
    assert bool(late.node_evidence(4.0, EPOCH + 4.0).heard) is told


class Queue:
    """A NIC's frames that wait. `brings`: what has come in on another by the time in which this one is read."""

    def __init__(self, *frames: bytes) -> None:
        self.frames, self.brings = list(frames), dict[Queue, bytes]()

    def receive(self) -> list[tuple[int, bytes]]:
        found, self.frames = [(10, frame) for frame in self.frames], []
        for other, frame in self.brings.items():
            other.frames.append(frame)
        self.brings = {}
        return found


def test_what_waits_on_all_nics_is_read_before_anything_is_told_or_judged() -> None:
    """A report on one tells of frames on another, which came in before it and called nobody."""
    came: list[str] = []

    class Sink:
        def received(self, nic: str, arrived: int, payload: bytes, *, now: float, clock: float) -> None:
            came.append(f"{nic} {payload.decode()}")

    one, other = Queue(b"probe"), Queue(b"probe", b"report")
    other.brings = {one: b"last probe"}
    driver = Driver.__new__(Driver)
    driver.prober = Sink()  # type: ignore[assignment]
    driver._mono = driver._clock = lambda: 0.0
    driver._taps = {IfName("eth0"): one, IfName("eth1"): other}  # type: ignore[dict-item]
    driver._hear_from([IfName("eth1")])
    assert came == ["eth1 probe", "eth1 report", "eth0 probe", "eth0 last probe"]


def test_one_frame_is_no_share_and_a_member_of_a_channel_hears_a_part() -> None:
    evidence = checked(losing(0.0, 1), 9.0)
    node = evidence.nodes["b"]
    first, *rest = node.heard

    def seen(lost: int, active: bool | None) -> Evidence:
        rows = (replace(first, count=first.sent - lost), *rest)
        nics = {name: replace(nic, active=active) for name, nic in node.nics.items()}
        return Evidence(nodes={**evidence.nodes, "b": replace(node, heard=rows, nics=nics)})

    assert not loses_a_share(seen_of(seen(1, True)))
    assert loses_a_share(seen_of(seen(2, True)))
    assert not loses_a_share(seen_of(seen(2, None)))
