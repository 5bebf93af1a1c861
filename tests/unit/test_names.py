"""Harvester's names, to the letter."""

from __future__ import annotations

import pytest

from windrow.model import names
from windrow.model.values import IFNAME_MAX, parse_ifname


def test_the_devices_of_a_cluster_network() -> None:
    assert names.bridge_of("oob") == "oob-br"
    assert names.bond_of("oob") == "oob-bo"
    assert names.next_bond_of("oob") == "oob-bn"
    assert names.subinterface_of("oob", 300) == "oob-br.300"


def test_the_longest_cluster_network_makes_valid_devices() -> None:
    longest = "x" * names.CLUSTER_NETWORK_MAX
    for name in (names.bridge_of(longest), names.bond_of(longest), names.next_bond_of(longest)):
        assert len(parse_ifname(name)) == IFNAME_MAX


@pytest.mark.parametrize(
    ("bridge", "cn"),
    [("oob-br", "oob"), ("a-bravo-br", "a-bravo"), ("x-br-br", "x-br"), ("-br", None), ("docker0", None), ("", None)],
)
def test_the_cluster_network_of_a_bridge(bridge: str, cn: str | None) -> None:
    """Harvester cuts at the first `-br`, and takes `a-bravo-br` for the bridge of `a`."""
    assert names.cluster_network_of_bridge(bridge) == cn


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("oob-br.300", ("oob-br", 300)),
        ("a.b-br.7", ("a.b-br", 7)),
        ("oob-br", None),
        ("oob-br.", None),
        ("oob-br.12345", None),
        ("eth0.100", None),
    ],
)
def test_the_vid_in_the_name_of_an_interface(name: str, found: tuple[str, int] | None) -> None:
    assert names.vid_of_subinterface(name) == found


def test_hashed_names_are_harvesters() -> None:
    assert names.vlan_status_name("test-cn", "node1") == "test-cn-node1-53066b39"
    assert len(names.hashed("x" * 80, "y" * 80)) == 63


@pytest.mark.parametrize(
    ("host", "nodes", "name"),
    [
        ("n1", ("n1", "n2"), "n1"),
        ("N1", ("n1",), "n1"),
        ("n1.example.com", ("n1",), "n1"),
        ("n1.example.com", ("n1.example.com", "n1"), "n1.example.com"),
        ("n1", ("n1.example.com", "n2.example.com"), "n1.example.com"),
        ("n1", ("n1.a.example", "n1.b.example"), "n1"),
        ("N3.Example.com", ("n1",), "n3.example.com"),
        ("N3", (), "n3"),
        ("", ("n1",), ""),
    ],
)
def test_which_node_a_host_is(host: str, nodes: tuple[str, ...], name: str) -> None:
    assert names.node_name(host, nodes) == name


def test_a_name_as_the_value_of_a_label() -> None:
    """Kubernetes takes 63 characters there, and 253 in a name."""
    assert names.label_value("oob-rack1") == "oob-rack1"
    assert names.label_value("n" * 63) == "n" * 63
    long = names.label_value("n" * 253)
    assert len(long) == 63
    assert long != names.label_value("n" * 252)
