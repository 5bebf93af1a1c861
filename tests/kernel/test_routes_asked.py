"""An agent asks DHCP servers for the subnets that networks wait for, on a real kernel, of dnsmasq."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import Ns
from tests.kernel.test_senses import dnsmasq, uplink
from tests.unit.admissioncases import annotated, cn, nad, node, vc

from windrow.apps.agent.routes import Routes
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.wire import load_value
from windrow.netlink import links
from windrow.sense import asking
from windrow.status import routes
from windrow.status.routes import APART_S, PERIOD_S, Offered, Place, Turn, turn, wishes

RANGE = "--dhcp-range=10.9.100.10,10.9.100.20,1h"
PLACE: Place = ("oob", 100)
FOUND = Offered(server="10.9.100.1", cidr="10.9.100.0/24", gateway="10.9.100.1", answers=True)


@pytest.fixture
def there(new_ns: Callable[[], Ns]) -> Ns:
    """The switch, and the servers behind it."""
    return new_ns()


def following(*vids: int, nodes: tuple[str, ...], route: str = '{"mode":"auto"}') -> Cluster:
    networks = (annotated(nad(f"w{vid}", vid, "oob"), {names.ANNOTATION_ROUTE: route}) for vid in vids)
    documents = [*map(node, nodes), cn("oob"), vc(of="oob"), *networks]
    return Cluster.of(one for document in documents for one in load_value(document).objects)


class Asker:
    """The part of an agent, without the agent. `late`: seconds that its clock is ahead."""

    def __init__(self, ns: Ns, file: Path, name: str = "n1") -> None:
        self.ns, self.news, self.late = ns, 0, 0.0
        self.part = Routes(name, file, self._told, lambda: self.late + time.monotonic(), self.clock)

    def clock(self) -> float:
        return time.time() + self.late

    def wait_for(self, wanted: Callable[[Turn], bool], *nodes: str) -> None:
        """Until a quarter of an hour has just begun in which that is so of its turn."""
        seat, _ = wishes(following(100, nodes=nodes), "n1")[PLACE]
        begins = [number * PERIOD_S - (self.clock() + routes._offset(PLACE)) % PERIOD_S + 1.0 for number in range(1, 6)]
        self.late += next(late for late in begins if wanted(turn(PLACE, seat, self.clock() + late)))

    def _told(self) -> None:
        self.news += 1

    def follow(self, *vids: int, nodes: tuple[str, ...] = ("n1",), route: str = '{"mode":"auto"}') -> None:
        cluster = following(*vids, nodes=nodes, route=route)
        self.ns.inside(lambda: self.part.after(cluster, self.ns.kernel.observe()))

    def live(self, patience_s: float = 20.0) -> bool:
        """As the loop has it: until it has news. False: within that time there were none."""
        before, end = self.news, time.monotonic() + patience_s
        while self.news == before:
            if time.monotonic() > end:
                return False
            due = self.part.deadline()
            wait_s = 0.2 if due is None else min(0.2, max(0.0, due - time.monotonic() - self.late))
            ready = select.select(list(self.part.fds()), [], [], wait_s)[0]
            if ready or (due is not None and time.monotonic() + self.late >= due):
                self.ns.inside(lambda fds=ready: self.part.ready(fds[0] if fds else -1))
        return True


@pytest.fixture
def asker(ns: Ns, there: Ns, tmp_path: Path) -> Iterator[Asker]:
    uplink(ns, there)
    found = Asker(ns, tmp_path / "asked.json")
    yield found
    found.part.close()


def test_subnet_and_gateway_are_heard_and_no_lease_is_taken(asker: Asker, there: Ns, tmp_path: Path) -> None:
    with dnsmasq(there, "br0.100", tmp_path, RANGE):
        time.sleep(0.5)
        asker.follow(100, 200, 300)
        assert asker.live()
    assert asker.part.heard.offers == {PLACE: (FOUND,), ("oob", 200): ()}, "the uplink does not carry VLAN 300"
    assert not (tmp_path / "leases").exists() or "10.9.100" not in (tmp_path / "leases").read_text()
    asker.follow()
    assert not asker.part.heard.offers and asker.news == 2, "no network waits for it any more"


def test_a_gateway_that_nobody_has_does_not_answer(asker: Asker, there: Ns, tmp_path: Path) -> None:
    with dnsmasq(there, "br0.100", tmp_path, RANGE, "--dhcp-option=option:router,10.9.100.7"):
        time.sleep(0.5)
        asker.follow(100)
        assert asker.live()
    (offer,) = asker.part.heard.offers[PLACE]
    assert (offer.gateway, offer.answers) == ("10.9.100.7", False)


def test_the_second_node_asks_when_the_first_has_had_its_time(asker: Asker, there: Ns, tmp_path: Path) -> None:
    """And only for as long as a network still waits."""
    asker.wait_for(lambda turn: turn.number == 1, "n0", "n1")
    with dnsmasq(there, "br0.100", tmp_path, RANGE):
        time.sleep(0.5)
        asker.follow(100, nodes=("n0", "n1"))
        assert not asker.live(asking.OFFER_S + 2)
        asker.late += APART_S
        assert asker.live()
    assert asker.part.heard.offers == {PLACE: (FOUND,)}


def test_where_the_three_that_are_to_ask_are_off_another_one_does(asker: Asker, there: Ns, tmp_path: Path) -> None:
    """When their quarter of an hour is over."""
    nodes = ("n0", "n1", "n2", "n3", "n4")
    asker.wait_for(lambda turn: not turn.now, *nodes)
    with dnsmasq(there, "br0.100", tmp_path, RANGE):
        time.sleep(0.5)
        asker.follow(100, nodes=nodes)
        assert not asker.live(asking.OFFER_S + 2)
        asker.late += 2 * PERIOD_S
        assert asker.live()
    assert asker.part.heard.offers == {PLACE: (FOUND,)}


def test_a_gateway_is_asked_again_each_quarter_of_an_hour(asker: Asker, there: Ns) -> None:
    """And what networks say already is told nobody."""
    known = '{"mode":"auto","cidr":"10.9.100.0/24","gateway":"10.9.100.1","connectivity":"true"}'
    asker.wait_for(lambda turn: turn.now, "n1")
    asker.follow(100, route=known)
    asker.late += PERIOD_S
    assert not asker.live(5.0) and (asker.part.deadline() or 0) > time.monotonic() + asker.late + 10
    there.run(links.set_link("br0.100", up=False))
    asker.late += PERIOD_S
    assert asker.live()
    assert [one.there for one in asker.part.heard.gateways.values()] == [False]
    asker.follow(100, route=known.replace("true", "false"))
    assert not asker.part.heard.gateways
    there.run(links.set_link("br0.100", up=True))
    asker.late += PERIOD_S
    assert asker.live()
    assert [one.there for one in asker.part.heard.gateways.values()] == [True]


def test_a_vlan_that_was_asked_a_moment_ago_is_asked_when_its_pause_is_over(
    asker: Asker, there: Ns, tmp_path: Path
) -> None:
    """By whom does not matter: a DISCOVER costs a server an address for a while."""
    asker.follow(100)
    assert asker.live() and asker.part.heard.offers == {PLACE: ()}
    again = Asker(asker.ns, tmp_path / "asked.json")
    again.follow(100)
    assert not again.live(asking.OFFER_S + 2)
    assert not again.part.heard.offers and (again.part.deadline() or 0) > time.monotonic() + 200
    again.part.close()
