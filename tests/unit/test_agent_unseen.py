"""When the agent asks the kernel for what no look shows: soon after news, after a while, and never in a spin."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from windrow.apps.agent import unseen
from windrow.apps.agent.unseen import APART_S, SLOW_S, SOON_S, Unseen
from windrow.apps.round.unseen import Questions
from windrow.model.problems import Problem
from windrow.model.values import IfName, VidSet

BOND, NIC, OTHER = 5, 3, 77
SOME = Questions(vlans={IfName("oob-bo"): VidSet.of([100]), IfName("eth1"): VidSet.of([100])})
MORE = Questions(vlans={IfName("oob-bo"): VidSet.of([100, 200]), IfName("eth1"): VidSet.of([100, 200])})
THIEF = Problem(code="vlan-taken", message="somebody takes it")


@dataclass
class World:
    """A clock that the test moves, and a kernel that answers `found`."""

    part: Unseen = field(init=False)
    now: float = 1000.0
    asked: list[tuple[float, Questions]] = field(default_factory=list)
    told: list[tuple[Problem, ...]] = field(default_factory=list)
    found: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        self.part = Unseen(self.ask, self.told.append, lambda: self.now)

    def ask(self, _report: Any, asked: Questions) -> tuple[Problem, ...]:
        self.asked.append((self.now, asked))
        return self.found

    def run(self, seconds: float) -> None:
        """As the loop does, from deadline to deadline."""
        end = self.now + seconds
        while (due := self.part.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            assert not self.part.ready(-1), "it is no reason for a round"
            again = self.part.deadline()
            assert again is None or again > self.now, "never in the past: that would be a spin"
        self.now = end


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(unseen, "questions", lambda report: report.questions)
    return World()


def report(asked: Questions) -> Any:
    runtime = {"oob-bo": SimpleNamespace(ifindex=BOND), "eth1": SimpleNamespace(ifindex=NIC)}
    observed = SimpleNamespace(runtime=runtime)
    return SimpleNamespace(questions=asked, sight=SimpleNamespace(observed=observed))


def test_it_asks_soon_after_the_first_round_and_then_seldom(world: World) -> None:
    world.found = (THIEF,)
    world.part.after(report(SOME))
    world.run(3600)
    times = [at for at, _ in world.asked]
    assert times[0] == 1000 + SOON_S
    assert [round(b - a) for a, b in pairwise(times)] == [SLOW_S] * 11
    assert world.told == [(THIEF,)] * 12


def test_where_there_is_nothing_to_ask_it_sleeps_for_ever(world: World) -> None:
    world.part.after(report(Questions()))
    world.part.announced(frozenset({BOND, NIC, OTHER}))
    assert world.part.deadline() is None


def test_news_of_a_link_make_it_ask_and_others_do_not(world: World) -> None:
    world.part.after(report(SOME))
    world.run(60)
    world.part.announced(frozenset({OTHER}))
    world.run(60)
    assert len(world.asked) == 1
    world.part.announced(frozenset({OTHER, NIC}))
    world.run(5)
    assert [at for at, _ in world.asked] == [1000 + SOON_S, 1120 + SOON_S]


def test_rounds_and_news_without_end_are_asked_about_each_ten_seconds_at_most(world: World) -> None:
    for number in range(1000):
        world.part.after(report(MORE if number % 2 else SOME))
        world.part.announced(frozenset({BOND}))
        world.run(0.1)
    times = [at for at, _ in world.asked]
    assert len(times) == 10 and min(b - a for a, b in pairwise(times)) >= APART_S


def test_what_is_no_longer_asked_is_no_longer_told(world: World) -> None:
    world.found = (THIEF,)
    world.part.after(report(SOME))
    world.run(60)
    world.found = ()
    world.part.after(report(Questions()))
    world.run(60)
    assert world.told == [(THIEF,), ()] and world.part.deadline() is None


def test_what_a_round_found_again_is_no_news(world: World) -> None:
    world.part.after(report(SOME))
    world.run(60)
    for _ in range(10):
        world.part.after(report(SOME))
        world.run(1)
    assert len(world.asked) == 1
