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

from windrow.apps.agent.routes import APART_S, Routes
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.wire import load_value
from windrow.sense import asking
from windrow.status.routes import Offered, Place

RANGE = "--dhcp-range=10.9.100.10,10.9.100.20,1h"
PLACE: Place = ("oob", 100)
FOUND = Offered(server="10.9.100.1", cidr="10.9.100.0/24", gateway="10.9.100.1", answers=True)


@pytest.fixture
def there(new_ns: Callable[[], Ns]) -> Ns:
    """The switch, and the servers behind it."""
    return new_ns()


class Asker:
    """The part of an agent, without the agent. `late`: seconds that its clock is ahead."""

    def __init__(self, ns: Ns, file: Path, name: str = "n1") -> None:
        self.ns, self.news, self.late = ns, 0, 0.0
        self.part = Routes(name, file, self._told, lambda: time.monotonic() + self.late, time.time)

    def _told(self) -> None:
        self.news += 1

    def follow(self, *vids: int, nodes: tuple[str, ...] = ("n1",)) -> None:
        auto = {names.ANNOTATION_ROUTE: '{"mode":"auto"}'}
        networks = (annotated(nad(f"w{vid}", vid, "oob"), auto) for vid in vids)
        documents = [*map(node, nodes), cn("oob"), vc(of="oob"), *networks]
        cluster = Cluster.of(one for document in documents for one in load_value(document).objects)
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
    assert asker.part.heard == {PLACE: (FOUND,), ("oob", 200): ()}, "the uplink does not carry VLAN 300"
    assert not (tmp_path / "leases").exists() or "10.9.100" not in (tmp_path / "leases").read_text()
    asker.follow()
    assert asker.part.heard == {} and asker.news == 2, "no network waits for it any more"


def test_a_gateway_that_nobody_has_does_not_answer(asker: Asker, there: Ns, tmp_path: Path) -> None:
    with dnsmasq(there, "br0.100", tmp_path, RANGE, "--dhcp-option=option:router,10.9.100.7"):
        time.sleep(0.5)
        asker.follow(100)
        assert asker.live()
    (offer,) = asker.part.heard[PLACE]
    assert (offer.gateway, offer.answers) == ("10.9.100.7", False)


def test_the_second_node_asks_when_the_first_has_had_its_time(asker: Asker, there: Ns, tmp_path: Path) -> None:
    """And only for as long as a network still waits."""
    with dnsmasq(there, "br0.100", tmp_path, RANGE):
        time.sleep(0.5)
        asker.follow(100, nodes=("n0", "n1"))
        assert not asker.live(asking.OFFER_S + 2)
        asker.late = APART_S
        assert asker.live()
    assert asker.part.heard == {PLACE: (FOUND,)}


def test_a_vlan_that_was_asked_a_moment_ago_is_asked_when_its_pause_is_over(
    asker: Asker, there: Ns, tmp_path: Path
) -> None:
    """By whom does not matter: a DISCOVER costs a server an address for a while."""
    asker.follow(100)
    assert asker.live() and asker.part.heard == {PLACE: ()}
    again = Asker(asker.ns, tmp_path / "asked.json")
    again.follow(100)
    assert not again.live(asking.OFFER_S + 2)
    assert again.part.heard == {} and (again.part.deadline() or 0) > time.monotonic() + 200
    again.part.close()
