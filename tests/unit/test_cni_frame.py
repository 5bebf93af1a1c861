"""The frames between a plugin and its server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.port import errors, frame

NAMES = st.builds(
    lambda prefix, rest: prefix + rest,
    st.sampled_from(["CNI_", "WINDROW_"]),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", max_size=12),
)
VALUES = st.binary(max_size=200).map(lambda raw: raw.replace(b"\0", b"="))


@given(st.dictionaries(NAMES, VALUES, max_size=8), st.binary(max_size=2000))
def test_a_request_comes_out_as_it_went_in(env: dict[str, bytes], config: bytes) -> None:
    sent = frame.request({name.encode(): value for name, value in env.items()}, config)
    sizes = frame.request_sizes(sent[: frame.HEADER])
    assert len(sent) == frame.HEADER + sum(sizes)
    block, rest = sent[frame.HEADER : frame.HEADER + sizes[0]], sent[frame.HEADER + sizes[0] :]
    assert rest == config
    found = frame.environment(block)
    assert {name: value.encode("utf-8", "surrogateescape") for name, value in found.items()} == env


@given(st.binary(max_size=64))
def test_whatever_comes_as_header_is_sizes_or_a_frame_error(data: bytes) -> None:
    try:
        env, config = frame.request_sizes(data)
    except frame.FrameError:
        return
    assert data.startswith(frame.MAGIC)
    assert len(data) == frame.HEADER
    assert 0 <= env <= frame.ENVIRONMENT_MAX
    assert 0 <= config <= frame.CONFIG_MAX


@given(st.binary(max_size=300))
def test_whatever_comes_as_environment_is_variables_or_a_frame_error(data: bytes) -> None:
    try:
        found = frame.environment(data)
    except frame.FrameError:
        return
    assert all(map(frame.wanted, found))


@given(st.binary(max_size=12))
def test_whatever_comes_as_reply_is_a_kind_or_a_frame_error(data: bytes) -> None:
    try:
        kind, size = frame.reply_header(data)
    except frame.FrameError:
        return
    assert kind in (frame.ACCEPTED, frame.REFUSED, frame.ANSWER)
    assert frame.reply(kind, b"")[:1] == data[:1]
    assert size == int.from_bytes(data[1:], "big")


@given(st.integers(0, 255), st.binary(max_size=500))
def test_an_answer_comes_out_as_it_went_in(code: int, stdout: bytes) -> None:
    sent = frame.answer(code, stdout)
    kind, size = frame.reply_header(sent[: frame.REPLY_HEADER])
    assert (kind, size) == (frame.ANSWER, len(sent) - frame.REPLY_HEADER)
    assert frame.exit_and_stdout(sent[frame.REPLY_HEADER :]) == (code, stdout)


def test_too_much_is_refused_at_both_ends() -> None:
    huge = b"x" * (frame.CONFIG_MAX + 1)
    with pytest.raises(frame.FrameError):
        frame.request({}, huge)
    with pytest.raises(frame.FrameError):
        frame.request({b"CNI_ARGS": b"x" * frame.ENVIRONMENT_MAX}, b"")
    with pytest.raises(frame.FrameError):
        frame.request_sizes(frame.MAGIC + (0).to_bytes(4, "big") + len(huge).to_bytes(4, "big"))


@pytest.mark.parametrize("block", [b"CNI_COMMAND=ADD", b"CNI_COMMAND\0", b"HOME=/root\0", b"CNI_A=1\0\0"])
def test_no_environment_of_a_plugin(block: bytes) -> None:
    with pytest.raises(frame.FrameError):
        frame.environment(block)


def test_only_what_concerns_a_plugin_is_sent() -> None:
    wanted = ["CNI_COMMAND", "CNI_NETNS_OVERRIDE", "WINDROW_ROOT", "PATH"]
    assert [n for n in [*wanted, "PATHS", "HOME", "LD_PRELOAD", "PYTHONPATH", "cni_args"] if frame.wanted(n)] == wanted


def test_the_error_for_a_lost_add_is_one_of_the_specification() -> None:
    import json

    assert json.loads(frame.LOST)["code"] == errors.TRY_AGAIN
