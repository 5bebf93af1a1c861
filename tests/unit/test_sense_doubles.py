"""Somebody else sends with a MAC of this host: it counts where none of its own frames can have come back."""

from __future__ import annotations

from windrow.model.values import Mac
from windrow.sense.doubles import LEAST, PLACES_MAX, Doubles

MINE = Mac("02:00:00:00:00:01")


def heard(doubles: Doubles, frames: int, at: float = 10.0, tag: int = 10) -> None:
    for _ in range(frames):
        doubles.hear(tag, MINE, at)


def test_it_counts_once_the_nic_was_the_only_way_all_the_time() -> None:
    doubles = Doubles()
    heard(doubles, LEAST)
    assert not list(doubles.lately(10, 10.0))
    doubles.looked(certain=True)
    assert list(doubles.lately(10, 10.0)) == [MINE]
    assert not list(doubles.lately(11, 10.0))
    assert not list(doubles.lately(10, 100.0)), "it is long ago"


def test_a_bond_that_took_another_leg_hears_its_own() -> None:
    doubles = Doubles()
    heard(doubles, 50)
    doubles.looked(certain=False)
    doubles.looked(certain=True)
    assert not list(doubles.lately(10, 10.0))


def test_one_frame_now_and_then_is_nothing() -> None:
    doubles = Doubles()
    for minute in range(30):
        heard(doubles, 1, at=100.0 * minute)
        doubles.looked(certain=True)
        assert not list(doubles.lately(10, 100.0 * minute))


def test_places_are_bounded() -> None:
    doubles = Doubles()
    for tag in range(2 * PLACES_MAX):
        heard(doubles, LEAST, tag=tag)
    doubles.looked(certain=True)
    assert sum(1 for tag in range(2 * PLACES_MAX) if list(doubles.lately(tag, 10.0))) == PLACES_MAX
