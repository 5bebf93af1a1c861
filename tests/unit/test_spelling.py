"""Names are spelled as the regular expressions of their specifications have it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.model import spelling

LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
RULES: list[tuple[Callable[[str], bool], str]] = [
    (spelling.is_label, LABEL),
    (spelling.is_subdomain, rf"{LABEL}(?:\.{LABEL})*"),
    (spelling.is_path_safe, r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?"),
    (spelling.is_network_name, r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*"),
    (spelling.is_file_name, r"(?!\.{1,2}\Z)[^\s/\x00]+"),
    (spelling.is_version, r"\d{1,4}\.\d{1,4}\.\d{1,4}"),
]


@pytest.mark.parametrize(("ours", "pattern"), RULES, ids=[rule.__name__ for rule, _ in RULES])
@given(text=st.one_of(st.text(alphabet="aZ09-._/ \n\x00é٣", max_size=8), st.text(alphabet="0123.", max_size=12)))
def test_it_is_the_pattern(ours: Callable[[str], bool], pattern: str, text: str) -> None:
    assert ours(text) == bool(re.fullmatch(pattern, text))
