"""Frames on the byte stream between host and lab."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.lab.channel import Decoder, Frame, Kind, encode, encode_json

FRAMES = st.builds(Frame, st.integers(0, 2**32 - 1), st.sampled_from(Kind), st.binary(max_size=300))


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_frames_survive_any_cutting(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(f.channel, f.kind, f.data) for f in frames)
    decoder, found, at, turn = Decoder(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += decoder.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found == frames


def test_a_json_frame() -> None:
    (frame,) = Decoder().feed(encode_json(7, Kind.RESULT, {"exit": 3, "name": "ö"}))
    assert (frame.channel, frame.kind, frame.json()) == (7, Kind.RESULT, {"exit": 3, "name": "ö"})


def test_a_kind_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(ValueError):
        list(Decoder().feed(b"\0\0\0\1\xff\0\0\0\0"))
