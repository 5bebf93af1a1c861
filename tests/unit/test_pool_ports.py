"""A node that serves a pool takes part in its VLAN: what that means for its wanted network, and where it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from windrow.compile import Compiled, compile_node
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Nic, NodeFacts
from windrow.model.host import VlanIf
from windrow.model.meta import Meta
from windrow.model.objects import AddressMode, Node
from windrow.model.pools import Advertisement, IPPool, PoolHost
from windrow.model.values import Cidr, IfName, Mac, Ref
from windrow.testing.builders import cluster_network, host_network, nad, vlan_config

FACTS = NodeFacts(
    node="n1",
    nics={IfName("eth1"): Nic(name=IfName("eth1"), mac=Mac("52:54:00:00:00:aa"))},
    links=frozenset({IfName("eth1")}),
    agent=True,
)
LINK = IfName("oob-br.100")


def pool(**fields: Any) -> IPPool:
    meta = Meta(name="vlan100", namespace="default")
    return IPPool(meta=meta, network="default/vlan100", cidr="10.1.0.0/24", **{"server": "10.1.0.2"} | fields)


def compiled(*objects: Any, facts: NodeFacts = FACTS, vid: int = 100) -> Compiled:
    base = [cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("vlan100", "oob", vid or None)]
    return compile_node(Cluster.of([*base, *objects]), facts)


def test_the_server_has_a_place_in_the_vlan() -> None:
    found = compiled(pool())
    link = found.state.links[LINK]
    assert isinstance(link.spec, VlanIf)
    assert (link.spec.vid, link.addrs) == (100, {"10.1.0.2/24"})
    assert link.origin == (Ref("IPPool", "vlan100", "default"),)
    assert 100 in found.state.links[IfName("oob-br")].self_vlans.all  # type: ignore[union-attr]
    assert [s.pool.key for s in found.serving] == ["default/vlan100"]
    assert not found.problems


def test_beside_a_host_network() -> None:
    found = compiled(pool(), host_network("oob", 100, {"n1": "10.1.0.9/24"}))
    assert found.state.links[LINK].addrs == {"10.1.0.9/24", "10.1.0.2/24"}


@pytest.mark.parametrize("address", ["10.1.0.9", "10.1.0.2"])
def test_two_nodes_do_not_serve_beside_addresses_of_their_own(address: str) -> None:
    """Seen: dnsmasq and Kea answer by the host's address then, and the other node refuses who renews. The server's own
    cannot move where a host network keeps it."""
    found = compiled(pool(nodes=("n1", "n2")), host_network("oob", 100, {"n1": f"{address}/24"}))
    assert [p.code for p in found.problems] == ["pool-host-address"]
    assert not found.serving and not found.candidates


def test_of_two_nodes_the_active_one_has_the_address() -> None:
    """The other one has a place in the VLAN, where it listens, and what else it has there."""
    advertised = Advertisement(prefix="2001:db8:1::/64")
    two, beside = pool(nodes=("n2", "n1")), host_network("oob", 100, {"n1": "10.7.0.9/24"})
    idle = compiled(replace(two, advertise=advertised))
    assert idle.state.links[LINK].addrs == frozenset()
    assert not idle.serving and not idle.problems
    assert [(c.pool, c.interface, c.address, c.rank) for c in idle.candidates] == [
        ("default/vlan100", LINK, "10.1.0.2/24", 1)
    ]
    assert compiled(two, beside).state.links[LINK].addrs == {"10.7.0.9/24"}
    active = replace(FACTS, active=frozenset({"default/vlan100"}))
    found = compiled(two, beside, facts=active)
    assert found.state.links[LINK].addrs == {"10.7.0.9/24", "10.1.0.2/24"}
    assert [s.pool.key for s in found.serving] == ["default/vlan100"]
    assert found.state.links[LINK].settled == {"10.1.0.2/24"}, "it was asked for, and is not asked for again"
    assert not compiled(two, beside, facts=replace(active, node="n3")).candidates


def test_a_bridge_gets_and_loses_it_too() -> None:
    """Untagged: what else is on the bridge stays."""
    two, bridge = pool(nodes=("n1", "n2")), IfName("oob-br")
    active = compiled(two, facts=replace(FACTS, active=frozenset({"default/vlan100"})), vid=0)
    assert active.state.links[bridge].addrs == {"10.1.0.2/24"}
    there = {bridge: frozenset({Cidr("10.1.0.2/24"), Cidr("192.0.2.1/24")})}
    idle = compiled(two, facts=replace(FACTS, memory=active.memory, addrs=there), vid=0)
    assert idle.state.links[bridge].addrs == {"192.0.2.1/24"}


def test_untagged_it_is_on_the_bridge() -> None:
    found = compiled(pool(), vid=0)
    assert found.state.links[IfName("oob-br")].addrs == {"10.1.0.2/24"}
    assert found.memory.given == {"oob-br": {"10.1.0.2/24"}}


def test_whose_turn_it_is() -> None:
    nodes = [Node(meta=Meta(name=name)) for name in ("n0", "n1", "n2")]
    assert not compiled(pool(), *nodes).serving, "the first one serves"
    assert compiled(pool(nodes=("n1",)), *nodes).serving
    assert LINK not in compiled(pool(nodes=("n2",)), *nodes).state.links
    assert not compiled(pool(paused=True)).serving


def test_a_prefix_needs_an_address_of_each_node_in_it() -> None:
    where = pool(advertise=Advertisement(prefix="2001:db8:1::/64"))
    own = [compiled(where, facts=replace(FACTS, node=n)).state.links[LINK].addrs for n in ("n1", "n2")]
    first, second = ({a for a in addrs if ":" in a} for addrs in own)
    assert len(first) == len(second) == 1
    assert first != second
    assert all(a.startswith("2001:db8:1:") and a.endswith("/64") for a in first | second)


@pytest.mark.parametrize(
    ("objects", "facts", "code"),
    [
        ([replace(host_network("oob", 100), mode=AddressMode.DHCP)], FACTS, "pool-host-dhcp"),
        ([], replace(FACTS, features=KernelFeatures(vlan_interfaces=False)), "kernel-feature"),
    ],
)
def test_where_it_cannot_be(objects: list[Any], facts: NodeFacts, code: str) -> None:
    found = compiled(pool(), *objects, facts=facts)
    assert code in [p.code for p in found.problems]
    assert not found.serving


def test_without_an_agent_nobody_serves_it() -> None:
    for nodes in ((), ("n1", "n2")):
        found = compiled(pool(nodes=nodes), facts=replace(FACTS, agent=False))
        assert [p.code for p in found.problems] == ["pool-without-agent"]


def test_a_machine_that_gets_nothing_is_named() -> None:

    hosts = tuple(PoolHost(mac=Mac(f"52:54:00:00:00:0{n}")) for n in range(3))
    (problem,) = compiled(pool(start="10.1.0.10", end="10.1.0.11", hosts=hosts)).problems
    assert problem.code == "address-not-given"
    assert "52:54:00:00:00:02" in problem.message
