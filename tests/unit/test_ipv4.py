"""IPv4 as numbers is what `ipaddress` says of the same text, or nothing."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.model import ipv4


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_it_is_what_the_library_says(address: ipaddress.IPv4Address, length: int) -> None:
    text = f"{address}/{length}"
    assert ipv4.parse(text) == (int(address), length)
    assert ipv4.parse(str(address)) == (int(address), 32)
    assert ipv4.written(int(address)) == str(address)
    network = ipaddress.ip_interface(text).network
    assert ipv4.written(int(address) & ~ipv4.hosts(length)) == str(network.network_address)
    assert ipv4.written(int(address) | ipv4.hosts(length)) == str(network.broadcast_address)


@given(st.text(alphabet="0123456789./ :a-²", max_size=20))
def test_what_the_library_refuses_is_nothing(text: str) -> None:
    if ipv4.parse(text) is not None:
        ipaddress.IPv4Interface(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.0.0", "10.0.0.1.2", "010.0.0.1", "256.0.0.1", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/024", "1.2.3.²"),
        *("::1", "fd00::1/64", "10.0.0.1/255.0.0.0", "10.0.0.1 ", "-1.0.0.1", "1.2.3.4/8/9"),
    ],
)
def test_the_rest_is_for_the_library(text: str) -> None:
    assert ipv4.parse(text) is None
