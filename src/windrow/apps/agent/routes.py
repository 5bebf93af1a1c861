"""Asks DHCP servers for the subnets of VLANs whose networks wait for that, and who has the gateways that networks name
(annotation `route`).

A part of the agent's loop, where objects come from a cluster. By a DISCOVER it takes no address; then it asks, by ARP,
who has the gateway that was offered. What came of it goes to the manager by the Node, for as long as a network waits
for it, or says something else of its gateway.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from windrow.apps.questions import questions
from windrow.model.cluster import Cluster
from windrow.model.evidence import Kind, VlanEvidence
from windrow.model.host import Observed
from windrow.model.values import Mac
from windrow.sense.asking import Asking, Question
from windrow.sense.manners import Manners
from windrow.status.routes import (
    APART_S,
    KNOWN,
    PLACES_MAX,
    Answer,
    Gateway,
    Heard,
    Offered,
    Place,
    Seat,
    Wish,
    next_turn,
    offered,
    said_of,
    turn,
    wishes,
)

NOT_ASKED_S = 30.0
"""After a question that could not be asked."""
GLANCE_S = 0.005
"""From one look to the next: a deadline that stays in the past counts as a mistake (`Kept`)."""


class Routes:
    """`manners`: the file by which processes know when a VLAN was asked last. `tell`: is called when `heard` is another
    one. All methods belong into one thread, in the namespace of the host's links."""

    def __init__(
        self,
        node: str,
        manners: Path,
        tell: Callable[[], None],
        mono: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._node, self._file, self._tell, self._mono, self._clock = node, manners, tell, mono, clock
        self.heard = Heard()
        self._cluster: Cluster | None = None
        self._wishes: Mapping[Place, tuple[Seat, Wish]] = {}
        self._due: dict[Place, float] = {}
        self._found: dict[Gateway, bool] = {}
        """What this node found last."""
        self._questions: Mapping[Place, Question] = {}
        self._own: frozenset[Mac] = frozenset()
        self._inquiry: _Inquiry | None = None
        self._not_before = 0.0

    def after(self, cluster: Cluster, observed: Observed) -> None:
        """A round: what networks want to know, and what the uplinks carry."""
        before = self._wishes
        if cluster is not self._cluster:
            self._cluster, self._wishes = cluster, wishes(cluster, self._node)
        self._own = frozenset(link.mac for link in observed.state.links.values() if link.mac)
        self._questions = _in(self._wishes, cluster, observed) if self._wishes else {}
        self._due = {place: self._when(place, before.get(place)) for place in self._questions}
        self._found = {gateway: there for gateway, there in self._found.items() if self._said_of(gateway)}
        self._keep(self.heard)

    def _when(self, place: Place, before: tuple[Seat, Wish] | None) -> float:
        """A network that knows nothing yet waits for no other period."""
        (seat, wish), now, clock = self._wishes[place], self._mono(), self._clock()
        new = wish.new and not (before is not None and before[1].new)
        if place in self._due and before is not None and before[0] == seat and not new:
            return self._due[place]
        if not wish.new:
            return now + next_turn(place, seat, clock)
        mine = turn(place, seat, clock)
        return now + (mine.number * APART_S if mine.now else mine.in_s)

    # What is told -----------------------------------------------------------------------------------------------------

    def _keep(self, heard: Heard) -> None:
        """Of that what is news."""
        offers = {place: of for place, of in heard.offers.items() if self._is_wanted(place, of)}
        gateways = {gateway: of for gateway, of in heard.gateways.items() if self._differs(gateway, of.there)}
        told = Heard(offers=offers, gateways=gateways)
        if told != self.heard:
            self.heard = told
            self._tell()

    def _is_wanted(self, place: Place, offers: Sequence[Offered]) -> bool:
        """Silence, as long as a network does not say so."""
        if place not in self._due:
            return False
        wish = self._wishes[place][1]
        return wish.dhcp and bool(offers or wish.new)

    def _said_of(self, gateway: Gateway) -> frozenset[str]:
        """What networks say of it; empty: it is none of theirs."""
        network, vid, address = gateway
        wished = self._wishes.get((network, vid))
        return wished[1].gateways.get(address, frozenset()) if wished is not None else frozenset()

    def _differs(self, gateway: Gateway, there: bool) -> bool:
        said = self._said_of(gateway)
        return bool(said) and said != {said_of(there)}

    def _is_news(self, gateway: Gateway, there: bool) -> bool:
        """That it is there is true whoever says so. That it is not may be this node's own fault, and is told once: the
        next one that reaches it has the last word."""
        if there or gateway in self.heard.gateways or not self._said_of(gateway) <= KNOWN:
            return True
        return self._found.get(gateway, True)

    # What the loop calls ----------------------------------------------------------------------------------------------

    def fds(self) -> Mapping[int, int]:
        return dict.fromkeys(self._inquiry.fds(), selectors.EVENT_READ) if self._inquiry is not None else {}

    def ready(self, _fd: int) -> bool:
        now, clock = self._mono(), self._clock()
        if self._inquiry is None:
            self._begin(self._next(now), now)
        if self._inquiry is not None and self._inquiry.work(now, clock):
            self._finish(self._inquiry, now, clock)
        self._not_before = self._mono() + GLANCE_S
        return False

    def deadline(self) -> float | None:
        now = self._mono()
        due = min(self._due.values(), default=None) if self._inquiry is None else now + self._inquiry.wait_s(now)
        return None if due is None else max(due, self._not_before)

    def close(self) -> None:
        if self._inquiry is not None:
            self._inquiry.close()
            self._inquiry = None

    # Asking -----------------------------------------------------------------------------------------------------------

    def _next(self, now: float) -> list[Place]:
        """Those that are due for the longest time: what could not be asked is due again before all others were."""
        due = sorted((at, place) for place, at in self._due.items() if at <= now)
        return [place for _, place in due[:PLACES_MAX]]

    def _begin(self, places: Sequence[Place], now: float) -> None:
        if places:
            asked = [self._questions[place] for place in places]
            self._inquiry = _Inquiry(asked, self._own, Manners(self._file), now)

    def _finish(self, inquiry: _Inquiry, now: float, clock: float) -> None:
        self.close()
        for place in inquiry.places & self._due.keys():
            if inquiry.has_asked(place):
                self._due[place] = now + next_turn(place, self._wishes[place][0], clock)
            else:
                self._due[place] = now + max(NOT_ASKED_S, inquiry.manners.wait_s(place, clock))
        news = {
            g: Answer(there=there, at=int(clock)) for g, there in inquiry.reached.items() if self._is_news(g, there)
        }
        self._found |= inquiry.reached
        offers = {**self.heard.offers, **inquiry.heard}
        self._keep(Heard(offers=offers, gateways={**self.heard.gateways, **news}))


def _in(wished: Mapping[Place, tuple[Seat, Wish]], cluster: Cluster, observed: Observed) -> dict[Place, Question]:
    """A VLAN whose server or whose gateway this node itself is is not asked for that by it."""
    found: dict[Place, Question] = {}
    for one in questions(cluster, observed):
        place = (one.cluster_network, one.vid)
        wish = wished[place][1] if place in wished else Wish()
        gateways = tuple(sorted(wish.gateways.keys() - set(one.own)))
        if (one.dhcp and wish.dhcp) or gateways:
            found[place] = replace(one, gateways=gateways, own=(), routers=False, dhcp=one.dhcp and wish.dhcp)
    return found


class _Inquiry:
    """In some VLANs: first for their servers and gateways, then for the gateways that those servers name."""

    def __init__(self, asked: Sequence[Question], own: frozenset[Mac], manners: Manners, now: float) -> None:
        self.places = frozenset((one.cluster_network, one.vid) for one in asked)
        self.manners = manners
        self.heard: dict[Place, tuple[Offered, ...]] = {}
        """Of those whose servers were asked."""
        self.reached: dict[Gateway, bool] = {}
        """Of those that networks name, and that were asked for."""
        self._for_servers = frozenset((one.cluster_network, one.vid) for one in asked if one.dhcp)
        self._own, self._second = own, False
        self._asking = Asking(asked, own, manners, now)

    def has_asked(self, place: Place) -> bool:
        if place in self._for_servers:
            return place in self.heard
        return any(gateway[:2] == place for gateway in self.reached)

    def work(self, now: float, clock: float) -> bool:
        """Go on. True: all is answered, or had its time."""
        for socket in self._asking.sockets():
            self._asking.hear(socket)
        self._asking.step(now, clock)
        if not self._asking.settled(now):
            return False
        for one in self._asking.evidence()[0]:
            (self._reached if self._second else self._told)(one)
        return self._second or not self._ask_for_gateways(now)

    def _told(self, one: VlanEvidence) -> None:
        place = (one.cluster_network, one.vid)
        self.reached |= {(*place, answer.address): bool(answer.macs) for answer in one.gateways}
        if Kind.DHCP in one.asked:
            told = (offered(offer) for offer in one.offers)
            self.heard[place] = tuple(offer for offer in told if offer is not None)

    def _ask_for_gateways(self, now: float) -> bool:
        """Whether there is one."""
        of = {place: tuple(dict.fromkeys(one.gateway for one in offers)) for place, offers in self.heard.items()}
        places = ((question, of.get((question.cluster_network, question.vid))) for question in self._asking.questions)
        asked = [replace(question, gateways=gateways, dhcp=False) for question, gateways in places if gateways]
        self._asking.close()
        self._second = True
        self._asking = Asking(asked, self._own, self.manners, now)
        return bool(asked)

    def _reached(self, one: VlanEvidence) -> None:
        place, there = (one.cluster_network, one.vid), {answer.address for answer in one.gateways if answer.macs}
        offers = self.heard.get(place, ())
        self.heard[place] = tuple(replace(offer, answers=offer.gateway in there) for offer in offers)

    def fds(self) -> Iterable[int]:
        return [one.fileno() for one in self._asking.sockets()]

    def wait_s(self, now: float) -> float:
        due = self._asking.due(now)
        return 0.0 if due is None else due

    def close(self) -> None:
        self._asking.close()
