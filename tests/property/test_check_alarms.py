"""Random clusters on random switches: no alarm while all is well, at no moment; and one fault is that node's alone."""

from __future__ import annotations

import os
import random
from zlib import crc32

import pytest
from tests.unit.probeworld import Net, intent, leg_of

from windrow.model.evidence import Leg
from windrow.model.values import VidSet
from windrow.render.vlanmatrix import State

HEALTHY = int(os.environ.get("WINDROW_FABRICS", "15"))
FAULTY = 10


class Fabric:
    """Nodes with a bond of some mode, whose VLANs all pass but for `missing` (leg or node, VLAN)."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.names = [f"n{number}" for number in range(self.chance.randrange(2, 5))]
        self.channel = {name: self.chance.random() < 0.5 for name in self.names}
        """Where the switch floods to one member only: 802.3ad and the static channels."""
        self.legs = {name: self.chance.randrange(1, 4) for name in self.names}
        self.vids = VidSet.of(self.chance.sample(range(4095), self.chance.randrange(2, 8)))
        self.missing: set[tuple[str, int]] = set()
        self.net = Net(self.passes)
        self.starts = {name: self.chance.uniform(0, 40) for name in self.names}

    def passes(self, sender: Leg, to: Leg, vid: int, data: bytes) -> int | None:
        if {(sender.node, vid), (str(sender), vid), (to.node, vid), (str(to), vid)} & self.missing:
            return None
        if data[:6] == b"\xff" * 6 and self.channel[to.node]:
            member = crc32(f"{sender} {vid}".encode()) % self.legs[to.node]
            return vid if to.nic == f"eth{member}" else None
        return vid

    def add(self, name: str) -> None:
        legs = [leg_of(f"eth{n}", None if self.channel[name] else n == 0) for n in range(self.legs[name])]
        self.net.skew[name] = self.chance.uniform(-100, 100)
        self.net.add(
            intent(name, self.names, self.vids, legs),
            interval_s=self.chance.choice([10.0, 20.0, 30.0]),
            nonce=self.chance.getrandbits(64),
        )

    def run(self, seconds: float) -> set[tuple[str, int, State]]:
        """All that was wrong at some moment, as some node saw it."""
        seen: set[tuple[str, int, State]] = set()
        end = self.net.now + seconds
        while self.net.now < end:
            for name in [name for name in self.names if name not in self.net.probers]:
                if self.net.now >= self.starts[name]:
                    self.add(name)
            self.net.run(0.7)
            for name in self.chance.sample(sorted(self.net.probers), min(1, len(self.net.probers))):
                seen |= {(node, vid, state) for (node, vid), state in self.net.states(name).items() if state.bad}
        return seen


@pytest.mark.parametrize("seed", range(HEALTHY))
def test_nothing_is_said_while_all_is_well(seed: int) -> None:
    fabric = Fabric(seed)
    assert fabric.run(110) == set()
    for name in fabric.names:
        found = fabric.net.states(name)
        assert len(found) == len(fabric.names) * len(fabric.vids)
        assert set(found.values()) == {State.PASSES}


@pytest.mark.parametrize("seed", range(1000, 1000 + FAULTY))
def test_a_vlan_that_is_missing_at_one_node_is_said_of_it_alone(seed: int) -> None:
    fabric = Fabric(seed)
    fabric.starts = dict.fromkeys(fabric.names, 0.0)
    victim, vid = fabric.chance.choice(fabric.names), fabric.chance.choice(list(fabric.vids))
    assert fabric.run(65) == set()
    fabric.missing.add((victim, vid))
    fabric.run(35)
    two = len(fabric.names) == 2
    wrong = {(name, vid): State.NOBODY for name in fabric.names} if two else {(victim, vid): State.NOT_THERE}
    for name in fabric.names:
        assert fabric.net.wrong(name) == wrong
    fabric.missing.clear()
    fabric.run(35)
    assert [fabric.net.wrong(name) for name in fabric.names] == [{}] * len(fabric.names)


@pytest.mark.parametrize("seed", range(2000, 2010))
def test_a_leg_that_rests_and_lacks_a_vlan(seed: int) -> None:
    fabric = Fabric(seed)
    fabric.channel = dict.fromkeys(fabric.names, False)
    fabric.legs = dict.fromkeys(fabric.names, 2)
    fabric.starts = dict.fromkeys(fabric.names, 0.0)
    victim, vid = fabric.chance.choice(fabric.names), fabric.chance.choice(list(fabric.vids))
    assert fabric.run(65) == set()
    fabric.missing.add((f"{victim}/eth1", vid))
    fabric.run(35)
    for name in fabric.names:
        assert fabric.net.wrong(name) == {(victim, vid): State.ONE_LEG}


def test_a_fabric_can_be_wrong() -> None:
    """That `run` sees it: the tests above prove nothing otherwise."""
    fabric = Fabric(1)
    fabric.missing = {(fabric.names[0], next(iter(fabric.vids)))}
    assert fabric.run(110)
