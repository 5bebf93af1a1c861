"""Which node asks for the subnet of a VLAN, and what it says of the answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.unit.admissioncases import annotated, cn, hnc, nad, node, vc

from windrow.apps.agent import routes as agent_routes
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.evidence import DhcpOffer
from windrow.model.host import HostState, Observed
from windrow.model.values import IfName, Mac
from windrow.model.wire import load_value
from windrow.sense.asking import Question
from windrow.sense.manners import Manners
from windrow.status import routes
from windrow.status.routes import (
    APART_S,
    ASKERS,
    GATEWAYS_MAX,
    PERIOD_S,
    PLACES_MAX,
    Answer,
    Gateway,
    Heard,
    Offered,
    Place,
    next_turn,
    offered,
    parse,
    text,
    turn,
    wishes,
)

AUTO = {names.ANNOTATION_ROUTE: '{"mode":"auto"}'}
NODES = [f"n{number}" for number in range(7)]


def cluster(*documents: dict[str, object]) -> Cluster:
    return Cluster.of(one for document in documents for one in load_value(document).objects)


def asked(*networks: dict[str, object]) -> Cluster:
    return cluster(*map(node, NODES), cn(), vc(), *networks)


def observed() -> Observed:
    return Observed(state=HostState(), runtime={})


def turns(found: Cluster, name: str, clock: float = 0.0) -> dict[Place, int]:
    """Where it asks in this period, and how many others do so before it."""
    mine = {place: turn(place, seat, clock) for place, (seat, _) in wishes(found, name).items()}
    return {place: one.number for place, one in mine.items() if one.now}


def test_three_nodes_ask_in_a_vlan_one_after_the_other() -> None:
    found = asked(annotated(nad(), AUTO))
    said = {name: turns(found, name) for name in NODES}
    assert sorted(turn[("data", 100)] for turn in said.values() if turn) == list(range(ASKERS))


def test_vlans_are_spread_over_nodes_and_over_time() -> None:
    vids = range(100, 800)
    found = asked(*(annotated(nad(f"w{vid}", vid), AUTO) for vid in vids))
    first = Counter(name for name in NODES for number in turns(found, name).values() if number == 0)
    assert all(0.5 < count / (len(vids) / len(NODES)) < 1.5 for count in first.values()) and len(first) == len(NODES)
    begins = Counter(round(next_turn(place, seat, 0.0)) for place, (seat, _) in wishes(found, "n0").items())
    assert max(begins.values()) < len(vids) / 10


def test_where_those_that_ask_are_off_others_do_and_never_more_at_once() -> None:
    """Within a few quarters of an hour all have had their turn, and then it begins anew."""
    found, had = asked(annotated(nad(), AUTO)), set[str]()
    for number in range(len(NODES)):
        asks = [name for name in NODES if turns(found, name, number * PERIOD_S)]
        assert len(asks) == ASKERS
        had |= {*asks} if number < 3 else set()
    assert sorted(had) == NODES


@pytest.mark.parametrize("many", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("clock", [0.0, 1234.5, 1_790_000_000.1, 1_790_000_899.999])
def test_the_next_turn_is_in_another_period_and_is_one(many: int, clock: float) -> None:
    found, place = cluster(*map(node, NODES[:many]), cn(), vc(), annotated(nad(), AUTO)), ("data", 100)
    for name in NODES[:many]:
        seat, _ = wishes(found, name)[place]
        this, in_s = turn(place, seat, clock), next_turn(place, seat, clock)
        assert not this.now or in_s > PERIOD_S - APART_S * ASKERS + this.in_s
        then = turn(place, seat, clock + in_s + 1.0)
        assert then.now and -2.0 <= then.in_s <= 0.0, (name, this, in_s, then)


@pytest.mark.parametrize("mode", ["auto", "manual", ""])
def test_gateways_are_asked_in_every_mode(mode: str) -> None:
    route = json.dumps({"mode": mode, "cidr": "10.9.0.0/24", "gateway": "10.9.0.1", "connectivity": "true"})
    found = asked(annotated(nad(), {names.ANNOTATION_ROUTE: route}))
    wish = wishes(found, "n1")["data", 100][1]
    assert (wish.dhcp, dict(wish.gateways), wish.new) == (False, {"10.9.0.1": {"true"}}, False)


@pytest.mark.parametrize(
    "network",
    [
        nad(),
        annotated(nad(vlan=0), AUTO),
        annotated(nad(), {names.ANNOTATION_ROUTE: "no json"}),
        annotated(nad(), {names.ANNOTATION_ROUTE: '{"mode":"auto","cidr":"10.9.0.0/24","gateway":"no address"}'}),
    ],
)
def test_nobody_asks_where_no_network_waits(network: dict[str, object]) -> None:
    found = asked(network)
    assert not any(turns(found, name) for name in NODES)


def test_a_node_without_the_network_does_not_ask() -> None:
    found = cluster(*map(node, NODES), cn(), vc(on={names.LABEL_HOSTNAME: "n3"}), annotated(nad(), AUTO), hnc())
    assert [name for name in NODES if turns(found, name)] == ["n3"]


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
    gone = {("data", 100, "10.1.0.1"): Answer(there=False, at=7), ("data", 100, "fd00::1"): Answer(there=True, at=8)}
    heard = Heard(offers={("data", 100): (one,), ("mgmt", 5): ()}, gateways=gone)
    assert parse(text(heard)) == heard
    assert text(Heard()) == ""
    worst = Offered(server="255.255.255.255", cidr="223.255.255.248/29", gateway="223.255.255.249")
    many: dict[Place, tuple[Offered, ...]] = {(12 * "x", vid): 9 * (worst,) for vid in range(3000, 3500)}
    many |= {(12 * "x", vid): () for vid in range(3500, 4094)}
    of = "fd00:1111:2222:3333:4444:5555:6666:7777"
    asked: dict[Gateway, Answer] = {(*place, of): Answer(there=False, at=1 << 39) for place in many}
    said = text(Heard(offers=many, gateways=asked))
    assert len(said) <= routes.TEXT_MAX
    read = parse(said)
    assert (len(list(filter(None, read.offers.values()))), len(read.gateways)) == (PLACES_MAX, GATEWAYS_MAX), len(said)


def test_silent_vlans_keep_no_answer_back() -> None:
    """A network of a silent VLAN waits for ever, so what is said of it is never forgotten."""
    one = Offered(server="10.1.0.2", cidr="10.1.0.0/24", gateway="10.1.0.1")
    heard = Heard(offers={**{("a", vid): () for vid in range(1, 4001)}, ("z", 1): (one,)})
    assert parse(text(heard)).offers[("z", 1)] == (one,)
    assert len(text(heard)) <= routes.TEXT_MAX


def test_one_answer_that_is_none_hides_no_other() -> None:
    """Who may write a Node may have an older Windrow, or none."""
    good = {"server": "10.1.0.2", "cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "answers": True}
    offers = {"data/1": [{**good, "cidr": "10.1.0.1/32"}, good], "data/x": [good], "data/2": [good]}
    wrong = {"data/2": [True, 1], "data/2/a": 7, "data/2/b": [1, 1], "data/x/c": [True, 1], "data/2/d": [True, 10**400]}
    said = json.dumps({"offers": offers, "gateways": {**wrong, "data/2/10.1.0.1": [True, 1]}})
    (read,) = parse(said).offers[("data", 2)]
    assert parse(said).offers == {("data", 1): (read,), ("data", 2): (read,)}
    assert parse(said).gateways == {("data", 2, "10.1.0.1"): Answer(there=True, at=1)}
    endless = json.dumps({"gateways": {f"data/{'9' * 5000}/10.1.0.1": [True, 1], "data/2/10.1.0.1": [True, 1]}})
    assert parse(endless).gateways == parse(said).gateways


def test_who_waits_longest_is_asked_for_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that could not be asked come due again before all others have had their turn."""
    begun: list[list[Place]] = []
    monkeypatch.setattr(agent_routes.Routes, "_begin", lambda _self, places, _now: begun.append(list(places)))
    part = agent_routes.Routes("n1", tmp_path / "asked", lambda: None, lambda: 100.0, lambda: 0.0)
    part._due = {("data", vid): 90.0 for vid in range(PLACES_MAX)} | {("data", 4000): 20.0, ("data", 4001): 200.0}
    part.ready(-1)
    assert begun[0][0] == ("data", 4000) and len(begun[0]) == PLACES_MAX


# What a node says of a gateway ---------------------------------------------------------------------

WEB: Place = ("data", 100)
GATEWAY = (*WEB, "10.9.0.1")


class Told:
    """The part of an agent that asks, without its sockets. `found`: it has asked for the gateway, and it is there, or
    not. `says`: what networks say meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        question = Question(cluster_network="data", vid=100, link=IfName("data-bo"), tag=100)
        monkeypatch.setattr(agent_routes, "questions", lambda _cluster, _observed: (question,))
        self.news = 0
        self.part = agent_routes.Routes("n1", tmp_path / "asked", self._told, lambda: 0.0, lambda: 1_790_000_000.0)

    def _told(self) -> None:
        self.news += 1

    def says(self, *connectivity: str) -> None:
        routes = (
            {"mode": "manual", "cidr": "10.9.0.0/24", "gateway": "10.9.0.1", "connectivity": c} for c in connectivity
        )
        networks = (annotated(nad(f"w{n}"), {names.ANNOTATION_ROUTE: json.dumps(r)}) for n, r in enumerate(routes))
        self.part.after(asked(*networks), observed())

    def found(self, there: bool) -> bool | None:
        """What it tells of it then."""
        inquiry = agent_routes._Inquiry([], frozenset(), Manners(), 0.0)
        inquiry.places, inquiry.reached = frozenset({WEB}), {GATEWAY: there}
        self.part._finish(inquiry, 0.0, 1_790_000_000.0)
        return self.tells()

    def tells(self) -> bool | None:
        answer = self.part.heard.gateways.get(GATEWAY)
        return answer and answer.there


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    return Told(monkeypatch, tmp_path)


def test_only_what_networks_do_not_say_is_told_and_forgotten_when_they_do(told: Told) -> None:
    told.says("true")
    assert told.found(True) is None and told.news == 0
    assert told.found(False) is False
    told.says("false")
    assert told.tells() is None and told.news == 2
    assert told.found(False) is None and told.news == 2
    assert told.found(True) is True


@pytest.mark.parametrize("said", ["", "ping failed", "DHCP failed"])
def test_a_network_that_knows_nothing_yet_is_told(told: Told, said: str) -> None:
    told.says("true")
    told.found(False)
    told.says(said)
    assert told.found(False) is False


def test_of_two_networks_with_one_gateway_each_is_to_know(told: Told) -> None:
    told.says("true", "")
    assert told.found(True) is True
    told.says("true", "true")
    assert told.tells() is None


def test_a_node_that_alone_reaches_no_gateway_says_so_once(told: Told) -> None:
    """Otherwise it would take turns with those that reach it, for ever."""
    told.says("true")
    assert told.found(False) is False
    told.says("false")
    told.says("true")
    assert told.found(False) is None
    assert told.found(True) is None
    assert told.found(False) is False


def test_what_the_manager_has_not_taken_is_told_again_and_is_fresh(told: Told) -> None:
    told.says("true")
    assert told.found(False) is False
    assert told.found(False) is False


def test_a_gateway_that_no_network_has_any_more_is_forgotten(told: Told) -> None:
    told.says("true")
    told.found(False)
    told.says()
    assert told.tells() is None and not told.part._found
