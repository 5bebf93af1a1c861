"""JSON is read as the standard library reads it, and refused in its words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.model import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES, st.sampled_from(["", " ", "\n\t", "\r\n"]))
def test_it_is_read_as_the_library_does(value: object, blank: str) -> None:
    text = f"{blank}{json.dumps(value, ensure_ascii=False)}{blank}"
    assert jsontext.loads(text) == jsontext.loads(text.encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", "[1,]", '{"a": 1} x', '"\x01"', "nul", "\ufeff{}", "[" * 100_000, b"\xff", b"\xef\xbb\xbf{}"),
        *("{}".encode("utf-16"), b'"\xc3"', "1 2", "NaN", "\u00a01"),
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(text: str | bytes) -> None:
    assert _attempt(jsontext.loads, text) == _attempt(json.loads, text)


def test_hooks_are_asked() -> None:
    def refuse(word: str) -> object:
        raise ValueError(f"no {word}")

    with pytest.raises(ValueError, match="no NaN"):
        jsontext.loads("[NaN]", parse_constant=refuse)
    assert jsontext.loads("[1.5]", parse_float=str) == ["1.5"]


def _attempt(read: Callable[[Any], object], text: str | bytes) -> str:
    try:
        return repr(read(text))
    except (ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
