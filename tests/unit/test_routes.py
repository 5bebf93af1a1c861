"""Which node asks for the subnet of a VLAN, and what it says of the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.admissioncases import annotated, cn, hnc, nad, node, vc

from windrow.apps.agent import routes as agent_routes
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.evidence import DhcpOffer
from windrow.model.values import Mac
from windrow.model.wire import load_value
from windrow.status import routes
from windrow.status.routes import ASKERS, PLACES_MAX, Offered, Place, offered, parse, text, turns

AUTO = {names.ANNOTATION_ROUTE: '{"mode":"auto"}'}
NODES = [f"n{number}" for number in range(7)]


def cluster(*documents: dict[str, object]) -> Cluster:
    return Cluster.of(one for document in documents for one in load_value(document).objects)


def asked(*networks: dict[str, object]) -> Cluster:
    return cluster(*map(node, NODES), cn(), vc(), *networks)


def test_three_nodes_ask_in_a_vlan_one_after_the_other() -> None:
    found = asked(annotated(nad(), AUTO))
    said = {name: turns(found, name) for name in NODES}
    assert sorted(turn[("data", 100)] for turn in said.values() if turn) == list(range(ASKERS))


def test_each_vlan_begins_with_another_node() -> None:
    found = asked(*(annotated(nad(f"w{vid}", vid), AUTO) for vid in range(100, 107)))
    first = [name for name in NODES for turn in turns(found, name).values() if turn == 0]
    assert sorted(first) == NODES


@pytest.mark.parametrize(
    "network",
    [
        nad(),
        annotated(nad(vlan=0), AUTO),
        annotated(nad(), {names.ANNOTATION_ROUTE: "no json"}),
        annotated(nad(), {names.ANNOTATION_ROUTE: '{"mode":"manual","cidr":"10.9.0.0/24","gateway":"10.9.0.1"}'}),
        annotated(nad(), {names.ANNOTATION_ROUTE: '{"mode":"auto","cidr":"10.9.0.0/24","gateway":"10.9.0.1"}'}),
    ],
)
def test_nobody_asks_where_no_network_waits(network: dict[str, object]) -> None:
    found = asked(network)
    assert not any(turns(found, name) for name in NODES)


def test_a_node_without_the_network_does_not_ask() -> None:
    found = cluster(*map(node, NODES), cn(), vc(on={names.LABEL_HOSTNAME: "n3"}), annotated(nad(), AUTO), hnc())
    assert {name: turns(found, name) for name in NODES if turns(found, name)} == {"n3": {("data", 100): 0}}


def offer(prefix: int = 24, *routers: str, address: str = "10.1.0.77") -> DhcpOffer:
    mac = Mac("02:00:00:00:00:01")
    return DhcpOffer(server="10.1.0.2", server_mac=mac, address=address, prefix=prefix, routers=routers)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (offer(24, "10.1.0.1", "10.1.0.9"), ("10.1.0.0/24", "10.1.0.1")),
        (offer(24, "10.2.0.1", "10.1.0.9"), ("10.1.0.0/24", "10.1.0.9")),
        (offer(24), None),
        (offer(24, "10.2.0.1"), None),
        (offer(0, "10.1.0.1"), None),
        (offer(32, "10.1.0.77"), None),
        (offer(31, "10.1.0.76"), ("10.1.0.76/31", "10.1.0.76")),
        (offer(24, "10.1.0.77", "10.1.0.1"), ("10.1.0.0/24", "10.1.0.1")),
        (offer(24, "10.1.0.0"), None),
        (offer(24, "10.1.0.255"), None),
        (offer(8, "0.0.0.0"), None),
        (offer(24, "127.0.0.1", address="127.0.0.77"), None),
        (offer(8, "224.0.0.1", address="224.0.0.77"), None),
        (offer(16, "169.254.0.1", address="169.254.0.77"), None),
        (offer(8, "0.0.0.1", address="0.0.0.77"), None),
    ],
)
def test_an_offer_says_subnet_and_gateway_or_nothing(said: DhcpOffer, found: tuple[str, str] | None) -> None:
    read = offered(said)
    assert (read and (read.cidr, read.gateway)) == found


def test_what_is_said_is_read_again_and_is_bounded() -> None:
    one = Offered(server="10.1.0.2", cidr="10.1.0.0/24", gateway="10.1.0.1", answers=True)
    heard = {("data", 100): (one,), ("mgmt", 5): ()}
    assert parse(text(heard)) == heard
    assert text({}) == ""
    worst = Offered(server="255.255.255.255", cidr="223.255.255.248/29", gateway="223.255.255.249")
    many = {(12 * "x", vid): 9 * (worst,) for vid in range(3000, 4094)}
    assert len(parse(text(many))) == PLACES_MAX, len(text(many))
    assert len(text(many)) <= routes.TEXT_MAX


def test_silent_vlans_keep_no_answer_back() -> None:
    """A network of a silent VLAN waits for ever, so what is said of it is never forgotten."""
    one = Offered(server="10.1.0.2", cidr="10.1.0.0/24", gateway="10.1.0.1")
    heard: routes.Heard = {**{("a", vid): () for vid in range(1, 4001)}, ("z", 1): (one,)}
    assert parse(text(heard))[("z", 1)] == (one,)
    assert len(text(heard)) <= routes.TEXT_MAX


def test_one_answer_that_is_none_hides_no_other() -> None:
    """Who may write a Node may have an older Windrow, or none."""
    good = {"server": "10.1.0.2", "cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "answers": True}
    said = json.dumps({"data/1": [{**good, "cidr": "10.1.0.1/32"}, good], "data/x": [good], "data/2": [good]})
    (read,) = parse(said)[("data", 2)]
    assert parse(said) == {("data", 1): (read,), ("data", 2): (read,)}


def test_who_waits_longest_is_asked_for_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that could not be asked come due again before all others have had their turn."""
    begun: list[list[Place]] = []
    monkeypatch.setattr(agent_routes.Routes, "_begin", lambda _self, places, _now: begun.append(list(places)))
    part = agent_routes.Routes("n1", tmp_path / "asked", lambda: None, lambda: 100.0, lambda: 0.0)
    part._due = {("data", vid): 90.0 for vid in range(PLACES_MAX)} | {("data", 4000): 20.0, ("data", 4001): 200.0}
    part.ready(-1)
    assert begun[0][0] == ("data", 4000) and len(begun[0]) == PLACES_MAX
