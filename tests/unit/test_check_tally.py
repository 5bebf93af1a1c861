"""What came in of a sweep, and what of it is worth telling the others at once."""

from __future__ import annotations

from windrow.apps.check.tally import Pair, SweepTally
from windrow.model.values import IfName

ETH0 = IfName("eth0")


def shape(longest: tuple[int, int]) -> int:
    """`longest`: the long frame that was announced, and what of it came, bytes."""
    tally, pair = SweepTally(1, 0.0, whole=True), Pair()
    pair.add(10, 10, 0)
    pair.large[10] = longest
    tally.pairs[ETH0, ETH0] = pair
    return tally.shape


def test_a_long_frame_that_does_not_come_is_told() -> None:
    """It is sent last, and the report of the sweep may have gone before."""
    assert shape((1500, 0)) != shape((0, 0))
    assert shape((1500, 1500)) == shape((0, 0)), "all is well, and that is no news"
