"""Asks DHCP servers for the subnets of VLANs whose networks wait for that (annotation `route`, mode `auto`).

A part of the agent's loop, where objects come from a cluster. By a DISCOVER it takes no address; then it asks, by ARP,
who has the gateway that was offered. What came of it goes to the manager by the Node, for as long as a network waits
for it.
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
from windrow.status.routes import PLACES_MAX, Offered, Place, offered, turns

APART_S = 20.0
"""From one node's turn to the next one's: by then the first has its answer, and the networks wait no longer."""
AGAIN_S = 600.0
"""After an answer that helped nobody."""
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
        self.heard: dict[Place, tuple[Offered, ...]] = {}
        self._cluster: Cluster | None = None
        self._turns: Mapping[Place, int] = {}
        self._due: dict[Place, float] = {}
        self._questions: Mapping[Place, Question] = {}
        self._own: frozenset[Mac] = frozenset()
        self._inquiry: _Inquiry | None = None
        self._not_before = 0.0

    def after(self, cluster: Cluster, observed: Observed) -> None:
        """A round: which networks wait, and what the uplinks carry."""
        if cluster is not self._cluster:
            self._cluster, self._turns = cluster, turns(cluster, self._node)
        self._own = frozenset(link.mac for link in observed.state.links.values() if link.mac)
        self._questions = _in(self._turns, cluster, observed) if self._turns else {}
        now = self._mono()
        first = {place: now + turn * APART_S for place, turn in self._turns.items() if place in self._questions}
        self._due = {place: self._due.get(place, at) for place, at in first.items()}
        self._keep({place: offers for place, offers in self.heard.items() if place in self._due})

    def _keep(self, heard: dict[Place, tuple[Offered, ...]]) -> None:
        if heard != self.heard:
            self.heard = heard
            self._tell()

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
            pause = AGAIN_S if place in inquiry.heard else max(NOT_ASKED_S, inquiry.manners.wait_s(place, clock))
            self._due[place] = now + pause
        fresh = {place: offers for place, offers in inquiry.heard.items() if place in self._due}
        self._keep({**self.heard, **fresh})


def _in(places: Iterable[Place], cluster: Cluster, observed: Observed) -> dict[Place, Question]:
    """By DHCP alone. A VLAN whose server this node itself is is not asked by it."""
    wanted = frozenset(places)
    found = {(one.cluster_network, one.vid): one for one in questions(cluster, observed) if one.dhcp}
    only = {place: replace(one, gateways=(), own=(), routers=False) for place, one in found.items()}
    return {place: one for place, one in only.items() if place in wanted}


class _Inquiry:
    """In some VLANs: first for their servers, then for the gateways that those name."""

    def __init__(self, asked: Sequence[Question], own: frozenset[Mac], manners: Manners, now: float) -> None:
        self.places = frozenset((one.cluster_network, one.vid) for one in asked)
        self.manners = manners
        self.heard: dict[Place, tuple[Offered, ...]] = {}
        """Of those that were asked."""
        self._own, self._second = own, False
        self._asking = Asking(asked, own, manners, now)

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
        if Kind.DHCP in one.asked:
            told = (offered(offer) for offer in one.offers)
            self.heard[one.cluster_network, one.vid] = tuple(offer for offer in told if offer is not None)

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
