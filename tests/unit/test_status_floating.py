"""Whose turn it is to have the server's address: a simulation of nodes that hear each other, or do not."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from windrow.status.floating import AWAY, EVERY, SILENT, STEP, Turn

NODES = 3
LONG = SILENT + STEP * NODES + 2
"""Ticks until everything has settled, whatever was before."""


@dataclass
class Vlan:
    """`parts`: which part of a VLAN that fell apart each node is in; None: it is switched off. Frames arrive within the
    tick; an address is set in the tick after it became wanted."""

    turns: list[Turn] = field(default_factory=lambda: [Turn(rank=rank, active=False) for rank in range(NODES)])
    there: list[bool] = field(default_factory=lambda: [False] * NODES)
    parts: list[int | None] = field(default_factory=lambda: [0] * NODES)

    def off(self, node: int) -> None:
        self.parts[node] = None
        self.turns[node] = Turn(rank=node, active=False)

    def tick(self, mute: int | None = None) -> None:
        """`mute`: who has no agent just now."""
        self.there = [turn.active for turn in self.turns]
        for node, part in enumerate(self.parts):
            if part is None or node == mute:
                continue
            self.turns[node] = self.turns[node].tick()
            if self.turns[node].active and self.there[node]:
                for other in self.others(node):
                    self.hears(other)
            if self.turns[node].asks and any(self.there[o] for o in self.others(node)):
                self.hears(node)

    def others(self, node: int) -> list[int]:
        return [n for n, part in enumerate(self.parts) if n != node and part is not None and part == self.parts[node]]

    def hears(self, node: int) -> None:
        self.turns[node] = self.turns[node].heard(there=self.there[node])
        self.there[node] &= self.turns[node].active

    def after(self, ticks: int) -> list[int]:
        """Who is active then."""
        for _ in range(ticks):
            self.tick()
        return [node for node, turn in enumerate(self.turns) if turn.active]


def test_the_first_of_them_takes_it_and_keeps_it() -> None:
    vlan = Vlan()
    assert vlan.after(SILENT - 1) == []
    assert vlan.after(1) == [0]
    assert vlan.after(1000) == [0]


def test_the_next_one_takes_over_and_keeps_it() -> None:
    vlan = Vlan()
    vlan.after(LONG)
    vlan.off(0)
    assert vlan.after(SILENT + STEP - 1) == []
    assert vlan.after(1) == [1]
    vlan.parts[0] = 0
    assert vlan.after(LONG) == [1], "who is back takes nothing away"


def test_who_was_cut_off_and_is_back() -> None:
    """Two are active meanwhile; after it all but the first let go, at once."""
    vlan = Vlan()
    vlan.after(LONG)
    vlan.parts = [0, 1, 1]
    assert vlan.after(LONG) == [0, 1]
    vlan.parts = [0, 0, 0]
    assert vlan.after(1) == [0]


def test_two_that_are_not_the_first_both_let_go_and_one_takes_it() -> None:
    vlan = Vlan()
    vlan.off(0)
    vlan.parts = [None, 0, 1]
    assert vlan.after(LONG) == [1, 2]
    vlan.parts = [None, 0, 0]
    assert len(vlan.after(2)) <= 1
    assert vlan.after(LONG) == [1]


def test_a_node_without_an_agent_keeps_what_it_has() -> None:
    """Its kernel answers for the address; it was cut off, the next one took it, its agent died, and it is back."""
    vlan = Vlan()
    vlan.after(LONG)
    vlan.parts = [0, 1, 1]
    assert vlan.after(LONG) == [0, 1]
    vlan.parts = [0, 0, 0]
    for _ in range(2 * EVERY):
        vlan.tick(mute=0)
    assert [node for node, there in enumerate(vlan.there) if there] == [0]


def test_the_first_one_lets_go_of_what_it_does_not_have_yet() -> None:
    assert not Turn(rank=0, active=True).heard(there=False).active
    assert Turn(rank=0, active=True).heard(there=True).active


def test_who_gives_it_up_leaves_time_to_the_others() -> None:
    vlan = Vlan()
    vlan.after(LONG)
    vlan.turns[0] = vlan.turns[0].given_up()
    assert vlan.after(LONG) == [1]
    alone = Turn(rank=0, active=True).given_up()
    for _ in range(AWAY + SILENT):
        assert not alone.active
        alone = alone.tick()
    assert alone.active


def test_it_is_asked_for_twice_before_it_is_taken() -> None:
    turn, asked = Turn(rank=0, active=False), 0
    while not (turn := turn.tick()).active:
        asked += turn.asks
    assert asked >= 2


parts = st.lists(st.one_of(st.none(), st.integers(0, NODES - 1)), min_size=NODES, max_size=NODES)


@given(st.lists(st.tuples(parts, st.integers(0, 12)), max_size=12), parts)
def test_whatever_happened_each_part_has_one_in_the_end(
    story: list[tuple[list[int | None], int]], last: list[int | None]
) -> None:
    vlan = Vlan()
    for now, ticks in (*story, (last, LONG)):
        for node, part in enumerate(now):
            if part is None:
                vlan.off(node)
            vlan.parts[node] = part
        vlan.after(ticks)
    active = [last[node] for node in vlan.after(0)]
    assert sorted(active) == sorted({part for part in last if part is not None}), (vlan.turns, last)
    before = [turn.active for turn in vlan.turns]
    vlan.after(LONG)
    assert [turn.active for turn in vlan.turns] == before, "and it stays there"
