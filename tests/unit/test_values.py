"""The small values: VID sets, addresses, names of interfaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.model.values import Ref, Vid, VidSet, parse_ifname, parse_mac

vids = st.sets(st.integers(0, 4094), max_size=60)


@given(vids, vids)
def test_a_vid_set_is_a_set(a: set[int], b: set[int]) -> None:
    one, other = VidSet.of(a), VidSet.of(b)
    assert set(one | other) == a | b
    assert set(one & other) == a & b
    assert set(one - other) == a - b
    assert list(one) == sorted(a)
    assert len(one) == len(a)
    assert bool(one) == bool(a)
    assert all(v in one for v in a)


@given(vids)
def test_its_text_is_its_ranges_and_can_be_read_again(a: set[int]) -> None:
    one = VidSet.of(a)
    assert VidSet.parse(str(one)) == one
    assert [v for first, last in one.ranges() for v in range(first, last + 1)] == sorted(a)
    starts = [first for first, _ in one.ranges()]
    assert all(first > last + 1 for (_, last), first in zip(one.ranges(), starts[1:], strict=False)), "not maximal"


def test_ranges_are_inclusive() -> None:
    assert VidSet.span(100, 102) == VidSet.of([100, 101, 102])
    assert str(VidSet.of([1, 2, 3, 7, 4094])) == "1-3,7,4094"
    assert VidSet.parse(" 1, 5-6 ,") == VidSet.of([1, 5, 6])
    assert list(VidSet()) == []
    assert Vid(7) in VidSet.of([7])


@pytest.mark.parametrize("wrong", [[-1], [4095], [1, 5000]])
def test_a_vid_outside_its_range(wrong: list[int]) -> None:
    with pytest.raises(ValueError):
        VidSet.of(wrong)


@pytest.mark.parametrize("wrong", ["200-100", "1-4095", "x", "1-", "--"])
def test_a_range_that_is_none(wrong: str) -> None:
    with pytest.raises(ValueError):
        VidSet.parse(wrong)


@pytest.mark.parametrize("text", ["52:54:00:AA:bb:01", " 52-54-00-aa-BB-01 "])
def test_a_mac_has_one_form(text: str) -> None:
    assert parse_mac(text) == "52:54:00:aa:bb:01"


@pytest.mark.parametrize("text", ["", "52:54:00:12:34", "52:54:00:12:34:5g", "525400123456", "52:54:00:12:34:56:78"])
def test_no_mac(text: str) -> None:
    with pytest.raises(ValueError, match="MAC"):
        parse_mac(text)


@pytest.mark.parametrize("text", ["eth0", "enp129s0f0np0ab", "a", "x.100", "ünder"])
def test_a_name_of_an_interface(text: str) -> None:
    assert parse_ifname(text) == text


@pytest.mark.parametrize("text", ["", ".", "..", "a b", "a/b", "a:b", "x" * 16, "ü" * 8, "a\0b", "a\n"])
def test_no_name_of_an_interface(text: str) -> None:
    """`dev_valid_name`: no blanks, no slash, no colon; 15 bytes, not characters."""
    with pytest.raises(ValueError):
        parse_ifname(text)


def test_a_reference_reads_as_kubectl_writes_it() -> None:
    assert str(Ref("VlanConfig", "oob")) == "VlanConfig/oob"
    assert str(Ref("NetworkAttachmentDefinition", "v1", "default")) == "NetworkAttachmentDefinition/default/v1"
